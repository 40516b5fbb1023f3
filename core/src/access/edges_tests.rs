//! Lists of edges, and what changes between them.

use super::*;
use crate::testing::{SHOP, apply, judged, world};

fn edges_of(spec: &str) -> BTreeSet<Edge> {
    let mut world = world(&[SHOP]);
    apply(&mut world, &format!("{{kind: AccessPolicy, metadata: {{name: p, namespace: storefront}}, spec: {spec}}}"));
    edges([judged(&world, "storefront/p").as_ref()])
}

fn words(edges: &BTreeSet<Edge>) -> Vec<String> {
    edges.iter().map(ToString::to_string).collect()
}

#[test]
fn each_caller_and_each_port_is_an_edge_and_said_once() {
    let edges = edges_of(
        "{to: {identity: inventory, ports: [{port: 2}, {port: 1}]}, from: [{identity: {name: order}}, {identity: {name: gateway}}, {identity: {name: order}}]}",
    );
    assert_eq!(
        words(&edges),
        [
            "identity storefront/gateway -> identity storefront/inventory 1/TCP mtls",
            "identity storefront/gateway -> identity storefront/inventory 2/TCP mtls",
            "identity storefront/order -> identity storefront/inventory 1/TCP mtls",
            "identity storefront/order -> identity storefront/inventory 2/TCP mtls",
        ]
    );
}

#[test]
fn a_change_closes_what_was_and_opens_what_is() {
    let old = edges_of("{to: {identity: inventory, ports: [{port: 1}, {port: 2}]}, from: [{identity: {name: order}}]}");
    let new = edges_of("{to: {identity: inventory, ports: [{port: 2}, {port: 3}]}, from: [{identity: {name: order}}]}");
    assert_eq!(words(&opened(&old, &new)), ["identity storefront/order -> identity storefront/inventory 3/TCP mtls"]);
    assert_eq!(words(&closed(&old, &new)), ["identity storefront/order -> identity storefront/inventory 1/TCP mtls"]);
    assert_eq!(opened(&old, &old), BTreeSet::new());
}

#[test]
fn asking_for_another_proof_closes_one_edge_and_opens_another() {
    let old = edges_of("{to: {identity: inventory, ports: [{port: 1}]}, from: [{identity: {name: order}}]}");
    let new = edges_of(
        "{to: {identity: inventory, ports: [{port: 1}]}, from: [{identity: {name: order}}], authentication: {jwt: {}}}",
    );
    assert_eq!(words(&opened(&old, &new)), ["identity storefront/order -> identity storefront/inventory 1/TCP jwt"]);
    assert_eq!(words(&closed(&old, &new)), ["identity storefront/order -> identity storefront/inventory 1/TCP mtls"]);
}
