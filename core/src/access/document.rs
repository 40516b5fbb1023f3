//! `access.json`: all that a service needs to decide who may call it, and to call others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document_tokens::{AccessIssuer, AccessToken, access_issuers, key_set, key_sets};
use super::{Authenticated, Grant, GrantSource, GrantTarget, IpBlock, JudgedPolicy, ResolvedPort};
use crate::api::{HttpRule, Protocol};
use crate::world::{ContentHash, Identity, World, content_hash};

/// Version of the document's form. A reader refuses a version that it does not know.
pub const ACCESS_VERSION: u32 = 2;

/// Who may call a service and whom it may call. A reader treats what it does not know as not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessDocument {
    /// Version of the document's form: 2.
    pub version: u32,
    /// The service's own SPIFFE ID.
    #[serde(rename = "spiffeID")]
    pub spiffe_id: String,
    /// Names under which the service accepts tokens (`aud`).
    pub audiences: BTreeSet<String>,
    /// Trust domain → name of the file with its issuing CAs. A peer's certificate must chain to the file of the trust
    /// domain that its SPIFFE ID names, and to no other.
    pub bundles: BTreeMap<String, String>,
    /// SPIFFE ID of a caller that signs tokens (`iss`) → name of the file with its public keys. A token must verify with a
    /// key of its own issuer's file, and of no other.
    pub key_sets: BTreeMap<String, String>,
    /// Identifier of a token issuer (`iss`) → what is known of it: of those whose tokens callers bring, and of those that
    /// the service talks to.
    pub issuers: BTreeMap<String, AccessIssuer>,
    /// Who may call, port by port. Ports do not overlap; nobody may call on a port that is not listed, but for the clients of
    /// the built-in token service, which are not in its own document.
    pub ports: Vec<AccessPort>,
    /// Who may be called.
    pub callees: Vec<AccessCallee>,
    /// Hash of all of the above: it changes when anything does.
    pub content_hash: ContentHash,
}

/// A port of the service's pods, or a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPort {
    /// The pod's port.
    #[serde(flatten)]
    pub range: PortRange,
    /// What to ask of clients in the TLS handshake.
    pub client_certificates: ClientCertificates,
    /// Who may call. A caller must satisfy one entry as a whole; entries are never mixed.
    pub callers: Vec<AccessCaller>,
}

/// A port, or a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortRange {
    /// Number of the port, 1 to 65535.
    pub port: u16,
    /// Last port of a range that starts at `port`; absent for a single port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// What a server asks of its clients in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientCertificates {
    /// A certificate: every caller must prove itself by one.
    Required,
    /// A certificate if the client has one: some callers must prove themselves by one, others need not.
    Optional,
    /// No certificate: no caller proves itself by one.
    None,
}

/// Someone who may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessCaller {
    /// Who.
    pub caller: CallerName,
    /// How the caller must prove itself.
    pub proof: AccessProof,
    /// What may be called; empty for everything.
    pub rules: Vec<AccessRule>,
    /// The AccessPolicy that grants it, `<namespace>/<name>`; absent for the way to a token issuer, which needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Who may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum CallerName {
    /// One service.
    Identity {
        /// Its SPIFFE ID.
        #[serde(rename = "spiffeID")]
        spiffe_id: String,
        /// The trust domain that its SPIFFE ID names.
        trust_domain: String,
    },
    /// Every service whose SPIFFE ID names this trust domain.
    TrustDomain {
        /// The trust domain.
        trust_domain: String,
    },
    /// Pods without an identity.
    Pods {
        /// Their namespaces.
        namespaces: BTreeSet<String>,
        /// Their labels, as in `kubectl get pods --selector`; empty for all.
        selector: String,
    },
    /// Addresses.
    Cidr {
        /// The range as declared.
        cidr: String,
        /// The same without the cluster's own addresses.
        blocks: Vec<AddressBlock>,
    },
    /// Anyone.
    Anywhere,
    /// The Kubernetes API server.
    #[serde(rename = "KubernetesAPI")]
    KubernetesApi,
}

/// How a caller must prove itself: all that is set is required. Nothing set: not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessProof {
    /// By a client certificate with the caller's SPIFFE ID.
    pub mtls: bool,
    /// By a token; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<AccessToken>,
}

/// One thing that may be called: HTTP methods and paths, or methods of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// HTTP methods; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths, exact or a prefix that ends in `/*`; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Full name of a gRPC service; absent for a rule about HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_service: Option<String>,
    /// Methods of the gRPC service; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grpc_methods: Vec<String>,
}

