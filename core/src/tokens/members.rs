//! The document of one namespace, checked and indexed.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::scopes::is_scope_token;
use super::{
    DIRECTORY_VERSION, Directory, DirectoryDomain, DirectoryGrant, DirectoryIdentity, DirectoryIssuer,
    RegisteredClient, Registration,
};
use crate::access::CallerName;
use crate::jwt::VerifyingKeys;
use crate::pki::{SpiffeId, is_dns_label};

/// Why the document of a namespace is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The text is too long.
    #[error("the document has {length} octets; it may have {MAX_DIRECTORY_LENGTH}")]
    Length {
        /// Its length in octets.
        length: usize,
    },
    /// The text is not the JSON of a document.
    #[error("the document can't be read: {message}")]
    Json {
        /// Where and why reading stopped.
        message: String,
    },
    /// The document's form is of another version.
    #[error(
        "the document has version {found}; this token service knows version {DIRECTORY_VERSION}: run the operator and the token service of one release"
    )]
    Version {
        /// Its version.
        found: u64,
    },
    /// The document is about another namespace than its ConfigMap's name says.
    #[error("the document is about namespace {found:?}, and its ConfigMap about {expected:?}")]
    Namespace {
        /// The namespace of the ConfigMap.
        expected: String,
        /// The namespace of the document.
        found: String,
    },
    /// Something in the document contradicts the rest.
    #[error("{what} {name:?} {why}")]
    Entry {
        /// What kind of entry.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Longest document, in octets: a ConfigMap holds no more.
const MAX_DIRECTORY_LENGTH: usize = 1024 * 1024;
/// Longest life of a token, in seconds.
pub const MAX_TOKEN_LIFETIME_SECONDS: u64 = 3600;

impl Directory {
    /// Reads a document. Whether it is free of contradictions shows when a graph takes it.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn parse(text: &[u8]) -> Result<Self, DirectoryError> {
        /// All that can be read of any version.
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: u64,
        }
        if text.len() > MAX_DIRECTORY_LENGTH {
            return Err(DirectoryError::Length { length: text.len() });
        }
        let json = |error: serde_json::Error| DirectoryError::Json { message: error.to_string() };
        let Versioned { version } = serde_json::from_slice(text).map_err(json)?;
        if version != u64::from(DIRECTORY_VERSION) {
            return Err(DirectoryError::Version { found: version });
        }
        serde_json::from_slice(text).map_err(json)
    }
}

/// A service, with the keys that verify what it signs.
#[derive(Debug)]
pub struct Service {
    /// As the document has it.
    pub identity: DirectoryIdentity,
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    pub(super) keys: VerifyingKeys,
}

/// An issuer besides the built-in one, with its keys.
#[derive(Debug)]
pub struct ForeignIssuer {
    /// As the document has it.
    pub issuer: DirectoryIssuer,
    pub(super) keys: Option<VerifyingKeys>,
}

/// A grant in force, with its callee and the callee's domain.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// The grant.
    pub grant: &'a DirectoryGrant,
    /// Who is called.
    pub callee: &'a Service,
    /// The callee's domain.
    pub domain: &'a DirectoryDomain,
}

/// A namespace.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) domain: DirectoryDomain,
    /// By identifier.
    pub(super) issuers: HashMap<String, ForeignIssuer>,
    /// By name of the service account.
    services: HashMap<String, Service>,
    grants: Vec<DirectoryGrant>,
    /// By audience.
    callers: HashMap<String, Callers>,
    /// Where the domain's registered clients come from.
    ranges: Vec<IpNet>,
}

/// Places of the grants that name an audience, by caller.
#[derive(Debug, Default)]
struct Callers {
    /// By SPIFFE ID.
    identities: HashMap<String, Vec<usize>>,
    /// By SPIFFE trust domain.
    trust_domains: HashMap<String, Vec<usize>>,
    /// With the range; none for anywhere.
    addresses: Vec<(Option<IpNet>, usize)>,
}

