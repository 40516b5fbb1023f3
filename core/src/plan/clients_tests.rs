//! Who gets credentials, when they are copied again, and when they go.

use std::sync::Arc;

use super::*;
use crate::issuers::{CredentialsFacts, credentials_for};
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::plan::{identity_plan, suspension_plan};
use crate::testing::{complaints, in_words, key};
use crate::world::{Change, OutputFacts};

const SHOP: &str = r"
kind: TrustDomain
metadata: {name: shop}
spec:
  namespaces: [shop]
  certificateAuthority: {selfSigned: {}}
  tokenIssuers:
  - name: idp
    issuer: https://idp.example
    endpoint: {cidrs: [192.0.2.7/32], ports: [{port: 443}]}
    clientAuthentication: {secretRef: {name: keycloak}}
  - name: idp-b
    issuer: https://b.example
    endpoint: {cidrs: [192.0.2.8/32], ports: [{port: 443}]}
    clientAuthentication: {secretRef: {name: b}}
---
{kind: ServiceIdentity, metadata: {name: order, namespace: shop}, spec: {tokenIssuers: [idp]}}
---
{kind: ServiceIdentity, metadata: {name: cart, namespace: shop}, spec: {tokenIssuers: [idp]}}
---
{kind: ServiceIdentity, metadata: {name: gateway, namespace: shop}, spec: {}}
";

