//! The shop with an operator that is looked at. One at a time: there is one operator in a cluster.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kube::api::DeleteParams;
use kube::config::Kubeconfig;
use kube::{Api, Resource};
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::{Collector, Process, get};
use crate::support::{Story, TestCluster, eventually, gone};

/// An operator, and all that it tells.
pub struct Observed {
    pub story: Story,
    pub operator: Process,
    pub collector: Collector,
    /// Where its measurements are.
    pub metrics: SocketAddr,
    /// With what it proves to the API server who it is.
    pub token: String,
    _turn: MutexGuard<'static, ()>,
}

/// Starts an operator that logs what the filter says, and declares the shop.
pub async fn begin(title: &str, filter: &str) -> Observed {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let start = || CLUSTER.get_or_init(|| tokio::runtime::Runtime::new().unwrap().block_on(TestCluster::start()));
    let cluster = tokio::task::spawn_blocking(start).await.unwrap();
    let story = Story::begin_in(cluster, title).await;
    let collector = Collector::start().await;
    let (folder, token) = (tempfile::tempdir().unwrap(), token(cluster));
    let kubeconfig = with_token(cluster, &token, &folder);
    let endpoint = format!("http://{}", collector.address);
    let operator = Process::start(
        cluster.cluster(),
        Path::new(env!("CARGO_BIN_EXE_ringfence")),
        folder,
        &["operator", "--health-address=127.0.0.1:0", "--metrics-address=127.0.0.1:0", "--log", filter],
        &[
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
            ("RINGFENCE_LOG_FORMAT", "json"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ],
    );
    let metrics = eventually("the operator says where its measurements are", async || {
        let lines = operator.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut addresses = lines.filter_map(|line| line["fields"]["address"].as_str()?.parse().ok());
        addresses.next()
    })
    .await;
    crate::shop::declare(&story).await;
    Observed { story, operator, collector, metrics, token, _turn: turn }
}

impl Observed {
    /// All measurements, as Prometheus reads them.
    pub async fn measurements(&self) -> String {
        get(self.metrics, "/metrics").await.unwrap().1
    }

    /// The value of one series, written as in the text.
    pub async fn measured(&self, series: &str) -> Option<f64> {
        let text = self.measurements().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }
}

/// Deletes what a story has declared, so that the next finds the shop alone.
pub async fn remove<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    api.delete(name, &DeleteParams::default()).await.unwrap();
    gone(api, name).await;
}

/// A token of the operator's service account, which may do anything here.
fn token(cluster: &TestCluster) -> String {
    let kubectl = |arguments: &[&str]| cluster.cluster().kubectl(arguments);
    let namespace = format!("--namespace={OPERATOR_NAMESPACE}");
    let account = format!("--serviceaccount={OPERATOR_NAMESPACE}:ringfence");
    // They are there from the story before.
    drop(kubectl(&["create", "serviceaccount", "ringfence", &namespace]));
    drop(kubectl(&["create", "clusterrolebinding", "ringfence", "--clusterrole=cluster-admin", &account]));
    kubectl(&["create", "token", "ringfence", &namespace]).unwrap().trim().to_owned()
}

fn with_token(cluster: &TestCluster, token: &str, folder: &TempDir) -> PathBuf {
    let kubeconfig = Kubeconfig::read_from(cluster.cluster().kubeconfig()).unwrap();
    let mut kubeconfig = serde_json::to_value(kubeconfig).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token});
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    file
}
