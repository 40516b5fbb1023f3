//! A real Prometheus scrapes the operator and evaluates every expression of the chart's rules and dashboard.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfence_cluster::{Tool, reserve, tool};
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::{Value, json};

use super::{Observed, Process, begin, get, remove};
use crate::support::eventually;

/// Panels that show something only when something is wrong that this story does not provoke.
const EMPTY_IN_GOOD_TIMES: [&str; 3] = ["Overdue for longest", "Writes that were not taken", "Watches interrupted"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_and_every_panel_means_something_to_prometheus() {
    let observed = begin("prometheus", "info").await;
    let story = &observed.story;
    let refused = |from: Value| json!({"to": {"identity": "order", "ports": [{"port": 8443}]}, "from": from});
    story.judged_policy("storefront", "refused", refused(json!([{"identity": {"name": "nobody"}}]))).await;
    let server = Prometheus::start(&observed).await;

    let rules = eventually("every rule is evaluated", async || {
        let answer = server.ask("/api/v1/rules").await?;
        let rules = answer["data"]["groups"][0]["rules"].as_array()?.clone();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    })
    .await;
    let names = |rules: &[Value]| rules.iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect();
    let names: BTreeSet<String> = names(&rules);
    assert!(names.len() == rules.len() && names.len() >= 10, "{names:?}");
    for rule in &rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&json!("ok"), &Value::Null), "{rule}");
    }
    eventually("the refusal is about to wake somebody", async || {
        let alerts = server.alerts().await?;
        ["RingfenceNotReady", "RingfenceEntriesRefused"].iter().all(|name| alerts.contains(*name)).then_some(())
    })
    .await;
    assert_eq!(
        server.alerts().await.unwrap(),
        ["RingfenceNotReady", "RingfenceEntriesRefused"].map(str::to_owned).into(),
        "and nothing else"
    );

    // Something is to be measured while Prometheus looks: a rate is seen of what is counted twice.
    story.ready_identity("storefront", "seen", json!({})).await;
    for (panel, expression) in panels() {
        let what = format!("panel {panel:?} shows something: {expression}");
        eventually(&what, async || {
            let answer = server.query(&expression).await?;
            assert_eq!(answer["status"], "success", "{panel}: {expression}: {answer}");
            let series = answer["data"]["result"].as_array()?.len();
            (series > 0 || EMPTY_IN_GOOD_TIMES.contains(&panel.as_str())).then_some(())
        })
        .await;
    }

    let mut server = server;
    let mut observed = observed;
    remove(&observed.story.api::<ServiceIdentity>("storefront"), "seen").await;
    remove(&observed.story.api::<AccessPolicy>("storefront"), "refused").await;
    observed.operator.end();
    eventually("its absence is about to wake somebody", async || {
        server.alerts().await?.contains("RingfenceAbsent").then_some(())
    })
    .await;
    server.process.end();
}

#[test]
fn promtool_has_nothing_to_complain_of() {
    let output = Command::new(tool(Tool::Promtool).unwrap())
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .arg(chart("rules/ringfence.yaml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every expression of the dashboard, as Grafana would send it, with the title of its panel.
fn panels() -> Vec<(String, String)> {
    let dashboard = std::fs::read_to_string(chart("dashboards/ringfence.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(|target| {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$__rate_interval", "1m").replace("$domain", ".*");
            assert!(!expression.contains('$'), "{expression}");
            (panel["title"].as_str().unwrap().to_owned(), expression)
        })
    });
    let panels: Vec<_> = panels.collect();
    assert!(panels.len() > 15);
    panels
}

fn chart(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ringfence").join(file)
}

/// A Prometheus that looks at one operator every second.
struct Prometheus {
    process: Process,
    address: SocketAddr,
}

impl Prometheus {
    async fn start(observed: &Observed) -> Self {
        let program = tokio::task::spawn_blocking(|| tool(Tool::Prometheus).unwrap()).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], reserve([127, 0, 0, 1].into()).unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [chart("rules/ringfence.yaml")],
            "scrape_configs": [{"job_name": "any", "static_configs": [{"targets": [observed.metrics.to_string()]}]}],
        });
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let data = folder.path().join("data");
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address={address}"),
        ];
        let process = Process::start(
            observed.story.cluster.cluster(),
            &program,
            folder,
            &arguments.each_ref().map(String::as_str),
            &[],
        );
        let server = Self { process, address };
        eventually("Prometheus is ready", async || {
            let (head, _) = get(address, "/-/ready").await?;
            head.contains(" 200 ").then_some(())
        })
        .await;
        server
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let (_, body) = get(self.address, path).await?;
        Some(serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}; {}", self.process.log())))
    }

    async fn query(&self, expression: &str) -> Option<Value> {
        let encoded = expression.bytes().fold(String::new(), |mut encoded, byte| {
            write!(encoded, "%{byte:02X}").unwrap();
            encoded
        });
        self.ask(&format!("/api/v1/query?query={encoded}")).await
    }

    /// Names of the alerts that are pending or firing.
    async fn alerts(&self) -> Option<BTreeSet<String>> {
        let answer = self.ask("/api/v1/alerts").await?;
        let alerts = answer["data"]["alerts"].as_array()?.iter();
        Some(alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect())
    }
}
