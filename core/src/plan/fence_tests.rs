//! In which order fences go up and come down.

use std::sync::Arc;

use super::*;
use crate::api::{ConditionType, Reason};
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::plan::{Outcome, domain_status, identity_plan};
use crate::testing::{DNS, SHOP, condition, key};
use crate::world::{Change, ForeignPolicy, NamespaceFacts};

const POD: &str = "{kind: Pod, metadata: {name: order-1, namespace: storefront, labels: {app.kubernetes.io/name: order}}, spec: {serviceAccountName: order, containers: [{name: main}]}}";

const BASELINE_IN_PLACE: &str = "create NetworkPolicy storefront/ringfence-baseline";

/// What was written of NetworkPolicies in storefront.
fn policies(log: &[String]) -> Vec<&str> {
    let of_policies = log.iter().filter(|line| line.contains("NetworkPolicy storefront/"));
    of_policies.map(String::as_str).collect()
}

fn position(log: &[&str], of: &str) -> usize {
    log.iter().position(|line| *line == of).unwrap_or_else(|| panic!("no {of} in {log:?}"))
}

/// SHOP, with another enforcement of storefront.
fn enforcement(how: &str) -> String {
    let domain = SHOP.split("---").next().unwrap();
    domain.replace("trustDomain: storefront.example", &format!("trustDomain: storefront.example\n  enforcement: {how}"))
}

/// What the status of storefront says.
fn said(operator: &Operator, kind: ConditionType) -> String {
    let status = domain_status(&operator.world, "storefront", &Outcome::default(), now()).unwrap();
    condition(&status.conditions, kind).unwrap()
}

/// What a watch tells of a baseline that someone else has written.
fn foreign_baseline(operator: &mut Operator) {
    let key = key("storefront/ringfence-baseline");
    let facts = OutputFacts {
        uid: "theirs".to_owned(),
        resource_version: "1".to_owned(),
        owner_uid: None,
        marked: false,
        template: None,
        keystore_record: None,
        restored: false,
        recorded_hash: None,
        content: "other".to_owned(),
    };
    operator.apply(Change::NetworkPolicy(key.clone(), Some(facts)));
    operator.apply(Change::ForeignPolicy(key, Some(Arc::new(ForeignPolicy { spec: Default::default() }))));
}

#[test]
fn an_empty_namespace_is_closed_before_anything_in_it_is_opened() {
    let log = Operator::new(&[SHOP]).work();
    let log = policies(&log);
    assert_eq!((position(&log, BASELINE_IN_PLACE), log.len()), (0, 4), "{log:?}");
}

#[test]
fn where_pods_run_the_namespace_is_closed_when_all_that_they_need_is_open() {
    let mut operator = Operator::new(&[SHOP, POD]);
    let log = operator.work();
    let log = policies(&log);
    assert_eq!((position(&log, BASELINE_IN_PLACE), log.len()), (3, 4), "{log:?}");
    operator.show("{kind: ServiceIdentity, metadata: {name: search, namespace: storefront}, spec: {}}");
    let log = operator.work();
    assert_eq!(policies(&log), ["create NetworkPolicy storefront/ringfence-search"], "the fence stands already");
}

#[test]
fn who_waits_for_whom_turns_with_the_first_pod_and_with_the_last() {
    let mut operator = Operator::new(&[SHOP]);
    let waits = |operator: &Operator| {
        let plan = identity_plan(&operator.world, &key("storefront/order"), now()).unwrap();
        (matches!(plan.network_policy, Step::Blocked(_)), fence_step(&operator.world, "storefront").waiting_for.len())
    };
    assert_eq!(waits(&operator), (true, 0));
    operator.show(POD);
    assert_eq!(waits(&operator), (false, 3));
    operator.forget("Pod", "storefront/order-1");
    assert_eq!(waits(&operator), (true, 0), "there is nothing to cut off any more");
    let plan = identity_plan(&operator.world, &key("storefront/order"), now()).unwrap();
    let Step::Blocked(problem) = plan.network_policy else { panic!() };
    assert_eq!(
        (problem.reason, problem.message.as_str()),
        (Reason::Pending, "NetworkPolicy storefront/ringfence-baseline comes first")
    );
}

#[test]
fn nobody_waits_for_what_someone_else_keeps_from_being_written() {
    let mut operator = Operator::new(&[SHOP]);
    operator.show(
        "{kind: NetworkPolicy, metadata: {name: ringfence-baseline, namespace: storefront}, spec: {podSelector: {}}}",
    );
    let plan = identity_plan(&operator.world, &key("storefront/order"), now()).unwrap();
    assert!(matches!(plan.network_policy, Step::Write { replaces: None, .. }));
}

#[test]
fn an_identity_that_is_not_accepted_is_not_waited_for() {
    let refused =
        "{kind: ServiceIdentity, metadata: {name: twin, namespace: storefront}, spec: {serviceAccountName: order}}";
    let mut operator = Operator::new(&[
        SHOP,
        POD,
        "{kind: ServiceIdentity, metadata: {name: zebra, namespace: storefront}, spec: {}}",
    ]);
    operator.show(refused);
    assert!(policies(&operator.work()).contains(&BASELINE_IN_PLACE));
    assert_eq!(operator.left(), []);
}

#[test]
fn a_fence_that_someone_takes_away_is_back_at_once() {
    for pods in ["", POD] {
        let mut operator = Operator::at_rest(&[SHOP, pods]);
        operator.forget("NetworkPolicy", "storefront/ringfence-baseline");
        assert_eq!(operator.work(), [BASELINE_IN_PLACE]);
        operator.forget("NetworkPolicy", "storefront/ringfence-order");
        assert_eq!(operator.work(), ["create NetworkPolicy storefront/ringfence-order"]);
        assert_eq!(operator.left(), []);
    }
}

