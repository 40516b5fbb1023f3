//! How a change comes into the world: what differs from before, and what that touches.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Resource;

use super::authority::recorded_authority;
use super::claims::{Claim, Rank};
use super::gone::Gone;
use super::{
    AuthorityFacts, Change, NamespaceFacts, NamespacedName, OutputFacts, PodFacts, SecretFacts, Unit, World, resolve,
};
use crate::access::{Grant, GrantSource, GrantTarget, Origin};
use crate::api::{AccessPolicy, ConditionType, ServiceIdentity, TrustDomain, find_condition};

/// What is to be settled, and what is already known to need planning.
#[derive(Default)]
pub(super) struct Dirty {
    pub(super) namespaces: BTreeSet<String>,
    pub(super) names: BTreeSet<String>,
    pub(super) domains: BTreeSet<String>,
    pub(super) identities: BTreeSet<NamespacedName>,
    pub(super) policies: BTreeSet<NamespacedName>,
    /// What opens edges without a policy.
    pub(super) implied: BTreeSet<Origin>,
    pub(super) units: BTreeSet<Unit>,
}

impl World {
    /// Folds one change of which a watch tells; returns everything that it touches.
    pub fn apply(&mut self, change: Change) -> BTreeSet<Unit> {
        if let Some(uid) = change.uid() {
            self.gone.forget(uid);
        }
        let mut dirty = Dirty::default();
        match change {
            Change::Domain(name, new) => self.fold_domain(&name, new, &mut dirty),
            Change::Identity(key, new) => self.fold_identity(key, new, &mut dirty),
            Change::Policy(key, new) => self.fold_policy(key, new, &mut dirty),
            Change::Namespace(name, new) => self.fold_namespace(name, new, &mut dirty),
            Change::Service(key, new) => {
                if key.namespace == super::DNS_NAMESPACE && key.name == super::DNS_SERVICE {
                    self.fold_dns_service(new.as_ref(), &mut dirty);
                }
                let old = replace(&mut self.services, &key, new);
                if old.as_ref() != self.services.get(&key) {
                    dirty.identities.extend(self.claims.claimants(&Claim::Service(key)).cloned());
                }
            }
            Change::Pod(key, new) => self.fold_pod(&key, new, &mut dirty),
            // Nodes report every few seconds, and hardly ever anything that matters here.
            Change::Node(name, new) if self.cluster.nodes.get(&name) == new.as_ref() => {}
            Change::Node(name, new) => {
                self.change_cluster(&mut dirty, |cluster| drop(replace(&mut cluster.nodes, &name, new)));
            }
            Change::ServiceCidr(name, new) => {
                self.change_cluster(&mut dirty, |cluster| drop(replace(&mut cluster.service_cidrs, &name, new)));
            }
            Change::ApiServer(name, new) => {
                self.change_cluster(&mut dirty, |cluster| drop(replace(&mut cluster.api_server, &name, new)));
            }
            Change::DnsEndpoints(name, new) => {
                self.change_dns(&mut dirty, |cluster| drop(replace(&mut cluster.dns_endpoints, &name, new)));
            }
            Change::Secret(key, new) => self.fold_secret(&key, new, &mut dirty),
            Change::ConfigMap(key, new) => self.fold_config_map(&key, new, &mut dirty),
            Change::NetworkPolicy(key, new) => {
                let existed = self.network_policies.contains_key(&key);
                if fold_output(&mut self.network_policies, &mut self.gone, &key, new) {
                    let owner = self.identity_named(&key, key.name.strip_prefix("ringfence-"));
                    let is_baseline = owner.is_none();
                    dirty.units.extend(owner.map(Unit::Identity));
                    if existed != self.network_policies.contains_key(&key) || is_baseline {
                        dirty.units.insert(Unit::Fence(key.namespace.clone()));
                        dirty.units.insert(Unit::Member(key.namespace.clone()));
                    }
                    if is_baseline {
                        let domain = self.membership.domain_of.get(&key.namespace);
                        dirty.units.extend(domain.cloned().map(Unit::Domain));
                        dirty.units.extend(self.units_of_namespace(&key.namespace));
                    }
                }
            }
            Change::RoleBinding(key, new) => {
                if fold_output(&mut self.role_bindings, &mut self.gone, &key.namespace, new) {
                    let domain = self.membership.domain_of.get(&key.namespace);
                    dirty.units.extend(domain.cloned().map(Unit::Domain));
                    dirty.units.insert(Unit::Member(key.namespace));
                }
            }
            Change::ForeignPolicy(key, new) => {
                let old = replace(&mut self.foreign_policies, &key, new);
                if old.as_ref() != self.foreign_policies.get(&key) {
                    dirty.units.extend(self.units_of_namespace(&key.namespace));
                }
            }
            Change::Password(password, new) => self.fold_password(&password, new, &mut dirty),
            Change::Authority(domain, new) => self.fold_authority(&domain, new, &mut dirty),
            Change::IssuerKeys(key, new) => self.fold_issuer(&key, new, &mut dirty),
            Change::IssuerUnknown(key, failure) => self.fold_unknown_issuer(key, failure, &mut dirty),
            Change::RecordedIssuers(domain, issuers) => self.fold_recorded_issuers(&domain, issuers, &mut dirty),
            Change::Credentials(secret, new) => self.fold_credentials(&secret, new, &mut dirty),
            Change::OperatorSecret(name, version) => {
                if replace(&mut self.operator_secrets, &name, version.clone()) != version {
                    let brought = |domain: &TrustDomain| {
                        domain.spec.certificate_authority.secret.as_ref().is_some_and(|secret| secret.name == name)
                    };
                    // Someone else's Secret may have stood where the CA is to be.
                    let named = |domain: &str| name.strip_suffix("-ca") == Some(domain);
                    let concerned = self.domains.iter().filter(|(key, domain)| brought(domain) || named(key));
                    dirty.units.extend(concerned.map(|(key, _)| Unit::Domain(key.clone())));
                }
            }
        }
        self.settle(dirty)
    }

