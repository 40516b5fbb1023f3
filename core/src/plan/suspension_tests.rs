//! What becomes of an identity that is suspended, deleted, or back.

use super::*;
use crate::api::ConditionType;
use crate::pki::testing::now;
use crate::plan::testing::{Operator, SIGNED_CALL};
use crate::plan::{Outcome, identity_status};
use crate::testing::{DNS, SHOP, condition, key, verdicts};

/// Changes the order service as a user does.
fn edit(operator: &mut Operator, change: impl FnOnce(&mut serde_json::Value)) {
    let object = operator.world.service_identity(&key("storefront/order")).unwrap();
    let mut object = serde_json::to_value(object.as_ref()).unwrap();
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
    object["metadata"]["generation"] = (generation + 1).into();
    change(&mut object);
    operator.show_one(object);
}

fn suspend(operator: &mut Operator, suspended: bool) {
    edit(operator, |object| object["spec"]["suspended"] = suspended.into());
}

fn said(operator: &Operator, kind: ConditionType) -> Option<String> {
    let status = identity_status(&operator.world, &key("storefront/order"), &Outcome::default(), now()).unwrap();
    condition(&status.conditions, kind)
}

fn place(log: &[String], line: &str) -> usize {
    log.iter().position(|found| found == line).unwrap_or_else(|| panic!("{line} is not in {log:#?}"))
}

#[test]
fn a_suspended_identity_is_closed_then_revoked_then_stripped() {
    let mut operator = Operator::at_rest(&[SHOP, DNS, SIGNED_CALL]);
    suspend(&mut operator, true);
    let ready = said(&operator, ConditionType::Ready).unwrap();
    assert!(ready.starts_with("False Suspended: every edge is closed"), "{ready}");
    let programmed = said(&operator, ConditionType::Programmed).unwrap();
    assert!(programmed.contains("is being put on the revocation list of TrustDomain storefront"), "{programmed}");
    let log = operator.work();
    let listed = place(&log, "replace Secret ringfence-system/storefront-ca");
    assert!(listed < place(&log, "delete Secret storefront/order-tls"), "what it was is known until it is on the list");
    place(&log, "replace NetworkPolicy storefront/ringfence-order");
    place(&log, "replace NetworkPolicy settlement/ringfence-payment");
    place(&log, "delete Secret storefront/order-signing-key");
    place(&log, "delete ConfigMap storefront/order-trust");
    assert_eq!(operator.left(), []);
    assert_eq!(
        said(&operator, ConditionType::Programmed).unwrap(),
        "True Programmed: everything is written and current"
    );
    assert!(said(&operator, ConditionType::Suspended).unwrap().starts_with("True Suspended: "));
    let status = operator.world.service_identity(&key("storefront/order")).unwrap().status.clone().unwrap();
    assert_eq!((status.certificate, status.signing_key), (None, None));
    assert!(status.spiffe_id.is_some());
    assert_eq!(
        verdicts(&operator.world, "settlement/pay"),
        ["CallerNotFound: ServiceIdentity storefront/order is suspended: it comes back with suspended: false"]
    );
    operator.look_at_everything();
    assert_eq!(operator.work(), [""; 0], "a restart writes nothing");
}

#[test]
fn an_identity_that_comes_back_gets_new_keys() {
    let mut operator = Operator::at_rest(&[SHOP, DNS, SIGNED_CALL]);
    let kid = |operator: &Operator| {
        let status = operator.world.service_identity(&key("storefront/order")).unwrap().status.clone().unwrap();
        (status.signing_key.unwrap().key_id, status.certificate.unwrap().serial)
    };
    let before = kid(&operator);
    suspend(&mut operator, true);
    operator.work();
    suspend(&mut operator, false);
    let log = operator.work();
    place(&log, "create Secret storefront/order-tls");
    place(&log, "create Secret storefront/order-signing-key");
    let after = kid(&operator);
    assert!(after.0 != before.0 && after.1 != before.1);
    assert_eq!(said(&operator, ConditionType::Suspended), None);
    assert!(said(&operator, ConditionType::Ready).unwrap().starts_with("True "));
    assert_eq!(operator.left(), []);
}

