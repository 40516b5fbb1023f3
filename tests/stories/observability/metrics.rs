//! Measurements agree with what is in the cluster, and name nobody.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use ringfence_cluster::Server;
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::json;

use super::{begin, get, remove};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measurements_agree_with_what_is_in_the_cluster() {
    let observed = begin("measured", "info").await;
    let story = &observed.story;
    let (head, text) = get(observed.metrics, "/metrics").await.unwrap();
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");

    for (series, value) in [
        ("ringfence_leader", 1.0),
        ("ringfence_objects{kind=\"TrustDomain\"}", 3.0),
        ("ringfence_objects{kind=\"ServiceIdentity\"}", 5.0),
        ("ringfence_objects{kind=\"AccessPolicy\"}", 5.0),
        ("ringfence_edges{from=\"storefront\",to=\"storefront\"}", 3.0),
        ("ringfence_edges{from=\"storefront\",to=\"settlement\"}", 2.0),
        ("ringfence_edges{from=\"(outside)\",to=\"storefront\"}", 1.0),
        ("ringfence_overdue_certificates{domain=\"settlement\"}", 0.0),
        ("ringfence_reconciles_total{kind=\"AccessPolicy\",outcome=\"failed\"}", 0.0),
        ("ringfence_watch_restarts_total{kind=\"Pod\"}", 0.0),
    ] {
        assert_eq!(observed.measured(series).await, Some(value), "{series}");
    }
    let expiry = observed.measured("ringfence_expiry_timestamp_seconds{kind=\"leaf\",domain=\"storefront\"}").await;
    let certificates = ["gateway", "inventory", "order"].map(|name| async move {
        let identity = story.wait_identity("storefront", name, "be there", |_| true).await;
        identity.status.unwrap().certificate.unwrap().not_after.0
    });
    let first: Timestamp = futures::future::join_all(certificates).await.into_iter().min().unwrap();
    assert_eq!(expiry, Some(first.as_second() as f64));

    let ready = "ringfence_not_ready{kind=\"AccessPolicy\",reason=\"CallerNotFound\"}";
    assert_eq!(observed.measured(ready).await, None);
    let written = "ringfence_writes_total{verb=\"patch\",kind=\"AccessPolicy\",result=\"done\"}";
    let rendered = "ringfence_spec_to_rendered_seconds_count{kind=\"AccessPolicy\"}";
    let before = (observed.measured(written).await.unwrap_or(0.0), observed.measured(rendered).await.unwrap_or(0.0));
    let spec =
        json!({"to": {"identity": "order", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "nobody"}}]});
    story.judged_policy("storefront", "measured", spec).await;
    eventually("the refusal is counted", async || (observed.measured(ready).await == Some(1.0)).then_some(())).await;
    assert_eq!(observed.measured("ringfence_refused_entries{reason=\"CallerNotFound\"}").await, Some(1.0));
    assert_eq!(observed.measured("ringfence_edges{from=\"storefront\",to=\"storefront\"}").await, Some(3.0));
    eventually("the change is counted once", async || {
        let after = (observed.measured(written).await.unwrap(), observed.measured(rendered).await.unwrap_or(0.0));
        (after.1 == before.1 + 1.0 && after.0 > before.0).then_some(())
    })
    .await;
    let text = observed.measurements().await;
    assert_eq!(text.lines().filter_map(family).collect::<BTreeSet<_>>(), documented(), "docs/observability.md");
    assert!(!["gateway", "inventory", "nobody", "measured"].iter().any(|name| text.contains(name)), "{text}");
    remove(&story.api::<AccessPolicy>("storefront"), "measured").await;
    eventually("it is forgotten", async || observed.measured(ready).await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_watch_is_counted_and_work_goes_on() {
    let observed = begin("interrupted", "info").await;
    let story = &observed.story;
    let restarts = "ringfence_watch_restarts_total{kind=\"AccessPolicy\"}";
    assert_eq!(observed.measured(restarts).await, Some(0.0));
    let cluster = story.cluster;
    let restart = || {
        cluster.cluster().stop_server(Server::ApiServer).unwrap();
        cluster.cluster().start_server(Server::ApiServer).unwrap();
    };
    tokio::task::spawn_blocking(restart).await.unwrap();
    eventually("it is counted", async || (observed.measured(restarts).await? > 0.0).then_some(())).await;
    story.ready_identity("storefront", "later", json!({})).await;
    remove(&story.api::<ServiceIdentity>("storefront"), "later").await;
}

/// Name and type of a family, of the line that tells it.
fn family(line: &str) -> Option<String> {
    line.strip_prefix("# TYPE ").map(str::to_owned)
}

/// The same of the table in the documentation.
fn documented() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `ringfence_"));
    rows.map(|row| {
        row.split('|').skip(1).take(2).map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>().join(" ")
    })
    .collect()
}

#[test]
fn an_address_or_a_filter_that_is_of_no_use_is_said_and_ends_the_operator_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(
        &kubeconfig,
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "none",
            "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "none", "user": {}}],
            "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        })
        .to_string(),
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        let output = command.arg("operator").args(arguments).env("KUBECONFIG", &kubeconfig).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["--health-address=127.0.0.1:0", &format!("--metrics-address={address}")]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("{address} can't be served: choose another --metrics-address")), "{said}");

    let (code, said) = run(&["--metrics-address=9090"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("expected an address with a port, such as 0.0.0.0:9090, or off"), "{said}");
    let (code, said) = run(&["--otlp-endpoint=collector:4318"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not a URL such as http://collector:4318"), "{said}");
    let (code, said) = run(&["--log=ringfence=loud"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not a filter"), "{said}");
}
