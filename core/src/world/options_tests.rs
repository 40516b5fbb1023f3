//! What of an identity's choices it gets, and what it is told of the rest.

use super::*;
use crate::testing::{CLUSTER, SHOP, apply, complaints, identity, key, world};

/// Storefront may have a name of its own; order has a Service.
const NAMES: &str = r"
kind: TrustDomain
metadata: {name: storefront}
spec:
  trustDomain: storefront.example
  namespaces: [storefront]
  certificateAuthority: {selfSigned: {}}
  certificates: {allowedNames: [{name: shop.example.com, namespaces: [storefront]}]}
---
{kind: Service, metadata: {name: order, namespace: storefront}, spec: {selector: {app.kubernetes.io/name: order}, ports: [{port: 8443}]}}
";

fn given(spec: &str) -> World {
    let order = format!("{{kind: ServiceIdentity, metadata: {{name: order, namespace: storefront}}, spec: {spec}}}");
    world(&[SHOP, CLUSTER, NAMES, &order])
}

fn options_of(world: &World) -> &CertificateOptions {
    &identity(world, "storefront/order").options
}

#[test]
fn without_choices_both_usages_and_the_name_of_the_identity() {
    let world = given("{}");
    let none = CertificateOptions { usages: Usages::BOTH, common_name: None, template: None, keystores: None };
    assert_eq!(options_of(&world), &none);
    assert_eq!(complaints(&world, "storefront/order"), [""; 0]);
}

#[test]
fn a_common_name_is_a_name_that_is_the_identitys_own() {
    let own = [
        ("order", None),
        ("order.storefront.svc", Some("order.storefront.svc")),
        ("Order.Storefront.svc.cluster.local", Some("order.storefront.svc.cluster.local")),
        ("shop.example.com", Some("shop.example.com")),
    ];
    for (name, expected) in own {
        let world = given(&format!("{{dnsNames: [Shop.example.com], certificate: {{commonName: {name}}}}}"));
        assert_eq!(options_of(&world).common_name.as_deref(), expected, "{name}");
        assert_eq!(complaints(&world, "storefront/order"), [""; 0], "{name}");
    }
    let long = format!("{}.storefront.svc", "x".repeat(64));
    for name in
        ["payment", "payment.settlement.svc", "inventory.storefront.svc", "svc.example.com", "storefront", &long]
    {
        let world = given(&format!("{{certificate: {{commonName: {name}}}}}"));
        assert_eq!(options_of(&world).common_name, None, "{name}");
        let told = complaints(&world, "storefront/order");
        let expected = format!("Accepted NameNotAllowed: the common name {name} is refused, and order is used instead");
        assert!(told[0].starts_with(&expected), "{told:?}");
    }
}

#[test]
fn a_common_name_goes_with_the_name_that_it_was() {
    let mut world = given("{certificate: {commonName: order.storefront.svc}}");
    assert!(options_of(&world).common_name.is_some());
    crate::testing::forget(&mut world, "Service", "storefront/order");
    assert_eq!(options_of(&world).common_name, None);
    let refused = "{kind: ServiceIdentity, metadata: {name: order, namespace: storefront}, spec: {dnsNames: [theirs.example.com], certificate: {commonName: theirs.example.com}}}";
    apply(&mut world, refused);
    assert_eq!(options_of(&world).common_name, None, "a name that the domain does not allow");
}

#[test]
fn what_was_stored_under_a_looser_schema_is_left_out_and_told() {
    let world = given(
        "{certificate: {usages: [], secretTemplate: {labels: {team: a, 'x y': z, app.kubernetes.io/managed-by: me}, annotations: {ringfence.dev/content-hash: '0'}}}}",
    );
    let options = options_of(&world);
    assert_eq!(options.usages, Usages::BOTH);
    let template = options.template.as_ref().unwrap();
    assert_eq!(template.labels.keys().collect::<Vec<_>>(), ["team"]);
    assert!(template.annotations.is_empty());
    let told = complaints(&world, "storefront/order");
    let keys =
        ["usages must not be empty", "app.kubernetes.io/managed-by is left", "x y is left", "content-hash is left"];
    assert_eq!(told.len(), keys.len(), "{told:?}");
    for key in keys {
        assert!(told.iter().any(|told| told.contains(key)), "{key}: {told:?}");
    }
}

#[test]
fn only_those_who_named_a_password_hear_of_it() {
    let keystores = "{certificate: {pkcs12: {passwordSecretRef: {name: store, key: password}}}}";
    let mut world = given(keystores);
    let password = options_of(&world).keystores.as_deref().unwrap().clone();
    assert_eq!((password.secret.clone(), &*password.key), (key("storefront/store"), "password"));
    let change = |facts| crate::world::Change::Password(password.clone(), facts);
    let found = |text: &str| Some(PasswordFacts::Found(KeystorePassword::parse(Some(text.as_bytes()))));
    let units = world.apply(change(found("changeit")));
    assert_eq!(crate::testing::in_words(&units), ["identity storefront/order"]);
    assert!(world.apply(change(found("changeit"))).is_empty(), "the Secret changed in other ways");
    assert_eq!(world.apply(change(Some(PasswordFacts::Missing))).len(), 1);
    assert!(!format!("{world:?}").contains("changeit"));
    assert_eq!(world.apply(change(None)).len(), 1);
    assert_eq!(world.password(&password), None);
}
