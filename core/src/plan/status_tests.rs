//! What the status of an identity says.

use super::*;
use crate::api::{Reason, find_condition};
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::testing::{DNS, SHOP, apply, condition, key, world};

const POD: &str = "{kind: Pod, metadata: {name: order-1, namespace: storefront, labels: {app.kubernetes.io/name: order}}, spec: {serviceAccountName: order, containers: [{name: main}]}}";

fn status(world: &World) -> ServiceIdentityStatus {
    identity_status(world, &key("storefront/order"), &Outcome::default(), now()).unwrap()
}

/// The four of the summary, and what else applies.
fn said(world: &World) -> Vec<String> {
    let said = status(world).conditions.into_iter();
    said.map(|condition| format!("{} {} {}", condition.type_, condition.status, condition.reason)).collect()
}

const ALL_WELL: [&str; 4] =
    ["Ready True Ready", "Accepted True Accepted", "ResolvedRefs True Resolved", "Programmed True Programmed"];

#[test]
fn one_that_has_everything_is_ready_with_or_without_pods() {
    let operator = Operator::at_rest(&[SHOP, DNS, POD]);
    assert_eq!(said(&operator.world), ALL_WELL);
    let status = status(&operator.world);
    assert_eq!(status.spiffe_id.as_deref(), Some("spiffe://storefront.example/ns/storefront/sa/order"));
    let (certificate, signing_key) = (status.certificate.unwrap(), status.signing_key.unwrap());
    assert_eq!(
        (certificate.secret_name.as_str(), signing_key.secret_name.as_str()),
        ("order-tls", "order-signing-key")
    );
    assert!(now() < certificate.renewal_time.0 && certificate.renewal_time.0 < certificate.not_after.0);

    let empty = Operator::at_rest(&[SHOP, DNS]);
    assert_eq!(said(&empty.world), ["Ready True NoPods", ALL_WELL[1], ALL_WELL[2], ALL_WELL[3]]);
}

#[test]
fn one_that_lacks_something_says_what() {
    let mut world = world(&[SHOP]);
    assert_eq!(said(&world), ["Ready False Pending", ALL_WELL[1], ALL_WELL[2], "Programmed False Pending"]);
    let said = condition(&status(&world).conditions, ConditionType::Programmed).unwrap();
    assert_eq!(
        said,
        "False Pending: TrustDomain storefront has no CA to sign with yet: see its status; NetworkPolicy storefront/ringfence-baseline comes first"
    );
    apply(&mut world, POD);
    let said = condition(&status(&world).conditions, ConditionType::Programmed).unwrap();
    assert_eq!(said, "False Pending: TrustDomain storefront has no CA to sign with yet: see its status");
}

#[test]
fn what_could_not_be_carried_out_is_said_first() {
    let operator = Operator::at_rest(&[SHOP, DNS, POD]);
    let problem = |condition, reason| Problem { condition, reason, message: "because".to_owned() };
    let stories = [
        (problem(ConditionType::NameTaken, Reason::NameTaken), "False NameTaken: because", None),
        (
            problem(ConditionType::Programmed, Reason::WriteFailed),
            "False WriteFailed: because",
            Some("False WriteFailed: because"),
        ),
        (problem(ConditionType::Widened, Reason::ForeignPolicy), "False ForeignPolicy: because", None),
        (problem(ConditionType::Accepted, Reason::WeakerGrant), "True WeakerGrant: because", None),
    ];
    for (problem, ready, programmed) in stories {
        let outcome = Outcome { problems: vec![problem], ..Outcome::default() };
        let status = identity_status(&operator.world, &key("storefront/order"), &outcome, now()).unwrap();
        assert_eq!(condition(&status.conditions, ConditionType::Ready).unwrap(), ready);
        let programmed = programmed.unwrap_or("True Programmed: everything is written and current");
        assert_eq!(condition(&status.conditions, ConditionType::Programmed).unwrap(), programmed);
    }
}

#[test]
fn what_is_unwritten_because_of_something_known_says_that() {
    let mut conditions = Conditions::new(Some(1), &[], now());
    let skew = Problem { condition: ConditionType::ClockSkew, reason: Reason::ClockSkew, message: "ahead".to_owned() };
    conditions.problems([skew]);
    conditions.unprogrammed("just begun");
    let conditions = conditions.finish(Reason::Ready, String::new());
    assert_eq!(condition(&conditions, ConditionType::Programmed).unwrap(), "False ClockSkew: ahead");
    assert_eq!(condition(&conditions, ConditionType::ClockSkew).unwrap(), "True ClockSkew: ahead");
    assert_eq!(condition(&conditions, ConditionType::TooLarge), None, "others appear only when they apply");
}