/// Someone who may be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessCallee {
    /// Who.
    pub callee: CalleeName,
    /// On which ports of its pods or addresses; a Service may translate others to them.
    pub ports: Vec<PortRange>,
    /// How to prove oneself.
    pub proof: AccessProof,
    /// What may be called; empty for everything.
    pub rules: Vec<AccessRule>,
    /// The AccessPolicy that grants it, `<namespace>/<name>`; absent for the way to a token issuer, which needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Who may be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum CalleeName {
    /// One service. Its certificate must carry the SPIFFE ID.
    Identity {
        /// Its SPIFFE ID.
        #[serde(rename = "spiffeID")]
        spiffe_id: String,
        /// The trust domain that its SPIFFE ID names.
        trust_domain: String,
        /// Names under which it is called.
        dns_names: BTreeSet<String>,
    },
    /// Pods without an identity.
    Pods {
        /// Their namespaces.
        namespaces: BTreeSet<String>,
        /// Their labels, as in `kubectl get pods --selector`; empty for all.
        selector: String,
    },
    /// Addresses.
    External {
        /// The ranges, without the cluster's own addresses.
        blocks: Vec<AddressBlock>,
    },
    /// The Kubernetes API server.
    #[serde(rename = "KubernetesAPI")]
    KubernetesApi,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressBlock {
    /// The range.
    pub cidr: String,
    /// Ranges inside it that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// The document of an identity, from the judged policies in which it is called or calls. Drafts do not count.
pub fn access_document(world: &World, identity: &Identity, judged: &[Arc<JudgedPolicy>]) -> AccessDocument {
    let grants: Vec<&Grant> = judged.iter().filter(|judged| !judged.draft).flat_map(|judged| &judged.grants).collect();
    let incoming: Vec<&Grant> = grants.iter().copied().filter(|grant| grant.is_target(identity)).collect();
    // The token service knows its clients, of which there can be thousands, from other documents.
    let declared: Vec<&Grant> = incoming.iter().copied().filter(|grant| grant.origin.policy().is_some()).collect();
    let outgoing: Vec<&Grant> = grants.iter().copied().filter(|grant| grant.is_source(identity)).collect();
    let mut document = AccessDocument {
        version: ACCESS_VERSION,
        spiffe_id: identity.spiffe_id.to_string(),
        audiences: identity.audiences.clone(),
        bundles: bundles(&incoming, &outgoing),
        key_sets: key_sets(&incoming),
        issuers: access_issuers(world, identity, &incoming),
        ports: ports(&declared),
        callees: sorted(outgoing.into_iter().map(AccessCallee::from)),
        content_hash: ContentHash::new(),
    };
    document.content_hash = content_hash(&document);
    document
}

/// JSON Schema of the document.
pub fn access_schema() -> serde_json::Value {
    schemars::schema_for!(AccessDocument).to_value()
}

/// Name of the file with the issuing CAs of a trust domain.
pub fn bundle_file(trust_domain: &str) -> String {
    format!("bundle.{trust_domain}.pem")
}

impl AccessDocument {
    /// The document as text: the same octets whenever it says the same.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a document of strings and numbers always serializes")
    }
}

fn bundles(incoming: &[&Grant], outgoing: &[&Grant]) -> BTreeMap<String, String> {
    let callers = incoming.iter().filter_map(|grant| match &grant.source {
        GrantSource::Identity(peer) => Some(peer.spiffe_id.trust_domain().to_string()),
        GrantSource::TrustDomain { trust_domain, .. } => Some(trust_domain.clone()),
        _ => None,
    });
    let callees = outgoing.iter().filter_map(|grant| match &grant.target {
        GrantTarget::Identity(peer) => Some(peer.spiffe_id.trust_domain().to_string()),
        _ => None,
    });
    callers.chain(callees).map(|trust_domain| (trust_domain.clone(), bundle_file(&trust_domain))).collect()
}

