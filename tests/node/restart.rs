//! A service that can't reload is restarted when its certificate changes, by the operator and under the admission policies
//! that the chart installs.

use serde_json::{Value, json};

use crate::support::{Story, object, pod, service};

const UPGRADE: &str = "upgrade ringfence charts/ringfence --wait --timeout 2m";

#[test]
fn pods_that_have_an_older_certificate_are_replaced_and_those_that_have_not_are_left_alone() {
    let Some(story) = Story::begin_alone("restart") else { return };
    story.installation.helm(&format!("{UPGRADE} --set restart.enabled=true")).unwrap();
    let namespace = story.namespace("shop");
    let authority = json!({"namespaces": [namespace], "certificateAuthority": {"selfSigned": {}}});
    let restart = json!({"workloads": [{"kind": "Deployment", "name": "order"}]});
    let identity = |spec: Value| object("ServiceIdentity", Some(&namespace), "order", spec);
    // All at once, so that the pod waits for its Secret.
    story.apply(&[json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "order", "namespace": namespace}, "spec": deployment(&namespace)})]);
    story.apply(&service(&namespace, "order"));
    story.apply(&[object("TrustDomain", None, "restart", authority), identity(json!({"restart": restart}))]);
    through(&story, &namespace, 1);
    story.kubectl(&format!("rollout status deployment/order --timeout=120s --namespace={namespace}"));
    let (first, files) = running(&story, &namespace);
    assert_eq!(rolled_for(&story, &namespace), Value::Null, "what it started with needs no restart");

    let rotation = json!({"id": "once", "target": "Certificate", "mode": "Compromised"});
    story.apply(&[identity(json!({"restart": restart, "rotation": rotation}))]);
    through(&story, &namespace, 2);
    let (second, renewed) = running(&story, &namespace);
    assert_ne!(first, second, "another pod");
    assert_ne!(files, renewed, "with another certificate");
    let status = story.get(&format!("serviceidentity order --namespace={namespace}"))["status"].clone();
    assert_eq!(rolled_for(&story, &namespace), status["restart"]["hash"]);
    story.assert_rights_suffice();
    story.installation.helm(UPGRADE).unwrap();
}

/// One pod that reads its files only when it starts, as far as anybody knows.
fn deployment(namespace: &str) -> Value {
    let mut template = pod(namespace, "order", "order", "order");
    let labels = template["metadata"]["labels"].clone();
    template["spec"]["volumes"] = json!([{"name": "tls", "secret": {"secretName": "order-tls"}}]);
    template["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "tls", "mountPath": "/tls", "readOnly": true}]);
    json!({
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
    })
}

/// Waits until all pods run with what is delivered for a generation of the spec.
fn through(story: &Story, namespace: &str, generation: u64) {
    let wait = format!(
        "wait serviceidentity/order --for=jsonpath={{.status.restart.completedGeneration}}={generation} --timeout=120s --namespace={namespace}"
    );
    if let Err(error) = story.try_kubectl(&wait) {
        panic!(
            "{error}\n{}",
            story.kubectl(&format!("describe serviceidentity,deployment,pod --namespace={namespace}"))
        );
    }
}

/// Name of the pod, and what it reads.
fn running(story: &Story, namespace: &str) -> (String, String) {
    let pods = story.get(&format!("pods --namespace={namespace}"));
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let pods: Vec<&Value> = pods["items"].as_array().unwrap().iter().filter(stays).collect();
    assert_eq!(pods.len(), 1);
    let name = pods[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let read = story.kubectl(&format!("exec {name} --namespace={namespace} -- /netcheck read /tls"));
    (name, read)
}

fn rolled_for(story: &Story, namespace: &str) -> Value {
    let deployment = story.get(&format!("deployment order --namespace={namespace}"));
    deployment["spec"]["template"]["metadata"]["annotations"]["ringfence.dev/credentials-hash"].clone()
}
