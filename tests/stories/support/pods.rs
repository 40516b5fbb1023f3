//! Pods without a kubelet: they stay pending, which is as good as running to everything that looks at declarations.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::declare::Story;
use super::gone;

/// A pod of the identity `app`, with the ports that its container declares as name and number.
pub fn pod(name: &str, app: &str, ports: &[(&str, u16)]) -> Value {
    let port = |(name, number): &(&str, u16)| json!({"name": name, "containerPort": number});
    json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": app}},
        "spec": {
            "serviceAccountName": app,
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "none", "ports": ports.iter().map(port).collect::<Vec<_>>()}],
        },
    })
}

impl Story {
    /// Starts a pod of the identity `app`.
    pub async fn start_pod(&self, namespace: &str, name: &str, app: &str, ports: &[(&str, u16)]) -> Pod {
        self.run_as(namespace, app).await;
        self.create::<Pod>(namespace, pod(name, app, ports)).await
    }

    /// Ends a pod.
    pub async fn end_pod(&self, namespace: &str, name: &str) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
        gone(&pods, name).await;
    }
}
