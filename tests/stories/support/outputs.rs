//! What the operator wrote: as it is now, and in which order it came about.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::core::{NamespaceResourceScope, Resource};
use ringfence_cluster::OPERATOR_USER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cluster::TestCluster;
use super::declare::Story;
use super::observe::Write;

/// A kind of which there are objects in namespaces, as they are read, written and waited for.
pub trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + 'static
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + 'static
{
}

/// Objects of a namespace.
pub fn in_namespace<K>(story: &Story, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(story.client.clone(), namespace)
}

/// Changes an object as someone else would; returns it as the API server then has it.
pub async fn edit<K>(api: &Api<K>, name: &str, change: impl FnOnce(&mut K)) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    let mut object = api.get(name).await.unwrap();
    change(&mut object);
    api.replace(name, &PostParams::default(), &object).await.unwrap()
}

/// An object without what changes with every write.
pub fn essence<K: Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    let metadata = value["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| ["name", "labels", "annotations", "ownerReferences"].contains(&key.as_str()));
    value
}

/// Whether an object is controlled by the owner of this UID.
pub fn is_owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    let owners = object.meta().owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).any(|owner| owner.uid == uid)
}

/// UID and version of every Secret, ConfigMap and NetworkPolicy of a namespace, by kind and name.
pub async fn versions(story: &Story, namespace: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    add::<Secret>(story, namespace, &mut versions).await;
    add::<ConfigMap>(story, namespace, &mut versions).await;
    add::<NetworkPolicy>(story, namespace, &mut versions).await;
    versions.remove("ConfigMap kube-root-ca.crt");
    versions
}

async fn add<K>(story: &Story, namespace: &str, versions: &mut BTreeMap<String, String>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    for object in in_namespace::<K>(story, namespace).list(&ListParams::default()).await.unwrap() {
        let metadata = object.meta();
        let name = format!("{} {}", K::kind(&()), metadata.name.as_deref().unwrap());
        versions.insert(name, format!("{:?} {:?}", metadata.uid, metadata.resource_version));
    }
}

/// What the operator has done since some moment, as the audit log tells.
pub struct History<'a> {
    cluster: &'a TestCluster,
    begin: usize,
}

impl<'a> History<'a> {
    /// From now on.
    pub fn begin(cluster: &'a TestCluster) -> Self {
        let begin = std::fs::read_to_string(cluster.cluster().audit_log()).unwrap().lines().count();
        Self { cluster, begin }
    }

    /// Every write that the API server accepted, oldest first.
    pub fn writes(&self) -> Vec<Write> {
        let log = std::fs::read_to_string(self.cluster.cluster().audit_log()).unwrap();
        let mut events: Vec<Value> =
            log.lines().skip(self.begin).filter_map(|line| serde_json::from_str(line).ok()).collect();
        events.sort_by_key(|event| event["requestReceivedTimestamp"].as_str().map(str::to_owned));
        let is_write = |event: &&Value| {
            event["user"]["username"] == OPERATOR_USER
                && !is_question(event)
                && !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap())
                && event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300)
        };
        events.iter().filter(is_write).map(write).collect()
    }

    /// Accepted writes to one object, e.g. `networkpolicies` and `shop/ringfence-order`.
    pub fn writes_to(&self, resource: &str, object: &str) -> usize {
        self.writes().iter().filter(|write| write.resource == resource && write.object == object).count()
    }

    /// Position of the first accepted write to an object.
    pub fn first(&self, resource: &str, object: &str) -> usize {
        let writes = self.writes();
        let found = writes.iter().position(|write| write.resource == resource && write.object == object);
        found.unwrap_or_else(|| panic!("no write to {resource} {object} among {writes:#?}"))
    }
}

/// Whether a request of the audit log only asked what its sender may do.
pub fn is_question(event: &Value) -> bool {
    event["objectRef"]["resource"] == "selfsubjectaccessreviews"
}

fn write(event: &Value) -> Write {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reference = &event["objectRef"];
    let (resource, subresource) = (text(&reference["resource"]), text(&reference["subresource"]));
    Write {
        verb: text(&event["verb"]),
        resource: if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") },
        object: format!("{}/{}", text(&reference["namespace"]), text(&reference["name"])),
    }
}
