//! What the chart has for Prometheus and Grafana: nothing unless it is asked for, and then what fits the pod.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::helm::{chart, of_kind, render};

/// The kinds of the Prometheus Operator, as far as they are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object<S> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: S,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Monitor {
    selector: LabelSelector,
    namespace_selector: Option<Value>,
    #[serde(alias = "podMetricsEndpoints")]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    port: String,
    interval: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    _wait: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn only<S: DeserializeOwned>(documents: &[Value], kind: &str) -> Object<S> {
    let mut found = documents.iter().filter(|document| document["kind"] == kind);
    let object: Object<S> = serde_json::from_value(found.next().unwrap().clone()).unwrap();
    assert!(found.next().is_none());
    assert_eq!((object.api_version.as_str(), object.kind.as_str()), ("monitoring.coreos.com/v1", kind));
    assert_eq!(object.metadata.namespace.as_deref(), Some(OPERATOR_NAMESPACE));
    object
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.match_labels.as_ref().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn pod(documents: &[Value]) -> (BTreeMap<String, String>, BTreeMap<String, i32>) {
    let pod = of_kind::<Deployment>(documents).remove(0).spec.unwrap().template;
    let ports = pod.spec.unwrap().containers.remove(0).ports.unwrap_or_default();
    let ports = ports.into_iter().filter_map(|port| Some((port.name?, port.container_port)));
    (pod.metadata.unwrap().labels.unwrap(), ports.collect())
}

#[test]
fn a_cluster_that_knows_no_prometheus_gets_none_of_its_kinds() {
    let documents = render(&json!({}));
    assert!(documents.iter().all(|document| document["apiVersion"] != "monitoring.coreos.com/v1"));
    assert!(of_kind::<Service>(&documents).is_empty() && of_kind::<ConfigMap>(&documents).is_empty());
    assert_eq!(pod(&documents).1["metrics"], 9090);
    let without = render(&json!({"metrics": {"enabled": false}}));
    assert!(!pod(&without).1.contains_key("metrics"));
}

#[test]
fn the_pods_are_scraped_where_they_answer() {
    let monitored = json!({"enabled": true, "interval": "15s", "labels": {"release": "prometheus"}});
    let documents = render(&json!({
        "podLabels": {"app.kubernetes.io/part-of": "platform"},
        "metrics": {"port": 9191, "podMonitor": monitored, "serviceMonitor": monitored},
    }));
    let (labels, ports) = pod(&documents);
    assert_eq!(ports["metrics"], 9191);
    let endpoint = || vec![Endpoint { port: "metrics".to_owned(), interval: "15s".to_owned() }];
    let of_pods = only::<Monitor>(&documents, "PodMonitor");
    assert!(selects(&of_pods.spec.selector, &labels));
    let of_services = only::<Monitor>(&documents, "ServiceMonitor");
    let service = of_kind::<Service>(&documents).remove(0);
    assert!(selects(&of_services.spec.selector, service.labels()));
    for monitor in [of_pods, of_services] {
        assert!(monitor.spec.namespace_selector.is_none());
        assert_eq!(monitor.spec.endpoints, endpoint());
        assert_eq!(monitor.metadata.labels.unwrap()["release"], "prometheus");
    }
    let spec = service.spec.unwrap();
    assert!(spec.selector.unwrap().iter().all(|(key, value)| labels.get(key) == Some(value)));
    let port = spec.ports.unwrap().remove(0);
    assert_eq!((port.port, port.target_port), (9191, Some(IntOrString::String("metrics".to_owned()))));
    assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
}

#[test]
fn the_pods_of_the_token_service_are_scraped_where_they_are() {
    let monitored = json!({"enabled": true, "interval": "15s", "labels": {"release": "prometheus"}});
    let mut documents = render(&json!({
        "metrics": {"podMonitor": monitored}, "tokenService": {"enabled": true, "namespace": "sts"},
    }));
    documents.retain(|document| document["metadata"]["name"] != "ringfence");
    let (labels, ports) = pod(&documents);
    let monitor = only::<Monitor>(&documents, "PodMonitor");
    assert!(selects(&monitor.spec.selector, &labels));
    assert_eq!(monitor.spec.namespace_selector, Some(json!({"matchNames": ["sts"]})));
    let endpoint = &monitor.spec.endpoints[0];
    assert!(ports.contains_key(&endpoint.port) && endpoint.interval == "15s");
    assert_eq!(monitor.metadata.labels.unwrap()["release"], "prometheus");
}

#[test]
fn alerts_say_what_is_wrong_and_what_to_do() {
    let documents = render(&json!({"metrics": {"rules": {"enabled": true, "labels": {"release": "prometheus"}}}}));
    let rules = only::<Rules>(&documents, "PrometheusRule");
    assert_eq!(rules.metadata.labels.unwrap()["release"], "prometheus");
    assert_eq!(rules.spec.groups.len(), 1);
    assert_eq!(rules.spec.groups[0].name, "ringfence");
    for rule in &rules.spec.groups[0].rules {
        assert!(rule.alert.starts_with("Ringfence") && rule.expr.contains("ringfence_"), "{}", rule.alert);
        assert!(["critical", "warning", "info"].contains(&rule.labels["severity"].as_str()), "{}", rule.alert);
        for annotation in ["summary", "description"] {
            assert!(rule.annotations[annotation].ends_with('.'), "{}: {annotation}", rule.alert);
        }
    }
    // What Prometheus is to fill in must reach it.
    assert!(rules.spec.groups[0].rules.iter().any(|rule| rule.annotations["summary"].contains("{{ $labels.domain }}")));
}

#[test]
fn grafana_finds_the_dashboard_as_it_is_in_the_chart() {
    let values = json!({"metrics": {"dashboard": {"enabled": true, "labels": {"team": "platform"}}}});
    let dashboard = of_kind::<ConfigMap>(&render(&values)).remove(0);
    assert_eq!(dashboard.namespace().as_deref(), Some(OPERATOR_NAMESPACE));
    assert_eq!(
        (dashboard.labels()["grafana_dashboard"].as_str(), dashboard.labels()["team"].as_str()),
        ("1", "platform")
    );
    let found: Value = serde_json::from_str(&dashboard.data.unwrap()["ringfence.json"]).unwrap();
    let file = std::fs::read_to_string(chart().join("dashboards/ringfence.json")).unwrap();
    assert_eq!(found, serde_json::from_str::<Value>(&file).unwrap());
    let (title, uid) = (&found["title"], &found["uid"]);
    assert_eq!((title, uid), (&json!("Ringfence"), &json!("ringfence")));
    let ids = found["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap());
    let ids: Vec<u64> = ids.collect();
    assert!(ids.iter().collect::<std::collections::BTreeSet<_>>().len() == ids.len(), "{ids:?}");
}