    /// Folds the answer to a write of ours. It may come in after a watch told that the object is gone, and no watch would
    /// ever correct that; a watch itself is always right in the end.
    pub fn apply_answer(&mut self, change: Change) -> BTreeSet<Unit> {
        if change.uid().is_some_and(|uid| self.gone.contains(uid)) { BTreeSet::new() } else { self.apply(change) }
    }

    /// Whether something newer is known: a watch tells of a version that is older than the answer to a write of ours.
    fn is_stale<K: Resource>(known: Option<&Arc<K>>, told: Option<&Arc<K>>) -> bool {
        let version =
            |object: &K| object.meta().resource_version.as_ref().and_then(|version| version.parse::<u64>().ok());
        let Some(told) = told else { return false };
        known.is_some_and(|known| known.meta().uid == told.meta().uid && version(told) < version(known))
    }

    fn note_gone<K: Resource>(&mut self, old: Option<&Arc<K>>, is_there: bool) {
        if let Some(uid) = old.filter(|_| !is_there).and_then(|old| old.meta().uid.as_ref()) {
            self.gone.remember(uid);
        }
    }

    fn fold_domain(&mut self, name: &str, new: Option<Arc<TrustDomain>>, dirty: &mut Dirty) {
        if Self::is_stale(self.domains.get(name), new.as_ref()) {
            return;
        }
        let old = replace(&mut self.domains, name, new);
        self.note_gone(old.as_ref(), self.domains.contains_key(name));
        let new = self.domains.get(name);
        if is_declared_alike(old.as_ref(), new) {
            return;
        }
        dirty.units.insert(Unit::Domain(name.to_owned()));
        if old.as_ref().map(|domain| &domain.spec) == new.map(|domain| &domain.spec) && old.is_some() == new.is_some() {
            return;
        }
        for domain in old.iter().chain(new) {
            dirty.names.insert(domain.claimed_name().to_owned());
            let claimed = self.namespaces.iter().filter(|(namespace, facts)| domain.claims(namespace, facts));
            dirty.namespaces.extend(claimed.map(|(namespace, _)| namespace.clone()));
            dirty.namespaces.extend(domain.spec.namespaces.iter().cloned());
        }
        dirty.domains.insert(name.to_owned());
        dirty.units.extend(self.descendants_of(name).into_iter().map(Unit::Domain));
        self.forget_undeclared_issuers(name);
    }

