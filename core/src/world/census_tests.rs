//! What is counted, and what is overdue.

use super::*;
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::testing::{CLUSTER, DNS, SHOP, key};

const POLICIES: &str = r"
kind: AccessPolicy
metadata: {name: gateway, namespace: storefront}
spec: {to: {identity: gateway, ports: [{port: 8443}]}, from: [{anywhere: {}}]}
---
kind: AccessPolicy
metadata: {name: payment, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}, {port: 9090}]}
  from:
  - {identity: {name: order, namespace: storefront}}
  - {identity: {name: stranger, namespace: storefront}}
---
kind: AccessPolicy
metadata: {name: draft, namespace: settlement}
spec: {enforcement: Audit, to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: delivery}}]}
---
kind: AccessPolicy
metadata: {name: inventory, namespace: storefront}
spec: {to: {identity: inventory, ports: [{port: 8443}, {port: 9443}]}, from: [{identity: {name: order}}]}
";

fn at(operator: &Operator, later: SignedDuration) -> Census {
    operator.world.census(now().checked_add(later).unwrap())
}

#[test]
fn edges_are_counted_by_the_domains_at_their_ends_and_refusals_by_reason() {
    let census = at(&Operator::at_rest(&[SHOP, DNS, CLUSTER, POLICIES]), SignedDuration::ZERO);
    let edges: Vec<String> = census.edges.iter().map(|((from, to), edges)| format!("{from} {to} {edges}")).collect();
    assert_eq!(edges, ["(outside) storefront 1", "storefront storefront 2"]);
    let refused: Vec<String> = census.refused_entries.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    assert_eq!(refused, ["CallerNotFound 1", "InboundNotAllowed 1"]);
}

#[test]
fn what_ends_first_is_told_for_each_domain_and_sort() {
    let operator = Operator::at_rest(&[SHOP, DNS]);
    let census = at(&operator, SignedDuration::ZERO);
    let told: Vec<String> = census.expiry.keys().map(|(sort, domain)| format!("{sort} {domain}")).collect();
    let sorts =
        ["ca settlement", "ca storefront", "leaf settlement", "leaf storefront", "root settlement", "root storefront"];
    assert_eq!(told, sorts);
    let leaf = census.expiry[&("leaf", "storefront".to_owned())];
    assert_eq!(leaf.duration_since(now()), SignedDuration::from_hours(24));
}

#[test]
fn a_certificate_is_overdue_a_twelfth_of_its_life_after_its_renewal() {
    let operator = Operator::at_rest(&[SHOP, DNS]);
    let overdue = |hours| at(&operator, SignedDuration::from_hours(hours)).overdue["storefront"];
    assert_eq!(overdue(16), 0, "renewal is due about now");
    assert_eq!(overdue(20), 3);
    let late = at(&operator, SignedDuration::from_hours(48));
    assert_eq!((late.overdue["storefront"], late.overdue["settlement"], late.longest_overdue.len()), (3, 2, 5));
    assert!(late.longest_overdue.is_sorted());
}

#[test]
fn no_more_than_twenty_are_named() {
    let many: Vec<String> = (0..30)
        .map(|n| format!("{{kind: ServiceIdentity, metadata: {{name: i{n}, namespace: storefront}}, spec: {{}}}}"))
        .collect();
    let operator = Operator::at_rest(&[SHOP, DNS, &many.join("\n---\n")]);
    let late = at(&operator, SignedDuration::from_hours(48));
    assert_eq!((late.overdue["storefront"], late.longest_overdue.len()), (33, NAMED_OVERDUE));
}

#[test]
fn what_is_not_ready_is_counted_until_its_status_says_otherwise() {
    let mut operator = Operator::new(&[SHOP, DNS]);
    assert_eq!(at(&operator, SignedDuration::ZERO).not_ready[&("ServiceIdentity", Reason::Pending)], 5);
    operator.work();
    let after = at(&operator, SignedDuration::ZERO);
    assert!(!after.not_ready.keys().any(|(kind, _)| *kind == "ServiceIdentity"), "{:?}", after.not_ready);
}

#[test]
fn a_new_spec_is_unobserved_until_the_status_speaks_of_it() {
    let mut operator = Operator::new(&[SHOP, DNS]);
    let order = Unit::Identity(key("storefront/order"));
    let object = |generation: i64| {
        let metadata = serde_json::json!({"name": "order", "namespace": "storefront", "generation": generation});
        serde_json::json!({"kind": "ServiceIdentity", "metadata": metadata, "spec": {}})
    };
    operator.show_one(object(7));
    assert_eq!(operator.world.is_observed(&order), Some(false));
    operator.work();
    assert_eq!(operator.world.is_observed(&order), Some(true));
    operator.forget("ServiceIdentity", "storefront/order");
    assert_eq!(operator.world.is_observed(&order), None);
    assert_eq!(operator.world.is_observed(&Unit::Fence("storefront".to_owned())), None);
}
