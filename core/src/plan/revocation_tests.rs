//! What goes on the lists of a domain, and who gets them.

use super::*;
use crate::pki::RevocationCause;
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::testing::{DNS, SHOP, apply, key};

/// Two domains under one root; order, in the first, calls payment, in the second.
const FAMILY: &str = "
{kind: TrustDomain, metadata: {name: root}, spec: {certificateAuthority: {selfSigned: {}}}}
---
kind: TrustDomain
metadata: {name: left}
spec: {namespaces: [left], certificateAuthority: {parent: {name: root}}, outbound: [{trustDomains: [right]}]}
---
kind: TrustDomain
metadata: {name: right}
spec: {namespaces: [right], certificateAuthority: {parent: {name: root}}, inbound: [{trustDomains: [left]}]}
---
{kind: ServiceIdentity, metadata: {name: order, namespace: left}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: alone, namespace: left}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: payment, namespace: right}, spec: {}}
---
kind: AccessPolicy
metadata: {name: pay, namespace: right}
spec: {to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: left}}]}
";

fn lists(operator: &Operator, domain: &str) -> String {
    operator.world.generations(domain).unwrap().lists_pem()
}

#[test]
fn a_list_serves_as_long_as_the_longest_certificate_below_it_and_an_outage() {
    let mut operator = Operator::at_rest(&[FAMILY, DNS]);
    let life = |operator: &Operator, name: &str| revocation_plan(&operator.world, name, now()).life;
    assert_eq!(life(&operator, "root"), SignedDuration::from_hours(8 * 24), "certificates of a day, and a week");
    operator.show(
        "
kind: TrustDomain
metadata: {name: left, generation: 2}
spec: {namespaces: [left], certificateAuthority: {parent: {name: root}}, certificates: {duration: 240h}}
",
    );
    for (name, days) in [("left", 17), ("root", 17), ("right", 8)] {
        assert_eq!(life(&operator, name), SignedDuration::from_hours(days * 24), "{name}");
    }
}

#[test]
fn whoever_has_an_edge_gets_the_lists_of_the_whole_chain_and_a_new_one_at_once() {
    let mut operator = Operator::at_rest(&[FAMILY, DNS]);
    let all = |operator: &Operator, names: &[&str]| names.iter().map(|name| lists(operator, name)).collect::<String>();
    assert_eq!(operator.world.revocation_lists(["right"]), all(&operator, &["right", "root"]));
    assert_eq!(operator.world.revocation_lists([]), "");
    let before = lists(&operator, "left");
    operator.show(
        "{kind: ServiceIdentity, metadata: {name: alone, namespace: left, generation: 2}, spec: {suspended: true}}",
    );
    let log = operator.work();
    let wrote = |what: &str| log.iter().any(|line| line == what);
    assert!(wrote("replace Secret ringfence-system/left-ca"), "{log:?}");
    assert!(wrote("replace ConfigMap ringfence-system/left-trust"), "{log:?}");
    assert!(wrote("replace ConfigMap right/payment-trust"), "payment is called from left: {log:?}");
    assert!(!wrote("replace ConfigMap left/order-trust"), "order has no peer there: {log:?}");
    assert!(!log.iter().any(|line| line.contains("right-ca") || line.contains("root-ca")), "{log:?}");
    assert_ne!(lists(&operator, "left"), before);
    assert_eq!(operator.left(), []);
    operator.look_at_everything();
    assert_eq!(operator.work(), [""; 0], "a restart writes nothing");
}

