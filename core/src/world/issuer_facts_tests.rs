//! Whom the keys of an issuer touch, and which keys are believed.

use serde_json::json;

use super::*;
use crate::api::Reason;
use crate::testing::{apply, in_words, world};
use crate::world::Change;

/// Two domains name the same issuer. Gateway is called with its tokens, cart lists it, order does neither.
const ISSUERS: &str = r"
kind: TrustDomain
metadata: {name: shop, uid: '1', generation: 1}
spec:
  namespaces: [shop]
  certificateAuthority: {selfSigned: {}}
  inbound: [{anywhere: {}}]
  tokenIssuers:
  - {name: idp, issuer: 'https://idp.example', endpoint: {cidrs: [192.0.2.7/32], ports: [{port: 443}]}}
---
kind: TrustDomain
metadata: {name: other, uid: '2', generation: 1}
spec:
  namespaces: [other]
  certificateAuthority: {selfSigned: {}}
  tokenIssuers:
  - {name: idp, issuer: 'https://idp.example', endpoint: {cidrs: [192.0.2.7/32], ports: [{port: 443}]}}
---
{kind: ServiceIdentity, metadata: {name: gateway, namespace: shop}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: cart, namespace: shop}, spec: {tokenIssuers: [idp]}}
---
{kind: ServiceIdentity, metadata: {name: order, namespace: shop}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: stranger, namespace: other}, spec: {tokenIssuers: [idp]}}
---
kind: AccessPolicy
metadata: {name: gateway, namespace: shop}
spec:
  to: {identity: gateway, ports: [{port: 8443}]}
  from: [{anywhere: {}}]
  authentication: {jwt: {signer: Issuer}}
";

fn idp() -> IssuerKey {
    IssuerKey::external("shop", "idp")
}

fn facts(issuer: &str, kid: &str) -> Arc<IssuerFacts> {
    let jwks = json!({"keys": [{"kid": kid}]});
    Arc::new(IssuerFacts { issuer: issuer.to_owned(), jwks, introspection_uri: None, stale: None })
}

fn failure() -> IssuerFailure {
    let since = "2026-03-01T12:00:00Z".parse().unwrap();
    IssuerFailure { reason: Reason::IssuerUnreachable, since, why: "no answer".to_owned() }
}

fn fetched(world: &mut World, facts: Arc<IssuerFacts>) -> Vec<String> {
    in_words(&world.apply(Change::IssuerKeys(idp(), Some(facts))))
}

fn recorded(world: &mut World, facts: Arc<IssuerFacts>) -> Vec<String> {
    in_words(&world.apply(Change::RecordedIssuers("shop".to_owned(), vec![("idp".to_owned(), facts)])))
}

fn kid(world: &World) -> Option<&str> {
    world.issuer(&idp()).and_then(|facts| facts.jwks["keys"][0]["kid"].as_str())
}

const TOUCHED: [&str; 3] = ["domain shop", "identity shop/cart", "identity shop/gateway"];

#[test]
fn new_keys_touch_who_lists_the_issuer_or_is_called_with_its_tokens_and_nobody_else() {
    let mut world = world(&[ISSUERS]);
    let url = "https://idp.example";
    assert_eq!(fetched(&mut world, facts(url, "a")), TOUCHED);
    assert_eq!(fetched(&mut world, facts(url, "a")), [""; 0], "the same says nothing new");
    assert_eq!(fetched(&mut world, facts(url, "b")), TOUCHED);
    let stale = IssuerFacts { stale: Some(failure()), ..facts(url, "b").as_ref().clone() };
    assert_eq!(fetched(&mut world, Arc::new(stale)), ["domain shop"], "what is delivered stays");
    assert_eq!(in_words(&world.apply(Change::IssuerKeys(idp(), None))), TOUCHED);
}

#[test]
fn what_is_on_record_counts_until_something_was_fetched() {
    let mut world = world(&[ISSUERS]);
    let url = "https://idp.example";
    assert_eq!(recorded(&mut world, facts(url, "old")), TOUCHED);
    assert_eq!(recorded(&mut world, facts(url, "of the leader")), TOUCHED);
    fetched(&mut world, facts(url, "new"));
    assert_eq!(recorded(&mut world, facts(url, "forged")), [""; 0]);
    assert_eq!(kid(&world), Some("new"));
}

#[test]
fn a_record_that_comes_before_its_domain_counts_if_the_domain_names_that_issuer() {
    for (url, expected) in [("https://idp.example", Some("a")), ("https://idp.example/", None)] {
        let mut world = World::default();
        recorded(&mut world, facts(url, "a"));
        apply(&mut world, ISSUERS);
        assert_eq!(kid(&world), expected, "{url}");
    }
}

#[test]
fn nothing_is_known_of_an_issuer_that_is_not_named_by_this_url() {
    let mut world = world(&[ISSUERS]);
    assert_eq!(fetched(&mut world, facts("https://evil.example", "a")), [""; 0]);
    assert_eq!(recorded(&mut world, facts("https://evil.example", "a")), [""; 0]);
    fetched(&mut world, facts("https://idp.example", "a"));
    let renamed =
        ISSUERS.replacen("https://idp.example", "https://new.example", 1).replacen("generation: 1", "generation: 2", 1);
    let touched = in_words(&apply(&mut world, &renamed));
    assert!(TOUCHED.iter().all(|unit| touched.iter().any(|touched| touched == unit)), "{touched:?}");
    assert_eq!(kid(&world), None);
    assert_eq!(fetched(&mut world, facts("https://idp.example", "late")), [""; 0], "it was on its way");
}

#[test]
fn a_failure_is_told_once_and_over_with_the_keys() {
    let mut world = world(&[ISSUERS]);
    let unknown = |world: &mut World| in_words(&world.apply(Change::IssuerUnknown(idp(), failure())));
    assert_eq!(unknown(&mut world), ["domain shop"]);
    assert_eq!(unknown(&mut world), [""; 0]);
    assert_eq!(world.issuer_failure(&idp()), Some(&failure()));
    let changed =
        ISSUERS.replacen("inbound: [{anywhere: {}}]", "inbound: []", 1).replacen("generation: 1", "generation: 2", 1);
    apply(&mut world, &changed);
    assert_eq!(world.issuer_failure(&idp()), Some(&failure()), "nothing else than the issuer has to do with it");
    fetched(&mut world, facts("https://idp.example", "a"));
    assert_eq!(world.issuer_failure(&idp()), None);
    assert_eq!(unknown(&mut world), [""; 0], "the last good keys stand");
}
