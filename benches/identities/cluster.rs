//! A control plane of its own with the operator beside it, as a process whose memory can be looked at.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, CustomResourceExt, ResourceExt};
use ringfence_cluster::{Cluster, Options};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

const OPERATOR: &str = "system:serviceaccount:ringfence-system:ringfence";

/// Writes by verb and resource.
pub(crate) type Writes = BTreeMap<(String, String), usize>;

/// A cluster with an operator.
pub(crate) struct Bench {
    pub(crate) client: Client,
    cluster: Cluster,
    operator: Child,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(&Options::default())).await.unwrap().unwrap();
        let client = client(cluster.kubeconfig()).await;
        install(&client).await;
        let kubeconfig = cluster.kubeconfig_for(OPERATOR, &["system:masters"]).unwrap();
        let operator = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["operator", "--health-address", "127.0.0.1:0", "--log", "warn"])
            .env("KUBECONFIG", kubeconfig)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { client, cluster, operator }
    }

    /// Peak resident memory in megabytes (10⁶ bytes).
    pub(crate) fn operator_peak_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.operator.id())).unwrap();
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
            if event["user"]["username"] != OPERATOR || matches!(verb, "get" | "list" | "watch") {
                continue;
            }
            let part = |key: &str| event["objectRef"][key].as_str().map(str::to_owned);
            let resource = part("resource").into_iter().chain(part("subresource")).collect::<Vec<_>>().join("/");
            *writes.entry((verb.to_owned(), resource)).or_default() += 1;
        }
        writes
    }

    pub(crate) fn stop(mut self) {
        self.operator.kill().unwrap();
        self.operator.wait().unwrap();
        self.cluster.stop().unwrap();
    }
}

async fn client(kubeconfig: &std::path::Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

async fn install(client: &Client) {
    let crds = Api::all(client.clone());
    for crd in [TrustDomain::crd(), ServiceIdentity::crd(), AccessPolicy::crd()] {
        crds.patch(&crd.name_any(), &PatchParams::apply("bench"), &Patch::Apply(&crd)).await.unwrap();
        await_condition(crds.clone(), &crd.name_any(), conditions::is_crd_established()).await.unwrap();
    }
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "ringfence-system"}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let dns: Service = serde_json::from_value(json!({
        "metadata": {"name": "kube-dns"}, "spec": {"selector": {"k8s-app": "kube-dns"}, "ports": [{"port": 53, "protocol": "UDP"}]},
    }))
    .unwrap();
    Api::namespaced(client.clone(), "kube-system").create(&PostParams::default(), &dns).await.unwrap();
}
