//! Everything that is known of the cluster, folded from watches and indexed by who is touched by what.
//!
//! Each change is compared with what was there before, so that a policy which moves from A to B touches both. What comes
//! out of [`World::apply`] is the set of things to plan again: never more than the change can have affected.

mod authority;
mod census;
mod claims;
mod clients;
mod cluster;
mod directories;
mod fold;
mod gone;
mod identity;
mod index;
mod issuer_facts;
mod issuers;
mod member;
mod membership;
mod objects;
mod options;
mod outputs;
mod pod_start;
mod resolve;
mod revocation;
mod selectors;
mod settle;
mod stored;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use authority::AUTHORITY_ANNOTATION;
pub use census::{Census, NAMED_OVERDUE, OUTSIDE};
pub use claims::Claim;
pub use clients::{Client, client_secret_name};
pub use cluster::{Cluster, DNS_NAMESPACE, DNS_SERVICE, DnsFacts, NODE_LOCAL_DNS, Settings};
pub use identity::{DEFAULT_CERTIFICATE_DURATION, Identity, PodSummary, ResolvedIdentity, signed};
pub(crate) use issuers::NO_TOKEN_SERVICE;
pub use issuers::{IssuerFacts, IssuerFailure, IssuerKey, KEY_SET_FILE, ListedIssuer, TokenService, key_set_name};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
pub use member::MEMBER_BINDING;
pub use membership::may_be_member;
pub use objects::{
    ContainerPort, EndpointFacts, NamespaceFacts, NamespacedName, NodeFacts, PodFacts, ServiceFacts, ServicePortFacts,
    service_cidrs,
};
pub use options::{CertificateOptions, PasswordFacts, PasswordRef};
pub use outputs::{
    AUTHORITY_SECRET_TYPE, CLIENT_SECRET_TYPE, ContentHash, ForeignPolicy, HASH_ANNOTATION, KEYSTORE_ANNOTATION,
    MANAGED_BY, MANAGED_BY_LABEL, OutputFacts, RESTORED_ANNOTATION, SIGNING_KEY_SECRET_TYPE, SecretFacts,
    TLS_SECRET_TYPE, config_map_hash, content_hash, network_policy_hash, role_binding_hash,
};

pub use pod_start::{PodStart, RESTART_ANNOTATION};
pub use template::{AppliedTemplate, TEMPLATE_ANNOTATION};

pub use revocation::{KEPT_CERTIFICATES, Unrevoked};
pub(crate) use revocation::{is_to_rotate, whole_second};

use crate::access::{JudgedPolicy, Origin};
use crate::api::{AccessPolicy, ConditionType, Reason, ServiceIdentity, TrustDomain};
use crate::issuers::CredentialsFacts;
use crate::pki::{CaGenerations, TrustDomainName};

/// Something that is planned and written as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A TrustDomain: its CA, its bundle, its status.
    Domain(String),
    /// A namespace: the RoleBinding that gives the operator its rights there.
    Member(String),
    /// A namespace: its baseline NetworkPolicy.
    Fence(String),
    /// A ConfigMap with what the token service is told of a namespace. Comes before the identities: what closes for one of
    /// them gets no more tokens when its packets stop.
    Directory(NamespacedName),
    /// A ServiceIdentity: its Secrets, ConfigMap, NetworkPolicy and status.
    Identity(NamespacedName),
    /// An AccessPolicy: its status.
    Policy(NamespacedName),
}

/// Something wrong or worth knowing, as a condition will say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The condition that turns.
    pub condition: ConditionType,
    /// Why.
    pub reason: Reason,
    /// One sentence, with names and what to do.
    pub message: String,
}

