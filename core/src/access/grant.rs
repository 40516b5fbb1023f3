//! The outcome of judging an AccessPolicy: what it opens, in full, and what was refused.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::SignedDuration;

use crate::api::{HttpRule, LabelSelector, PodPeer, Protocol, Reason, TokenValidation};
use crate::pki::SpiffeId;
use crate::world::{Identity, ListedIssuer, NamespacedName, Problem};

/// What opens edges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// An AccessPolicy.
    Policy(NamespacedName),
    /// The `tokenIssuers` of this ServiceIdentity.
    Identity(NamespacedName),
    /// The clients outside the cluster that the TrustDomain of this name registers with the built-in token issuer.
    Clients(String),
}

/// An AccessPolicy after judgement, or what opens edges without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedPolicy {
    /// Which policy, or what else.
    pub origin: Origin,
    /// A draft (`enforcement: Audit`): its grants are reported, and nothing is opened or delivered.
    pub draft: bool,
    /// What is open, one for each accepted `from` entry.
    pub grants: Vec<Grant>,
    /// What is not, one for each refused `from` entry.
    pub refusals: Vec<Refusal>,
    /// What is wrong or worth knowing about the policy as a whole.
    pub problems: Vec<Problem>,
}

/// One accepted entry: complete in itself, so that two grants never mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What grants.
    pub origin: Origin,
    /// Position in the list that it comes from: `spec.from` of a policy, `tokenIssuers` of an identity as far as they are
    /// known, or `clients.cidrs`.
    pub index: usize,
    /// Who may call.
    pub source: GrantSource,
    /// Who is called.
    pub target: GrantTarget,
    /// On which ports of the target's pods or addresses; never empty, sorted, without overlaps.
    pub ports: Vec<ResolvedPort>,
    /// How the caller must prove itself.
    pub authentication: Authenticated,
    /// What may be called; empty for everything.
    pub rules: Vec<HttpRule>,
}

/// One refused `from` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Position in `spec.from`.
    pub index: usize,
    /// The entry in words, e.g. `identity storefront/order`.
    pub source: String,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with names and what to do.
    pub message: String,
    /// Whether something named is missing (`ResolvedRefs`) rather than not allowed (`Accepted`).
    pub unresolved: bool,
}

/// Why something can't be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The word for it.
    pub reason: Reason,
    /// One sentence, with names and what to do.
    pub message: String,
    /// Whether something named is missing (`ResolvedRefs`) rather than not allowed (`Accepted`).
    pub unresolved: bool,
}

/// An identity as the other end of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The ServiceIdentity.
    pub key: NamespacedName,
    /// Name of its TrustDomain object.
    pub domain: String,
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// Its pods.
    pub selector: Arc<LabelSelector>,
    /// DNS names of its certificate: under which it is called.
    pub dns_names: Arc<BTreeSet<String>>,
}

/// Who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantSource {
    /// One identity.
    Identity(Peer),
    /// Every member of a trust domain.
    TrustDomain {
        /// Name of the TrustDomain object.
        name: String,
        /// Its SPIFFE trust-domain name.
        trust_domain: String,
        /// Its namespaces.
        namespaces: BTreeSet<String>,
    },
    /// Pods without an identity.
    Pods(PodPeer),
    /// An address range, as blocks without the cluster's own addresses.
    Cidr {
        /// The range as declared.
        declared: IpNet,
        /// The same as NetworkPolicy blocks.
        blocks: Vec<IpBlock>,
    },
    /// Any address and any pod.
    Anywhere,
    /// The API server.
    KubernetesApi(BTreeSet<IpAddr>),
}

/// Who is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantTarget {
    /// One identity.
    Identity(Peer),
    /// Pods without an identity.
    Pods(PodPeer),
    /// Addresses.
    External(Vec<IpBlock>),
    /// The API server; its ports are in the grant.
    KubernetesApi(BTreeSet<IpAddr>),
}

/// An `ipBlock` of a NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpBlock {
    /// The range.
    pub cidr: IpNet,
    /// Ranges inside it that are left out.
    pub except: BTreeSet<IpNet>,
}

/// A port of a pod or an address, resolved to numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResolvedPort {
    /// First port.
    pub port: u16,
    /// Last port of a range.
    pub end_port: Option<u16>,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// How the caller must prove itself; nothing set: not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authenticated {
    /// By a client certificate.
    pub mtls: bool,
    /// By a token.
    pub jwt: Option<ResolvedJwt>,
}

