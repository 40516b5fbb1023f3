//! The token service's etcd, where the chart installs one.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::helm::{of_kind, render};
use crate::token_service::enabled;

fn store(managed: &Value) -> Vec<Value> {
    render(&enabled(json!({"store": {"etcd": {"managed": managed}}})))
}

#[test]
fn there_is_none_where_there_are_endpoints() {
    let endpoints = json!({"store": {"etcd": {"endpoints": ["https://etcd.storage.svc:2379"]}}});
    for documents in [render(&json!({})), render(&enabled(endpoints))] {
        assert!(documents.iter().all(|document| document["metadata"]["name"] != "token-store"));
    }
}

#[test]
fn its_members_know_each_other_and_take_nobody_without_a_certificate() {
    let documents = store(&json!({}));
    let set = json!(of_kind::<StatefulSet>(&documents).remove(0));
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["spec"]["serviceName"], "token-store");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let arguments: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let domain = "token-store.ringfence-token-service.svc";
    let members: Vec<String> =
        (0..3).map(|n| format!("token-store-{n}=https://token-store-{n}.{domain}:2380")).collect();
    for argument in [
        &format!("--initial-cluster={}", members.join(",")) as &str,
        "--client-cert-auth",
        "--peer-client-cert-auth",
        &format!("--peer-cert-allowed-hostname={domain}"),
        "--trusted-ca-file=/tls/ca.crt",
        "--peer-trusted-ca-file=/tls/ca.crt",
    ] {
        assert!(arguments.contains(&argument), "{argument} is not in {arguments:?}");
    }
    let listens = arguments.iter().filter(|argument| argument.starts_with("--listen-"));
    let plain: Vec<_> = listens.filter(|argument| !argument.contains("=https://")).collect();
    assert_eq!(plain, [&"--listen-metrics-urls=http://0.0.0.0:2381"]);
    let volume = &set["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["secret"]["secretName"], "token-store-tls");

    // Under the names that are in their certificate, which is for the identity token-store, and before they are ready.
    let services = of_kind::<Service>(&documents);
    let service = services.iter().find(|service| service.name_any() == "token-store").unwrap();
    let spec = service.spec.as_ref().unwrap();
    assert_eq!((spec.cluster_ip.as_deref(), spec.publish_not_ready_addresses), (Some("None"), Some(true)));
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(json!(spec.selector), *labels);
    assert_eq!(labels["app.kubernetes.io/name"], "token-store");
    assert_eq!(set["spec"]["template"]["spec"]["serviceAccountName"], "token-store");
}

#[test]
fn its_pods_are_restricted_and_their_volumes_theirs() {
    let set = json!(of_kind::<StatefulSet>(&store(&json!({}))).remove(0));
    let pod = &set["spec"]["template"]["spec"];
    let context = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
        "fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch",
    });
    assert_eq!(pod["securityContext"], context);
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["containers"][0]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["automountServiceAccountToken"], false);

    // As OpenShift wants it: users and groups of volumes are the platform's.
    let mut values = enabled(json!({}));
    values["podSecurityContext"] = json!({"runAsUser": null, "runAsGroup": null});
    let set = json!(of_kind::<StatefulSet>(&render(&values)).remove(0));
    let context = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(set["spec"]["template"]["spec"]["securityContext"], context);
}

#[test]
fn the_values_reach_it() {
    let documents = store(&json!({
        "replicas": 1, "storage": {"size": "8Gi", "storageClassName": "fast"},
        "image": {"repository": "example/etcd", "digest": format!("sha256:{}", "0".repeat(64)), "command": ["/etcd"]},
        "resources": {"limits": {"memory": "1Gi"}},
    }));
    let set = json!(of_kind::<StatefulSet>(&documents).remove(0));
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(
        (&claim["storageClassName"], &claim["resources"]["requests"]["storage"]),
        (&json!("fast"), &json!("8Gi"))
    );
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], format!("example/etcd@sha256:{}", "0".repeat(64)));
    assert_eq!(container["command"], json!(["/etcd"]));
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(set["spec"]["replicas"], 1);
    let budgets = of_kind::<PodDisruptionBudget>(&documents);
    assert!(budgets.iter().all(|budget| budget.name_any() != "token-store"));
    // Of three, a majority stays.
    let budgets = of_kind::<PodDisruptionBudget>(&store(&json!({})));
    let budget = budgets.iter().find(|budget| budget.name_any() == "token-store").unwrap();
    assert_eq!(json!(budget.spec.as_ref().unwrap().max_unavailable), 1);
}
