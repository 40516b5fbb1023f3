//! Who holds what only one may have.

use proptest::prelude::*;

use super::*;
use crate::testing::{SHOP, apply, complaints, forget, identity, key, world};
use crate::world::World;

fn rank(sequence: u64, created: i64, uid: &str) -> Rank {
    Rank { sequence, created, uid: uid.to_owned() }
}

fn secret(name: &str) -> Claim {
    Claim::Secret(key(name))
}

fn claimant(name: &str) -> NamespacedName {
    NamespacedName::new("shop", name)
}

/// Claimants with what they claim, and when they came.
fn claimants() -> impl Strategy<Value = Vec<(NamespacedName, BTreeSet<Claim>, Rank)>> {
    let one = (prop::collection::btree_set(0..4u8, 0..4), 0..3u64, 0..3i64);
    prop::collection::vec(one, 1..7).prop_map(|all| {
        let all = all.into_iter().enumerate().map(|(number, (claims, sequence, created))| {
            let claims = claims.into_iter().map(|claim| Claim::Audience(claim.to_string())).collect();
            (claimant(&number.to_string()), claims, rank(sequence, created, &format!("uid-{}", 9 - number)))
        });
        all.collect()
    })
}

proptest! {
    #[test]
    fn in_whatever_order_claims_are_made_the_first_rank_holds(all in claimants().prop_shuffle(), gone: prop::sample::Index) {
        let mut claims = Claims::default();
        for (who, wants, rank) in &all {
            let before: BTreeSet<_> = wants.iter().flat_map(|claim| claims.claimants(claim)).cloned().collect();
            prop_assert_eq!(claims.replace(who, wants.clone(), rank), before, "those who want the same are affected");
        }
        let (leaver, let_go, _) = gone.get(&all);
        claims.replace(leaver, BTreeSet::new(), &rank(0, 0, ""));
        for (who, wants, own) in all.iter().filter(|(who, ..)| who != leaver) {
            for claim in wants {
                let earlier = |(other, wants, rank): &&(NamespacedName, BTreeSet<Claim>, Rank)| {
                    other != leaver && wants.contains(claim) && rank < own
                };
                let earlier: BTreeSet<_> = all.iter().filter(earlier).map(|(other, ..)| other).collect();
                prop_assert_eq!(claims.holders_before(claim, who).collect::<BTreeSet<_>>(), earlier);
            }
        }
        for claim in let_go {
            prop_assert!(claims.claimants(claim).all(|other| other != leaver), "what is let go is let go of");
        }
    }
}

#[test]
fn a_claim_that_stays_keeps_its_place_when_others_are_added_or_dropped() {
    let mut claims = Claims::default();
    let (old, new) = (claimant("old"), claimant("new"));
    claims.replace(&old, BTreeSet::from([secret("shop/a"), secret("shop/b")]), &rank(4, 0, "1"));
    claims.replace(&new, BTreeSet::from([secret("shop/a"), secret("shop/b"), secret("shop/c")]), &rank(5, 0, "2"));
    let affected = claims.replace(&old, BTreeSet::from([secret("shop/a"), secret("shop/c")]), &rank(6, 0, "1"));
    assert_eq!(affected, BTreeSet::from([new.clone()]));
    assert_eq!(claims.holder_before(&secret("shop/a"), &new), Some(&old), "still the first");
    assert_eq!(claims.holder_before(&secret("shop/b"), &new), None, "nobody else wants it any more");
    assert_eq!(claims.holder_before(&secret("shop/c"), &old), Some(&new), "what is claimed later ranks later");
}

#[test]
fn names_are_found_by_what_they_look_like() {
    let mut claims = Claims::default();
    let names = |names: &[&str]| names.iter().map(|name| Claim::Name((*name).to_owned())).collect();
    claims.replace(&claimant("a"), names(&["shop.example.com", "192.0.2.1"]), &rank(0, 0, "1"));
    claims.replace(&claimant("b"), names(&["shop.example.org"]), &rank(0, 0, "2"));
    claims.replace(&claimant("c"), BTreeSet::from([Claim::Audience("shop.example.com".to_owned())]), &rank(0, 0, "3"));
    assert_eq!(claims.claimants_of_names(|name| name.ends_with(".com")), BTreeSet::from([claimant("a")]));
}

/// Two identities that want the service account `shared`.
fn rivals(one: &str, two: &str) -> [String; 2] {
    [("one", one), ("two", two)].map(|(name, rest)| {
        format!(
            "
kind: ServiceIdentity
metadata: {{name: {name}, namespace: storefront, generation: 2, {}}}
spec: {{serviceAccountName: shared}}
{}",
            rest.split('|').next().unwrap(),
            rest.split('|').nth(1).unwrap_or_default(),
        )
    })
}

fn status(accepted: &str, generation: i64) -> String {
    format!(
        "status: {{observedGeneration: {generation}, conditions: [{{type: Accepted, status: {accepted:?}, reason: R, message: m, lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}"
    )
}

fn holder(world: &World) -> String {
    let names = ["one", "two"].map(|name| NamespacedName::new("storefront", name));
    let holders: Vec<_> = names.iter().filter(|name| world.identity(name).is_some()).map(|key| &*key.name).collect();
    assert_eq!(holders.len(), 1, "exactly one has it: {holders:?}");
    holders[0].to_owned()
}

