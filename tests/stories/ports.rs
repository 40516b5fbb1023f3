//! From the ports that people name to the ports that pods listen on: translated, never guessed, never widened.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::{Value, json};

use crate::support::{Story, Trust, closed, in_namespace, says, service, wait_for};

/// `gateway` calls `order` on this port.
async fn calling(title: &str, port: Value) -> (Story, Trust) {
    let story = Story::begin(title).await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["gateway", "order"] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    let spec =
        json!({"to": {"identity": "order", "ports": [{"port": port}]}, "from": [{"identity": {"name": "gateway"}}]});
    story.judged_policy(&trust.namespace, "orders", spec).await;
    (story, trust)
}

/// Waits until exactly these ports are open, out of the caller and into the callee.
async fn open(story: &Story, namespace: &str, ports: &[i64]) {
    let wanted: BTreeSet<i64> = ports.iter().copied().collect();
    let api = in_namespace::<NetworkPolicy>(story, namespace);
    for (name, direction, peer, other) in
        [("gateway", "egress", "to", "order"), ("order", "ingress", "from", "gateway")]
    {
        let what = format!("have {ports:?} open as {direction} {peer} {other}");
        let found = |policy: &NetworkPolicy| ports_towards(policy, direction, peer, other);
        wait_for(&api, &format!("ringfence-{name}"), &what, |policy| found(policy) == wanted).await;
    }
}

fn ports_towards(policy: &NetworkPolicy, direction: &str, peer: &str, other: &str) -> BTreeSet<i64> {
    let spec = serde_json::to_value(&policy.spec).unwrap();
    let rules = spec[direction].as_array().cloned().unwrap_or_default();
    let towards = rules.iter().filter(|rule| rule[peer].to_string().contains(&format!("\"{other}\"")));
    let ports = towards.flat_map(|rule| rule["ports"].as_array().cloned().unwrap_or_default());
    ports.map(|port| port["port"].as_i64().unwrap()).collect()
}

async fn is_closed(story: &Story, namespace: &str, reason: &str, words: &[&str]) {
    open(story, namespace, &[]).await;
    // It may be closed for an earlier cause of the same reason.
    says(&in_namespace::<AccessPolicy>(story, namespace), "orders", ("Ready", "False", reason), words).await;
    let refusal = closed(story, namespace, "orders", 0, reason).await;
    assert!(words.iter().all(|word| refusal.message.contains(word)), "{}", refusal.message);
}

#[tokio::test]
async fn the_port_of_a_service_opens_the_pods_port_and_not_its_own() {
    let (story, trust) = calling("translated", json!(443)).await;
    let namespace = &trust.namespace;
    open(&story, namespace, &[443]).await;
    story.create::<Service>(namespace, service("order", 443, json!(8443))).await;
    open(&story, namespace, &[8443]).await;
    let services = in_namespace::<Service>(&story, namespace);
    let ports = json!([{"name": "main", "port": 443, "targetPort": 9443}]);
    let change = Patch::Merge(json!({"spec": {"ports": ports}}));
    services.patch("order", &PatchParams::default(), &change).await.unwrap();
    open(&story, namespace, &[9443]).await;
}

#[tokio::test]
async fn a_named_port_is_what_all_pods_say_and_is_looked_up_again_when_they_change() {
    let (story, trust) = calling("named", json!("api")).await;
    let namespace = &trust.namespace;
    is_closed(&story, namespace, "PortNotFound", &["api", "wait for the pods"]).await;
    story.start_pod(namespace, "order-1", "order", &[("api", 8443), ("metrics", 9090)]).await;
    open(&story, namespace, &[8443]).await;
    story.start_pod(namespace, "order-2", "order", &[("api", 8443)]).await;
    story.start_pod(namespace, "order-3", "order", &[("api", 9443)]).await;
    is_closed(&story, namespace, "PortAmbiguous", &["api", "8443", "9443"]).await;
    story.end_pod(namespace, "order-3").await;
    open(&story, namespace, &[8443]).await;
    story.start_pod(namespace, "order-4", "order", &[("other", 8443)]).await;
    is_closed(&story, namespace, "PortAmbiguous", &["api", "nothing"]).await;
    for name in ["order-1", "order-2"] {
        story.end_pod(namespace, name).await;
    }
    is_closed(&story, namespace, "PortNotFound", &["api", "add it to the pods"]).await;
    story.end_pod(namespace, "order-4").await;
    story.start_pod(namespace, "order-5", "order", &[("api", 7443)]).await;
    open(&story, namespace, &[7443]).await;
}

