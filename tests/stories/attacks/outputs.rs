//! More than we wrote, added to our objects by another field manager: it is put back, keys stay as they are.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Namespaced, Story, Trust, condition, event_reasons, eventually, wait_for};

struct Scene {
    story: Story,
    trust: Trust,
    bystanders: Bystanders,
}

impl Scene {
    async fn set(title: &str) -> Self {
        let story = Story::begin(title).await;
        let trust = story.trust("a", json!({})).await;
        let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
        story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
        Self { story, trust, bystanders }
    }

    /// Another manager applies a fragment to an object of ours; its content must become again what it was.
    async fn is_put_back<K>(&self, name: &str, fragment: Value, content: impl Fn(&K) -> Value)
    where
        K: Namespaced,
    {
        let api: Api<K> = self.story.api(&self.trust.namespace);
        let before = content(&api.get(name).await.unwrap());
        let mut object = fragment;
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        object["metadata"] = json!({"name": name});
        let applied = api.patch(name, &PatchParams::apply("tenant").force(), &Patch::Apply(&object)).await.unwrap();
        assert_ne!(content(&applied), before, "the attack did not change anything");
        let changed = applied.meta().resource_version.clone();
        let is_back = |found: &K| content(found) == before && found.meta().resource_version != changed;
        wait_for(&api, name, "be put back", is_back).await;
    }

    async fn is_told(&self) {
        let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
        let order = self.story.wait_identity(&self.trust.namespace, "order", "be ready", ready).await;
        eventually("an event tells of it", async || {
            let reasons = event_reasons(&self.story, &order).await;
            reasons.iter().any(|reason| reason == "DriftCorrected").then_some(())
        })
        .await;
        self.bystanders.are_untouched(&self.story).await;
    }
}

fn all_of(secret: &Secret) -> Value {
    json!([secret.data, secret.immutable])
}

#[tokio::test]
async fn adding_a_key_to_the_secret_of_the_certificate() {
    let scene = Scene::set("add-tls").await;
    scene.is_put_back("order-tls", json!({"data": {"extra.pem": "bWluZQ=="}}), all_of).await;
    scene.is_told().await;
}

#[tokio::test]
async fn adding_a_key_to_the_secret_of_the_signing_key() {
    let scene = Scene::set("add-key").await;
    scene.is_put_back("order-signing-key", json!({"data": {"next.private.pem": "bWluZQ=="}}), all_of).await;
    scene.is_told().await;
}

#[tokio::test]
async fn adding_a_bundle_to_the_config_map_of_what_is_trusted() {
    let scene = Scene::set("add-trust").await;
    let all = |map: &ConfigMap| json!([map.data, map.binary_data, map.immutable]);
    scene.is_put_back("order-trust", json!({"data": {"bundle.evil.pem": "mine"}}), all).await;
    scene.is_put_back("order-trust", json!({"binaryData": {"bundle.evil.pem": "bWluZQ=="}}), all).await;
    scene.is_told().await;
}

#[tokio::test]
async fn adding_a_rule_to_a_network_policy() {
    let scene = Scene::set("add-rule").await;
    let open = json!({"spec": {"ingress": [{"from": [{"podSelector": {}}]}]}});
    let all = |policy: &NetworkPolicy| serde_json::to_value(&policy.spec).unwrap();
    scene.is_put_back("ringfence-order", open, all).await;
    scene.is_told().await;
}

#[tokio::test]
async fn adding_a_rule_to_the_baseline() {
    let scene = Scene::set("add-baseline").await;
    let other = scene.story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&scene.story, &other.namespace).await;
    let open = json!({"spec": {"ingress": [{}]}});
    let all = |policy: &NetworkPolicy| serde_json::to_value(&policy.spec).unwrap();
    scene.is_put_back("ringfence-baseline", open, all).await;
    let domain = scene.story.all::<TrustDomain>().get(&scene.trust.domain).await.unwrap();
    eventually("an event tells of it", async || {
        let reasons = event_reasons(&scene.story, &domain).await;
        reasons.iter().any(|reason| reason == "DriftCorrected").then_some(())
    })
    .await;
    bystanders.are_untouched(&scene.story).await;
}

#[tokio::test]
async fn freezing_what_is_trusted_so_that_nothing_is_ever_taken_back() {
    let scene = Scene::set("freeze").await;
    let all = |map: &ConfigMap| json!([map.data, map.binary_data, map.immutable]);
    scene.is_put_back("order-trust", json!({"data": {"bundle.evil.pem": "mine"}, "immutable": true}), all).await;
    scene.is_put_back("order-tls", json!({"data": {"extra.pem": "bWluZQ=="}, "immutable": true}), all_of).await;
    scene.is_told().await;
}
