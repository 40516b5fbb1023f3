//! What a rotation replaces, and what it leaves alone.

use super::*;
use crate::pki::RevocationCause;
use crate::pki::testing::now;
use crate::plan::testing::{Operator, SIGNED_CALL};
use crate::plan::{Outcome, identity_status};
use crate::testing::{DNS, SHOP, condition, key};

fn rotate(operator: &mut Operator, id: &str, target: &str) -> Vec<String> {
    let object = operator.world.service_identity(&key("storefront/order")).unwrap();
    let mut object = serde_json::to_value(object.as_ref()).unwrap();
    object["metadata"]["generation"] = (object["metadata"]["generation"].as_i64().unwrap_or(1) + 1).into();
    object["spec"]["rotation"] = serde_json::json!({"id": id, "target": target, "mode": "Compromised"});
    operator.show_one(object);
    operator.work()
}

/// Serial number, key ID and what the status says about rotations.
fn status(operator: &Operator) -> (String, String, Option<RotationStatus>) {
    let status = operator.world.service_identity(&key("storefront/order")).unwrap().status.clone().unwrap();
    (status.certificate.unwrap().serial, status.signing_key.unwrap().key_id, status.rotation)
}

fn secrets(log: &[String]) -> Vec<&str> {
    log.iter().filter(|line| line.contains("Secret")).map(String::as_str).collect()
}

#[test]
fn a_certificate_that_may_be_in_other_hands_is_revoked_and_then_replaced_once() {
    let mut operator = Operator::at_rest(&[SHOP, DNS, SIGNED_CALL]);
    let before = status(&operator);
    let log = rotate(&mut operator, "first", "Certificate");
    let expected = ["replace Secret ringfence-system/storefront-ca", "replace Secret storefront/order-tls"];
    assert_eq!(secrets(&log), expected, "the key for tokens stays");
    let after = status(&operator);
    assert!(after.0 != before.0 && after.1 == before.1);
    assert_eq!(after.2.clone().unwrap().id, "first");
    let signing = operator.world.generations("storefront").unwrap().signing().unwrap().clone();
    let revoked: Vec<_> = signing.revoked().iter().map(|one| (one.serial.to_string(), one.cause)).collect();
    assert_eq!(revoked, [(before.0, RevocationCause::Compromised)]);
    assert_eq!(operator.left(), []);
    operator.look_at_everything();
    assert_eq!(operator.work(), [""; 0]);
    assert_eq!(secrets(&rotate(&mut operator, "first", "Certificate")), [""; 0], "the same id asks for nothing");
    assert_eq!(secrets(&rotate(&mut operator, "second", "Certificate")), expected);
    assert_ne!(status(&operator).0, after.0);
}

#[test]
fn a_signing_key_that_may_be_in_other_hands_leaves_every_key_set_at_once() {
    let mut operator = Operator::at_rest(&[SHOP, DNS, SIGNED_CALL]);
    let before = status(&operator);
    let log = rotate(&mut operator, "first", "SigningKey");
    assert_eq!(secrets(&log), ["replace Secret storefront/order-signing-key"], "the certificate stays");
    assert!(log.contains(&"replace ConfigMap settlement/payment-trust".to_owned()), "{log:?}");
    let after = status(&operator);
    assert!(after.0 == before.0 && after.1 != before.1);
    assert_eq!(after.2.unwrap().id, "first");
    assert_eq!(operator.left(), []);
    operator.look_at_everything();
    assert_eq!(operator.work(), [""; 0]);
}

#[test]
fn that_requests_may_fail_is_said_until_files_have_surely_arrived() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    rotate(&mut operator, "stolen", "Certificate");
    let order = key("storefront/order");
    let said = |at| {
        let status = identity_status(&operator.world, &order, &Outcome::default(), at).unwrap();
        [ConditionType::Ready, ConditionType::RollingOver].map(|kind| condition(&status.conditions, kind))
    };
    let [ready, rolling] = said(now());
    assert!(ready.unwrap().starts_with("True Compromised: rotation stolen: earlier certificates are on"));
    assert!(rolling.unwrap().ends_with("until 2026-03-01T12:02:00Z files in pods may be older"));
    let object = operator.world.service_identity(&order).unwrap();
    let until = rolls_until(object).unwrap();
    assert_eq!(until.to_string(), "2026-03-01T12:02:00Z");
    assert_eq!(said(until)[1], None);
}

#[test]
fn an_identity_that_is_new_has_nothing_to_rotate() {
    let mut operator = Operator::new(&[
        &SHOP.replace(
            "spec: {signingKey: {}}",
            "spec: {signingKey: {}, rotation: {id: old, target: Certificate, mode: Compromised}}",
        ),
        DNS,
    ]);
    let log = operator.work();
    assert_eq!(log.iter().filter(|line| line.contains("order-tls")).count(), 1, "{log:?}");
    assert_eq!(status(&operator).2, Some(RotationStatus { id: "old".to_owned(), time: None }));
}

#[test]
fn below_a_ca_that_signs_no_lists_the_certificate_is_replaced_all_the_same() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let brought = crate::pki::testing::root_without_crl_sign("brought");
    let mut facts = operator.world.authority("storefront").unwrap().clone();
    let generations = crate::pki::testing::generations([brought]);
    (facts.resource_version, facts.generations) = ("9000".to_owned(), Ok(std::sync::Arc::new(generations)));
    operator.apply(crate::world::Change::Authority("storefront".to_owned(), Some(facts)));
    operator.work();
    let object = operator.world.service_identity(&key("storefront/order")).unwrap();
    let mut object = serde_json::to_value(object.as_ref()).unwrap();
    object["status"]["rotation"] = serde_json::json!({"id": "late", "time": "2026-03-01T12:00:01Z"});
    object["spec"]["rotation"] = serde_json::json!({"id": "late", "target": "Certificate", "mode": "Compromised"});
    object["metadata"]["generation"] = 7.into();
    operator.show_one(object);
    let plan = crate::plan::identity_plan(&operator.world, &key("storefront/order"), now()).unwrap();
    let reason = crate::pki::ReissueReason::Compromised;
    assert!(
        matches!(plan.certificate, crate::plan::CertificateStep::Issue { reason: found, .. } if found == reason),
        "it is older than the rotation"
    );
}
