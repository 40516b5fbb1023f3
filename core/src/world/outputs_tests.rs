//! What is known of the objects that we write: from watches, and from the answers to writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::api::SigningAlgorithm;
use crate::jwt::signing_key_secret_data;
use crate::jwt::testing::signing_key;
use crate::pki::testing::{generations, root};
use crate::testing::{SHOP, forget, in_words, key, world};
use crate::world::{AuthorityFacts, Change, Unit, World};

/// Order calls payment.
fn shop() -> World {
    let policy = "
kind: AccessPolicy
metadata: {name: pay, namespace: settlement}
spec: {to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}
";
    world(&[SHOP, policy])
}

/// An output as a watch, or the answer to a write, tells of it.
fn output<T>(uid: &str, version: &str, owner: Option<&str>, content: T) -> Option<OutputFacts<T>> {
    Some(OutputFacts {
        uid: uid.to_owned(),
        resource_version: version.to_owned(),
        owner_uid: owner.map(str::to_owned),
        marked: owner.is_some(),
        template: None,
        keystore_record: None,
        restored: false,
        recorded_hash: None,
        content,
    })
}

/// An output of order in each of the three kinds.
fn three(uid: &str, version: &str, content: &str) -> [Change; 3] {
    let owner = Some("storefront/order");
    let hash = || -> ContentHash { content.to_owned() };
    [
        Change::Secret(key("storefront/order-tls"), output(uid, version, owner, SecretFacts::Other)),
        Change::ConfigMap(key("storefront/order-trust"), output(uid, version, owner, hash())),
        Change::NetworkPolicy(key("storefront/ringfence-order"), output(uid, version, owner, hash())),
    ]
}

/// A watch tells of them.
fn tell(world: &mut World, uid: &str, version: &str, content: &str) -> [BTreeSet<Unit>; 3] {
    three(uid, version, content).map(|change| world.apply(change))
}

/// They were written, and this is the answer.
fn answer(world: &mut World, uid: &str, version: &str, content: &str) -> [BTreeSet<Unit>; 3] {
    three(uid, version, content).map(|change| world.apply_answer(change))
}

fn outputs(world: &World) -> [Option<(&str, &str)>; 3] {
    let (secret, map) = (world.secret(&key("storefront/order-tls")), world.config_map(&key("storefront/order-trust")));
    let policy = world.network_policy(&key("storefront/ringfence-order"));
    [
        secret.map(|found| (&*found.uid, &*found.resource_version)),
        map.map(|found| (&*found.uid, &*found.resource_version)),
        policy.map(|found| (&*found.uid, &*found.resource_version)),
    ]
}

fn forget_outputs(world: &mut World) {
    forget(world, "Secret", "storefront/order-tls");
    forget(world, "ConfigMap", "storefront/order-trust");
    forget(world, "NetworkPolicy", "storefront/ringfence-order");
}

#[test]
fn an_output_is_known_by_its_newest_version_and_not_after_it_is_gone() {
    let mut world = shop();
    assert!(
        tell(&mut world, "1", "9", "a")
            .iter()
            .all(|touched| touched.contains(&Unit::Identity(key("storefront/order"))))
    );
    assert!(tell(&mut world, "1", "10", "a").iter().all(BTreeSet::is_empty), "a version with the same in it");
    assert!(tell(&mut world, "1", "9", "b").iter().all(BTreeSet::is_empty), "9 is older than 10");
    assert_eq!(outputs(&world), [Some(("1", "10")); 3]);
    forget_outputs(&mut world);
    assert!(answer(&mut world, "1", "11", "c").iter().all(BTreeSet::is_empty), "the answer to a write comes late");
    assert_eq!(outputs(&world), [None; 3]);
    answer(&mut world, "2", "3", "a");
    assert_eq!(outputs(&world), [Some(("2", "3")); 3], "another object of that name");
}

#[test]
fn one_that_took_the_place_of_another_is_there_although_the_end_of_the_other_is_told_later() {
    let mut world = shop();
    tell(&mut world, "1", "1", "a");
    answer(&mut world, "2", "3", "b");
    forget_outputs(&mut world);
    tell(&mut world, "2", "3", "b");
    assert_eq!(outputs(&world), [Some(("2", "3")); 3]);
    answer(&mut world, "2", "4", "c");
    assert_eq!(outputs(&world), [Some(("2", "4")); 3], "what is written to it is believed again");
}

#[test]
fn an_output_whose_owner_was_taken_off_is_still_his() {
    let mut world = shop();
    let name = key("storefront/order-trust");
    let tell = |world: &mut World, uid: &str, version: &str, owner: Option<&str>| {
        world.apply(Change::ConfigMap(name.clone(), output(uid, version, owner, "a".to_owned())))
    };
    tell(&mut world, "1", "1", Some("storefront/order"));
    assert!(!tell(&mut world, "1", "2", None).is_empty(), "it is not as it was written");
    let found = world.config_map(&name).unwrap();
    assert_eq!((found.owner_uid.as_deref(), found.marked), (Some("storefront/order"), false));
    tell(&mut world, "2", "3", None);
    assert_eq!(world.config_map(&name).unwrap().owner_uid, None, "another object is nobody's");
}

fn authority(uid: &str, version: &str) -> Change {
    let generations = Ok(Arc::new(generations([root("storefront.example")])));
    Change::Authority(
        "storefront".to_owned(),
        Some(AuthorityFacts { uid: uid.to_owned(), resource_version: version.to_owned(), generations }),
    )
}

#[test]
fn an_authority_is_known_by_its_newest_version_and_not_after_it_is_gone() {
    let mut world = shop();
    let touched = in_words(&world.apply(authority("1", "9")));
    let ours = ["identity storefront/gateway", "identity storefront/inventory", "identity storefront/order"];
    assert_eq!(touched, ["domain storefront", "identity settlement/payment", ours[0], ours[1], ours[2]]);
    assert!(world.apply(authority("1", "9")).is_empty());
    world.apply(authority("1", "10"));
    assert!(world.apply(authority("1", "9")).is_empty());
    assert_eq!(world.authority("storefront").unwrap().resource_version, "10");
    world.apply(Change::Authority("storefront".to_owned(), None));
    assert!(world.apply_answer(authority("1", "11")).is_empty() && world.authority("storefront").is_none());
    world.apply_answer(authority("2", "12"));
    assert!(world.authority("storefront").is_some());
}

#[test]
fn a_new_key_touches_those_who_verify_with_it() {
    let facts = |algorithm| {
        let data = signing_key_secret_data(&signing_key(algorithm), None);
        SecretFacts::SigningKey(SigningKeyFacts::of_secret(&data).map(Box::new))
    };
    let mut world = shop();
    let mut tell = |version: &str, content| {
        let new = output("1", version, Some("storefront/order"), content);
        in_words(&world.apply(Change::Secret(key("storefront/order-signing-key"), new)))
    };
    let both = ["identity settlement/payment", "identity storefront/order"];
    assert_eq!(tell("1", facts(SigningAlgorithm::ES256)), both);
    assert_eq!(tell("2", facts(SigningAlgorithm::ES256)), both, "another key");
    assert_eq!(tell("3", SecretFacts::Other), [both[1]], "verifiers keep what they have until there is another");
}
