//! Which NetworkPolicies of others widen the fence.

use super::*;
use crate::testing::{SHOP, apply, world};

/// What is said of one NetworkPolicy in storefront, where order has a pod and so has a job without an identity.
fn widened_by(spec: &str) -> Vec<String> {
    let mut world = world(&[SHOP]);
    apply(&mut world, &format!("
{{kind: Pod, metadata: {{name: order-1, namespace: storefront, labels: {{app.kubernetes.io/name: order, tier: web}}}}, spec: {{serviceAccountName: order, containers: [{{name: main}}]}}}}
---
{{kind: Pod, metadata: {{name: job-1, namespace: storefront, labels: {{job: backup}}}}, spec: {{containers: [{{name: main}}]}}}}
---
{{kind: NetworkPolicy, metadata: {{name: theirs, namespace: storefront}}, spec: {spec}}}
"));
    assert_eq!(widening(&world, "settlement"), [], "another namespace is not touched");
    let found = widening(&world, "storefront").into_iter().map(|widening| {
        let identities: Vec<String> = widening.identities.iter().map(ToString::to_string).collect();
        format!("{}: {} for [{}]", widening.policy, widening.allows, identities.join(", "))
    });
    found.collect()
}

#[test]
fn one_that_selects_a_pod_of_ours_and_allows_something_widens() {
    let everyone = ["storefront/theirs: 1 rule of ingress for [storefront/order]"];
    assert_eq!(widened_by("{podSelector: {}, ingress: [{}]}"), everyone);
    assert_eq!(widened_by("{ingress: [{}]}"), everyone, "a selector that is not set selects all");
    assert_eq!(
        widened_by(
            "{podSelector: {matchLabels: {tier: web}}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}"
        ),
        everyone
    );
    assert_eq!(
        widened_by("{podSelector: {matchExpressions: [{key: tier, operator: In, values: [web, db]}]}, ingress: [{}]}"),
        everyone
    );
    assert_eq!(
        widened_by("{podSelector: {matchExpressions: [{key: job, operator: DoesNotExist}]}, ingress: [{}]}"),
        everyone
    );
    assert_eq!(
        widened_by(
            "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}, {}], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"
        ),
        ["storefront/theirs: 2 rules of ingress and 1 rule of egress for [storefront/order]"]
    );
    assert_eq!(
        widened_by("{podSelector: {}, egress: [{}]}"),
        ["storefront/theirs: 1 rule of egress for [storefront/order]"]
    );
}

#[test]
fn one_that_selects_only_pods_without_an_identity_widens_the_namespace() {
    assert_eq!(
        widened_by("{podSelector: {matchLabels: {job: backup}}, ingress: [{}]}"),
        ["storefront/theirs: 1 rule of ingress for []"]
    );
    assert_eq!(
        widened_by("{podSelector: {matchExpressions: [{key: job, operator: Exists}]}, ingress: [{}]}"),
        ["storefront/theirs: 1 rule of ingress for []"]
    );
}

#[test]
fn one_that_only_denies_or_selects_nothing_does_not() {
    for spec in [
        "{podSelector: {}}",
        "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [], egress: []}",
        "{podSelector: {}, policyTypes: [Egress], ingress: [{}]}",
        "{podSelector: {}, policyTypes: [Ingress], egress: [{}]}",
        "{podSelector: {matchLabels: {tier: db}}, ingress: [{}]}",
        "{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [web]}, {key: job, operator: DoesNotExist}]}, ingress: [{}]}",
    ] {
        assert_eq!(widened_by(spec), Vec::<String>::new(), "{spec}");
    }
}
