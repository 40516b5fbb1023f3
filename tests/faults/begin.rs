//! Clusters in which one test at a time may break what it likes, as long as it mends it.

use std::sync::OnceLock;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{Story, TestCluster, Trust, condition, in_namespace};

/// A cluster that tests take in turns.
pub struct Room {
    cluster: OnceLock<TestCluster>,
    turn: Mutex<()>,
}

impl Room {
    pub const fn new() -> Self {
        Self { cluster: OnceLock::new(), turn: Mutex::const_new(()) }
    }

    /// Begins a story in which no operator runs, and of whose operators nothing is left, not even a Lease.
    pub async fn begin(&'static self, title: &str) -> (Story, MutexGuard<'static, ()>) {
        let turn = self.turn.lock().await;
        let start =
            || self.cluster.get_or_init(|| tokio::runtime::Runtime::new().unwrap().block_on(TestCluster::start()));
        let cluster = tokio::task::spawn_blocking(start).await.unwrap();
        let story = Story::begin_in(cluster, title).await;
        match leases(&story).delete("ringfence", &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            deleted => drop(deleted.unwrap()),
        }
        (story, turn)
    }
}

/// Where the Lease is.
pub fn leases(story: &Story) -> Api<Lease> {
    in_namespace(story, OPERATOR_NAMESPACE)
}

/// A domain with two services, of which the second may call the first.
pub async fn pair(story: &Story, suffix: &str) -> Trust {
    let trust = story.trust(suffix, json!({})).await;
    for name in ["callee", "caller"] {
        story.ready_identity(&trust.namespace, name, json!({"signingKey": {}})).await;
    }
    let spec = json!({
        "to": {"identity": "callee", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "caller"}}],
        "authentication": {"mtls": {}, "jwt": {}},
    });
    story.ready_policy(&trust.namespace, "callee", spec).await;
    for name in ["callee", "caller"] {
        story.wait_identity(&trust.namespace, name, "be ready", is_ready).await;
    }
    trust
}

/// Whether an object is ready as it is declared now.
pub fn is_ready<K: Serialize>(object: &K) -> bool {
    let value: Value = serde_json::to_value(object).unwrap();
    condition(object, "Ready").0 == "True" && value["status"]["observedGeneration"] == value["metadata"]["generation"]
}

/// A request as an administrator's file has it.
pub fn apply(story: &Story, object: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), object.to_string()).unwrap();
    let file = format!("--filename={}", file.path().display());
    story.cluster.cluster().kubectl(&["apply", "--server-side", "--force-conflicts", &file]).unwrap();
}