impl Members {
    /// Checks and indexes a document.
    pub(super) fn new(namespace: &str, directory: Directory) -> Result<Self, DirectoryError> {
        let Directory { version, namespace: found, domain, identities, grants } = directory;
        if version != DIRECTORY_VERSION {
            return Err(DirectoryError::Version { found: version.into() });
        }
        if found != namespace {
            return Err(DirectoryError::Namespace { expected: namespace.to_owned(), found });
        }
        let ranges = check_domain(namespace, &domain)?;
        let services = services(namespace, &domain, identities)?;
        let callers = callers(&services, &grants)?;
        let issuers = domain.issuers.iter().map(|issuer| (issuer.issuer.clone(), ForeignIssuer::new(issuer.clone())));
        Ok(Self { issuers: issuers.collect(), domain, services, grants, callers, ranges })
    }

    pub(super) fn service(&self, service_account: &str) -> Option<&Service> {
        self.services.get(service_account)
    }

    /// The audiences that grants name.
    pub(super) fn audiences(&self) -> Vec<&str> {
        self.callers.keys().map(String::as_str).collect()
    }

    /// The Secret with the domain's registered clients.
    pub(super) fn client_secret(&self) -> Vec<&str> {
        self.domain.clients.iter().map(|clients| clients.secret_name.as_str()).collect()
    }

    /// Where the domain's registered clients come from, if it has any.
    pub(super) fn client_ranges(&self) -> Option<&[IpNet]> {
        self.domain.clients.as_ref().map(|_| self.ranges.as_slice())
    }

    /// The grants that let a service call someone of this audience.
    pub(super) fn granted_to_service(&self, audience: &str, caller: &SpiffeId) -> Vec<Granted<'_>> {
        let Some(callers) = self.callers.get(audience) else { return Vec::new() };
        let named = callers.identities.get(&caller.to_string()).into_iter().flatten();
        let members = callers.trust_domains.get(caller.trust_domain().as_str()).into_iter().flatten();
        named.chain(members).filter_map(|place| self.granted(*place)).collect()
    }

    /// The grants that let a registered client call someone of this audience: only if the domain registers it and admits
    /// the address that it calls from, and all of its addresses may call.
    pub(super) fn granted_to_registered(
        &self,
        audience: &str,
        client: &RegisteredClient,
        registration: &Registration,
    ) -> Vec<Granted<'_>> {
        let registered = self.domain.clients.as_ref().is_some_and(|clients| clients.secret_name == client.secret_name);
        let admitted = client.address.is_none_or(|address| registration.admits(address, &self.ranges));
        let Some(callers) = self.callers.get(audience).filter(|_| registered && admitted) else { return Vec::new() };
        let addresses: Vec<IpNet> = if registration.cidrs.is_empty() {
            self.ranges.clone()
        } else {
            registration.cidrs.iter().copied().collect()
        };
        let covered = |range: Option<IpNet>| {
            range.is_none_or(|range| !addresses.is_empty() && addresses.iter().all(|address| covers(range, *address)))
        };
        let places = callers.addresses.iter().filter(|(range, _)| covered(*range));
        places.filter_map(|(_, place)| self.granted(*place)).collect()
    }

    fn granted(&self, place: usize) -> Option<Granted<'_>> {
        let grant = self.grants.get(place)?;
        let callee: SpiffeId = grant.callee.parse().ok()?;
        let callee = self.services.get(callee.service_account())?;
        Some(Granted { grant, callee, domain: &self.domain })
    }
}

impl ForeignIssuer {
    fn new(issuer: DirectoryIssuer) -> Self {
        let keys = issuer.jwks.as_ref().map(VerifyingKeys::of_issuer);
        Self { issuer, keys }
    }
}

fn entry(what: &'static str, name: &str, why: &'static str) -> DirectoryError {
    DirectoryError::Entry { what, name: name.to_owned(), why }
}