/// What a token must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedJwt {
    /// Who signs it.
    pub signer: ResolvedSigner,
    /// Audiences of which the token carries one.
    pub audiences: BTreeSet<String>,
    /// Longest time from `iat` to `exp`; nothing where that is left to an issuer outside.
    pub max_lifetime: Option<SignedDuration>,
}

/// Who signs a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedSigner {
    /// The caller itself.
    Caller,
    /// An issuer that the callee's domain trusts.
    Issuer(IssuerToken),
}

/// What a token of an issuer must be like, besides what is asked of every token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerToken {
    /// The issuer, as the callee's domain names it.
    pub issuer: ListedIssuer,
    /// How the callee validates it.
    pub validation: TokenValidation,
    /// Scopes that it carries.
    pub scopes: BTreeSet<String>,
    /// Each call needs a token of its own.
    pub one_time: bool,
}

impl Origin {
    /// The AccessPolicy, if it is one.
    pub fn policy(&self) -> Option<&NamespacedName> {
        match self {
            Self::Policy(key) => Some(key),
            Self::Identity(_) | Self::Clients(_) => None,
        }
    }
}

impl JudgedPolicy {
    /// The identities that the policy names on both sides of what is open, some of them several times.
    pub fn identities(&self) -> impl Iterator<Item = &NamespacedName> {
        let callers = self.grants.iter().filter_map(|grant| match &grant.source {
            GrantSource::Identity(peer) => Some(&peer.key),
            _ => None,
        });
        callers.chain(self.grants.iter().filter_map(Grant::callee))
    }
}

impl Grant {
    /// The identity that is called, if it is one.
    pub fn callee(&self) -> Option<&NamespacedName> {
        match &self.target {
            GrantTarget::Identity(peer) => Some(&peer.key),
            _ => None,
        }
    }

    /// Whether this identity is called.
    pub fn is_target(&self, identity: &Identity) -> bool {
        self.callee() == Some(&identity.key)
    }

    /// Whether this identity may call: by its own name, or as a member of its domain.
    pub fn is_source(&self, identity: &Identity) -> bool {
        match &self.source {
            GrantSource::Identity(peer) => peer.key == identity.key,
            GrantSource::TrustDomain { name, namespaces, .. } => {
                *name == identity.domain && namespaces.contains(&identity.key.namespace)
            }
            _ => false,
        }
    }
}

impl Objection {
    /// Not allowed, or in conflict with something.
    pub(super) fn refused(reason: Reason, message: String) -> Self {
        Self { reason, message, unresolved: false }
    }

    /// Something named is missing.
    pub(super) fn unresolved(reason: Reason, message: String) -> Self {
        Self { reason, message, unresolved: true }
    }
}

impl Authenticated {
    /// Nothing is demanded.
    pub fn is_nothing(&self) -> bool {
        !self.mtls && self.jwt.is_none()
    }

    /// Who signs the token that is demanded, if one is.
    pub fn signer(&self) -> Option<&ResolvedSigner> {
        self.jwt.as_ref().map(|jwt| &jwt.signer)
    }
}

impl ResolvedPort {
    /// The last port of the range; `port` itself if it is none.
    pub fn last(self) -> u16 {
        self.end_port.unwrap_or(self.port)
    }

    /// The ports from `first` to `last`.
    pub(super) fn range(first: u16, last: u16, protocol: Protocol) -> Self {
        Self { port: first, end_port: (last > first).then_some(last), protocol }
    }
}

impl From<&Identity> for Peer {
    fn from(identity: &Identity) -> Self {
        Self {
            key: identity.key.clone(),
            domain: identity.domain.clone(),
            spiffe_id: identity.spiffe_id.clone(),
            selector: identity.selector.clone(),
            dns_names: identity.dns_names.clone(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(key) => write!(f, "AccessPolicy {key}"),
            Self::Identity(key) => write!(f, "tokenIssuers of ServiceIdentity {key}"),
            Self::Clients(domain) => write!(f, "tokenIssuers of TrustDomain {domain}"),
        }
    }
}

impl fmt::Display for ResolvedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end_port {
            Some(end) => write!(f, "{}-{end}/{}", self.port, self.protocol.as_str()),
            None => write!(f, "{}/{}", self.port, self.protocol.as_str()),
        }
    }
}
