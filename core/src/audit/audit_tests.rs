//! Which flows would be closed.

use super::testing::{audited, flow, only, shop};
use super::*;

const DELIVERY: &str = "
kind: AccessPolicy
metadata: {name: delivery, namespace: settlement}
spec: {to: {identity: delivery, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}
---
kind: AccessPolicy
metadata: {name: gateway, namespace: storefront}
spec: {to: {identity: gateway, ports: [{port: 8443}]}, from: [{anywhere: {}}]}
";

#[test]
fn each_flow_is_held_against_the_fences_of_both_ends() {
    let (out, into) = ("CallerEgress storefront/ringfence-order", "CalleeIngress settlement/ringfence-delivery");
    let cases: [(&str, &[&str]); 20] = [
        ("storefront/order -> settlement/delivery 8443/TCP", &[]),
        ("storefront/order -> settlement/delivery 8444/TCP", &[out, into]),
        ("storefront/order -> settlement/delivery 8443/UDP", &[out, into]),
        ("strangers/stranger -> settlement/delivery 8443/TCP", &[into]),
        ("strangers/order -> settlement/delivery 8443/TCP", &[into]),
        ("settlement/nobody -> settlement/delivery 8443/TCP", &["CallerEgress settlement/ringfence-baseline", into]),
        ("strangers/stranger -> settlement/nobody 8443/TCP", &["CalleeIngress settlement/ringfence-baseline"]),
        ("world@203.0.113.7 -> storefront/gateway 8443/TCP", &[]),
        ("strangers/stranger -> storefront/gateway 8443/TCP", &[]),
        ("world@203.0.113.7 -> settlement/delivery 8443/TCP", &[into]),
        ("storefront/order -> world@203.0.113.7 443/TCP", &[out]),
        ("storefront/order -> kube-apiserver@192.0.2.10 6443/TCP", &[out]),
        ("storefront/order -> storefront/order 9090/TCP", &[]),
        // The kubelet probes its own pods, and no NetworkPolicy stands in its way. Other nodes are addresses like others.
        ("host@192.0.2.1 -> settlement/delivery 8080/TCP", &[]),
        ("remote-node@192.0.2.2 -> settlement/delivery 8443/TCP", &[into]),
        ("remote-node@192.0.2.2 -> storefront/gateway 8443/TCP", &[]),
        ("storefront/order -> host@192.0.2.1 9100/TCP", &[out]),
        ("strangers/stranger -> strangers/other 80/TCP", &[]),
        ("strangers/stranger -> world@203.0.113.7 443/TCP", &[]),
        ("storefront/order -> kube-system/other 53/UDP", &[out]),
    ];
    for (line, expected) in cases {
        let report = audited(DELIVERY, &[line]);
        let closed = report.closing.iter().flat_map(|closing| &closing.closed);
        let closed: Vec<String> = closed.map(|c| format!("{:?} {}", c.side, c.network_policy)).collect();
        assert_eq!(closed, expected, "{line}");
        assert_eq!(report.well, expected.is_empty(), "{line}");
    }
}

#[test]
fn names_can_be_resolved_behind_every_fence() {
    let dns = r#"{"namespace": "kube-system", "pod_name": "coredns-0", "labels": ["k8s:k8s-app=kube-dns"]}"#;
    for (port, protocol, closes) in [(53, "UDP", false), (53, "TCP", false), (9153, "TCP", true)] {
        let mut line = flow(&format!("settlement/delivery -> kube-system/x {port}/{protocol}"));
        line["destination"] = serde_json::from_str(dns).unwrap();
        let mut audit = Audit::new(shop("")).unwrap();
        audit.take("flows.json", 1, line.to_string().as_bytes());
        assert_eq!(audit.finish([]).unwrap().well, !closes, "{port}/{protocol}");
    }
}

#[test]
fn flows_add_up_to_edges() {
    let mut audit = Audit::new(shop(DELIVERY)).unwrap();
    let times = ["2026-03-01T12:00:02Z", "2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"];
    for time in times {
        let mut line = flow("storefront/order -> settlement/payment 8443/TCP");
        line["time"] = time.into();
        audit.take("flows.json", 1, line.to_string().as_bytes());
    }
    for last in 0..100 {
        let line = flow(&format!("storefront/order -> world@203.0.113.{last} 443/TCP"));
        audit.take("flows.json", 1, line.to_string().as_bytes());
    }
    for open in ["storefront/order -> settlement/delivery 8443/TCP"; 2] {
        audit.take("flows.json", 1, flow(open).to_string().as_bytes());
    }
    audit.take("flows.json", 7, b"no JSON");
    let report = audit.finish(["something else".to_owned()]).unwrap();
    let edges: Vec<_> = report
        .closing
        .iter()
        .map(|c| (c.caller.to_string(), c.callee.to_string(), c.flows, c.addresses.len()))
        .collect();
    let expected =
        |callee: &str, flows, addresses| ("storefront/order".to_owned(), callee.to_owned(), flows, addresses);
    assert_eq!(edges, [expected("settlement/payment", 3, 0), expected("an address", 100, ADDRESSES)]);
    let seen = [report.closing[0].first_seen, report.closing[0].last_seen];
    assert_eq!(seen.map(|time| time.unwrap().to_string()), [times[1], times[0]]);
    assert_eq!((report.open, report.flows.judged, report.flows.unread), (1, 105, 1));
    assert_eq!((report.unread[0].line, report.unread[0].recording.as_str()), (7, "flows.json"));
    assert_eq!(report.notes, ["something else"]);
}

#[test]
fn a_pod_that_is_there_has_the_labels_that_it_has_now() {
    let pods = "
kind: Pod
metadata: {name: order-0, namespace: storefront, labels: {app.kubernetes.io/name: renamed}}
spec: {containers: []}
";
    let closing = only(audited(pods, &["storefront/order -> strangers/stranger 80/TCP"]));
    assert_eq!(closing.caller.to_string(), "pods app.kubernetes.io/name=renamed in storefront");
}

#[test]
fn nothing_to_judge_is_an_error_and_not_a_good_sign() {
    let disabled = "
kind: TrustDomain
metadata: {name: alone}
spec: {namespaces: [alone], certificateAuthority: {selfSigned: {}}, enforcement: Disabled}
";
    assert_eq!(Audit::new(crate::testing::world(&[disabled])).err(), Some(AuditError::NothingFenced));
    let mut audit = Audit::new(shop(disabled)).unwrap();
    assert_eq!(audit.notes, ["TrustDomain alone is Disabled: its namespaces count as unfenced"]);
    audit.take("flows.json", 1, b"[");
    assert_eq!(audit.finish([]).err(), Some(AuditError::NothingRecorded));
}