#[tokio::test]
async fn a_service_that_names_the_pods_port_is_followed_to_its_number() {
    let (story, trust) = calling("twice", json!(443)).await;
    let namespace = &trust.namespace;
    story.start_pod(namespace, "order-1", "order", &[("api", 8443)]).await;
    story.create::<Service>(namespace, service("order", 443, json!("api"))).await;
    open(&story, namespace, &[8443]).await;
    story.end_pod(namespace, "order-1").await;
    is_closed(&story, namespace, "PortNotFound", &["api"]).await;
    story.start_pod(namespace, "order-2", "order", &[("api", 9443)]).await;
    open(&story, namespace, &[9443]).await;
}

#[tokio::test]
async fn a_number_that_no_pod_declares_is_not_opened() {
    let (story, trust) = calling("undeclared", json!(8443)).await;
    let namespace = &trust.namespace;
    open(&story, namespace, &[8443]).await;
    story.start_pod(namespace, "order-1", "order", &[("api", 9443)]).await;
    is_closed(&story, namespace, "PortNotFound", &["8443/TCP", "9443/TCP"]).await;
    // A pod that declares nothing may listen anywhere.
    story.start_pod(namespace, "order-2", "order", &[]).await;
    open(&story, namespace, &[8443]).await;
}

#[tokio::test]
async fn a_service_without_selector_lends_neither_names_nor_ports() {
    let (story, trust) = calling("selectorless", json!("main")).await;
    let namespace = &trust.namespace;
    let mut object = service("elsewhere", 443, json!(8443));
    object["spec"]["selector"] = Value::Null;
    story.create::<Service>(namespace, object).await;
    story.start_pod(namespace, "order-1", "order", &[("api", 9443)]).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    story.change(identities.clone(), "order", json!({"services": ["elsewhere"]})).await;
    let words = [&*format!("Service {namespace}/elsewhere"), "no selector"];
    says(&identities, "order", ("ResolvedRefs", "False", "ServiceMismatch"), &words).await;
    is_closed(&story, namespace, "PortNotFound", &["main"]).await;
}

#[tokio::test]
async fn a_service_that_is_missing_is_named_and_its_ports_stay_closed() {
    let (story, trust) = calling("missing", json!("main")).await;
    let namespace = &trust.namespace;
    story.start_pod(namespace, "order-1", "order", &[("api", 9443)]).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    story.change(identities.clone(), "order", json!({"services": ["front"]})).await;
    let words = [&*format!("Service {namespace}/front")];
    says(&identities, "order", ("ResolvedRefs", "False", "ServiceNotFound"), &words).await;
    is_closed(&story, namespace, "PortNotFound", &["main"]).await;
    let mut object = service("front", 443, json!(9443));
    object["spec"]["selector"] = json!({"app.kubernetes.io/name": "order"});
    story.create::<Service>(namespace, object).await;
    open(&story, namespace, &[9443]).await;
    says(&identities, "order", ("ResolvedRefs", "True", "Resolved"), &[]).await;
    let services = Api::<Service>::namespaced(story.client.clone(), namespace);
    services.delete("front", &DeleteParams::default()).await.unwrap();
    is_closed(&story, namespace, "PortNotFound", &["main"]).await;
}

#[tokio::test]
async fn a_headless_service_opens_the_port_that_its_pods_are_reached_on() {
    let (story, trust) = calling("headless", json!("main")).await;
    let namespace = &trust.namespace;
    let mut object = service("order", 8443, json!(8443));
    object["spec"]["clusterIP"] = json!("None");
    story.create::<Service>(namespace, object).await;
    open(&story, namespace, &[8443]).await;
    let wildcard = format!("*.order.{namespace}.svc");
    let names = story.certificate_names(namespace, "order-tls", |names| names.contains(&wildcard)).await;
    assert!(names.contains(&format!("order.{namespace}.svc")), "{names:?}");
}
