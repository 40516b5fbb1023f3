//! A control plane of its own with the operator beside it, as a process whose memory can be looked at.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use ringfence_cluster::{Cluster, OPERATOR_USER, Options};
use serde_json::Value;

/// Writes by verb and resource.
pub(crate) type Writes = BTreeMap<(String, String), usize>;

/// A cluster with an operator.
pub(crate) struct Bench {
    pub(crate) client: Client,
    operator: OperatorProcess,
    cluster: Cluster,
}

/// The operator's process; it ends with the benchmark, however that ends.
struct OperatorProcess(Child);

impl Drop for OperatorProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let cluster = Cluster::start(&Options::default()).unwrap();
            cluster.install_kinds().unwrap();
            let kubeconfig = cluster.install_rights().unwrap();
            (cluster, kubeconfig)
        });
        let (cluster, kubeconfig) = started.await.unwrap();
        let client = client(cluster.kubeconfig()).await;
        let operator = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["operator", "--health-address", "127.0.0.1:0", "--metrics-address", "off", "--log", "warn"])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { client, operator: OperatorProcess(operator), cluster }
    }

    /// Peak resident memory in megabytes (10⁶ bytes).
    pub(crate) fn operator_peak_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.operator.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        let kibibytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024.0 / 1e6
    }

    pub(crate) fn audit_lines(&self) -> usize {
        std::fs::read_to_string(self.cluster.audit_log()).unwrap().lines().count()
    }

    /// The operator's writes since a line of the audit log, once no more come in.
    pub(crate) async fn writes_since(&self, from: usize) -> Writes {
        let mut last = self.audit_lines();
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let now = self.audit_lines();
            let quiet = self.count(last).is_empty();
            last = now;
            if quiet {
                return self.count(from);
            }
        }
    }

    fn count(&self, from: usize) -> Writes {
        let log = std::fs::read_to_string(self.cluster.audit_log()).unwrap();
        let mut writes = Writes::new();
        for event in log.lines().skip(from).filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let verb = event["verb"].as_str().unwrap_or_default();
            if event["user"]["username"] != OPERATOR_USER || matches!(verb, "get" | "list" | "watch") {
                continue;
            }
            let part = |key: &str| event["objectRef"][key].as_str().map(str::to_owned);
            // Time renews the Lease, not work.
            if part("resource").as_deref() == Some("leases") {
                continue;
            }
            let resource = part("resource").into_iter().chain(part("subresource")).collect::<Vec<_>>().join("/");
            *writes.entry((verb.to_owned(), resource)).or_default() += 1;
        }
        writes
    }

    pub(crate) fn stop(self) {
        drop(self.operator);
        self.cluster.stop().unwrap();
    }
}

async fn client(kubeconfig: &std::path::Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}