/// A Secret of the platform team, with what each value is under its key.
fn source(entries: &[(&str, &str)]) -> SecretData {
    entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn told(operator: &mut Operator, secret: &str, data: &SecretData, version: &str) -> Vec<String> {
    let facts = CredentialsFacts::of(data, version).map(Arc::new);
    in_words(&operator.world.apply(Change::Credentials(secret.to_owned(), facts)))
}

fn plan(operator: &Operator, identity: &str) -> ClientsPlan {
    identity_plan(&operator.world, &key(identity), now()).unwrap().clients
}

/// Copies what is planned; says for each copy whether it puts something right.
fn copy(operator: &mut Operator, identity: &str, from: &SecretData) -> Vec<bool> {
    let whole = identity_plan(&operator.world, &key(identity), now()).unwrap();
    let mut copied = Vec::new();
    for step in whole.clients.steps {
        let ClientStep::Copy { client, version, replaces, drift } = step else { panic!("{step:?}") };
        let data = credentials_for(from, &key(identity)).unwrap();
        let mut secret = client_secret(&whole.identity, &whole.owner, &client, &version, data);
        let next = replaces.map_or(1, |(_, version)| version.parse::<u64>().unwrap() + 1);
        (secret.metadata.uid, secret.metadata.resource_version) = (Some("9".to_owned()), Some(next.to_string()));
        store(operator, &secret);
        copied.push(drift);
    }
    copied
}

fn store(operator: &mut Operator, secret: &Secret) {
    let name = NamespacedName::new("shop", secret.metadata.name.clone().unwrap());
    operator.apply(Change::Secret(name, Some(OutputFacts::from(secret))));
}

#[test]
fn credentials_come_to_those_who_list_the_issuer_and_are_copied_again_when_they_change() {
    let mut operator = Operator::at_rest(&[SHOP]);
    let missing = &plan(&operator, "shop/order").problems;
    assert_eq!((missing.len(), missing[0].reason), (1, Reason::SecretNotFound));
    assert_eq!(plan(&operator, "shop/gateway"), ClientsPlan::default());

    let mut data = source(&[("client-id", "shop"), ("client-secret", "s1")]);
    assert_eq!(told(&mut operator, "keycloak", &data, "5"), ["identity shop/cart", "identity shop/order"]);
    assert_eq!(told(&mut operator, "keycloak", &data, "6"), [""; 0], "another version of the same");
    assert_eq!(told(&mut operator, "another", &data, "7"), [""; 0]);
    assert_eq!(copy(&mut operator, "shop/order", &data), [false]);
    assert_eq!(plan(&operator, "shop/order"), ClientsPlan::default());

    data = source(&[("client-id", "shop"), ("client-secret", "s2")]);
    told(&mut operator, "keycloak", &data, "8");
    assert_eq!(copy(&mut operator, "shop/order", &data), [false]);
    assert_eq!(plan(&operator, "shop/order"), ClientsPlan::default());
}

#[test]
fn what_someone_else_changes_is_put_right_and_what_is_his_is_left_alone() {
    let mut operator = Operator::at_rest(&[SHOP]);
    let data = source(&[("client-id", "shop"), ("client-secret", "s1")]);
    told(&mut operator, "keycloak", &data, "5");
    copy(&mut operator, "shop/order", &data);
    let whole = identity_plan(&operator.world, &key("shop/order"), now()).unwrap();
    let client = whole.identity.clients[0].clone();
    let mut changed = client_secret(&whole.identity, &whole.owner, &client, "5", {
        source(&[("client-id", "shop"), ("client-secret", "s1"), ("more", "data")])
    });
    (changed.metadata.uid, changed.metadata.resource_version) = (Some("9".to_owned()), Some("20".to_owned()));
    store(&mut operator, &changed);
    assert_eq!(copy(&mut operator, "shop/order", &data), [true]);

    let mut theirs = changed.clone();
    theirs.metadata.owner_references = None;
    (theirs.metadata.uid, theirs.metadata.name) = (Some("10".to_owned()), Some("cart-idp-client".to_owned()));
    store(&mut operator, &theirs);
    let steps = plan(&operator, "shop/cart").steps;
    assert!(matches!(&steps[..], [ClientStep::Blocked(problem)] if problem.reason == Reason::NameTaken), "{steps:?}");
}

#[test]
fn credentials_go_when_the_issuer_is_not_listed_any_more_or_the_identity_is_suspended() {
    let mut operator = Operator::at_rest(&[SHOP]);
    let data = source(&[("client-id", "shop"), ("client-secret", "s1")]);
    told(&mut operator, "keycloak", &data, "5");
    copy(&mut operator, "shop/order", &data);
    operator.show("{kind: ServiceIdentity, metadata: {name: order, namespace: shop}, spec: {}}");
    let steps = plan(&operator, "shop/order").steps;
    let is_it = |leftover: &Leftover| leftover.key == key("shop/order-idp-client") && leftover.uid == "9";
    assert!(matches!(&steps[..], [ClientStep::Delete(leftover)] if is_it(leftover)), "{steps:?}");

    let suspended = "{kind: ServiceIdentity, metadata: {name: order, namespace: shop}, spec: {suspended: true, tokenIssuers: [idp]}}";
    operator.show(suspended);
    let leftovers = suspension_plan(&operator.world, &key("shop/order"), now()).unwrap().leftovers;
    assert!(leftovers.iter().any(is_it), "{leftovers:?}");
}

#[test]
fn one_secret_is_written_for_one_identity() {
    let mut operator = Operator::at_rest(&[SHOP]);
    operator.show("{kind: ServiceIdentity, metadata: {name: a, namespace: shop}, spec: {tokenIssuers: [idp-b]}}");
    operator.show("{kind: ServiceIdentity, metadata: {name: b, namespace: shop}, spec: {tokenIssuers: [idp], certificate: {secretName: b-idp-client}}}");
    operator.show("{kind: ServiceIdentity, metadata: {name: c, namespace: shop}, spec: {certificate: {secretName: a-idp-b-client}}}");
    assert_eq!(complaints(&operator.world, "shop/a"), [""; 0]);
    for (name, word) in [("shop/b", "choose another secretName"), ("shop/c", "Secret shop/a-idp-b-client")] {
        let complaints = complaints(&operator.world, name);
        assert!(
            complaints.iter().any(|said| said.contains("SecretNameTaken") && said.contains(word)),
            "{complaints:?}"
        );
    }
    assert_eq!(plan(&operator, "shop/b"), ClientsPlan::default());
}