#[test]
fn a_fence_that_someone_changes_is_put_right() {
    let mut operator = Operator::at_rest(&[SHOP]);
    let name = key("storefront/ringfence-baseline");
    let found = operator.world.network_policy(&name).unwrap().clone();
    let changed = OutputFacts { resource_version: "900".to_owned(), content: "wider".to_owned(), ..found.clone() };
    operator.apply(Change::NetworkPolicy(name, Some(changed)));
    let FenceStep { step: Step::Write { replaces, drift, .. }, .. } = fence_step(&operator.world, "storefront") else {
        panic!("nothing is done about it")
    };
    assert_eq!((replaces, drift), (Some((found.uid, "900".to_owned())), true));
}

#[test]
fn a_baseline_of_someone_else_is_left_alone_and_nobody_waits_for_it() {
    for pods in ["", POD] {
        let mut operator = Operator::new(&[SHOP, DNS, pods]);
        foreign_baseline(&mut operator);
        let log = operator.work();
        assert!(!log.iter().any(|line| line.contains("storefront/ringfence-baseline")), "{log:?}");
        assert_eq!(policies(&log).len(), 3, "all identities have theirs: {log:?}");
        let taken = "NetworkPolicy storefront/ringfence-baseline exists and is not Ringfence's: it is left alone; delete or rename it, which is seen within a minute";
        assert_eq!(said(&operator, ConditionType::Ready), format!("False NameTaken: {taken}"));
        operator.apply(Change::NetworkPolicy(key("storefront/ringfence-baseline"), None));
        operator.apply(Change::ForeignPolicy(key("storefront/ringfence-baseline"), None));
        assert_eq!(operator.work(), [BASELINE_IN_PLACE]);
    }
}

#[test]
fn a_domain_that_stops_enforcing_takes_the_baseline_away_first() {
    for how in ["Audit", "Disabled"] {
        for pods in ["", POD] {
            let mut operator = Operator::at_rest(&[SHOP, pods]);
            operator.show(&enforcement(how));
            let plan = identity_plan(&operator.world, &key("storefront/order"), now()).unwrap();
            let Step::Blocked(waits) = plan.network_policy else { panic!("all would be cut off") };
            assert_eq!(waits.message, "NetworkPolicy storefront/ringfence-baseline is being removed first");
            let log = operator.work();
            assert_eq!(
                log,
                [
                    "delete NetworkPolicy storefront/ringfence-baseline",
                    "delete NetworkPolicy storefront/ringfence-gateway",
                    "delete NetworkPolicy storefront/ringfence-inventory",
                    "delete NetworkPolicy storefront/ringfence-order",
                ]
            );
            assert_eq!(operator.left(), []);
            operator.show(&enforcement("Enforce"));
            assert_eq!(
                operator.work().iter().position(|line| line == BASELINE_IN_PLACE),
                Some(if pods.is_empty() { 0 } else { 3 })
            );
        }
    }
}

#[test]
fn a_domain_that_does_not_enforce_leaves_what_is_not_its_own() {
    let mut operator = Operator::new(&[SHOP]);
    operator.show(&enforcement("Audit"));
    foreign_baseline(&mut operator);
    assert_eq!(policies(&operator.work()), [""; 0]);
    assert_eq!(operator.left(), []);
}

#[test]
fn a_namespace_changes_hands_without_a_moment_in_between() {
    let second = "{kind: TrustDomain, metadata: {name: takeover}, spec: {namespaces: [storefront], certificateAuthority: {selfSigned: {}}}}";
    let mut operator = Operator::at_rest(&[SHOP, POD, second]);
    operator.show(&enforcement("Enforce").replace("namespaces: [storefront]", "namespaces: []"));
    let log = operator.work();
    assert!(policies(&log).contains(&"replace NetworkPolicy storefront/ringfence-baseline"), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with("delete")), "{log:?}");
    let found = operator.world.network_policy(&key("storefront/ringfence-baseline")).unwrap();
    assert_eq!(found.owner_uid.as_deref(), operator.world.domain("takeover").unwrap().metadata.uid.as_deref());
    assert_eq!(operator.left(), []);
}

#[test]
fn a_namespace_that_leaves_keeps_its_fence_until_its_identities_are_gone() {
    let mut operator = Operator::at_rest(&[SHOP]);
    operator.show(&enforcement("Enforce").replace("namespaces: [storefront]", "namespaces: []"));
    let log = operator.work();
    assert_eq!(policies(&log), [""; 0], "nothing was open, so that nothing is closed");
    for name in ["gateway", "inventory", "order"] {
        assert!(operator.world.network_policy(&key("storefront/ringfence-baseline")).is_some());
        operator.forget("ServiceIdentity", &format!("storefront/{name}"));
        operator.forget("NetworkPolicy", &format!("storefront/ringfence-{name}"));
    }
    let last = ["delete NetworkPolicy storefront/ringfence-baseline", "delete RoleBinding storefront/ringfence"];
    assert_eq!(operator.work(), last);
}

#[test]
fn nothing_is_written_where_everything_is_being_deleted() {
    let mut operator = Operator::at_rest(&[SHOP, DNS, POD]);
    let facts = NamespaceFacts { terminating: true, ..NamespaceFacts::default() };
    operator.apply(Change::Namespace("storefront".to_owned(), Some(facts)));
    operator.forget("NetworkPolicy", "storefront/ringfence-baseline");
    operator.forget("Secret", "storefront/order-tls");
    operator.forget("Pod", "storefront/order-1");
    assert_eq!(operator.work(), [""; 0]);
    assert_eq!(operator.left(), []);
    assert_eq!(said(&operator, ConditionType::Programmed), "True Programmed: everything is written and current");
}