#[test]
fn at_the_start_what_was_said_before_comes_first_and_then_age() {
    let (older, newer) = ("creationTimestamp: '2026-01-01T00:00:00Z'", "creationTimestamp: '2026-01-02T00:00:00Z'");
    let (held, edited, refused) = (status("True", 2), status("True", 1), status("False", 2));
    let stories: [(&str, String, String); 6] = [
        ("the older one, if nobody was looked at yet", newer.to_owned(), older.to_owned()),
        (
            "the one with the smaller UID, if both are equally old",
            format!("{older}, uid: b"),
            format!("{older}, uid: a"),
        ),
        ("the one that was accepted, however young", older.to_owned(), format!("{newer}|{held}")),
        (
            "one that was accepted over an older one that was refused",
            format!("{older}|{refused}"),
            format!("{newer}|{held}"),
        ),
        (
            "one that is accepted as it is over an older one that was changed since",
            format!("{older}|{edited}"),
            format!("{newer}|{held}"),
        ),
        (
            "one that was refused over an older one that nobody looked at",
            older.to_owned(),
            format!("{newer}|{refused}"),
        ),
    ];
    for (story, loser, winner) in stories {
        let [loser, winner] = rivals(&loser, &winner);
        for objects in [[SHOP, &loser, &winner], [SHOP, &winner, &loser], [&winner, &loser, SHOP]] {
            assert_eq!(holder(&world(&objects)), "two", "{story}");
        }
    }
}

#[test]
fn once_everything_is_listed_nobody_takes_what_another_holds() {
    let [young, old] = rivals("creationTimestamp: '2026-01-02T00:00:00Z'", "creationTimestamp: '2026-01-01T00:00:00Z'");
    let mut world = world(&[SHOP, &young]);
    apply(&mut world, &old);
    assert_eq!(holder(&world), "one");
    assert_eq!(
        complaints(&world, "storefront/two"),
        [
            "Accepted ServiceAccountTaken: service account storefront/shared belongs to ServiceIdentity storefront/one, which claimed it first: choose another, or change that one"
        ]
    );
    apply(&mut world, &young.replace("shared}", "shared, signingKey: {}}"));
    assert_eq!(holder(&world), "one", "an edit is no new claim");
}

#[test]
fn what_is_let_go_of_falls_to_the_next() {
    let [one, two] = rivals("finalizers: []", "finalizers: []");
    let mut world = world(&[SHOP, &one]);
    apply(&mut world, &two);
    apply(&mut world, &one.replace("generation: 2", "generation: 2, deletionTimestamp: '2026-01-03T00:00:00Z'"));
    assert!(world.identity(&key("storefront/one")).is_none() && world.identity(&key("storefront/two")).is_none());
    let touched = forget(&mut world, "ServiceIdentity", "storefront/one");
    assert!(touched.contains(&crate::world::Unit::Identity(key("storefront/two"))));
    assert_eq!(holder(&world), "two", "only when the other is really gone");
    assert_eq!(complaints(&world, "storefront/two"), [""; 0]);
}

#[test]
fn a_secret_and_a_service_have_one_user_each_and_may_change_hands() {
    let mut world = world(&[SHOP, "
{kind: Service, metadata: {name: web, namespace: storefront}, spec: {selector: {app.kubernetes.io/name: order}}}
---
{kind: Pod, metadata: {name: order-1, namespace: storefront, labels: {app.kubernetes.io/name: order}}, spec: {serviceAccountName: order, containers: [{name: main}]}}
"]);
    let order = "{kind: ServiceIdentity, metadata: {name: order, namespace: storefront}, spec: {signingKey: {}, services: [web]}}";
    let thief = "{kind: ServiceIdentity, metadata: {name: thief, namespace: storefront}, spec: {certificate: {secretName: order-signing-key}}}";
    apply(&mut world, order);
    apply(&mut world, thief);
    assert_eq!(
        complaints(&world, "storefront/thief"),
        [
            "Accepted SecretNameTaken: Secret storefront/order-signing-key belongs to ServiceIdentity storefront/order, which claimed it first: choose another, or change that one"
        ]
    );
    let borrower =
        "{kind: ServiceIdentity, metadata: {name: borrower, namespace: storefront}, spec: {services: [web]}}";
    apply(&mut world, borrower);
    assert_eq!(
        complaints(&world, "storefront/borrower"),
        [
            "Accepted ServiceTaken: Service web belongs to ServiceIdentity storefront/order, which claimed it first: its names are left out"
        ]
    );
    assert!(identity(&world, "storefront/borrower").dns_names.is_empty());
    apply(
        &mut world,
        &order.replace("signingKey: {}, services: [web]", "signingKey: {secretName: mine}, services: []"),
    );
    assert_eq!(complaints(&world, "storefront/thief"), [""; 0], "order writes to another Secret now");
    assert_eq!(
        complaints(&world, "storefront/borrower"),
        [
            "ResolvedRefs ServiceMismatch: Service storefront/web can't lend its names: it selects pod order-1, which is not of this identity"
        ],
        "it is free, but not of these pods"
    );
}