/// One change in the cluster: the object as it is now, or that it is gone.
#[derive(Clone, Debug)]
pub enum Change {
    /// A TrustDomain.
    Domain(String, Option<Arc<TrustDomain>>),
    /// A ServiceIdentity.
    Identity(NamespacedName, Option<Arc<ServiceIdentity>>),
    /// An AccessPolicy.
    Policy(NamespacedName, Option<Arc<AccessPolicy>>),
    /// A Namespace.
    Namespace(String, Option<NamespaceFacts>),
    /// A Service.
    Service(NamespacedName, Option<ServiceFacts>),
    /// A Pod.
    Pod(NamespacedName, Option<PodFacts>),
    /// A Node.
    Node(String, Option<NodeFacts>),
    /// A ServiceCIDR.
    ServiceCidr(String, Option<BTreeSet<ipnet::IpNet>>),
    /// An EndpointSlice of the API server's Service.
    ApiServer(String, Option<EndpointFacts>),
    /// An EndpointSlice of the DNS Service.
    DnsEndpoints(String, Option<EndpointFacts>),
    /// A Secret that carries our label.
    Secret(NamespacedName, Option<OutputFacts<SecretFacts>>),
    /// A ConfigMap that carries our label.
    ConfigMap(NamespacedName, Option<OutputFacts<ContentHash>>),
    /// A NetworkPolicy that an identity or a domain owns.
    NetworkPolicy(NamespacedName, Option<OutputFacts<ContentHash>>),
    /// A RoleBinding of the name [`MEMBER_BINDING`].
    RoleBinding(NamespacedName, Option<OutputFacts<ContentHash>>),
    /// Another NetworkPolicy.
    ForeignPolicy(NamespacedName, Option<Arc<ForeignPolicy>>),
    /// The CA of a domain, as its Secret in the operator's namespace says.
    Authority(String, Option<AuthorityFacts>),
    /// A password for keystores; nothing when it is not watched any more.
    Password(PasswordRef, Option<PasswordFacts>),
    /// What is known of a token issuer; nothing when it is not to be known any more.
    IssuerKeys(IssuerKey, Option<Arc<IssuerFacts>>),
    /// Why nothing is known of a token issuer yet.
    IssuerUnknown(IssuerKey, IssuerFailure),
    /// What a TrustDomain's ConfigMap `<name>-issuers` keeps of its issuers, from before the operator was started.
    RecordedIssuers(String, Vec<(String, Arc<IssuerFacts>)>),
    /// Some other Secret of the operator's namespace, by version: a CA that a user brings may be in it.
    OperatorSecret(String, Option<String>),
    /// The same one, as far as credentials for token issuers are in it.
    Credentials(String, Option<Arc<CredentialsFacts>>),
}

impl Change {
    /// UID of the object that is there, of the kinds that we write.
    fn uid(&self) -> Option<&str> {
        match self {
            Self::Domain(_, Some(object)) => object.metadata.uid.as_deref(),
            Self::Identity(_, Some(object)) => object.metadata.uid.as_deref(),
            Self::Policy(_, Some(object)) => object.metadata.uid.as_deref(),
            Self::Secret(_, Some(facts)) => Some(&facts.uid),
            Self::ConfigMap(_, Some(facts))
            | Self::NetworkPolicy(_, Some(facts))
            | Self::RoleBinding(_, Some(facts)) => Some(&facts.uid),
            Self::Authority(_, Some(facts)) => Some(&facts.uid),
            _ => None,
        }
    }
}

/// The CA of a domain.
#[derive(Clone, Debug)]
pub struct AuthorityFacts {
    /// The Secret that it is in.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// The generations, or why they can't be read.
    pub generations: Result<Arc<CaGenerations>, String>,
}

/// The world as seen by the operator. Reading is free of effects; [`World::apply`] and
/// [`World::apply_answer`] are the only ways to change it.
#[derive(Debug, Default)]
pub struct World {
    /// What the operator was told at start.
    pub settings: Settings,
    /// What was seen of the cluster itself.
    pub cluster: Cluster,
    domains: BTreeMap<String, Arc<TrustDomain>>,
    identities: BTreeMap<NamespacedName, Arc<ServiceIdentity>>,
    policies: BTreeMap<NamespacedName, Arc<AccessPolicy>>,
    namespaces: BTreeMap<String, NamespaceFacts>,
    services: BTreeMap<NamespacedName, ServiceFacts>,
    pods: BTreeMap<NamespacedName, PodFacts>,
    secrets: BTreeMap<NamespacedName, OutputFacts<SecretFacts>>,
    config_maps: BTreeMap<NamespacedName, OutputFacts<ContentHash>>,
    network_policies: BTreeMap<NamespacedName, OutputFacts<ContentHash>>,
    role_bindings: BTreeMap<String, OutputFacts<ContentHash>>,
    foreign_policies: BTreeMap<NamespacedName, Arc<ForeignPolicy>>,
    authorities: BTreeMap<String, AuthorityFacts>,
    operator_secrets: BTreeMap<String, String>,
    passwords: BTreeMap<PasswordRef, PasswordFacts>,
    issuers: issuer_facts::Issuers,
    credentials: BTreeMap<String, Arc<CredentialsFacts>>,
    gone: gone::Gone,

