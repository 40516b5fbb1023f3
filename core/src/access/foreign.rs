//! NetworkPolicies of others, which can only widen what was declared.

use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use std::collections::BTreeMap;

use crate::world::{NamespacedName, World};

/// A foreign NetworkPolicy that selects a pod of ours and allows something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widening {
    /// The NetworkPolicy.
    pub policy: NamespacedName,
    /// The identities whose pods it selects; empty if it selects only pods without one.
    pub identities: Vec<NamespacedName>,
    /// What it allows, in words, e.g. `2 rules of ingress`.
    pub allows: String,
}

/// The foreign NetworkPolicies of a namespace that select a pod there and allow anything: one that only denies, or that
/// selects nothing, widens nothing.
pub fn widening(world: &World, namespace: &str) -> Vec<Widening> {
    let foreign = world.foreign_policies_in(namespace);
    foreign
        .filter_map(|(policy, foreign)| {
            let allows = allows(&foreign.spec)?;
            let none = v1::LabelSelector::default();
            let selector = foreign.spec.pod_selector.as_ref().unwrap_or(&none);
            let selected = world.pods_in(namespace).filter(|(_, pod)| matches(selector, &pod.labels));
            let selected: Vec<_> = selected.map(|(_, pod)| &pod.labels).collect();
            let identities = world.identities_in(namespace).filter(|(_, object)| {
                let ours = object.pod_selector();
                selected.iter().any(|labels| ours.matches(labels))
            });
            let identities = identities.map(|(key, _)| key.clone()).collect();
            (!selected.is_empty()).then(|| Widening { policy: policy.clone(), identities, allows })
        })
        .collect()
}

/// What a NetworkPolicy lets through; nothing if it only denies.
fn allows(spec: &NetworkPolicySpec) -> Option<String> {
    let has = |kind: &str, default: bool| match &spec.policy_types {
        Some(types) if !types.is_empty() => types.iter().any(|named| named == kind),
        _ => default,
    };
    let ingress = spec.ingress.as_ref().map_or(0, Vec::len);
    let egress = spec.egress.as_ref().map_or(0, Vec::len);
    let in_words = |rules: usize, what: &str, in_force: bool| {
        let noun = if rules == 1 { "rule" } else { "rules" };
        (rules > 0 && in_force).then(|| format!("{rules} {noun} of {what}"))
    };
    let parts =
        [in_words(ingress, "ingress", has("Ingress", true)), in_words(egress, "egress", has("Egress", egress > 0))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn matches(selector: &v1::LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let has = |key: &str, values: &Option<Vec<String>>| {
        labels.get(key).is_some_and(|value| values.as_ref().is_some_and(|values| values.contains(value)))
    };
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|requirement| match requirement.operator.as_str() {
            "In" => has(&requirement.key, &requirement.values),
            "NotIn" => !has(&requirement.key, &requirement.values),
            "Exists" => labels.contains_key(&requirement.key),
            _ => !labels.contains_key(&requirement.key),
        })
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