#[test]
fn a_new_list_of_the_root_reaches_all_below() {
    let mut operator = Operator::at_rest(&[FAMILY, DNS]);
    let root = operator.world.generations("root").unwrap().clone();
    let later = now().checked_add(SignedDuration::from_hours(5 * 24)).unwrap();
    let renewed = revise_lists(&root, &revocation_plan(&operator.world, "root", later), later).unwrap().unwrap();
    let mut facts = operator.world.authority("root").unwrap().clone();
    facts.resource_version = "9000".to_owned();
    facts.generations = Ok(std::sync::Arc::new(renewed));
    operator.apply(crate::world::Change::Authority("root".to_owned(), Some(facts)));
    let log = operator.work();
    for map in ["ringfence-system/root-trust", "ringfence-system/left-trust", "left/order-trust", "right/payment-trust"]
    {
        assert!(log.contains(&format!("replace ConfigMap {map}")), "{map}: {log:?}");
    }
    assert!(!log.iter().any(|line| line.contains("alone") || line.contains("Secret")), "{log:?}");
}

#[test]
fn certificates_that_were_replaced_are_revoked_with_the_one_in_use() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let order = key("storefront/order");
    let serials = |operator: &Operator| {
        let status = operator.world.service_identity(&order).unwrap().status.clone().unwrap();
        let previous = status.previous_certificates.into_iter().map(|issued| issued.serial);
        previous.chain(status.certificate.map(|certificate| certificate.serial)).collect::<Vec<_>>()
    };
    for (generation, algorithm) in [(2, "ECDSA-P384"), (3, "Ed25519")] {
        let mut object = serde_json::to_value(operator.world.service_identity(&order).unwrap().as_ref()).unwrap();
        object["metadata"]["generation"] = generation.into();
        object["spec"]["certificate"] = serde_json::json!({"algorithm": algorithm});
        operator.show_one(object);
        operator.work();
    }
    let known = serials(&operator);
    assert_eq!(known.len(), 3, "{known:?}");
    let mut object = serde_json::to_value(operator.world.service_identity(&order).unwrap().as_ref()).unwrap();
    object["metadata"]["generation"] = 4.into();
    object["spec"]["suspended"] = true.into();
    operator.show_one(object);
    operator.work();
    let signing = operator.world.generations("storefront").unwrap().signing().unwrap().clone();
    let on_list = signing.revocation_list().unwrap().serials();
    let mut on_list: Vec<String> = on_list.iter().map(ToString::to_string).collect();
    let mut known = known;
    on_list.sort();
    known.sort();
    assert_eq!(on_list, known);
    assert!(signing.revoked().iter().all(|revoked| revoked.cause == RevocationCause::Suspended));
    assert_eq!(serials(&operator), [""; 0], "the list is the record now");
}

#[test]
fn so_many_certificates_are_remembered_and_older_ones_revoked() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let object = operator.world.service_identity(&key("storefront/order")).unwrap().as_ref().clone();
    let mut status = object.status.clone().unwrap();
    let current = status.certificate.clone().unwrap();
    let authority = current.authority.clone().unwrap();
    status.previous_certificates = (1..=crate::world::KEPT_CERTIFICATES + 2)
        .map(|number| crate::api::IssuedCertificate {
            serial: format!("{number:02x}"),
            authority: authority.clone(),
            not_after: current.not_after.clone(),
        })
        .collect();
    let mut value = serde_json::to_value(&object).unwrap();
    value["status"] = serde_json::to_value(&status).unwrap();
    apply(&mut operator.world, "{kind: Namespace, metadata: {name: elsewhere}}");
    operator.show_one(value);
    operator.work();
    let signing = operator.world.generations("storefront").unwrap().signing().unwrap().clone();
    let revoked: Vec<(String, RevocationCause)> =
        signing.revoked().iter().map(|revoked| (revoked.serial.to_string(), revoked.cause)).collect();
    assert_eq!(
        revoked,
        [("01".to_owned(), RevocationCause::Superseded), ("02".to_owned(), RevocationCause::Superseded)]
    );
    let status = operator.world.service_identity(&key("storefront/order")).unwrap().status.clone().unwrap();
    assert_eq!(status.previous_certificates.len(), crate::world::KEPT_CERTIFICATES);
    assert_eq!(status.certificate, Some(current), "the one in use stays");
}
