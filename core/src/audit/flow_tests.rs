//! Lines of a recording, as Hubble writes them.

use serde_json::{Value, json};

use super::*;

fn order_to_delivery() -> Value {
    json!({
        "time": "2026-03-01T12:00:00.123456789Z", "uuid": "0b0e5a1c-6b5c-4b7e-9d62-1f7f2c0a9d11", "verdict": "FORWARDED",
        "ethernet": {"source": "0a:58:0a:f4:00:0d", "destination": "0a:58:0a:f4:00:15"},
        "IP": {"source": "10.244.0.13", "destination": "10.244.1.21", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 51234, "destination_port": 8443, "flags": {"SYN": true}}},
        "source": {"ID": 1201, "identity": 21733, "cluster_name": "default", "namespace": "storefront", "labels": [
            "k8s:app.kubernetes.io/name=order", "k8s:canary",
            "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=storefront",
            "k8s:io.cilium.k8s.policy.cluster=default", "k8s:io.cilium.k8s.policy.serviceaccount=order",
            "k8s:io.kubernetes.pod.namespace=storefront",
        ], "pod_name": "order-7c9", "workloads": [{"name": "order", "kind": "Deployment"}]},
        "destination": {"identity": 9, "labels": ["k8s:app=x", "k8s:io.kubernetes.pod.namespace=settlement"]},
        "Type": "L3_L4", "node_name": "one", "event_type": {"type": 4}, "traffic_direction": "INGRESS",
        "trace_observation_point": "TO_ENDPOINT", "trace_reason": "NEW", "is_reply": false, "Summary": "TCP Flags: SYN",
    })
}

fn read_json(value: &Value) -> Result<Line, String> {
    parse(value.to_string().as_bytes())
}

#[test]
fn a_flow_says_who_called_whom() {
    let Line::Opened(bare) = read_json(&order_to_delivery()).unwrap() else { panic!("it is a connection") };
    assert_eq!((bare.port, bare.protocol), (8443, Protocol::Tcp));
    assert_eq!(bare.time, Some("2026-03-01T12:00:00.123456789Z".parse().unwrap()));
    assert_eq!((bare.source.namespace.as_deref(), bare.source.pod.as_str()), (Some("storefront"), "order-7c9"));
    let labels = [("app.kubernetes.io/name", "order"), ("canary", "")];
    assert_eq!(bare.source.labels, labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(bare.destination.namespace.as_deref(), Some("settlement"), "the label says it where the field does not");
    assert_eq!(bare.destination.address.to_string(), "10.244.1.21");
    let event = json!({"flow": order_to_delivery(), "node_name": "one", "time": "2026-03-01T12:00:00.123456789Z"});
    assert_eq!(read_json(&event), Ok(Line::Opened(bare)), "an event holds the same");
}

#[test]
fn what_says_nothing_about_who_may_call_is_passed_over() {
    let cases = [
        (json!({"is_reply": true}), Passed::Reply),
        (json!({"is_reply": null}), Passed::DirectionUnknown),
        (json!({"verdict": "DROPPED", "is_reply": null}), Passed::NotForwarded),
        (json!({"verdict": "ERROR"}), Passed::NotForwarded),
        (json!({"l4": {"ICMPv4": {"type": 8}}}), Passed::WithoutPort),
        (json!({"Type": "L7"}), Passed::OtherEvent),
        (json!({"Type": "SOCK", "verdict": "TRANSLATED"}), Passed::OtherEvent),
    ];
    for (change, expected) in cases {
        let mut flow = order_to_delivery();
        flow.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(read_json(&flow), Ok(Line::Passed(expected)), "{change}");
    }
    let other = json!({"node_status": {"state_change": "NODE_CONNECTED"}, "node_name": "one"});
    assert_eq!(read_json(&other), Ok(Line::Passed(Passed::OtherEvent)));
    for lost in [json!("12"), json!(12)] {
        let event = json!({"lost_events": {"source": "HUBBLE_RING_BUFFER", "num_events_lost": lost}});
        assert_eq!(read_json(&event), Ok(Line::Lost(12)));
    }
}

#[test]
fn what_is_no_event_is_said() {
    let without_addresses = {
        let mut flow = order_to_delivery();
        flow.as_object_mut().unwrap().remove("IP");
        flow.to_string()
    };
    let cases = [
        ("{\"flow\": {\"verdict\"", "EOF"),
        ("Mar  1 12:00:00.123: storefront/order", "expected value"),
        ("{}", "neither a flow nor another event"),
        ("{\"kind\": \"Pod\"}", "neither a flow nor another event"),
        ("[]", "neither a flow nor another event"),
        ("{\"flow\": 1}", "invalid type"),
        (&without_addresses, "no IP addresses"),
    ];
    for (line, complaint) in cases {
        let error = parse(line.as_bytes()).unwrap_err();
        assert!(error.contains(complaint), "{line}: {error}");
    }
}