    fn fold_identity(&mut self, key: NamespacedName, new: Option<Arc<ServiceIdentity>>, dirty: &mut Dirty) {
        if Self::is_stale(self.identities.get(&key), new.as_ref()) {
            return;
        }
        let old = replace(&mut self.identities, &key, new);
        self.note_gone(old.as_ref(), self.identities.contains_key(&key));
        self.note_withdrawn(&key, dirty);
        let new = self.identities.get(&key).cloned();
        if is_declared_alike(old.as_ref(), new.as_ref()) {
            return;
        }
        dirty.units.insert(Unit::Identity(key.clone()));
        let same = matches!((&old, &new), (Some(old), Some(new)) if old.spec == new.spec
            && old.metadata.uid == new.metadata.uid && is_to_stay(old) == is_to_stay(new));
        if same {
            return;
        }
        let claims = new.as_ref().map(|object| resolve::claims_of(object, &self.settings.cluster_domain));
        let rank =
            new.as_ref().map_or(Rank { sequence: 0, created: 0, uid: String::new() }, |object| self.rank(object));
        let affected = self.claims.replace(&key, claims.unwrap_or_default(), &rank);
        dirty.identities.extend(affected);
        let (before, after) = (old.as_ref().map(|o| o.pod_selector()), new.as_ref().map(|o| o.pod_selector()));
        if before != after {
            self.selectors.replace(&key, before.as_ref(), after.as_ref());
            // Those that select one of the same pods.
            let selectors = || before.iter().chain(&after);
            let pods = self.pods_in(&key.namespace).filter(|(_, pod)| selectors().any(|s| s.matches(&pod.labels)));
            let rivals = pods.flat_map(|(_, pod)| self.identities_selecting(&key.namespace, &pod.labels));
            dirty.identities.extend(rivals.filter(|rival| **rival != key).cloned());
        }
        let state = |object: Option<&Arc<ServiceIdentity>>| object.map(|object| object.spec.suspended);
        if state(old.as_ref()) != state(new.as_ref()) {
            // One that is not accepted, one that is suspended and one that is not there are told apart.
            dirty.policies.extend(self.index.policies_of(&key));
        }
        dirty.units.insert(Unit::Fence(key.namespace.clone()));
        if !self.membership.domain_of.contains_key(&key.namespace) {
            // It may have been the last one in a namespace that left.
            dirty.units.insert(Unit::Member(key.namespace.clone()));
        }
        if let Some(domain) = self.membership.domain_of.get(&key.namespace)
            && self.domains.get(domain).is_some_and(|domain| domain.metadata.deletion_timestamp.is_some())
        {
            dirty.units.insert(Unit::Domain(domain.clone()));
        }
        dirty.identities.insert(key);
    }

    /// Claims seen at the first listing rank by what became of them before: what was accepted as it is now, what was
    /// accepted and then changed, what was refused, and what nobody has looked at yet.
    pub(super) fn rank(&mut self, object: &ServiceIdentity) -> Rank {
        let status = object.status.as_ref();
        let accepted = status.and_then(|status| find_condition(&status.conditions, ConditionType::Accepted));
        let current = status.is_some_and(|status| status.observed_generation == object.metadata.generation);
        let sequence = match (&mut self.claim_sequence, accepted.map(|condition| condition.status == "True")) {
            (Some(sequence), _) => {
                *sequence += 1;
                *sequence + 3
            }
            (None, Some(true)) if current => 0,
            (None, Some(true)) => 1,
            (None, Some(false)) => 2,
            (None, None) => 3,
        };
        let created = object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        Rank { sequence, created, uid: object.metadata.uid.clone().unwrap_or_default() }
    }

