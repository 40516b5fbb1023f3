//! What is delivered of token issuers.

use serde_json::{Value, json};

use super::*;
use crate::testing::{CLUSTER, ISSUERS, SHOP, installation, key};
use crate::world::{Change, IssuerFacts, IssuerKey};

/// Order may call payment with a token of either issuer, and with one that is introspected.
const POLICIES: &str = "
kind: AccessPolicy
metadata: {name: keys, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: order, namespace: storefront}}, {anywhere: {}}]
  authentication: {jwt: {signer: Issuer, issuer: login, scopes: [pay]}}
---
kind: AccessPolicy
metadata: {name: once, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8444}]}
  from: [{identity: {name: order, namespace: storefront}}]
  authentication: {mtls: {}, jwt: {signer: Issuer, issuer: sts, validation: Introspection, oneTime: true, maxLifetime: 1m}}
";

fn files(world: &World, name: &str) -> BTreeMap<String, String> {
    let identity = world.identity(&key(name)).unwrap();
    let judged: Vec<Arc<JudgedPolicy>> = world.judged_of(&key(name)).cloned().collect();
    let grants: Vec<&Grant> = judged.iter().flat_map(|judged| &judged.grants).collect();
    trust_data(world, identity, &judged, &grants)
}

fn access(world: &World, name: &str) -> Value {
    serde_json::from_str(&files(world, name)["access.json"]).unwrap()
}

fn of_issuers(files: &BTreeMap<String, String>) -> Vec<&str> {
    files.keys().map(String::as_str).filter(|name| name.starts_with("issuer.")).collect()
}

#[test]
fn a_callee_gets_the_keys_that_verify_its_callers_and_no_others() {
    let mut world = installation(&[SHOP, CLUSTER, ISSUERS, POLICIES]);
    let payment = files(&world, "settlement/payment");
    assert_eq!(of_issuers(&payment), ["issuer.login.jwks.json"], "what is introspected needs no key");
    assert_eq!(payment["issuer.login.jwks.json"], r#"{"keys":[]}"#, "nothing verifies until the keys are known");
    assert_eq!(payment["jwks.json"], r#"{"keys":[]}"#, "the caller signs nothing");
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]});
    let known = |domain: &str, jwks: Value| {
        let key = IssuerKey::external(domain, "login");
        let introspection_uri = Some("https://login.example/ask".to_owned());
        let facts = IssuerFacts { issuer: "https://login.example".to_owned(), jwks, introspection_uri, stale: None };
        Change::IssuerKeys(key, Some(Arc::new(facts)))
    };
    world.apply(known("storefront", json!({"keys": []})));
    world.apply(known("settlement", jwks.clone()));
    assert_eq!(
        files(&world, "settlement/payment")["issuer.login.jwks.json"],
        jwks.to_string(),
        "those of its own domain"
    );
    assert_eq!(of_issuers(&files(&world, "storefront/order")), ["issuer.login.pem"]);
    assert_eq!(files(&world, "storefront/order")["issuer.login.pem"], "the roots");
    assert_eq!(of_issuers(&files(&world, "storefront/gateway")), [""; 0]);
    assert_eq!(of_issuers(&files(&world, "tokens/sts")), [""; 0]);
    assert_eq!(
        access(&world, "storefront/order")["issuers"],
        json!({
            "https://sts.example": {"name": "tokens", "introspectionUri": "https://sts.example/introspect"},
            "https://login.example": {
                "name": "login", "introspectionUri": "https://login.example/ask", "roots": "issuer.login.pem",
            },
        })
    );
}

#[test]
fn a_callee_reads_what_a_token_must_be_like() {
    let world = installation(&[SHOP, CLUSTER, ISSUERS, POLICIES]);
    let payment = access(&world, "settlement/payment");
    assert_eq!(
        payment["issuers"],
        json!({
            "https://sts.example": {"name": "sts", "introspectionUri": "https://sts.example/introspect"},
            "https://login.example": {"name": "login", "keySet": "issuer.login.jwks.json"},
        }),
        "it does not talk to the other one"
    );
    assert_eq!(payment["keySets"], json!({}));
    let own = "spiffe://settlement.example/ns/settlement/sa/payment";
    let by_keys = json!({
        "signer": "Issuer", "issuer": "https://login.example", "keySet": "issuer.login.jwks.json", "validation": "Jwks",
        "scopes": ["pay"], "audiences": ["account", own],
    });
    let once = json!({
        "signer": "Issuer", "issuer": "https://sts.example", "validation": "Introspection", "oneTime": true,
        "audiences": [own], "maxLifetimeSeconds": 60,
    });
    for caller in payment["ports"][0]["callers"].as_array().unwrap() {
        assert_eq!(caller["proof"], json!({"mtls": false, "token": by_keys}));
    }
    assert_eq!(payment["ports"][1]["callers"][0]["proof"], json!({"mtls": true, "token": once}));
    let order = access(&world, "storefront/order");
    let tokens: Vec<&Value> =
        order["callees"].as_array().unwrap().iter().map(|callee| &callee["proof"]["token"]).collect();
    assert!(tokens.contains(&&once), "{order:#}");
    assert!(tokens.iter().all(|token| token.get("keySet").is_none()), "a caller verifies nothing");
}

#[test]
fn the_way_to_the_token_service_is_told_to_its_clients_without_a_policy() {
    let world = installation(&[SHOP, CLUSTER, ISSUERS]);
    let order = access(&world, "storefront/order");
    let callee = json!({
        "callee": {"kind": "Identity", "spiffeID": "spiffe://tokens/ns/tokens/sa/sts", "trustDomain": "tokens", "dnsNames": []},
        "ports": [{"port": 8443, "protocol": "TCP"}], "proof": {"mtls": false}, "rules": [],
    });
    assert!(order["callees"].as_array().unwrap().contains(&callee), "{order:#}");
    assert_eq!(order["bundles"], json!({"tokens": "bundle.tokens.pem"}));
    let sts = access(&world, "tokens/sts");
    assert_eq!(sts["ports"], json!([]), "it is told of its clients otherwise");
    let bundles = json!({"settlement.example": "bundle.settlement.example.pem", "storefront.example": "bundle.storefront.example.pem"});
    assert_eq!(sts["bundles"], bundles);
}