#[test]
fn a_certificate_that_is_revoked_is_replaced_however_short_the_suspension_was() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let world = &operator.world;
    let leaf = world.unrevoked(&key("storefront/order"), now());
    assert_eq!(leaf, [], "nothing of it is to be revoked");
    suspend(&mut operator, true);
    let unrevoked = operator.world.unrevoked(&key("storefront/order"), now());
    let plan = crate::plan::revocation_plan(&operator.world, "storefront", now());
    let generations = operator.world.generations("storefront").unwrap();
    let revised = crate::plan::revise_lists(generations, &plan, now()).unwrap().unwrap();
    assert_eq!((unrevoked.len(), plan.revoke.len()), (1, 1));
    let mut facts = operator.world.authority("storefront").unwrap().clone();
    (facts.resource_version, facts.generations) = ("9000".to_owned(), Ok(std::sync::Arc::new(revised)));
    operator.apply(crate::world::Change::Authority("storefront".to_owned(), Some(facts)));
    suspend(&mut operator, false);
    let log = operator.work();
    place(&log, "replace Secret storefront/order-tls");
    assert_eq!(operator.left(), []);
}

#[test]
fn a_deleted_identity_goes_when_its_certificates_are_on_the_list() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let order = key("storefront/order");
    assert!(!may_go(&operator.world, &order, now()), "it is to stay");
    edit(&mut operator, |object| {
        object["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z".into();
        object["metadata"]["finalizers"] = serde_json::json!([IDENTITY_FINALIZER]);
    });
    assert!(!may_go(&operator.world, &order, now()));
    let later = "2026-03-03T12:00:00Z".parse().unwrap();
    assert!(may_go(&operator.world, &order, later), "what has ended needs no list");
    let log = operator.work();
    assert_eq!(
        log,
        ["replace Secret ringfence-system/storefront-ca", "replace ConfigMap ringfence-system/storefront-trust"]
    );
    assert!(operator.world.service_identity(&order).is_none());
    let revoked = operator.world.generations("storefront").unwrap().signing().unwrap().revoked().to_vec();
    assert_eq!(revoked.iter().map(|revoked| revoked.cause).collect::<Vec<_>>(), [crate::pki::RevocationCause::Deleted]);
}

#[test]
fn below_a_ca_that_signs_no_lists_a_suspension_says_what_it_can_not_do() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let brought = crate::pki::testing::root_without_crl_sign("brought");
    let mut facts = operator.world.authority("storefront").unwrap().clone();
    let generations = crate::pki::testing::generations([brought]);
    (facts.resource_version, facts.generations) = ("9000".to_owned(), Ok(std::sync::Arc::new(generations)));
    operator.apply(crate::world::Change::Authority("storefront".to_owned(), Some(facts)));
    operator.work();
    suspend(&mut operator, true);
    let log = operator.work();
    place(&log, "delete Secret storefront/order-tls");
    assert!(!log.iter().any(|line| line.contains("storefront-ca")), "{log:?}");
    let suspended = said(&operator, ConditionType::Suspended).unwrap();
    let expected = "its certificates can't be revoked, because the CA of TrustDomain storefront lacks the key usage cRLSign: verifiers accept them until 2026-03-02T12:00:00Z";
    assert!(suspended.contains(expected), "{suspended}");
    let status = operator.world.service_identity(&key("storefront/order")).unwrap().status.clone().unwrap();
    let brought = operator.world.generations("storefront").unwrap().signing().unwrap().id();
    assert_eq!(status.previous_certificates.last().unwrap().authority, brought, "it is still known");
    assert_eq!(operator.left(), []);
}