    fn fold_policy(&mut self, key: NamespacedName, new: Option<Arc<AccessPolicy>>, dirty: &mut Dirty) {
        if Self::is_stale(self.policies.get(&key), new.as_ref()) {
            return;
        }
        let old = replace(&mut self.policies, &key, new);
        self.note_gone(old.as_ref(), self.policies.contains_key(&key));
        let new = self.policies.get(&key).cloned();
        if is_declared_alike(old.as_ref(), new.as_ref()) {
            return;
        }
        self.index.replace(&key, old.as_deref(), new.as_deref());
        dirty.units.insert(Unit::Policy(key.clone()));
        let granted = |policy: Option<&Arc<AccessPolicy>>| {
            policy.filter(|policy| is_to_stay(policy)).map(|policy| policy.spec.clone())
        };
        if granted(old.as_ref()) != granted(new.as_ref()) {
            dirty.policies.insert(key);
        }
    }

    fn fold_namespace(&mut self, name: String, new: Option<NamespaceFacts>, dirty: &mut Dirty) {
        let old = replace(&mut self.namespaces, &name, new);
        if old.as_ref() != self.namespaces.get(&name) {
            if old.is_some() != self.namespaces.contains_key(&name) {
                dirty.policies.extend(self.index.by_pod_namespace(&name));
                let below = |claimed: &str| claimed.rsplit('.').next() == Some(&name);
                dirty.identities.extend(self.claims.claimants_of_names(below));
            }
            dirty.units.extend(self.units_of_namespace(&name));
            dirty.units.insert(Unit::Member(name.clone()));
            dirty.namespaces.insert(name);
        }
    }

    fn fold_pod(&mut self, key: &NamespacedName, new: Option<PodFacts>, dirty: &mut Dirty) {
        if key.namespace == super::DNS_NAMESPACE {
            let is_cache = new
                .as_ref()
                .is_some_and(|pod| pod.labels.get("k8s-app").is_some_and(|app| app == super::NODE_LOCAL_DNS));
            self.change_dns(dirty, |cluster| {
                if is_cache {
                    cluster.node_local_dns_pods.insert(key.clone())
                } else {
                    cluster.node_local_dns_pods.remove(key)
                };
            });
        }
        let old = replace(&mut self.pods, key, new);
        let new = self.pods.get(key);
        if old.as_ref().map(PodFacts::declared) != new.map(PodFacts::declared) {
            let labels: Vec<_> = old.iter().chain(new).map(|pod| pod.labels.clone()).collect();
            let selecting = labels.iter().flat_map(|labels| self.identities_selecting(&key.namespace, labels));
            let mut touched: BTreeSet<NamespacedName> = selecting.cloned().collect();
            let services = self.services_in(&key.namespace).filter(|(_, service)| {
                let selector = &service.selector;
                !selector.is_empty()
                    && labels.iter().any(|labels| selector.iter().all(|(k, v)| labels.get(k) == Some(v)))
            });
            for (service, _) in services {
                touched.extend(self.claims.claimants(&Claim::Service(service.clone())).cloned());
            }
            dirty.identities.extend(touched);
            if self.pods_in(&key.namespace).take(2).count() <= 1 {
                // Whether the fence or the services come first may be another question now.
                dirty.units.extend(self.units_of_namespace(&key.namespace));
            }
        }
    }

    fn fold_dns_service(&mut self, service: Option<&super::ServiceFacts>, dirty: &mut Dirty) {
        let selector = service.map(|service| service.selector.clone()).unwrap_or_default();
        let addresses = service.map(|service| service.cluster_ips.iter().copied().collect()).unwrap_or_default();
        self.change_dns(dirty, |cluster| (cluster.dns_selector, cluster.dns_service_ips) = (selector, addresses));
    }

    /// Changes what is known of the cluster's own addresses; policies that depend on them are judged again.
    fn change_cluster(&mut self, dirty: &mut Dirty, change: impl FnOnce(&mut super::Cluster)) {
        let old = (self.cluster.ranges(), self.cluster.api_server());
        change(&mut self.cluster);
        if old != (self.cluster.ranges(), self.cluster.api_server()) {
            dirty.policies.extend(self.index.by_cluster_addresses());
            self.judge_clients_again(dirty);
            let is_address = |claimed: &str| claimed.parse::<std::net::IpAddr>().is_ok();
            dirty.identities.extend(self.claims.claimants_of_names(is_address));
        }
    }

