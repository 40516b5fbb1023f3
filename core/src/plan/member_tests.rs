//! When the operator enters a namespace and when it leaves.

use serde_json::json;

use super::*;
use crate::api::ConditionType;
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::plan::{Outcome, domain_status};
use crate::testing::{DNS, SHOP, condition, key};
use crate::world::{Change, NamespaceFacts, OutputFacts};

const CREATED: &str = "create RoleBinding storefront/ringfence";

/// What was written in storefront.
fn in_storefront(log: Vec<String>) -> Vec<String> {
    log.into_iter().filter(|line| line.contains("storefront/")).collect()
}

/// SHOP, with storefront out of its domain, which has this enforcement.
fn left(enforcement: &str) -> String {
    let domain = SHOP.split("---").next().unwrap();
    let domain = domain.replace("namespaces: [storefront]", "namespaces: []");
    domain.replace("trustDomain: storefront.example", &format!("trustDomain: x\n  enforcement: {enforcement}"))
}

/// What a watch tells of a RoleBinding that someone wrote.
fn theirs() -> OutputFacts<String> {
    OutputFacts {
        uid: "theirs".to_owned(),
        resource_version: "1".to_owned(),
        owner_uid: None,
        marked: false,
        template: None,
        keystore_record: None,
        restored: false,
        recorded_hash: None,
        content: "other".to_owned(),
    }
}

#[test]
fn a_namespace_is_entered_before_anything_else_is_written_there() {
    let mut operator = Operator::new(&[SHOP]);
    assert!(!is_entered(&operator.world, "storefront"));
    let log = in_storefront(operator.work());
    assert_eq!(log.first().map(String::as_str), Some(CREATED), "{log:?}");
    assert!(is_entered(&operator.world, "storefront") && is_entered(&operator.world, "settlement"));
    assert!(!is_entered(&operator.world, "monitoring"), "it is in no domain");
}

#[test]
fn the_operator_gives_the_rights_of_a_member_to_itself() {
    let operator = Operator::new(&[SHOP]);
    let Step::Write { desired, replaces: None, drift: false } = member_step(&operator.world, "storefront").step else {
        panic!("nothing is written");
    };
    let desired = serde_json::to_value(desired).unwrap();
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ringfence-member"});
    assert_eq!(desired["roleRef"], role);
    let subjects = json!([{"kind": "ServiceAccount", "name": "ringfence", "namespace": "ringfence-system"}]);
    assert_eq!(desired["subjects"], subjects);
    assert_eq!(desired["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "ringfence"}));
    let owner = &desired["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["controller"]), (&json!("TrustDomain"), &json!(true)));
}

#[test]
fn one_that_someone_changed_counts_for_nothing_until_it_is_put_right() {
    let mut operator = Operator::at_rest(&[SHOP]);
    let mut found = operator.world.role_binding("storefront").unwrap().clone();
    found.content = "other".to_owned();
    found.resource_version = "1000".to_owned();
    operator.apply(Change::RoleBinding(key("storefront/ringfence"), Some(found)));
    assert!(!is_entered(&operator.world, "storefront"));
    assert!(matches!(member_step(&operator.world, "storefront").step, Step::Write { drift: true, .. }));
    assert_eq!(in_storefront(operator.work()), ["replace RoleBinding storefront/ringfence"]);
    assert!(is_entered(&operator.world, "storefront"));
    operator.forget("RoleBinding", "storefront/ringfence");
    assert_eq!(in_storefront(operator.work()), [CREATED]);
}

#[test]
fn one_of_someone_else_is_left_alone_and_the_domain_says_so() {
    let mut operator = Operator::new(&[SHOP, DNS]);
    operator.apply(Change::RoleBinding(key("storefront/ringfence"), Some(theirs())));
    let log = operator.work();
    assert!(!log.iter().any(|line| line.contains("RoleBinding storefront/")), "{log:?}");
    assert!(!is_entered(&operator.world, "storefront"));
    let status = domain_status(&operator.world, "storefront", &Outcome::default(), now()).unwrap();
    let taken = "False NameTaken: RoleBinding storefront/ringfence exists and is not Ringfence's: it is left alone; delete or rename it, which is seen within a minute";
    assert_eq!(condition(&status.conditions, ConditionType::Ready).unwrap(), taken);
    operator.forget("RoleBinding", "storefront/ringfence");
    assert_eq!(in_storefront(operator.work()), [CREATED]);
}

#[test]
fn a_namespace_that_leaves_stays_entered_while_there_is_something_to_close_or_remove() {
    let mut operator = Operator::at_rest(&[SHOP]);
    operator.show(&left("Enforce"));
    operator.work();
    assert!(is_entered(&operator.world, "storefront"));
    // Someone takes it away meanwhile: what is left could not be removed.
    operator.forget("RoleBinding", "storefront/ringfence");
    assert_eq!(in_storefront(operator.work()), [CREATED]);
    for name in ["gateway", "inventory", "order"] {
        operator.forget("ServiceIdentity", &format!("storefront/{name}"));
        operator.forget("NetworkPolicy", &format!("storefront/ringfence-{name}"));
    }
    operator.work();
    assert!(operator.world.role_binding("storefront").is_none() && !is_entered(&operator.world, "storefront"));
    assert_eq!(operator.left(), []);
}

#[test]
fn a_namespace_without_a_fence_is_left_at_once() {
    let mut operator =
        Operator::at_rest(&[&SHOP.replace("trustDomain: storefront.example", "trustDomain: x\n  enforcement: Audit")]);
    operator.show(&left("Audit"));
    assert_eq!(in_storefront(operator.work()), ["delete RoleBinding storefront/ringfence"]);
}

#[test]
fn a_namespace_changes_hands_without_being_left() {
    let second = "{kind: TrustDomain, metadata: {name: takeover}, spec: {namespaces: [storefront], certificateAuthority: {selfSigned: {}}}}";
    let mut operator = Operator::at_rest(&[SHOP, second]);
    operator.show(&left("Enforce"));
    let log = in_storefront(operator.work());
    assert!(log.contains(&"replace RoleBinding storefront/ringfence".to_owned()), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with("delete")), "{log:?}");
    let owner = operator.world.role_binding("storefront").unwrap().owner_uid.clone();
    assert_eq!(owner, operator.world.domain("takeover").unwrap().metadata.uid);
}

#[test]
fn nothing_is_entered_that_is_being_deleted() {
    let mut operator = Operator::new(&[SHOP]);
    let facts = NamespaceFacts { terminating: true, ..NamespaceFacts::default() };
    operator.apply(Change::Namespace("storefront".to_owned(), Some(facts)));
    let log = operator.work();
    assert!(!log.iter().any(|line| line.contains("RoleBinding storefront/")), "{log:?}");
}
