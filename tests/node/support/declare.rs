//! Objects that stories declare.

use ringfence_cluster::NETCHECK_IMAGE;
use serde_json::{Value, json};

/// An object of one of the three kinds; without a namespace, a cluster-scoped one.
pub fn object(kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": "ringfence.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// A service account, and a Service on port 443 for the pods labelled with its name.
pub fn service(namespace: &str, name: &str) -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": {
            "selector": {"app.kubernetes.io/name": name}, "ports": [{"name": "https", "port": 443, "targetPort": 8443}],
        }}),
    ]
}

/// A pod that answers on ports 8443 and 9443, and can be asked to call others.
pub fn pod(namespace: &str, name: &str, application: &str, account: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app.kubernetes.io/name": application}},
        "spec": {
            "serviceAccountName": account,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "service",
                "image": NETCHECK_IMAGE,
                "args": ["serve", "8443", "9443"],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8443}, "periodSeconds": 1},
            }],
        },
    })
}