    /// Changes what is known of DNS; every fence lets DNS through.
    fn change_dns(&mut self, dirty: &mut Dirty, change: impl FnOnce(&mut super::Cluster)) {
        let old = self.cluster.dns();
        change(&mut self.cluster);
        if old != self.cluster.dns() {
            for (namespace, domain) in &self.membership.domain_of {
                dirty.units.extend(self.units_of_namespace(namespace));
                dirty.units.insert(Unit::Domain(domain.clone()));
            }
        }
    }

    fn fold_secret(&mut self, key: &NamespacedName, new: Option<OutputFacts<SecretFacts>>, dirty: &mut Dirty) {
        let keys = |facts: Option<&OutputFacts<SecretFacts>>| match facts.map(|facts| &facts.content) {
            Some(SecretFacts::SigningKey(Ok(facts))) => Some((facts.current.clone(), facts.next.clone())),
            _ => None,
        };
        let old = keys(self.secrets.get(key));
        if !fold_output(&mut self.secrets, &mut self.gone, key, new) {
            return;
        }
        let owners: Vec<NamespacedName> = self.claims.claimants(&Claim::Secret(key.clone())).cloned().collect();
        // A key that can't be seen any more is on its way back, or another one is: verifiers change once, to that.
        let new = keys(self.secrets.get(key));
        if new.is_some() && new != old {
            let callees = owners.iter().flat_map(|owner| self.peers_of(owner));
            dirty.units.extend(callees.collect::<BTreeSet<_>>().into_iter().map(Unit::Identity));
            owners.iter().for_each(|owner| self.touch_keys_of_tokens(owner, dirty));
        }
        for owner in owners {
            self.note_withdrawn(&owner, dirty);
            dirty.units.insert(Unit::Identity(owner));
        }
    }

    fn fold_authority(&mut self, domain: &str, new: Option<AuthorityFacts>, dirty: &mut Dirty) {
        let newer = |old: &AuthorityFacts, new: &AuthorityFacts| {
            let version = |facts: &AuthorityFacts| facts.resource_version.parse::<u64>().unwrap_or(u64::MAX);
            old.uid != new.uid || version(new) > version(old)
        };
        if let (Some(old), Some(new)) = (self.authorities.get(domain), &new)
            && !newer(old, new)
        {
            return;
        }
        let lists = |facts: Option<&AuthorityFacts>| {
            facts.and_then(|facts| facts.generations.as_ref().ok()).map(|generations| generations.lists_pem())
        };
        let old = replace(&mut self.authorities, domain, new);
        let relisted = lists(old.as_ref()) != lists(self.authorities.get(domain));
        match (old, self.authorities.contains_key(domain)) {
            (None, false) => return,
            (Some(old), false) => self.gone.remember(&old.uid),
            _ => {}
        }
        dirty.units.insert(Unit::Domain(domain.to_owned()));
        dirty.units.extend(self.children_of(domain).map(Unit::Domain));
        dirty.units.extend(self.withdrawn_from(domain).into_iter().map(Unit::Identity));
        // Who is below checks its whole chain.
        let below = if relisted { self.descendants_of(domain) } else { BTreeSet::new() };
        dirty.units.extend(below.iter().cloned().map(Unit::Domain));
        let domains = below.iter().map(String::as_str).chain([domain]);
        self.touch_domains_of_tokens(domains.clone(), dirty);
        let members = domains.flat_map(|domain| self.identities_of(domain)).map(|identity| identity.key.clone());
        let members: BTreeSet<NamespacedName> = members.collect();
        let peers = members.iter().flat_map(|member| self.peers_of(member)).collect::<BTreeSet<_>>();
        dirty.units.extend(members.into_iter().chain(peers).map(Unit::Identity));
    }

    fn children_of<'a>(&'a self, parent: &'a str) -> impl Iterator<Item = String> + 'a {
        let is_child = move |domain: &TrustDomain| {
            domain.spec.certificate_authority.parent.as_ref().is_some_and(|named| named.name == parent)
        };
        self.domains.iter().filter(move |(_, domain)| is_child(domain)).map(|(name, _)| name.clone())
    }

