//! What holds in every world: the NetworkPolicies let through what the agreement allows and nothing else, and nobody's
//! mistake opens anything.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::model::{Model, PORTS, Party, Reach, models, sources};
use super::reference::Engine;
use super::{Grant, GrantSource, GrantTarget, ResolvedSigner, baseline_policy, identity_policy};
use crate::testing::{grants_of, show};
use crate::world::{NamespacedName, World};

fn world(model: &Model) -> World {
    let mut world = World::new(model.settings());
    for object in model.objects() {
        show(&mut world, object);
    }
    world
}

fn engine(model: &Model, world: &World, blocks_match_pods: bool) -> Engine {
    let dns = world.cluster.dns();
    let mut policies = Vec::new();
    for namespace in model.namespaces() {
        policies.push((namespace.clone(), baseline_policy(dns.as_ref())));
        for (key, _) in world.identities_in(&namespace) {
            let identity = world.identity(key).unwrap();
            policies.push((namespace.clone(), identity_policy(identity, &grants_of(world, identity), dns.as_ref())));
        }
    }
    Engine { policies, blocks_match_pods }
}

/// All that the NetworkPolicies of a model let through.
fn reach(model: &Model, blocks_match_pods: bool) -> Reach {
    let engine = engine(model, &world(model), blocks_match_pods);
    let parties: Vec<_> = model.parties().into_iter().enumerate().map(|(i, party)| (party.end(i), party)).collect();
    let sides: Vec<_> = parties.iter().map(|(end, party)| (engine.side(end.clone()), party)).collect();
    let mut reach = Reach::new();
    for (from_side, from) in &sides {
        for (to_side, to) in sides.iter().filter(|(_, to)| to != from) {
            let ports = PORTS.chain([53, super::model::API_PORT]);
            let open = ports.filter(|port| {
                engine.lets_out(from_side, to_side, *port, "TCP") && engine.lets_in(from_side, to_side, *port, "TCP")
            });
            reach.extend(open.map(|port| ((*from).clone(), (*to).clone(), port)));
        }
    }
    reach
}

/// All that is granted, by policies and by what tokens need.
fn grants(world: &World) -> Vec<Grant> {
    let policies = world.policies().filter_map(|(key, _)| world.judged(key));
    let granted = policies.chain(world.all_implied().map(|(_, judged)| judged));
    granted.flat_map(|judged| judged.grants.clone()).collect()
}

/// All that policies grant.
fn declared(world: &World) -> impl Iterator<Item = Grant> {
    grants(world).into_iter().filter(|grant| grant.origin.policy().is_some())
}

/// The domains of the two ends, if both are members of one.
fn domains(grant: &Grant) -> Option<(&str, &str)> {
    let GrantTarget::Identity(callee) = &grant.target else { return None };
    match &grant.source {
        GrantSource::Identity(caller) => Some((&caller.domain, &callee.domain)),
        GrantSource::TrustDomain { name, .. } => Some((name, &callee.domain)),
        _ => None,
    }
}

