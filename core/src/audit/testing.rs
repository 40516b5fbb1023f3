//! Recordings for tests, from a few words.

use serde_json::{Value, json};

use super::{Audit, Closing, Remedy, Report};
use crate::testing::{CLUSTER, DNS};

/// A shop whose fence is to be judged: `SHOP` in Audit, with these objects besides.
pub(super) fn shop(more: &str) -> crate::world::World {
    let audited =
        crate::testing::SHOP.replace("  certificateAuthority", "  enforcement: Audit\n  certificateAuthority");
    crate::testing::world(&[CLUSTER, DNS, &audited, more])
}

/// An end: `<namespace>/<app>` for a pod, or `<word>@<address>` for what else Cilium knows.
fn end(text: &str) -> (Value, String) {
    if let Some((word, address)) = text.split_once('@') {
        return (json!({"identity": 2, "labels": [format!("reserved:{word}")]}), address.to_owned());
    }
    let (namespace, app) = text.split_once('/').unwrap();
    let labels = [format!("k8s:app.kubernetes.io/name={app}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")];
    (json!({"namespace": namespace, "pod_name": format!("{app}-0"), "labels": labels}), "10.244.0.7".to_owned())
}

/// A line: `<end> -> <end> <port>/<protocol>`.
pub(super) fn flow(text: &str) -> Value {
    let (source, rest) = text.split_once(" -> ").unwrap();
    let (destination, port) = rest.split_once(' ').unwrap();
    let (port, protocol) = port.split_once('/').unwrap();
    let ((source, from), (destination, to)) = (end(source), end(destination));
    let ports = json!({"source_port": 50000, "destination_port": port.parse::<u16>().unwrap()});
    json!({
        "verdict": "FORWARDED", "IP": {"source": from, "destination": to}, "l4": {protocol: ports},
        "source": source, "destination": destination, "Type": "L3_L4", "is_reply": false,
    })
}

/// What came of these flows.
pub(super) fn audited(more: &str, flows: &[&str]) -> Report {
    let mut audit = Audit::new(shop(more)).unwrap();
    for (index, line) in flows.iter().enumerate() {
        audit.take("flows.json", index as u64 + 1, flow(line).to_string().as_bytes());
    }
    audit.finish([]).unwrap()
}

/// The one edge that closes.
pub(super) fn only(report: Report) -> Closing {
    let [closing] = <[Closing; 1]>::try_from(report.closing).unwrap();
    closing
}

/// What is proposed for the one edge that closes, as JSON.
pub(super) fn remedy(more: &str, flow: &str) -> Value {
    let remedy: Remedy = only(audited(more, &[flow])).remedy.unwrap();
    serde_json::to_value(remedy).unwrap()
}
