//! What the status of an AccessPolicy says.

use super::*;
use crate::api::AccessPolicy;
use crate::pki::testing::now;
use crate::testing::{SHOP, apply, condition, key, world};
use crate::world::Change;

fn policy(name: &str, rest: &str) -> String {
    format!(
        "{{kind: AccessPolicy, metadata: {{name: {name}, namespace: settlement, generation: 1}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, {rest}}}}}"
    )
}

fn given(rest: &str) -> World {
    world(&[SHOP, &policy("p", rest)])
}

fn status(world: &World) -> AccessPolicyStatus {
    policy_status(world, &key("settlement/p"), &|_| false, now()).unwrap()
}

fn said(world: &World) -> Vec<String> {
    let said = status(world).conditions.into_iter();
    said.map(|condition| format!("{} {} {}", condition.type_, condition.status, condition.reason)).collect()
}

const ORDER: &str = "{identity: {name: order, namespace: storefront}}";
const ACCEPTED: &str = "Accepted True Accepted";
const RESOLVED: &str = "ResolvedRefs True Resolved";
const PROGRAMMED: &str = "Programmed True Programmed";

#[test]
fn each_entry_is_told_apart_and_the_sum_of_them_is_a_condition() {
    let stories: [(&str, String, [&str; 4], &[&str]); 6] = [
        ("all stand", format!("from: [{ORDER}]"), ["Ready True Ready", ACCEPTED, RESOLVED, PROGRAMMED], &[]),
        (
            "one is above the ceiling",
            format!("from: [{{anywhere: {{}}}}, {ORDER}]"),
            ["Ready True PartiallyAccepted", "Accepted True PartiallyAccepted", RESOLVED, PROGRAMMED],
            &["0 anywhere InboundNotAllowed"],
        ),
        (
            "all are above the ceiling",
            "from: [{anywhere: {}}]".to_owned(),
            ["Ready False InboundNotAllowed", "Accepted False InboundNotAllowed", RESOLVED, PROGRAMMED],
            &["0 anywhere InboundNotAllowed"],
        ),
        (
            "one names nobody",
            format!("from: [{ORDER}, {{identity: {{name: nobody}}}}]"),
            [
                "Ready False CallerNotFound",
                "Accepted True PartiallyAccepted",
                "ResolvedRefs False CallerNotFound",
                PROGRAMMED,
            ],
            &["1 identity settlement/nobody CallerNotFound"],
        ),
        (
            "all name nobody, which is not the ceiling's doing",
            "from: [{identity: {name: nobody}}]".to_owned(),
            ["Ready False CallerNotFound", ACCEPTED, "ResolvedRefs False CallerNotFound", PROGRAMMED],
            &["0 identity settlement/nobody CallerNotFound"],
        ),
        (
            "a draft",
            format!("from: [{ORDER}], enforcement: Audit"),
            ["Ready True Audit", ACCEPTED, RESOLVED, PROGRAMMED],
            &[],
        ),
    ];
    for (story, rest, conditions, refused) in stories {
        let world = given(&rest);
        assert_eq!(said(&world), conditions, "{story}");
        let from = status(&world).from;
        let from: Vec<_> =
            from.iter().map(|entry| format!("{} {} {}", entry.index, entry.source, entry.reason)).collect();
        assert_eq!(from, refused, "{story}");
    }
}

#[test]
fn a_policy_waits_for_the_outputs_of_both_its_ends() {
    let world = given(&format!("from: [{ORDER}]"));
    for end in ["storefront/order", "settlement/payment"] {
        let status = policy_status(&world, &key("settlement/p"), &|key| key.to_string() == end, now()).unwrap();
        assert_eq!(
            condition(&status.conditions, ConditionType::Programmed).unwrap(),
            format!("False Pending: the outputs of ServiceIdentity {end} are still to be written: see its status")
        );
        assert_eq!(status.effective_after, None);
    }
    let status = policy_status(&world, &key("settlement/p"), &|key| key.name == "delivery", now()).unwrap();
    assert!(status.effective_after.is_some(), "delivery has nothing to do with it");
    let draft = given(&format!("from: [{ORDER}], enforcement: Audit"));
    let draft = policy_status(&draft, &key("settlement/p"), &|_| true, now()).unwrap();
    assert_eq!(
        condition(&draft.conditions, ConditionType::Programmed).unwrap(),
        "True Programmed: everything is written and current"
    );
}

/// The policy with the status that it had.
fn recorded(world: &mut World, status: AccessPolicyStatus) {
    let mut policy: AccessPolicy = world.policy(&key("settlement/p")).unwrap().as_ref().clone();
    policy.status = Some(status);
    world.apply(Change::Policy(key("settlement/p"), Some(policy.into())));
}

#[test]
fn when_files_have_surely_arrived_is_said_once_for_each_declaration() {
    let mut world = given(&format!("from: [{ORDER}]"));
    let arrived = now().checked_add(PROPAGATION).unwrap();
    let first = status(&world);
    assert_eq!((first.edges, first.effective_after.as_ref().map(|time| time.0)), (Some(1), Some(arrived)));
    recorded(&mut world, first);
    let at = |world: &World, minutes| {
        let then = now().checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
        let status = policy_status(world, &key("settlement/p"), &|_| false, then).unwrap();
        status.effective_after.map(|time| time.0.duration_since(now()).as_mins())
    };
    assert_eq!(at(&world, 60), Some(2), "it has been in force since");
    let wider = policy("p", &format!("from: [{ORDER}, {{identity: {{name: delivery}}}}]"))
        .replace("generation: 1", "generation: 2");
    let previous = world.policy(&key("settlement/p")).unwrap().status.clone().unwrap();
    apply(&mut world, &wider);
    recorded(&mut world, previous);
    assert_eq!(at(&world, 60), Some(62), "what is new has not arrived yet");
    let closed = given("from: [{anywhere: {}}]");
    assert_eq!(at(&closed, 0), None, "nothing is open");
}

#[test]
fn a_second_policy_that_asks_for_less_is_told_and_no_fault() {
    let mut world = given(&format!("from: [{ORDER}]"));
    apply(&mut world, &policy("strict", &format!("from: [{ORDER}], authentication: {{mtls: {{}}, jwt: {{}}}}")));
    assert_eq!(said(&world), ["Ready True WeakerGrant", "Accepted True WeakerGrant", RESOLVED, PROGRAMMED]);
    let strict = policy_status(&world, &key("settlement/strict"), &|_| false, now()).unwrap();
    assert_eq!(condition(&strict.conditions, ConditionType::Ready).unwrap(), "True Ready: in force");
}

#[test]
fn there_is_no_status_for_what_is_not_there_or_goes() {
    let mut world = given(&format!("from: [{ORDER}]"));
    assert_eq!(policy_status(&world, &key("settlement/other"), &|_| false, now()), None);
    let leaving = policy("p", &format!("from: [{ORDER}]"))
        .replace("generation: 1", "generation: 2, deletionTimestamp: '2026-03-01T00:00:00Z'");
    apply(&mut world, &leaving);
    assert_eq!(policy_status(&world, &key("settlement/p"), &|_| false, now()), None);
}