fn difference(a: &Reach, b: &Reach) -> Vec<(Party, Party, u16)> {
    a.difference(b).take(5).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_passes_is_what_is_declared_and_within_both_ceilings(model in models(), blocks_match_pods: bool) {
        let (written, agreed) = (reach(&model, blocks_match_pods), model.reach(blocks_match_pods));
        prop_assert_eq!(difference(&written, &agreed), vec![], "open, and should not be");
        prop_assert_eq!(difference(&agreed, &written), vec![], "closed, and should not be");
    }

    #[test]
    fn taking_an_entry_out_of_a_ceiling_opens_nothing(model in models(), which: prop::sample::Index) {
        let places: Vec<(usize, bool, usize)> = model.domains.iter().enumerate().flat_map(|(d, domain)| {
            let inbound = (0..domain.inbound.len()).map(move |entry| (d, true, entry));
            inbound.chain((0..domain.outbound.len()).map(move |entry| (d, false, entry)))
        }).collect();
        prop_assume!(!places.is_empty());
        let (domain, inbound, entry) = places[which.index(places.len())];
        let mut narrower = model.clone();
        let domain = &mut narrower.domains[domain];
        if inbound { domain.inbound.remove(entry) } else { domain.outbound.remove(entry) };
        prop_assert_eq!(difference(&reach(&narrower, true), &reach(&model, true)), vec![]);
    }

    #[test]
    fn an_entry_more_changes_nothing_about_the_others(model in models(), source in sources(4), which: prop::sample::Index, place: prop::sample::Index) {
        let policy = which.index(model.policies.len());
        let place = place.index(model.policies[policy].from.len() + 1);
        let mut longer = model.clone();
        longer.policies[policy].from.insert(place, source);
        let name = format!("p{policy}");
        let is_of = |grant: &Grant| grant.origin.policy().is_some_and(|policy| policy.name == name);
        let mut before = grants(&world(&model));
        for grant in before.iter_mut().filter(|grant| is_of(grant) && grant.index >= place) {
            grant.index += 1;
        }
        let mut after = grants(&world(&longer));
        after.retain(|grant| !is_of(grant) || grant.index != place);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn nothing_crosses_a_border_without_the_consent_of_both_sides(model in models(), which: prop::sample::Index) {
        let domain = which.index(model.domains.len());
        let name = format!("d{domain}");
        let mut no_way_in = model.clone();
        no_way_in.domains[domain].inbound.clear();
        for grant in declared(&world(&no_way_in)) {
            let into = matches!(&grant.target, GrantTarget::Identity(callee) if callee.domain == name);
            prop_assert!(!into || domains(&grant) == Some((&name, &name)), "{}", grant.source);
        }
        let mut no_way_out = model;
        no_way_out.domains[domain].outbound.clear();
        for grant in declared(&world(&no_way_out)) {
            let from = match &grant.source {
                GrantSource::Identity(caller) => caller.domain == name,
                GrantSource::TrustDomain { name: caller, .. } => *caller == name,
                _ => false,
            };
            prop_assert!(!from || domains(&grant) == Some((&name, &name)), "{}", grant.target);
        }
    }

    #[test]
    fn objects_may_come_in_any_order(model in models(), seeds in prop::collection::vec(any::<u32>(), 64)) {
        let mut objects: Vec<_> = model.objects().into_iter().enumerate().collect();
        objects.sort_by_key(|(index, _)| seeds[index % seeds.len()]);
        let mut shuffled = World::new(model.settings());
        for (_, object) in objects {
            show(&mut shuffled, object);
        }
        let ordered = world(&model);
        prop_assert_eq!(grants(&shuffled), grants(&ordered));
        prop_assert_eq!(engine(&model, &shuffled, false).policies, engine(&model, &ordered, false).policies);
    }

    #[test]
    fn a_change_and_its_undoing_leave_the_world_as_it_was(model in models(), other in models(), which: prop::sample::Index) {
        let mut changed = world(&model);
        let count = model.domains.len().min(other.domains.len());
        let domain = which.index(count);
        for model in [&other, &model] {
            let objects = model.objects();
            let name = format!("d{domain}");
            let object = objects.into_iter().find(|object| object["kind"] == "TrustDomain" && object["metadata"]["name"] == name.as_str());
            show(&mut changed, object.unwrap());
        }
        prop_assert_eq!(grants(&changed), grants(&world(&model)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_entry_stands_where_the_agreement_lets_it_and_nowhere_else(model in models()) {
        let world = world(&model);
        for (number, policy) in model.policies.iter().enumerate() {
            let key = NamespacedName::new(policy.namespace.clone(), format!("p{number}"));
            let standing: BTreeSet<usize> = world.judged(&key).unwrap().grants.iter().map(|grant| grant.index).collect();
            for (index, source) in policy.from.iter().enumerate() {
                prop_assert_eq!(standing.contains(&index), model.accepts(policy, source).is_some(), "{:?} {:?}", policy, source);
            }
        }
    }
}

fn word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Whether the properties above say something: enough of what is declared must stand, and enough must not.
#[test]
fn the_random_worlds_are_neither_all_open_nor_all_closed() {
    let mut runner = TestRunner::deterministic();
    let (mut entries, mut open, mut across, mut kinds) = (0, 0, 0, BTreeSet::new());
    let (mut by_token, mut to_tokens, mut implied) = (0, 0, BTreeSet::new());
    for _ in 0..200 {
        let model = models().new_tree(&mut runner).unwrap().current();
        let world = world(&model);
        entries += model.policies.iter().map(|policy| policy.from.len()).sum::<usize>();
        for (_, judged) in world.all_implied() {
            to_tokens += judged.grants.len();
            implied.extend(
                judged
                    .grants
                    .iter()
                    .flat_map(Grant::edges)
                    .map(|edge| format!("{} -> {}", word(&edge.caller), word(&edge.callee))),
            );
        }
        for grant in declared(&world) {
            open += 1;
            by_token += usize::from(matches!(grant.authentication.signer(), Some(ResolvedSigner::Issuer(_))));
            across += usize::from(domains(&grant).is_some_and(|(caller, callee)| caller != callee));
            kinds.insert((word(&grant.source.to_string()), word(&grant.target.to_string())));
        }
        for (key, _) in world.policies() {
            let policy = NamespacedName::new(key.namespace.clone(), key.name.clone());
            assert!(world.judged(&policy).is_some());
        }
    }
    assert!(open * 10 > entries && open * 2 < entries, "{open} of {entries}");
    assert!(across * 20 > open, "{across} of {open}");
    assert!(by_token * 50 > open && to_tokens > 200, "{by_token} of {open}, {to_tokens}");
    let expected = [
        "anywhere -> identity",
        "cidr -> identity",
        "identity -> external",
        "identity -> identity",
        "identity -> pods",
    ];
    assert_eq!(implied.iter().collect::<Vec<_>>(), expected);
    let kinds: Vec<String> = kinds.into_iter().map(|(source, target)| format!("{source} -> {target}")).collect();
    assert_eq!(
        kinds,
        [
            "anywhere -> identity",
            "cidr -> identity",
            "identity -> external",
            "identity -> identity",
            "identity -> kubernetesAPI",
            "identity -> pods",
            "kubernetesAPI -> identity",
            "pods -> identity",
            "trustDomain -> identity",
        ]
    );
}
