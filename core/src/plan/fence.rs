//! The baseline of a namespace: nobody in, nobody out, but DNS.

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::objects::{Owner, metadata};
use super::{Step, content_step, name_taken};
use crate::access::baseline_policy;
use crate::api::{Enforcement, TrustDomain};
use crate::world::{NamespacedName, OutputFacts, Problem, World, network_policy_hash};

/// Name of the NetworkPolicy that fences a namespace.
pub const BASELINE: &str = "ringfence-baseline";

/// What to do about the baseline of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct FenceStep {
    /// The TrustDomain that is responsible.
    pub domain: Option<String>,
    /// The step.
    pub step: Step<NetworkPolicy>,
    /// Identities whose NetworkPolicies come first, so that running pods are not cut off.
    pub waiting_for: Vec<NamespacedName>,
}

/// Plans the baseline of one namespace. In a namespace with running pods it comes last, in an empty one first; it goes
/// first when a domain stops enforcing, and stays in a namespace that left its domain until the identities are gone.
pub fn fence_step(world: &World, namespace: &str) -> FenceStep {
    let key = NamespacedName::new(namespace, BASELINE);
    let found = world.network_policy(&key);
    let Some(domain) = world.domain_of(namespace) else {
        let identities = world.identities_in(namespace).next().is_some();
        let step = found.filter(|found| !identities && is_ours(world, found)).map_or(Step::Keep, delete);
        return FenceStep { domain: None, step, waiting_for: Vec::new() };
    };
    let fenced = |step, waiting_for| FenceStep { domain: domain.metadata.name.clone(), step, waiting_for };
    if domain.spec.enforcement != Enforcement::Enforce {
        return fenced(found.filter(|found| is_ours(world, found)).map_or(Step::Keep, delete), Vec::new());
    }
    if world.namespace(namespace).is_none_or(|facts| facts.terminating) {
        return fenced(Step::Keep, Vec::new());
    }
    let step = baseline_step(world, domain, &key, found);
    let waiting_for = if found.is_none() && world.pods_in(namespace).next().is_some() {
        let missing = |key: &NamespacedName| {
            world.identity(key).is_some_and(|identity| {
                world.network_policy(&NamespacedName::new(namespace, identity.network_policy())).is_none()
            })
        };
        world.identities_in(namespace).map(|(key, _)| key).filter(|key| missing(key)).cloned().collect()
    } else {
        Vec::new()
    };
    fenced(step, waiting_for)
}

/// Whether a namespace is to be closed before anything in it is opened: nothing runs there that could be cut off.
pub(super) fn baseline_comes_first(world: &World, domain: &TrustDomain, namespace: &str) -> bool {
    let key = NamespacedName::new(namespace, BASELINE);
    domain.spec.enforcement == Enforcement::Enforce
        && world.pods_in(namespace).next().is_none()
        && world.network_policy(&key).is_none()
        && world.foreign_policies_in(namespace).all(|(found, _)| *found != key)
}

/// Why a namespace can't be fenced: its baseline is someone else's.
pub(super) fn baseline_taken(world: &World, namespace: &str) -> Option<Problem> {
    let key = NamespacedName::new(namespace, BASELINE);
    let found = world.network_policy(&key)?;
    let enforces = world.domain_of(namespace).is_some_and(|domain| domain.spec.enforcement == Enforcement::Enforce);
    (enforces && !is_ours(world, found)).then(|| name_taken("NetworkPolicy", &key))
}

fn baseline_step(
    world: &World,
    domain: &TrustDomain,
    key: &NamespacedName,
    found: Option<&OutputFacts<String>>,
) -> Step<NetworkPolicy> {
    let owner = Owner::of(domain);
    let spec = baseline_policy(world.cluster.dns().as_ref());
    let mut desired = NetworkPolicy { spec: Some(spec), ..NetworkPolicy::default() };
    let hash = network_policy_hash(&desired);
    desired.metadata = metadata(&key.namespace, &key.name, Some(&owner), Some(&hash));
    if let Some(found) = found.filter(|found| !belongs_to(found, domain) && is_ours(world, found)) {
        // The namespace comes from another domain. It changes hands without a moment in between.
        let replaces = Some((found.uid.clone(), found.resource_version.clone()));
        return Step::Write { desired: Box::new(desired), replaces, drift: false };
    }
    content_step(found, desired, &hash, &owner, || name_taken("NetworkPolicy", key))
}

fn delete(found: &OutputFacts<String>) -> Step<NetworkPolicy> {
    Step::Delete { uid: found.uid.clone() }
}

pub(super) fn belongs_to(found: &OutputFacts<String>, domain: &TrustDomain) -> bool {
    found.owner_uid.is_some() && found.owner_uid == domain.metadata.uid
}

/// Whether an output in a namespace belongs to some TrustDomain: to the one that the namespace left, perhaps.
pub(super) fn is_ours(world: &World, found: &OutputFacts<String>) -> bool {
    world.domains().any(|domain| belongs_to(found, domain))
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