#[test]
fn a_domain_that_does_not_enforce_is_named_and_no_fault() {
    for (enforcement, reason) in [("Audit", "Audit"), ("Disabled", "EnforcementDisabled")] {
        let domain =
            SHOP.split("---").next().unwrap().replace("spec:", &format!("spec:\n  enforcement: {enforcement}"));
        let operator = Operator::at_rest(&[SHOP, DNS, POD, &domain]);
        assert_eq!(said(&operator.world), [&format!("Ready True {reason}"), ALL_WELL[1], ALL_WELL[2], ALL_WELL[3]]);
    }
}

#[test]
fn one_that_is_refused_keeps_on_record_what_it_had() {
    let mut operator = Operator::at_rest(&[SHOP, DNS, POD]);
    let before = operator.world.service_identity(&key("storefront/order")).unwrap().status.clone().unwrap();
    let mut object = operator.world.service_identity(&key("storefront/order")).unwrap().as_ref().clone();
    object.spec.pod_selector = Some(crate::api::LabelSelector::default());
    operator.apply(crate::world::Change::Identity(key("storefront/order"), Some(object.into())));
    let after = status(&operator.world);
    assert_eq!(
        (&after.certificate, &after.signing_key, &after.spiffe_id),
        (&before.certificate, &before.signing_key, &before.spiffe_id)
    );
    assert_eq!(
        said(&operator.world),
        ["Ready False Invalid", "Accepted False Invalid", ALL_WELL[2], "Programmed False Pending"]
    );
}

#[test]
fn several_problems_of_one_kind_are_all_told() {
    let mut world = world(&[SHOP, POD]);
    apply(
        &mut world,
        "{kind: ServiceIdentity, metadata: {name: order, namespace: storefront, generation: 7}, spec: {services: [one, two], dnsNames: [a.example.com]}}",
    );
    let status = status(&world);
    assert_eq!(
        condition(&status.conditions, ConditionType::ResolvedRefs).unwrap(),
        "False ServiceNotFound: Service storefront/one does not exist: create it, or take it out of services; Service storefront/two does not exist: create it, or take it out of services"
    );
    assert!(condition(&status.conditions, ConditionType::Accepted).unwrap().starts_with("False NameNotAllowed: "));
    assert_eq!(status.observed_generation, Some(7));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(7)));
}

#[test]
fn the_time_of_a_condition_moves_only_when_it_turns() {
    let minutes = |minutes| now().checked_add(SignedDuration::from_mins(minutes)).unwrap();
    let conditions = |previous: &[Condition], problem: Option<&str>, minute| {
        let mut conditions = Conditions::new(Some(1), previous, minutes(minute));
        let problem = problem.map(|message| Problem {
            condition: ConditionType::Accepted,
            reason: Reason::Invalid,
            message: message.to_owned(),
        });
        conditions.problems(problem);
        conditions.finish(Reason::Ready, String::new())
    };
    let turned = |conditions: &[Condition]| {
        [ConditionType::Accepted, ConditionType::ResolvedRefs]
            .map(|kind| find_condition(conditions, kind).unwrap().last_transition_time.0)
    };
    let first = conditions(&[], None, 0);
    let second = conditions(&first, Some("bad"), 1);
    assert_eq!(turned(&second), [minutes(1), minutes(0)]);
    let third = conditions(&second, Some("worse"), 2);
    assert_eq!(turned(&third), [minutes(1), minutes(0)], "another message is no other state");
    assert_eq!(turned(&conditions(&third, None, 3)), [minutes(3), minutes(0)]);
}

#[test]
fn a_network_policy_of_someone_else_that_opens_more_is_said() {
    let mut operator = Operator::at_rest(&[SHOP, DNS, POD]);
    operator.show("{kind: NetworkPolicy, metadata: {name: theirs, namespace: storefront}, spec: {podSelector: {}, ingress: [{}]}}");
    assert_eq!(
        condition(&status(&operator.world).conditions, ConditionType::Widened).unwrap(),
        "True ForeignPolicy: NetworkPolicies of others allow more than was declared: storefront/theirs (1 rule of ingress); delete them and declare an AccessPolicy"
    );
    assert_eq!(said(&operator.world)[0], "Ready False ForeignPolicy");
}