/// Checks what the document says about the domain; its clients' address ranges come out.
fn check_domain(namespace: &str, domain: &DirectoryDomain) -> Result<Vec<IpNet>, DirectoryError> {
    if !is_dns_label(namespace) {
        return Err(entry("namespace", namespace, "is not a name that Kubernetes allows"));
    }
    let wrong = |why| entry("domain", &domain.name, why);
    if !lifetime_is_sound(domain.token_lifetime_seconds) {
        return Err(wrong("has a token lifetime that is not from 1 to 3600 seconds"));
    }
    if !domain.scopes.iter().all(|scope| is_scope_token(scope)) {
        return Err(wrong("has a scope that is not one scope token"));
    }
    let mut issuers = HashSet::new();
    if !domain.issuers.iter().all(|issuer| issuers.insert(&issuer.issuer)) {
        return Err(wrong("names an issuer twice"));
    }
    let ranges = domain.clients.iter().flat_map(|clients| &clients.cidrs).map(|cidr| cidr.parse());
    ranges.collect::<Result<_, _>>().map_err(|_| wrong("has clients with an address range that is not one"))
}

fn lifetime_is_sound(seconds: u64) -> bool {
    (1..=MAX_TOKEN_LIFETIME_SECONDS).contains(&seconds)
}

fn services(
    namespace: &str,
    domain: &DirectoryDomain,
    identities: Vec<DirectoryIdentity>,
) -> Result<HashMap<String, Service>, DirectoryError> {
    let mut services = HashMap::with_capacity(identities.len());
    for identity in identities {
        let wrong = |why| entry("identity", &identity.name, why);
        let spiffe_id: SpiffeId = identity.spiffe_id.parse().map_err(|_| wrong("has no SPIFFE ID"))?;
        let is_of_namespace = spiffe_id.namespace() == namespace
            && spiffe_id.trust_domain().as_str() == domain.trust_domain
            && spiffe_id.service_account() == identity.service_account;
        if !is_of_namespace {
            return Err(wrong("has a SPIFFE ID of another domain, namespace or service account"));
        }
        let keys = VerifyingKeys::of_service(&identity.keys).ok_or_else(|| wrong("has a key that is not one"))?;
        let service = Service { spiffe_id, keys, identity };
        let name = service.identity.service_account.clone();
        if let Some(first) = services.insert(name, service) {
            return Err(entry("service account", &first.identity.service_account, "belongs to two identities"));
        }
    }
    Ok(services)
}

fn callers(
    services: &HashMap<String, Service>,
    grants: &[DirectoryGrant],
) -> Result<HashMap<String, Callers>, DirectoryError> {
    let known: HashSet<String> = services.values().map(|service| service.spiffe_id.to_string()).collect();
    let mut index: HashMap<String, Callers> = HashMap::new();
    for (place, grant) in grants.iter().enumerate() {
        let wrong = |why| entry("grant of policy", &grant.policy, why);
        if !known.contains(&grant.callee) {
            return Err(wrong("has a callee that is not in the document"));
        }
        if !lifetime_is_sound(grant.max_lifetime_seconds) {
            return Err(wrong("has a lifetime that is not from 1 to 3600 seconds"));
        }
        if !grant.scopes.iter().all(|scope| is_scope_token(scope)) {
            return Err(wrong("has a scope that is not one scope token"));
        }
        let range = match &grant.caller {
            CallerName::Cidr { cidr, .. } => {
                Some(cidr.parse().map_err(|_| wrong("has a caller with no address range"))?)
            }
            _ => None,
        };
        // A wildcard would open more than the one callee.
        for audience in grant.audiences.iter().filter(|audience| !audience.starts_with("*.")) {
            let callers = index.entry(audience.clone()).or_default();
            match &grant.caller {
                CallerName::Identity { spiffe_id, .. } => {
                    callers.identities.entry(spiffe_id.clone()).or_default().push(place);
                }
                CallerName::TrustDomain { trust_domain } => {
                    callers.trust_domains.entry(trust_domain.clone()).or_default().push(place);
                }
                CallerName::Cidr { .. } => callers.addresses.push((range, place)),
                CallerName::Anywhere => callers.addresses.push((None, place)),
                // They have no client id at the token service.
                CallerName::Pods { .. } | CallerName::KubernetesApi => {}
            }
        }
    }
    Ok(index)
}

/// Whether a range holds all addresses of another; one of length 0 holds those of both families.
fn covers(range: IpNet, other: IpNet) -> bool {
    range.prefix_len() == 0 || (other.prefix_len() > 0 && range.contains(&other))
}
