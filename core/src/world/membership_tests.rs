//! Which namespace is in which domain, and who holds a trust-domain name.

use crate::pki::testing::now;
use crate::plan::{Outcome, domain_status};
use crate::testing::{apply, complaints, forget, in_words, key, world};
use crate::world::{Change, Settings, World};

/// A domain that claims namespace `shop` and the trust-domain name `shop.example`; `rest` goes into its metadata and, after
/// a bar, beside it.
fn domain(name: &str, rest: &str) -> String {
    let (metadata, beside) = rest.split_once('|').unwrap_or((rest, ""));
    format!(
        "
kind: TrustDomain
metadata: {{name: {name}, {metadata}}}
spec: {{trustDomain: shop.example, namespaces: [shop], certificateAuthority: {{selfSigned: {{}}}}}}
{beside}"
    )
}

fn holders(world: &World) -> [Option<String>; 2] {
    let of_namespace = world.domain_of("shop").and_then(|domain| domain.metadata.name.clone());
    [of_namespace, world.holder_of_name("shop.example").map(str::to_owned)]
}

fn both(name: &str) -> [Option<String>; 2] {
    [Some(name.to_owned()), Some(name.to_owned())]
}

/// What the status of a domain says about what it was refused.
fn refusals(world: &World, name: &str) -> Vec<String> {
    let status = domain_status(world, name, &Outcome::default(), now()).unwrap();
    let accepted = status.conditions.into_iter().find(|condition| condition.type_ == "Accepted").unwrap();
    if accepted.status == "True" { Vec::new() } else { accepted.message.split("; ").map(str::to_owned).collect() }
}

#[test]
fn at_the_start_who_held_it_before_holds_it_and_else_the_oldest() {
    let (older, newer) = ("creationTimestamp: '2026-01-01T00:00:00Z'", "creationTimestamp: '2026-01-02T00:00:00Z'");
    let held = format!("{newer}|status: {{trustDomain: shop.example, namespaces: [shop]}}");
    let stories = [
        ("the older", domain("a", newer), domain("b", older)),
        ("the first by name, if both are equally old", domain("c", older), domain("b", older)),
        ("the one that held it, however young", domain("a", older), domain("b", &held)),
    ];
    for (story, loser, winner) in stories {
        for objects in [[loser.as_str(), winner.as_str()], [&winner, &loser]] {
            assert_eq!(holders(&world(&objects)), both("b"), "{story}");
        }
    }
}

#[test]
fn the_first_claim_stays_and_the_other_hears_of_it() {
    let mut world = world(&[&domain("second", "creationTimestamp: '2026-01-02T00:00:00Z'")]);
    let touched = apply(&mut world, &domain("first", "creationTimestamp: '2026-01-01T00:00:00Z'"));
    assert_eq!(holders(&world), both("second"), "an older one that comes later takes nothing");
    assert!(in_words(&touched).contains(&"domain first".to_owned()));
    assert_eq!(
        refusals(&world, "first"),
        [
            "TrustDomain second holds the trust-domain name shop.example: set spec.trustDomain of a new object to another name",
            "namespace shop belongs to TrustDomain second, which claimed it first: take it out of one of them",
        ]
    );
    assert_eq!(refusals(&world, "second"), [""; 0]);

    let touched = forget(&mut world, "TrustDomain", "second");
    assert_eq!(holders(&world), both("first"), "it falls to the one that waits");
    assert_eq!(in_words(&touched), ["domain first", "domain second", "member shop", "fence shop"]);
    assert_eq!(refusals(&world, "first"), [""; 0]);
}

#[test]
fn a_domain_without_its_name_gives_nobody_an_identity() {
    let mut world = world(&[&domain("first", ""), &domain("second", "").replace("[shop]", "[annex]")]);
    apply(
        &mut world,
        "
kind: ServiceIdentity
metadata: {name: order, namespace: annex}
spec: {}
",
    );
    assert_eq!(
        complaints(&world, "annex/order"),
        [
            "Accepted NotInTrustDomain: TrustDomain second holds no trust-domain name, because another one does: see its status"
        ]
    );
    let touched = forget(&mut world, "TrustDomain", "first");
    assert!(in_words(&touched).contains(&"identity annex/order".to_owned()));
    assert_eq!(
        world.identity(&key("annex/order")).unwrap().spiffe_id.to_string(),
        "spiffe://shop.example/ns/annex/sa/order"
    );
}

