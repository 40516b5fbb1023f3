//! Looking at what came of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Resource};
use ringfence_cluster::OPERATOR_USER;
use serde::Serialize;
use serde_json::Value;

use super::cluster::TestCluster;
use super::declare::Story;

/// Status, reason and message of a condition; empty if there is none.
pub fn condition<K: Serialize>(object: &K, kind: &str) -> (String, String, String) {
    let object = serde_json::to_value(object).unwrap();
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    let text = |key: &str| found.and_then(|found| found[key].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// The data of a Secret, as text.
pub async fn secret(story: &Story, namespace: &str, name: &str) -> BTreeMap<String, String> {
    let secret = Api::<Secret>::namespaced(story.client.clone(), namespace).get(name).await.unwrap();
    let data = secret.data.unwrap_or_default().into_iter();
    data.map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
}

/// The data of a ConfigMap.
pub async fn config_map(story: &Story, namespace: &str, name: &str) -> BTreeMap<String, String> {
    Api::<ConfigMap>::namespaced(story.client.clone(), namespace).get(name).await.unwrap().data.unwrap_or_default()
}

/// Reasons of the events about an object, oldest first.
pub async fn event_reasons<K: Resource<DynamicType = ()>>(story: &Story, object: &K) -> Vec<String> {
    events_about(story, object).await.into_iter().filter_map(|event| event.reason).collect()
}

/// The events about an object, oldest first.
pub async fn events_about<K: Resource<DynamicType = ()>>(story: &Story, object: &K) -> Vec<Event> {
    let namespace = object.meta().namespace.clone().unwrap_or_else(|| "default".to_owned());
    let selector = format!("regarding.uid={}", object.meta().uid.clone().unwrap());
    let events =
        Api::<Event>::namespaced(story.client.clone(), &namespace).list(&ListParams::default().fields(&selector)).await;
    let mut events = events.unwrap().items;
    events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
    events
}

/// A write of the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// Verb, e.g. `create`.
    pub verb: String,
    /// Resource and subresource, e.g. `serviceidentities/status`.
    pub resource: String,
    /// Namespace and name.
    pub object: String,
}

/// Writes of the operator since a number of lines of the audit log, and the number of lines now.
pub fn writes_since(cluster: &TestCluster, lines: usize) -> (Vec<Write>, usize) {
    let log = std::fs::read_to_string(cluster.cluster().audit_log()).unwrap();
    let events = log.lines().skip(lines).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let writes = events.filter(|event| event["user"]["username"] == OPERATOR_USER).filter_map(|event| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let verb = text(&event["verb"]);
        let reference = &event["objectRef"];
        let (resource, subresource) = (text(&reference["resource"]), text(&reference["subresource"]));
        let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        let object = format!("{}/{}", text(&reference["namespace"]), text(&reference["name"]));
        (!matches!(verb.as_str(), "get" | "list" | "watch")).then_some(Write { verb, resource, object })
    });
    (writes.collect(), log.lines().count())
}