/// The callers of each port. Where ranges overlap they are cut, so that each port is in one entry.
fn ports(incoming: &[&Grant]) -> Vec<AccessPort> {
    let mut cuts: BTreeMap<Protocol, BTreeSet<u32>> = BTreeMap::new();
    for port in incoming.iter().flat_map(|grant| &grant.ports) {
        cuts.entry(port.protocol).or_default().extend([u32::from(port.port), u32::from(port.last()) + 1]);
    }
    let mut ports = Vec::new();
    for (protocol, cuts) in cuts {
        for (first, end) in cuts.iter().zip(cuts.iter().skip(1)) {
            let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(end - 1)) else { continue };
            let is_open = |grant: &&&Grant| {
                grant.ports.iter().any(|port| port.protocol == protocol && port.port <= first && last <= port.last())
            };
            let grants: Vec<&Grant> = incoming.iter().filter(is_open).copied().collect();
            if !grants.is_empty() {
                let range = ResolvedPort::range(first, last, protocol).into();
                let client_certificates = client_certificates(&grants);
                ports.push(AccessPort {
                    range,
                    client_certificates,
                    callers: sorted(grants.into_iter().map(AccessCaller::from)),
                });
            }
        }
    }
    ports.sort_by_key(|port| port.range);
    ports
}

fn client_certificates(grants: &[&Grant]) -> ClientCertificates {
    let mut by_certificate = grants.iter().map(|grant| grant.authentication.mtls);
    match (by_certificate.clone().all(|mtls| mtls), by_certificate.any(|mtls| mtls)) {
        (true, _) => ClientCertificates::Required,
        (false, true) => ClientCertificates::Optional,
        (false, false) => ClientCertificates::None,
    }
}

/// In the order of their JSON, each once.
fn sorted<T: Serialize + PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_by_cached_key(|item| serde_json::to_string(item).unwrap_or_default());
    items.dedup();
    items
}

impl From<&Grant> for AccessCaller {
    fn from(grant: &Grant) -> Self {
        let caller = match &grant.source {
            GrantSource::Identity(peer) => CallerName::Identity {
                spiffe_id: peer.spiffe_id.to_string(),
                trust_domain: peer.spiffe_id.trust_domain().to_string(),
            },
            GrantSource::TrustDomain { trust_domain, .. } => {
                CallerName::TrustDomain { trust_domain: trust_domain.clone() }
            }
            GrantSource::Pods(pods) => CallerName::Pods {
                namespaces: pods.namespaces.iter().cloned().collect(),
                selector: pods.selector.to_string(),
            },
            GrantSource::Cidr { declared, blocks } => {
                CallerName::Cidr { cidr: declared.to_string(), blocks: blocks.iter().map(Into::into).collect() }
            }
            GrantSource::Anywhere => CallerName::Anywhere,
            GrantSource::KubernetesApi(_) => CallerName::KubernetesApi,
        };
        let mut proof: AccessProof = (&grant.authentication).into();
        if let Some(token) = &mut proof.token {
            token.key_set = key_set(grant);
        }
        Self {
            caller,
            proof,
            rules: grant.rules.iter().map(Into::into).collect(),
            policy: grant.origin.policy().map(ToString::to_string),
        }
    }
}

impl From<&Grant> for AccessCallee {
    fn from(grant: &Grant) -> Self {
        let callee = match &grant.target {
            GrantTarget::Identity(peer) => CalleeName::Identity {
                spiffe_id: peer.spiffe_id.to_string(),
                trust_domain: peer.spiffe_id.trust_domain().to_string(),
                dns_names: peer.dns_names.as_ref().clone(),
            },
            GrantTarget::Pods(pods) => CalleeName::Pods {
                namespaces: pods.namespaces.iter().cloned().collect(),
                selector: pods.selector.to_string(),
            },
            GrantTarget::External(blocks) => CalleeName::External { blocks: blocks.iter().map(Into::into).collect() },
            GrantTarget::KubernetesApi(_) => CalleeName::KubernetesApi,
        };
        Self {
            callee,
            ports: grant.ports.iter().copied().map(Into::into).collect(),
            proof: (&grant.authentication).into(),
            rules: grant.rules.iter().map(Into::into).collect(),
            policy: grant.origin.policy().map(ToString::to_string),
        }
    }
}

impl From<&Authenticated> for AccessProof {
    fn from(authentication: &Authenticated) -> Self {
        let token = authentication.jwt.as_ref().map(Into::into);
        Self { mtls: authentication.mtls, token }
    }
}

impl From<&HttpRule> for AccessRule {
    fn from(rule: &HttpRule) -> Self {
        let HttpRule { methods, paths, grpc_service, grpc_methods } = rule.clone();
        Self { methods, paths, grpc_service, grpc_methods }
    }
}

impl From<ResolvedPort> for PortRange {
    fn from(port: ResolvedPort) -> Self {
        Self { port: port.port, end_port: port.end_port, protocol: port.protocol }
    }
}

impl From<&IpBlock> for AddressBlock {
    fn from(block: &IpBlock) -> Self {
        Self { cidr: block.cidr.to_string(), except: block.except.iter().map(ToString::to_string).collect() }
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
