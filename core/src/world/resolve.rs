//! From a ServiceIdentity as declared to an [`Identity`] that can only be valid.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::SignedDuration;

use super::claims::Claim;
use super::clients::{client_secret_name, clients};
use super::identity::{DEFAULT_CERTIFICATE_DURATION, Identity, PodSummary, ResolvedIdentity, signed};
use super::issuers::listable;
use super::options::options;
use super::stored::SHORTEST_CERTIFICATE;
use super::{ListedIssuer, NamespacedName, Problem, ServiceFacts, World};
use crate::api::{ConditionType, LabelSelector, Reason, ServiceIdentity, SigningAlgorithm, TrustDomain};
use crate::pki::{SpiffeId, TrustDomainName};

/// What an identity wants for itself alone.
pub(super) fn claims_of(object: &ServiceIdentity, cluster_domain: &str) -> BTreeSet<Claim> {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let in_namespace = |name: String| NamespacedName::new(namespace.clone(), name);
    let mut claims = BTreeSet::from([
        Claim::ServiceAccount(in_namespace(object.service_account().to_owned())),
        Claim::Secret(in_namespace(object.tls_secret())),
    ]);
    claims.extend(object.signing_key_secret().map(|secret| Claim::Secret(in_namespace(secret))));
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let clients = object.spec.token_issuers.iter().map(|issuer| client_secret_name(name, issuer));
    claims.extend(clients.map(|secret| Claim::Secret(in_namespace(secret))));
    claims.extend(object.service_names().into_iter().map(|service| Claim::Service(in_namespace(service))));
    let names = object.spec.dns_names.iter().chain(&object.spec.ip_addresses);
    claims.extend(names.map(|name| Claim::Name(canonical(name))));
    let audiences = object.spec.audiences.iter().flatten();
    claims.extend(
        audiences
            .filter(|audience| !audience.starts_with("spiffe://") && service_shape(audience, cluster_domain).is_none())
            .map(|audience| Claim::Audience(audience.clone())),
    );
    claims
}

/// A DNS name or an IP address in the one spelling in which names are compared.
fn canonical(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// Whether a name has the form of a host name (RFC 1123, section 2.1).
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Whether a domain lets identities of a namespace claim a name.
fn allows(domain: &TrustDomain, namespace: &str, name: &str) -> bool {
    let mut allowed = domain.spec.certificates.allowed_names.iter();
    allowed.any(|allowed| canonical(&allowed.name) == name && allowed.namespaces.iter().any(|named| named == namespace))
}

/// The namespace of the Service that a name is shaped like: `<svc>.<ns>.svc` with or without the cluster's domain, and
/// anything below such a name.
pub(super) fn service_shape<'a>(name: &'a str, cluster_domain: &str) -> Option<&'a str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = name.strip_suffix(cluster_domain).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    let mut labels = name.strip_suffix(".svc")?.rsplit('.');
    labels.next()
}

/// Resolves one ServiceIdentity against the rest of the world.
pub(super) fn resolve(world: &World, object: &ServiceIdentity) -> ResolvedIdentity {
    let key = NamespacedName::new(
        object.metadata.namespace.clone().unwrap_or_default(),
        object.metadata.name.clone().unwrap_or_default(),
    );
    let mut resolver = Resolver { world, object, key, problems: Vec::new() };
    let identity = resolver.identity();
    ResolvedIdentity { identity, problems: resolver.problems }
}

