//! What a service is told that it may trust.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::access::access_document;
use crate::api::SigningAlgorithm;
use crate::jwt::jwks_json;
use crate::jwt::testing::signing_key;
use crate::pki::bundle_pem;
use crate::pki::testing::{now, root};
use crate::testing::{SHOP, key, world};

/// Order may call payment with a token, and anyone the gateway.
const POLICIES: &str = r"
kind: AccessPolicy
metadata: {name: payment, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: order, namespace: storefront}}]
  authentication: {jwt: {}}
";

fn files(bundle: &str) -> BTreeMap<String, String> {
    let world = world(&[SHOP, POLICIES]);
    let payment = world.resolved(&key("settlement/payment")).unwrap().identity.clone().unwrap();
    let judged = world.judged(&key("settlement/payment")).unwrap().clone();
    let signer = "spiffe://storefront.example/ns/storefront/sa/order".parse().unwrap();
    let keys = vec![signing_key(SigningAlgorithm::ES256).public_jwk().clone()];
    BTreeMap::from([
        ("access.json".to_owned(), access_document(&world, &payment, &[judged]).to_json()),
        ("bundle.storefront.example.pem".to_owned(), bundle.to_owned()),
        ("callers.pem".to_owned(), String::new()),
        ("crl.pem".to_owned(), "a list".to_owned()),
        ("jwks.storefront.order.json".to_owned(), jwks_json(&[(signer, keys)])),
        ("notes".to_owned(), "of someone else".to_owned()),
    ])
}

fn inspect(files: &BTreeMap<String, String>, now: Timestamp) -> Option<TrustReport> {
    inspect_trust(files.iter().map(|(key, value)| (key.as_str(), value.as_str())), now)
}

#[test]
fn bundles_keys_and_edges_are_told() {
    let authority = root("storefront.example");
    let report = inspect(&files(&bundle_pem([authority.certificate()])), now()).unwrap();
    assert_eq!(report.refusals, []);
    let bundles: Vec<(&str, usize)> =
        report.bundles.iter().map(|bundle| (bundle.file.as_str(), bundle.authorities.len())).collect();
    assert_eq!(bundles, [("bundle.storefront.example.pem", 1), ("callers.pem", 0)]);
    assert_eq!(report.bundles[0].authorities[0].generation.as_deref(), Some(authority.id()));
    let key = &report.key_sets[0].keys[0];
    assert_eq!(key.spiffe_id.as_deref(), Some("spiffe://storefront.example/ns/storefront/sa/order"));
    let access = report.access.unwrap();
    assert_eq!(access.spiffe_id, "spiffe://settlement.example/ns/settlement/sa/payment");
    let edge = AccessEdge {
        direction: Direction::In,
        peer: "spiffe://storefront.example/ns/storefront/sa/order".to_owned(),
        ports: vec!["8443/TCP".to_owned()],
        proof: vec!["token"],
        policy: Some("settlement/payment".to_owned()),
    };
    assert_eq!(access.edges, [edge]);
}

#[test]
fn what_a_service_could_not_use_is_told() {
    let authority = root("storefront.example");
    let late = authority.not_after().checked_add(SignedDuration::from_secs(1)).unwrap();
    let report = inspect(&files(&bundle_pem([authority.certificate()])), late).unwrap();
    assert_eq!(report.refusals[0].reason, RefusalReason::AuthorityExpired);
    for file in ["access.json", "bundle.storefront.example.pem", "jwks.storefront.order.json"] {
        let mut torn = files("");
        torn.insert(file.to_owned(), "{".to_owned());
        let report = inspect(&torn, now()).unwrap();
        assert_eq!(report.refusals.len(), 1, "{file}");
        assert_eq!(report.refusals[0].reason, RefusalReason::Unreadable);
        assert!(report.refusals[0].message.starts_with(file), "{}", report.refusals[0].message);
    }
    let foreign = BTreeMap::from([("notes".to_owned(), "of someone else".to_owned())]);
    assert_eq!(inspect(&foreign, now()), None);
}