    membership: membership::Membership,
    claims: claims::Claims,
    selectors: selectors::Selectors,
    /// Number of the last claim that was made since everything was listed; nothing before.
    claim_sequence: Option<u64>,
    resolved: BTreeMap<NamespacedName, ResolvedIdentity>,
    judged: BTreeMap<Origin, Arc<JudgedPolicy>>,
    /// Identities with certificates that are to be revoked.
    withdrawn: BTreeSet<NamespacedName>,
    index: index::Index,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        let cluster = Cluster {
            settings_cidrs: settings.cluster_cidrs.clone(),
            settings_node_local_dns: settings.node_local_dns.clone(),
            ..Cluster::default()
        };
        Self { settings, cluster, ..Self::default() }
    }

    /// A TrustDomain object.
    pub fn domain(&self, name: &str) -> Option<&Arc<TrustDomain>> {
        self.domains.get(name)
    }

    /// All TrustDomain objects.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<TrustDomain>> {
        self.domains.values()
    }

    /// The TrustDomain that a namespace is in.
    pub fn domain_of(&self, namespace: &str) -> Option<&Arc<TrustDomain>> {
        self.domains.get(self.membership.domain_of.get(namespace)?)
    }

    /// Names of the TrustDomains that claim a namespace, whether they hold it or not.
    pub fn domains_claiming(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let none = NamespaceFacts::default();
        let facts = self.namespaces.get(namespace).cloned().unwrap_or(none);
        self.domains.iter().filter(move |(_, domain)| domain.claims(namespace, &facts)).map(|(name, _)| name.as_str())
    }

    /// The namespaces that a TrustDomain holds.
    pub fn namespaces_of(&self, domain: &str) -> BTreeSet<String> {
        self.membership.namespaces_of.get(domain).cloned().unwrap_or_default()
    }

    /// The namespaces that a TrustDomain claims, whether it holds them or not.
    pub fn namespaces_claimed_by(&self, domain: &str) -> Vec<String> {
        let Some(domain) = self.domains.get(domain) else { return Vec::new() };
        self.namespaces
            .iter()
            .filter(|(name, facts)| domain.claims(name, facts))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The SPIFFE trust-domain name that a TrustDomain object holds; nothing if another holds it.
    pub fn trust_domain_name(&self, domain: &str) -> Option<TrustDomainName> {
        let claimed = self.domains.get(domain)?.claimed_name();
        let holder = self.membership.names.get(claimed)?;
        if holder == domain { claimed.parse().ok() } else { None }
    }

    /// The TrustDomain object that holds a SPIFFE trust-domain name.
    pub fn holder_of_name(&self, trust_domain: &str) -> Option<&str> {
        self.membership.names.get(trust_domain).map(String::as_str)
    }

    /// Whether two namespaces are in domains that have to do with each other: the same one, one names the other in a
    /// ceiling, or both take tokens of the built-in issuer, which name nothing but an audience.
    pub fn related(&self, a: &str, b: &str) -> bool {
        let (Some(a), Some(b)) = (self.domain_of(a), self.domain_of(b)) else { return false };
        a.metadata.name == b.metadata.name
            || names_domain(a, b)
            || names_domain(b, a)
            || [a, b].iter().all(|domain| domain.built_in_issuer().is_some())
    }

    /// A ServiceIdentity object.
    pub fn service_identity(&self, key: &NamespacedName) -> Option<&Arc<ServiceIdentity>> {
        self.identities.get(key)
    }

    /// The ServiceIdentity objects of a namespace.
    pub fn identities_in<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Arc<ServiceIdentity>)> + Clone + use<'a> {
        in_namespace(&self.identities, namespace)
    }

    /// The ServiceIdentity objects of a namespace that select pods with these labels.
    pub fn identities_selecting<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a NamespacedName> {
        let selects = |key: &&NamespacedName| {
            self.identities.get(*key).is_some_and(|object| object.pod_selector().matches(labels))
        };
        self.selectors.candidates(namespace, labels).filter(selects)
    }

    /// A valid identity.
    pub fn identity(&self, key: &NamespacedName) -> Option<&Identity> {
        self.resolved.get(key)?.identity.as_ref()
    }

    /// An identity after resolution, with what is wrong about it.
    pub fn resolved(&self, key: &NamespacedName) -> Option<&ResolvedIdentity> {
        self.resolved.get(key)
    }

    /// The valid identities of a domain.
    pub fn identities_of(&self, domain: &str) -> impl Iterator<Item = &Identity> {
        let namespaces = self.membership.namespaces_of.get(domain).into_iter().flatten();
        namespaces.flat_map(|namespace| self.identities_in(namespace)).filter_map(|(key, _)| self.identity(key))
    }

    /// An AccessPolicy object.
    pub fn policy(&self, key: &NamespacedName) -> Option<&Arc<AccessPolicy>> {
        self.policies.get(key)
    }

    /// All AccessPolicy objects.
    pub fn policies(&self) -> impl Iterator<Item = (&NamespacedName, &Arc<AccessPolicy>)> {
        self.policies.iter()
    }

    /// An AccessPolicy after judgement.
    pub fn judged(&self, key: &NamespacedName) -> Option<&Arc<JudgedPolicy>> {
        self.judged.get(&Origin::Policy(key.clone()))
    }

    /// What opens edges without a policy: the token issuers that an identity lists, or the registered clients of a domain.
    pub fn implied(&self, origin: &Origin) -> Option<&Arc<JudgedPolicy>> {
        self.judged.get(origin)
    }

    /// The judged policies, and what opens edges without one, of which an identity is callee or caller; drafts included.
    pub fn judged_of(&self, identity: &NamespacedName) -> impl Iterator<Item = &Arc<JudgedPolicy>> {
        let mut keys = self.index.policies_of(identity);
        if let Some(domain) = self.membership.domain_of.get(&identity.namespace) {
            keys.extend(self.index.by_source_domain(domain));
        }
        let policies = keys.into_iter().map(Origin::Policy);
        let declared = policies.chain([Origin::Identity(identity.clone())]).filter_map(|key| self.judged.get(&key));
        let is_called =
            move |judged: &&Arc<JudgedPolicy>| judged.grants.iter().any(|grant| grant.callee() == Some(identity));
        let is_token_service = self.is_token_service(identity);
        let clients = is_token_service.then(|| self.all_implied().map(|(_, judged)| judged).filter(is_called));
        declared.chain(clients.into_iter().flatten())
    }

    /// All that opens edges without a policy.
    pub(crate) fn all_implied(&self) -> impl Iterator<Item = (&Origin, &Arc<JudgedPolicy>)> {
        self.judged.range(Origin::Identity(NamespacedName::new("", ""))..)
    }

    /// Whether this is the identity of the built-in token service.
    pub fn is_token_service(&self, identity: &NamespacedName) -> bool {
        self.settings.token_service.as_ref().is_some_and(|service| service.identity == *identity)
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<&NamespaceFacts> {
        self.namespaces.get(name)
    }

    /// A Service.
    pub fn service(&self, key: &NamespacedName) -> Option<&ServiceFacts> {
        self.services.get(key)
    }

    /// The Services of a namespace.
    pub fn services_in<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a ServiceFacts)> + Clone + use<'a> {
        in_namespace(&self.services, namespace)
    }

    /// The pods of a namespace, by name.
    pub fn pods_in<'a>(&'a self, namespace: &str) -> impl Iterator<Item = (&'a str, &'a PodFacts)> + Clone + use<'a> {
        in_namespace(&self.pods, namespace).map(|(key, pod)| (key.name.as_str(), pod))
    }

    /// A pod that has not ended.
    pub fn pod(&self, key: &NamespacedName) -> Option<&PodFacts> {
        self.pods.get(key)
    }

    /// One of our Secrets.
    pub fn secret(&self, key: &NamespacedName) -> Option<&OutputFacts<SecretFacts>> {
        self.secrets.get(key)
    }

    /// What is known of a password for keystores; nothing until its watch has told.
    pub fn password(&self, password: &PasswordRef) -> Option<&PasswordFacts> {
        self.passwords.get(password)
    }

    /// One of our ConfigMaps.
    pub fn config_map(&self, key: &NamespacedName) -> Option<&OutputFacts<ContentHash>> {
        self.config_maps.get(key)
    }

    /// One of our NetworkPolicies.
    pub fn network_policy(&self, key: &NamespacedName) -> Option<&OutputFacts<ContentHash>> {
        self.network_policies.get(key)
    }

    /// The NetworkPolicies of others in a namespace.
    pub fn foreign_policies_in<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Arc<ForeignPolicy>)> + use<'a> {
        in_namespace(&self.foreign_policies, namespace)
    }

    /// The CA Secret of a domain.
    pub fn authority(&self, domain: &str) -> Option<&AuthorityFacts> {
        self.authorities.get(domain)
    }

    /// The CA generations of a domain, if they can be read.
    pub fn generations(&self, domain: &str) -> Option<&Arc<CaGenerations>> {
        self.authorities.get(domain)?.generations.as_ref().ok()
    }

    /// Everything that there is to plan: for the start.
    pub fn all_units(&self) -> BTreeSet<Unit> {
        let domains = self.domains.keys().cloned().map(Unit::Domain);
        let members = self.membership.domain_of.keys().chain(self.role_bindings.keys()).cloned().map(Unit::Member);
        let fences = self.membership.domain_of.keys().cloned().map(Unit::Fence);
        let identities = self.identities.keys().cloned().map(Unit::Identity);
        domains
            .chain(members)
            .chain(fences)
            .chain(self.all_directories())
            .chain(identities)
            .chain(self.policies.keys().cloned().map(Unit::Policy))
            .collect()
    }
}

