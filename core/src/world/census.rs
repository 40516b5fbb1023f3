//! The world in numbers, for metrics. One look at everything: what it costs grows with the number of objects.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Identity, NamespacedName, SecretFacts, Unit, World};
use crate::access::{GrantSource, GrantTarget, JudgedPolicy};
use crate::api::{ConditionType, Reason, find_condition};
use crate::pki::{LeafFacts, next_renewal};

/// At most so many overdue certificates are named.
pub const NAMED_OVERDUE: usize = 20;

/// The other end of an edge that crosses the border of every domain; no domain can have this name.
pub const OUTSIDE: &str = "(outside)";

/// A certificate is overdue when it should have been renewed a twelfth of its life ago: two hours for one of a day.
const MARGIN: i32 = 12;

/// The world in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many objects of each kind are known.
    pub objects: Vec<(&'static str, usize)>,
    /// When the first certificate of each sort (`leaf`, `ca`, `root`) ends in each TrustDomain.
    pub expiry: BTreeMap<(&'static str, String), Timestamp>,
    /// How many certificates are overdue in each TrustDomain that has any certificate.
    pub overdue: BTreeMap<String, usize>,
    /// Those that are overdue for longest, and since when; no more than [`NAMED_OVERDUE`].
    pub longest_overdue: Vec<(Timestamp, NamespacedName)>,
    /// How many edges are open from the callers of one TrustDomain to the callees of another, or [`OUTSIDE`].
    pub edges: BTreeMap<(String, String), usize>,
    /// How many objects of a kind are not ready, by reason.
    pub not_ready: BTreeMap<(&'static str, Reason), usize>,
    /// How many entries of `spec.from` were refused, by reason.
    pub refused_entries: BTreeMap<Reason, usize>,
}

impl World {
    /// Counts everything.
    pub fn census(&self, now: Timestamp) -> Census {
        let mut census = Census { objects: self.objects(), ..Census::default() };
        for (name, domain) in &self.domains {
            census.note_ready("TrustDomain", domain.status.as_ref().map(|status| status.conditions.as_slice()));
            if let Some(signing) = self.generations(name).and_then(|generations| generations.signing()) {
                census.note_expiry("ca", name, signing.not_after());
                census.note_expiry("root", name, signing.root().not_after());
            }
        }
        for (key, object) in &self.identities {
            census.note_ready("ServiceIdentity", object.status.as_ref().map(|status| status.conditions.as_slice()));
            if let Some(identity) = self.identity(key)
                && let Some(leaf) = self.leaf(identity)
            {
                census.note_expiry("leaf", &identity.domain, leaf.not_after);
                census.note_overdue(identity, self.due(identity, leaf), leaf, now);
            }
        }
        for (key, policy) in &self.policies {
            census.note_ready("AccessPolicy", policy.status.as_ref().map(|status| status.conditions.as_slice()));
            if let Some(judged) = self.judged(key) {
                census.note_edges(judged);
            }
        }
        for (_, judged) in self.all_implied() {
            census.note_edges(judged);
        }
        census.longest_overdue.sort();
        census.longest_overdue.truncate(NAMED_OVERDUE);
        census
    }

    /// Whether the status of a unit speaks of its spec as it is; nothing for what has no spec, or is gone.
    pub fn is_observed(&self, unit: &Unit) -> Option<bool> {
        let (generation, observed) = match unit {
            Unit::Domain(name) => {
                let domain = self.domains.get(name)?;
                (domain.metadata.generation, domain.status.as_ref().and_then(|status| status.observed_generation))
            }
            Unit::Identity(key) => {
                let identity = self.identities.get(key)?;
                (identity.metadata.generation, identity.status.as_ref().and_then(|status| status.observed_generation))
            }
            Unit::Policy(key) => {
                let policy = self.policies.get(key)?;
                (policy.metadata.generation, policy.status.as_ref().and_then(|status| status.observed_generation))
            }
            Unit::Member(_) | Unit::Fence(_) | Unit::Directory(_) => return None,
        };
        Some(observed == generation)
    }

    fn objects(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("TrustDomain", self.domains.len()),
            ("ServiceIdentity", self.identities.len()),
            ("AccessPolicy", self.policies.len()),
            ("Namespace", self.namespaces.len()),
            ("Service", self.services.len()),
            ("Pod", self.pods.len()),
            ("Node", self.cluster.nodes.len()),
            ("RoleBinding", self.role_bindings.len()),
            ("Secret", self.secrets.len()),
            ("ConfigMap", self.config_maps.len()),
            ("NetworkPolicy", self.network_policies.len()),
            ("ForeignNetworkPolicy", self.foreign_policies.len()),
        ]
    }

    fn leaf(&self, identity: &Identity) -> Option<&LeafFacts> {
        let key = NamespacedName::new(identity.key.namespace.clone(), identity.tls_secret.clone());
        match &self.secret(&key)?.content {
            SecretFacts::Certificate(Ok(facts)) => Some(facts),
            _ => None,
        }
    }

    /// When a leaf is to be replaced by another: one that ends with its authority, when it ends.
    fn due(&self, identity: &Identity, leaf: &LeafFacts) -> Timestamp {
        let generations = self.generations(&identity.domain);
        generations.and_then(|generations| next_renewal(leaf, generations, &identity.uid)).unwrap_or(leaf.not_after)
    }
}

impl Census {
    fn note_ready(&mut self, kind: &'static str, conditions: Option<&[Condition]>) {
        let ready = conditions.and_then(|conditions| find_condition(conditions, ConditionType::Ready));
        let reason = match ready {
            Some(ready) if ready.status == "True" => return,
            // A reason that is not ours is one that a newer Ringfence wrote; it will be written anew.
            Some(ready) => Reason::parse(&ready.reason).unwrap_or(Reason::Pending),
            None => Reason::Pending,
        };
        *self.not_ready.entry((kind, reason)).or_default() += 1;
    }

    fn note_expiry(&mut self, sort: &'static str, domain: &str, not_after: Timestamp) {
        let earliest = self.expiry.entry((sort, domain.to_owned())).or_insert(not_after);
        *earliest = not_after.min(*earliest);
    }

    fn note_overdue(&mut self, identity: &Identity, due: Timestamp, leaf: &LeafFacts, now: Timestamp) {
        let margin = leaf.not_after.duration_since(leaf.not_before) / MARGIN;
        let overdue = self.overdue.entry(identity.domain.clone()).or_default();
        if now.duration_since(due) >= margin.max(SignedDuration::ZERO) {
            *overdue += 1;
            self.longest_overdue.push((due, identity.key.clone()));
        }
    }

    fn note_edges(&mut self, judged: &JudgedPolicy) {
        for refusal in &judged.refusals {
            *self.refused_entries.entry(refusal.reason).or_default() += 1;
        }
        if judged.draft {
            return;
        }
        for grant in &judged.grants {
            let from = match &grant.source {
                GrantSource::Identity(peer) => peer.domain.as_str(),
                GrantSource::TrustDomain { name, .. } => name,
                _ => OUTSIDE,
            };
            let to = match &grant.target {
                GrantTarget::Identity(peer) => &peer.domain,
                _ => OUTSIDE,
            };
            *self.edges.entry((from.to_owned(), to.to_owned())).or_default() += grant.ports.len();
        }
    }
}

#[cfg(test)]
#[path = "census_tests.rs"]
mod tests;
