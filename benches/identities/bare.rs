//! A bare client that makes the same writes as the declaring client and the operator together, of the same size, without
//! knowing anything: what is left of the operator's time is its own.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::{NamespaceResourceScope, Resource};
use kube::{Api, Client, ResourceExt};
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::load::{CONCURRENCY, Load};

/// Namespace without a domain, so that the operator does nothing about what is written there.
const PLACE: &str = "bare";

/// Repeats the writes for this many identities; returns the time that they take.
pub(crate) async fn replay(client: &Client, load: &Load, count: usize) -> Duration {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": PLACE}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let model = Model::of(client, load, count - 1).await;
    let begin = Instant::now();
    let writes = futures::stream::iter(0..count).for_each_concurrent(CONCURRENCY, async |number| {
        model.write(client, number).await;
    });
    writes.await;
    begin.elapsed()
}

/// The objects of one identity, to be repeated under other names.
struct Model {
    identity: ServiceIdentity,
    policy: Option<AccessPolicy>,
    secrets: Vec<Secret>,
    config_map: ConfigMap,
    network_policy: Option<NetworkPolicy>,
    events: Vec<Event>,
}

impl Model {
    async fn of(client: &Client, load: &Load, number: usize) -> Self {
        let (namespace, name) = load.place(number);
        let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
        let mut found = vec![secrets.get(&format!("{name}-tls")).await.unwrap()];
        found.extend(secrets.get_opt(&format!("{name}-signing-key")).await.unwrap());
        let events = Api::<Event>::namespaced(client.clone(), &namespace);
        let identity: ServiceIdentity = Api::namespaced(client.clone(), &namespace).get(&name).await.unwrap();
        let about = ListParams::default().fields(&format!("regarding.uid={}", identity.uid().unwrap()));
        Self {
            identity,
            policy: Api::namespaced(client.clone(), &namespace).get_opt(&name).await.unwrap(),
            secrets: found,
            config_map: Api::namespaced(client.clone(), &namespace).get(&format!("{name}-trust")).await.unwrap(),
            network_policy: Api::namespaced(client.clone(), &namespace)
                .get_opt(&format!("ringfence-{name}"))
                .await
                .unwrap(),
            events: events.list(&about).await.unwrap().items.into_iter().take(1).collect(),
        }
    }

    async fn write(&self, client: &Client, number: usize) {
        let status = json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "ServiceIdentity",
            "metadata": {"name": named(&self.identity, number)}, "status": self.identity.status,
        });
        create(client, &self.identity, number).await;
        if let Some(policy) = &self.policy {
            create(client, policy, number).await;
        }
        for secret in &self.secrets {
            create(client, secret, number).await;
        }
        create(client, &self.config_map, number).await;
        if let Some(policy) = &self.network_policy {
            create(client, policy, number).await;
        }
        let identities = Api::<ServiceIdentity>::namespaced(client.clone(), PLACE);
        let apply = PatchParams::apply("bare").force();
        identities.patch_status(&named(&self.identity, number), &apply, &Patch::Apply(status)).await.unwrap();
        for event in &self.events {
            let mut event = event.clone();
            event.regarding = event.regarding.map(|mut regarding| {
                regarding.namespace = Some(PLACE.to_owned());
                regarding
            });
            create(client, &event, number).await;
        }
    }
}

fn named<K: Resource>(object: &K, number: usize) -> String {
    format!("{}-{number}", object.name_any())
}

async fn create<K>(client: &Client, object: &K, number: usize)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
{
    let mut object = object.clone();
    let name = named(&object, number);
    let metadata = object.meta_mut();
    *metadata = kube::core::ObjectMeta {
        name: Some(name),
        namespace: Some(PLACE.to_owned()),
        annotations: metadata.annotations.take(),
        ..kube::core::ObjectMeta::default()
    };
    Api::<K>::namespaced(client.clone(), PLACE).create(&PostParams::default(), &object).await.unwrap();
}