    /// The domains below a domain, which see each change of their chain of parents; itself where they form a cycle.
    pub(crate) fn descendants_of(&self, parent: &str) -> BTreeSet<String> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut next: Vec<String> = self.children_of(parent).collect();
        while let Some(child) = next.pop() {
            if found.insert(child.clone()) {
                next.extend(self.children_of(&child));
            }
        }
        found
    }

    /// The identities at the other ends of an identity's edges.
    pub fn peers_of(&self, identity: &NamespacedName) -> BTreeSet<NamespacedName> {
        self.judged_of(identity).flat_map(|judged| &judged.grants).flat_map(|grant| self.ends_of(grant)).collect()
    }

    /// The identities that a grant is about, on both sides.
    pub(super) fn ends_of(&self, grant: &Grant) -> BTreeSet<NamespacedName> {
        let mut ends = BTreeSet::new();
        match &grant.source {
            GrantSource::Identity(peer) => drop(ends.insert(peer.key.clone())),
            GrantSource::TrustDomain { name, .. } => {
                ends.extend(self.identities_of(name).map(|identity| identity.key.clone()))
            }
            _ => {}
        }
        if let GrantTarget::Identity(peer) = &grant.target {
            ends.insert(peer.key.clone());
        }
        ends
    }

    /// The identity to which an output of a namespace belongs by its name.
    pub(super) fn identity_named(&self, output: &NamespacedName, name: Option<&str>) -> Option<NamespacedName> {
        let identity = NamespacedName::new(output.namespace.clone(), name?);
        self.identities.contains_key(&identity).then_some(identity)
    }
}

/// Whether two versions declare the same, so that only the status differs, which is our own word.
fn is_declared_alike<K: Resource>(old: Option<&Arc<K>>, new: Option<&Arc<K>>) -> bool {
    let declared = |object: &Arc<K>| {
        let metadata = object.meta();
        (metadata.uid.clone(), metadata.generation, metadata.deletion_timestamp.clone(), metadata.finalizers.clone())
    };
    matches!((old, new), (Some(old), Some(new)) if new.meta().generation.is_some() && declared(old) == declared(new)
        && recorded_authority(old.meta()) == recorded_authority(new.meta()))
}

/// What is being deleted means nothing any more, however long finalizers hold it; and nothing is written for it, which
/// the garbage collector would have to remove again.
pub(super) fn is_to_stay<K: Resource>(object: &Arc<K>) -> bool {
    object.meta().deletion_timestamp.is_none()
}

/// Puts or removes a value; returns the old one.
pub(super) fn replace<K, Q, V>(map: &mut std::collections::BTreeMap<K, V>, key: &Q, new: Option<V>) -> Option<V>
where
    K: Ord + Borrow<Q>,
    Q: Ord + ToOwned<Owned = K> + ?Sized,
{
    match new {
        Some(new) => map.insert(key.to_owned(), new),
        None => map.remove(key),
    }
}

/// Folds an output unless something newer is known; returns whether anything changed. A write is folded when it is
/// answered, so that the watch, which tells of it later, tells nothing new.
pub(super) fn fold_output<K: Ord + Clone, T: PartialEq>(
    map: &mut std::collections::BTreeMap<K, OutputFacts<T>>,
    gone: &mut Gone,
    key: &K,
    mut new: Option<OutputFacts<T>>,
) -> bool {
    match (map.get(key), &mut new) {
        (Some(old), Some(new)) if !new.is_newer_than(old) => return false,
        (Some(old), Some(new)) => new.remember_owner(old),
        (Some(old), None) => gone.remember(&old.uid),
        (None, None) => return false,
        _ => {}
    }
    let old = replace(map, key, new);
    let same = |old: &OutputFacts<T>, new: &OutputFacts<T>| {
        let ownership = old.uid == new.uid && old.owner_uid == new.owner_uid && old.marked == new.marked;
        let metadata =
            old.restored == new.restored && old.template == new.template && old.keystore_record == new.keystore_record;
        old.content == new.content && ownership && metadata
    };
    !matches!((&old, map.get(key)), (Some(old), Some(new)) if same(old, new))
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