/// What the cluster's facts are made of; used where objects come in.
impl World {
    /// Whether a Service is the cluster's DNS.
    pub fn is_dns_service(service: &Service) -> bool {
        service.metadata.namespace.as_deref() == Some(DNS_NAMESPACE)
            && service.metadata.name.as_deref() == Some(DNS_SERVICE)
    }

    /// The change that a Node makes.
    pub fn node_change(name: String, node: Option<&Node>) -> Change {
        Change::Node(name, node.map(NodeFacts::from))
    }

    /// The change that an EndpointSlice makes, if it is one that matters.
    pub fn endpoints_change(slice: &EndpointSlice, gone: bool) -> Option<Change> {
        let name = slice.metadata.name.clone()?;
        let service = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
        let facts = (!gone).then(|| EndpointFacts::from(slice));
        match (slice.metadata.namespace.as_deref()?, service.as_str()) {
            ("default", "kubernetes") => Some(Change::ApiServer(name, facts)),
            (DNS_NAMESPACE, DNS_SERVICE) => Some(Change::DnsEndpoints(name, facts)),
            _ => None,
        }
    }
}

fn names_domain(domain: &TrustDomain, other: &TrustDomain) -> bool {
    let name = other.metadata.name.as_deref().unwrap_or_default();
    let inbound = domain.spec.inbound.iter().filter_map(|entry| entry.trust_domains.as_ref());
    let outbound = domain.spec.outbound.iter().filter_map(|entry| entry.trust_domains.as_ref());
    inbound.chain(outbound).flatten().any(|named| named == name)
}

fn in_namespace<'a, T>(
    map: &'a BTreeMap<NamespacedName, T>,
    namespace: &str,
) -> impl Iterator<Item = (&'a NamespacedName, &'a T)> + Clone + use<'a, T> {
    let namespace = namespace.to_owned();
    map.range(NamespacedName::new(namespace.clone(), "")..).take_while(move |(key, _)| key.namespace == namespace)
}