struct Resolver<'a> {
    world: &'a World,
    object: &'a ServiceIdentity,
    key: NamespacedName,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn identity(&mut self) -> Option<Identity> {
        let (domain, trust_domain) = self.domain()?;
        if self.object.spec.suspended {
            let message = "every edge is closed, its certificates are revoked, and its Secrets are deleted; with suspended: false it gets new keys".to_owned();
            self.problem(ConditionType::Suspended, Reason::Suspended, message);
            return None;
        }
        if let Some(fault) = self.object.fault() {
            return self.refuse(Reason::Invalid, fault);
        }
        self.hold(&Claim::ServiceAccount(self.named(self.object.service_account())), Reason::ServiceAccountTaken)?;
        let tls_secret = self.object.tls_secret();
        self.hold(&Claim::Secret(self.named(&tls_secret)), Reason::SecretNameTaken)?;
        let spiffe_id = match SpiffeId::new(trust_domain, &self.key.namespace, self.object.service_account()) {
            Ok(id) => id,
            Err(error) => return self.refuse(Reason::Invalid, format!("the SPIFFE ID can't be formed: {error}")),
        };
        let selector = self.object.pod_selector();
        let pods = self.pods(&selector);
        let services = self.services(&selector);
        let service_names: BTreeSet<String> =
            services.iter().flat_map(|(name, facts)| self.service_dns(name, facts)).collect();
        let (extra_names, ip_addresses) = self.extra_names(&domain);
        let audiences = self.audiences(&spiffe_id, &service_names);
        let settings = &domain.spec.certificates;
        let dns_names: BTreeSet<String> = service_names.into_iter().chain(extra_names).collect();
        let (options, problems) = options(self.object, &dns_names);
        self.problems.extend(problems);
        let mut identity = Identity {
            key: self.key.clone(),
            uid: self.object.metadata.uid.clone().unwrap_or_default(),
            domain: domain.metadata.name.clone().unwrap_or_default(),
            spiffe_id,
            selector: Arc::new(selector),
            services,
            dns_names: Arc::new(dns_names),
            ip_addresses,
            certificate_algorithm: self.object.spec.certificate.algorithm.or(settings.algorithm).unwrap_or_default(),
            certificate_duration: self.duration(&domain),
            tls_secret,
            options,
            signing_key: self.signing_key(&domain),
            audiences,
            issuers: self.issuers(&domain),
            clients: Vec::new(),
            pods,
        };
        let (clients, problems) = clients(self.world, &domain, &identity);
        identity.clients = clients;
        self.problems.extend(problems);
        Some(identity)
    }

    fn named(&self, name: &str) -> NamespacedName {
        NamespacedName::new(self.key.namespace.clone(), name)
    }

    fn problem(&mut self, condition: ConditionType, reason: Reason, message: String) {
        self.problems.push(Problem { condition, reason, message });
    }

    fn refuse<T>(&mut self, reason: Reason, message: String) -> Option<T> {
        self.problem(ConditionType::Accepted, reason, message);
        None
    }

    /// Holds a claim, or says who does.
    fn hold(&mut self, claim: &Claim, reason: Reason) -> Option<()> {
        match self.world.claims.holder_before(claim, &self.key).cloned() {
            None => Some(()),
            Some(holder) => self.taken(claim, &holder, reason),
        }
    }

    fn taken(&mut self, claim: &Claim, holder: &NamespacedName, reason: Reason) -> Option<()> {
        let message = format!(
            "{claim} belongs to ServiceIdentity {holder}, which claimed it first: choose another, or change that one"
        );
        self.refuse(reason, message)
    }

    fn domain(&mut self) -> Option<(Arc<TrustDomain>, TrustDomainName)> {
        let namespace = self.key.namespace.clone();
        let Some(domain) = self.world.domain_of(&namespace).cloned() else {
            let claimant = self.world.domains_claiming(&namespace).next().map(str::to_owned);
            let message = match claimant {
                Some(domain) => {
                    format!("TrustDomain {domain} claims namespace {namespace} and was refused it: see its status")
                }
                None => format!("namespace {namespace} is in no TrustDomain: ask the platform team to add it to one"),
            };
            return self.refuse(Reason::NotInTrustDomain, message);
        };
        let name = domain.metadata.name.clone().unwrap_or_default();
        match self.world.trust_domain_name(&name) {
            Some(trust_domain) => Some((domain, trust_domain)),
            None => self.refuse(
                Reason::NotInTrustDomain,
                format!("TrustDomain {name} holds no trust-domain name, because another one does: see its status"),
            ),
        }
    }

    fn pods(&mut self, selector: &LabelSelector) -> PodSummary {
        let world = self.world;
        let pods = world.pods_in(&self.key.namespace).filter(|(_, pod)| selector.matches(&pod.labels));
        let summary = PodSummary::of(&pods, self.object.service_account());
        let rivals: BTreeSet<String> = pods
            .flat_map(|(_, pod)| world.identities_selecting(&self.key.namespace, &pod.labels))
            .filter(|rival| **rival != self.key)
            .map(|rival| rival.name.clone())
            .collect();
        if !rivals.is_empty() {
            let rivals = join(&rivals);
            let message = format!(
                "pods match this identity and also {rivals}: they would have the edges of all; make the selectors exclusive"
            );
            self.problem(ConditionType::Unenforceable, Reason::SelectorOverlap, message);
        }
        if !summary.other_service_account.is_empty() {
            let message = format!(
                "pods {} match the selector and run under another service account than {}: they get the network access but not the identity; restart them under it",
                join(&summary.other_service_account),
                self.object.service_account()
            );
            self.problem(ConditionType::Unenforceable, Reason::ServiceAccountMismatch, message);
        }
        if !summary.host_network.is_empty() {
            let message = format!(
                "pods {} use the node's network, where no NetworkPolicy applies: run them without hostNetwork",
                join(&summary.host_network)
            );
            self.problem(ConditionType::Unenforceable, Reason::HostNetwork, message);
        }
        summary
    }

    fn services(&mut self, selector: &LabelSelector) -> BTreeMap<String, ServiceFacts> {
        let explicit = self.object.spec.services.is_some();
        let mut services = BTreeMap::new();
        for name in self.object.service_names() {
            let key = self.named(&name);
            if let Some(holder) = self.world.claims.holder_before(&Claim::Service(key.clone()), &self.key) {
                if explicit {
                    let message = format!(
                        "Service {name} belongs to ServiceIdentity {holder}, which claimed it first: its names are left out"
                    );
                    self.problem(ConditionType::Accepted, Reason::ServiceTaken, message);
                }
                continue;
            }
            let Some(facts) = self.world.service(&key).cloned() else {
                if explicit {
                    let message = format!("Service {key} does not exist: create it, or take it out of services");
                    self.problem(ConditionType::ResolvedRefs, Reason::ServiceNotFound, message);
                }
                continue;
            };
            let stranger = self
                .world
                .pods_in(&self.key.namespace)
                .filter(|(_, pod)| {
                    !facts.selector.is_empty() && facts.selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v))
                })
                .find(|(_, pod)| !selector.matches(&pod.labels));
            if facts.selector.is_empty() || stranger.is_some() {
                if explicit {
                    let why = stranger.map_or("it has no selector".to_owned(), |(pod, _)| {
                        format!("it selects pod {pod}, which is not of this identity")
                    });
                    let message = format!("Service {key} can't lend its names: {why}");
                    self.problem(ConditionType::ResolvedRefs, Reason::ServiceMismatch, message);
                }
                continue;
            }
            services.insert(name, facts);
        }
        services
    }

    fn service_dns(&self, service: &str, facts: &ServiceFacts) -> Vec<String> {
        let base = format!("{service}.{}.svc", self.key.namespace);
        let mut names = vec![format!("{base}.{}", self.world.settings.cluster_domain)];
        if facts.headless {
            names.push(format!("*.{base}"));
        }
        names.push(base);
        names
    }

    fn extra_names(&mut self, domain: &TrustDomain) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        let spec = &self.object.spec;
        for declared in spec.dns_names.iter().chain(&spec.ip_addresses) {
            let name = canonical(declared);
            if let Some(why) = self.forbidden(&name) {
                self.problem(
                    ConditionType::Accepted,
                    Reason::NameNotAllowed,
                    format!("the name {name} is refused: {why}"),
                );
            } else if !allows(domain, &self.key.namespace, &name) {
                let message = format!(
                    "the name {name} is refused: TrustDomain {} does not allow it for namespace {}; ask the platform team to add it to certificates.allowedNames",
                    domain.metadata.name.as_deref().unwrap_or_default(),
                    self.key.namespace
                );
                self.problem(ConditionType::Accepted, Reason::NameNotAllowed, message);
            } else if self.hold_name(&name).is_some() {
                match name.parse::<IpAddr>() {
                    Ok(address) => drop(addresses.insert(address)),
                    Err(_) => drop(names.insert(name)),
                }
            }
        }
        (names, addresses)
    }

    /// Holds a name, which only those who may have it can hold before.
    fn hold_name(&mut self, name: &str) -> Option<()> {
        let world = self.world;
        let claim = Claim::Name(name.to_owned());
        let may = |rival: &&NamespacedName| {
            world.domain_of(&rival.namespace).is_some_and(|domain| allows(domain, &rival.namespace, name))
        };
        let holder = world.claims.holders_before(&claim, &self.key).find(may).cloned();
        match holder {
            None => Some(()),
            Some(holder) => self.taken(&claim, &holder, Reason::NameClaimed),
        }
    }

    /// Why nobody may have a name, whatever is allowed.
    fn forbidden(&self, name: &str) -> Option<String> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.world.cluster.contains(address).then(|| "it is an address of the cluster itself".to_owned());
        }
        let cluster_domain = &self.world.settings.cluster_domain;
        if name.contains('*') {
            return Some("wildcards are not accepted".to_owned());
        }
        if !name.contains('.') {
            return Some("a name without a dot means something else in every namespace".to_owned());
        }
        if !is_host_name(name) {
            return Some("it is no DNS name".to_owned());
        }
        if service_shape(name, cluster_domain).is_some() || name.ends_with(&format!(".{cluster_domain}")) {
            return Some("names of Services come from the field services alone".to_owned());
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        if last == "svc" || self.world.namespace(last).is_some() {
            return Some(format!("inside the cluster it could mean a Service in namespace {last}"));
        }
        None
    }

    fn audiences(&mut self, spiffe_id: &SpiffeId, service_names: &BTreeSet<String>) -> BTreeSet<String> {
        let own = || service_names.iter().filter(|name| !name.starts_with('*')).cloned().chain([spiffe_id.to_string()]);
        let Some(declared) = &self.object.spec.audiences else { return own().collect() };
        let mut accepted = BTreeSet::new();
        for audience in declared {
            let reserved = audience.starts_with("spiffe://")
                || service_shape(audience, &self.world.settings.cluster_domain).is_some();
            if reserved {
                if own().any(|name| name == *audience) {
                    accepted.insert(audience.clone());
                } else {
                    let message = format!(
                        "the audience {audience} has the shape of another service's name and belongs to that service alone"
                    );
                    self.problem(ConditionType::Accepted, Reason::AudienceTaken, message);
                }
                continue;
            }
            let claim = Claim::Audience(audience.clone());
            let rival = self
                .world
                .claims
                .holders_before(&claim, &self.key)
                .find(|holder| self.world.related(&self.key.namespace, &holder.namespace));
            match rival.cloned() {
                Some(holder) => {
                    let message = format!(
                        "the audience {audience} belongs to ServiceIdentity {holder}, which claimed it first: choose another"
                    );
                    self.problem(ConditionType::Accepted, Reason::AudienceTaken, message);
                }
                None => drop(accepted.insert(audience.clone())),
            }
        }
        accepted
    }

    /// The issuers that it lists and may talk to.
    fn issuers(&mut self, domain: &TrustDomain) -> Vec<ListedIssuer> {
        let mut listed: Vec<ListedIssuer> = Vec::new();
        for name in &self.object.spec.token_issuers {
            match listable(self.world, domain, name) {
                Ok(issuer) => listed.push(issuer),
                Err(problem) => self.problems.push(problem),
            }
        }
        listed.dedup();
        listed
    }

    fn duration(&mut self, domain: &TrustDomain) -> SignedDuration {
        let limit = domain.spec.certificates.duration.as_ref().map_or(DEFAULT_CERTIFICATE_DURATION, signed);
        let limit = limit.max(SHORTEST_CERTIFICATE);
        let Some(wanted) = self.object.spec.certificate.duration.as_ref().map(signed) else { return limit };
        if wanted > limit {
            let message = format!(
                "certificate.duration is above the limit of TrustDomain {}, {:#}: that limit is used",
                domain.metadata.name.as_deref().unwrap_or_default(),
                limit
            );
            self.problem(ConditionType::Accepted, Reason::DurationTooLong, message);
        }
        if wanted < SHORTEST_CERTIFICATE {
            let message = "certificate.duration is below 5m, which is used instead: set it to at least 5m".to_owned();
            self.problem(ConditionType::Accepted, Reason::Invalid, message);
        }
        wanted.clamp(SHORTEST_CERTIFICATE, limit)
    }

    fn signing_key(&mut self, domain: &TrustDomain) -> Option<(SigningAlgorithm, String)> {
        let secret = self.object.signing_key_secret()?;
        self.hold(&Claim::Secret(self.named(&secret)), Reason::SecretNameTaken)?;
        let algorithm = self.object.spec.signing_key.as_ref()?.algorithm.or(domain.spec.signing_keys.algorithm);
        Some((algorithm.unwrap_or_default(), secret))
    }
}

/// The first few names, for a message.
fn join(names: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    let more = names.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