#[test]
fn the_cluster_itself_and_the_operator_are_never_inside() {
    let settings = Settings { operator_namespace: "guard".to_owned(), ..Settings::default() };
    let mut world = World::new(settings);
    apply(
        &mut world,
        "
kind: TrustDomain
metadata: {name: all}
spec:
  namespaces: [kube-system, kube-public, kube-node-lease, guard, ringfence-system]
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: Exists}]}
  certificateAuthority: {selfSigned: {}}
",
    );
    assert_eq!(world.namespaces_of("all").into_iter().collect::<Vec<_>>(), ["ringfence-system"]);
    assert_eq!(
        refusals(&world, "all"),
        [
            "namespace kube-system can't be a member: the cluster itself depends on it",
            "namespace kube-public can't be a member: the cluster itself depends on it",
            "namespace kube-node-lease can't be a member: the cluster itself depends on it",
            "namespace guard can't be a member: the cluster itself depends on it",
        ]
    );
}

#[test]
fn only_guarded_labels_choose_a_domain() {
    let stories = [
        ("{matchLabels: {ringfence.dev/domain: shop}}", &["labelled"][..]),
        ("{matchExpressions: [{key: ringfence.dev/domain, operator: In, values: [shop, depot]}]}", &["labelled"]),
        ("{matchLabels: {kubernetes.io/metadata.name: plain}}", &["plain"]),
        ("{matchExpressions: [{key: ringfence.dev/domain, operator: DoesNotExist}]}", &["plain", "pretender"]),
        ("{}", &[]),
        ("{matchLabels: {team: shop}}", &[]),
        ("{matchLabels: {ringfence.dev/domain: shop, team: shop}}", &[]),
        ("{matchExpressions: [{key: ringfence.dev/domain, operator: NotIn}]}", &[]),
    ];
    for (selector, members) in stories {
        let world = world(&[
            "
{kind: Namespace, metadata: {name: labelled, labels: {ringfence.dev/domain: shop, team: shop}}}
---
{kind: Namespace, metadata: {name: pretender, labels: {kubernetes.io/metadata.name: plain, team: shop}}}
---
{kind: Namespace, metadata: {name: plain}}
",
            &format!(
                "{{kind: TrustDomain, metadata: {{name: d}}, spec: {{namespaceSelector: {selector}, certificateAuthority: {{selfSigned: {{}}}}}}}}"
            ),
        ]);
        assert_eq!(world.namespaces_of("d").into_iter().collect::<Vec<_>>(), members, "{selector}");
        assert_eq!(refusals(&world, "d").is_empty(), !members.is_empty(), "what selects nothing is said: {selector}");
    }
}

#[test]
fn a_namespace_comes_and_goes_with_its_label() {
    let mut world = world(&["
kind: TrustDomain
metadata: {name: d}
spec: {namespaceSelector: {matchLabels: {ringfence.dev/domain: d}}, certificateAuthority: {selfSigned: {}}}
---
{kind: ServiceIdentity, metadata: {name: order, namespace: shop}, spec: {}}
"]);
    let relabel = |world: &mut World, labels: &str| {
        apply(world, &format!("{{kind: Namespace, metadata: {{name: shop, labels: {{{labels}}}}}}}"))
    };
    let all = ["domain d", "member shop", "fence shop", "identity shop/order"];
    assert_eq!(in_words(&relabel(&mut world, "ringfence.dev/domain: d")), all);
    assert!(world.identity(&key("shop/order")).is_some());
    assert_eq!(in_words(&relabel(&mut world, "ringfence.dev/domain: other")), all);
    assert_eq!(
        complaints(&world, "shop/order"),
        ["Accepted NotInTrustDomain: namespace shop is in no TrustDomain: ask the platform team to add it to one"]
    );
    relabel(&mut world, "ringfence.dev/domain: d");
    assert_eq!(in_words(&world.apply(Change::Namespace("shop".to_owned(), None))), all);
    assert!(world.domain_of("shop").is_none() && world.namespaces_of("d").is_empty());
}

#[test]
fn a_namespace_moves_when_its_holder_lets_go_of_it() {
    let one = domain("one", "");
    let two = domain("two", "").replace("shop.example", "two.example");
    let mut world = world(&[&one, &two, "{kind: ServiceIdentity, metadata: {name: order, namespace: shop}, spec: {}}"]);
    assert_eq!(world.identity(&key("shop/order")).unwrap().domain, "one");
    let touched = apply(&mut world, &one.replace("[shop]", "[]"));
    assert_eq!(world.identity(&key("shop/order")).unwrap().domain, "two");
    assert_eq!(in_words(&touched), ["domain one", "domain two", "member shop", "fence shop", "identity shop/order"]);
    apply(&mut world, &one);
    assert_eq!(world.domain_of("shop").unwrap().metadata.name.as_deref(), Some("two"), "and stays where it is now");
}
