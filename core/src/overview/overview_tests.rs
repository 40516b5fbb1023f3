//! What is well, what is not, and in which order it is told.
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::pki::testing::now;

fn at(seconds: i64) -> Value {
    json!(now().checked_add(SignedDuration::from_secs(seconds)).unwrap().to_string())
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(0)})
}

fn object<T: DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> T {
    let (namespace, name) = name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name));
    let metadata = json!({"name": name, "namespace": namespace, "generation": 2});
    serde_json::from_value(json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status,
    }))
    .unwrap()
}

fn domain(name: &str, ca_seconds: i64) -> TrustDomain {
    let ca = json!({"generation": "0a1b2c3d", "serial": "01", "notBefore": at(-60), "notAfter": at(ca_seconds)});
    object(
        "TrustDomain",
        name,
        json!({"certificateAuthority": {"selfSigned": {}}}),
        json!({
            "observedGeneration": 2, "conditions": [condition("Ready", "True", "Ready", "the domain is in force")],
            "trustDomain": name, "namespaces": ["shop"], "certificateAuthority": ca,
        }),
    )
}

/// One that is renewed and ends so many seconds from now.
fn identity(name: &str, renewal: i64, end: i64, status: Value) -> ServiceIdentity {
    let mut whole = json!({
        "observedGeneration": 2, "conditions": [condition("Ready", "True", "Ready", "all is well")],
        "spiffeID": "spiffe://shop/ns/shop/sa/order",
        "certificate": {
            "secretName": "x-tls", "serial": "01", "notBefore": at(-60), "notAfter": at(end), "renewalTime": at(renewal),
        },
        "signingKey": {"secretName": "x-signing-key", "keyID": "a-key"},
    });
    for (key, value) in status.as_object().unwrap() {
        whole[key] = value.clone();
    }
    object("ServiceIdentity", name, json!({}), whole)
}

fn policy(name: &str, status: Value) -> AccessPolicy {
    let spec = json!({
        "to": {"identity": "order", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "gateway"}}, {"identity": {"name": "nobody"}}],
    });
    object("AccessPolicy", name, spec, status)
}

fn found(overview: &Overview) -> Vec<String> {
    let told = overview.findings.iter();
    told.map(|finding| format!("{:?} {} {}", finding.severity, finding.name, finding.reason)).collect()
}

#[test]
fn a_shop_in_order_is_well() {
    let mut overview = Overview::new(now());
    overview.add_domain(&domain("shop", 9000));
    overview.add_identity(&identity("shop/order", 100, 200, json!({})));
    let ready = json!({
        "observedGeneration": 2, "conditions": [condition("Ready", "True", "Ready", "in force")], "edges": 2,
        "effectiveAfter": at(0),
    });
    overview.add_policy(&policy("shop/order", ready));
    let overview = overview.finish();
    assert_eq!((overview.well, found(&overview)), (true, Vec::new()));
    let json = serde_json::to_value(&overview).unwrap();
    assert_eq!(json["trustDomains"][0]["certificateAuthority"]["generation"], "0a1b2c3d");
    assert_eq!(json["identities"][0]["spiffeID"], "spiffe://shop/ns/shop/sa/order");
    assert_eq!(json["identities"][0]["signingKeyID"], "a-key");
    assert_eq!(json["identities"][0]["certificate"]["renewalTime"], at(100));
    let policy = &json["accessPolicies"][0];
    assert_eq!([&policy["edges"], &policy["entries"], &policy["effective"]], [&json!(2), &json!(2), &json!(true)]);
}

#[test]
fn what_is_late_or_over_is_told() {
    let look = |renewal, end| {
        let mut overview = Overview::new(now());
        overview.add_identity(&identity("shop/order", renewal, end, json!({})));
        found(&overview.finish())
    };
    let grace = RENEWAL_GRACE.as_secs();
    assert_eq!(look(-grace, 100), Vec::<String>::new());
    assert_eq!(look(-grace - 1, 100), ["Behind order RenewalOverdue"]);
    assert_eq!(look(-grace - 1, -1), ["NotReady order Expired"]);
    let mut overview = Overview::new(now());
    overview.add_domain(&domain("shop", -1));
    overview.add_identity(&identity("shop/order", 100, 200, json!({"observedGeneration": 1})));
    overview.add_identity(&identity("shop/new", 100, 200, json!({"observedGeneration": null, "conditions": []})));
    let overview = overview.finish();
    assert_eq!(found(&overview), ["NotReady shop Expired", "NotReady new Pending", "Behind order Behind"]);
    assert_eq!(overview.identities[0].ready.status, "Unknown");
}

#[test]
fn refusals_are_told_once_and_each_entry_by_itself() {
    let entry = json!({"index": 1, "source": "identity shop/nobody", "reason": "CallerNotFound", "message": "nobody is not there"});
    let refused = json!({
        "observedGeneration": 2, "edges": 0, "from": [entry.clone()],
        "conditions": [
            condition("Ready", "False", "CallerNotFound", "nobody is not there"),
            condition("Accepted", "False", "CallerNotFound", "nobody is not there"),
            condition("Programmed", "False", "Pending", "still to be written"),
        ],
    });
    let partly = json!({
        "observedGeneration": 2, "edges": 1, "from": [entry],
        "conditions": [
            condition("Ready", "True", "PartiallyAccepted", "1 of 2"),
            condition("Accepted", "True", "PartiallyAccepted", "1 of 2"),
        ],
    });
    let mut overview = Overview::new(now());
    overview.add_policy(&policy("shop/partly", partly));
    overview.add_policy(&policy("shop/refused", refused));
    let overview = overview.finish();
    assert_eq!(found(&overview), ["NotReady refused CallerNotFound", "Refused partly CallerNotFound"]);
    let expected = "from[1] (identity shop/nobody): nobody is not there";
    assert!(overview.findings.iter().all(|finding| finding.message == expected), "{:?}", overview.findings);
    assert!(!overview.well);
}

#[test]
fn warnings_leave_it_well_and_problems_come_first() {
    let widened = json!({"conditions": [
        condition("Ready", "True", "NoPods", "no pods"),
        condition("Widened", "True", "ForeignPolicy", "a policy of others"),
        condition("Accepted", "True", "RevocationUnavailable", "it can't sign lists"),
        condition("Suspended", "False", "NotSuspended", "it is not"),
    ]});
    let mut overview = Overview::new(now());
    overview.add_identity(&identity("shop/a", 100, 200, json!({})));
    overview.add_identity(&identity("shop/z", 100, 200, widened));
    let overview = overview.finish();
    assert!(overview.well);
    assert_eq!(found(&overview), ["Warning z ForeignPolicy", "Warning z RevocationUnavailable"]);

    let mut overview = Overview::new(now());
    overview.add_identity(&identity("shop/a", 100, 200, json!({})));
    overview.add_identity(&identity("shop/z", 100, -1, json!({})));
    overview.add_malformed("AccessPolicy", &NamespacedName::new("shop", "torn"), "no field `to`");
    let overview = overview.finish();
    let names: Vec<(&str, bool)> = overview.identities.iter().map(|row| (row.name.as_str(), row.well)).collect();
    assert_eq!(names, [("z", false), ("a", true)]);
    assert_eq!(found(&overview), ["NotReady z Expired", "NotReady torn Invalid"]);
}
