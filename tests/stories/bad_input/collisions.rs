//! Two identities that want the same, and objects of others that have the name of an output.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::DeleteParams;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, condition, event_reasons, eventually, identity, says, service};

/// The first identity works; the second wants the same and is refused; when the first is gone the second has it.
async fn first_comes_first(story: &Story, namespace: &str, spec: Value, said: (&str, &str), name: &str) {
    let first = story.ready_identity(namespace, "first", spec.clone()).await;
    let serial = first.status.unwrap().certificate.unwrap().serial;
    story.create::<ServiceIdentity>(namespace, identity("second", spec)).await;
    let api = story.api::<ServiceIdentity>(namespace);
    let first = format!("{namespace}/first");
    let refused = says(&api, "second", ("Accepted", "False", said.0), &[name, &first, said.1]).await;
    assert_eq!(condition(&refused, "Ready").1, said.0);
    let still = story.wait_identity(namespace, "first", "be ready still", |o| condition(o, "Ready").0 == "True").await;
    assert_eq!(still.status.unwrap().certificate.unwrap().serial, serial);
    api.delete("first", &DeleteParams::default()).await.unwrap();
    says(&api, "second", ("Ready", "True", "NoPods"), &[]).await;
}

#[tokio::test]
async fn two_identities_with_one_service_account() {
    let story = Story::begin("one-account").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let spec = json!({"serviceAccountName": "shared"});
    let said = ("ServiceAccountTaken", "choose another, or change that one");
    first_comes_first(&story, &trust.namespace, spec, said, "shared").await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn two_identities_with_one_service() {
    let story = Story::begin("one-service").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.create::<Service>(&trust.namespace, service("web", 443, json!(8443))).await;
    let spec = json!({"services": ["web"]});
    let said = ("ServiceTaken", "its names are left out");
    first_comes_first(&story, &trust.namespace, spec, said, "web").await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn two_identities_with_one_audience() {
    let story = Story::begin("one-audience").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let spec = json!({"audiences": ["https://shop.example"]});
    let said = ("AudienceTaken", "choose another");
    first_comes_first(&story, &trust.namespace, spec, said, "https://shop.example").await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn two_identities_with_one_secret_name() {
    let story = Story::begin("one-secret").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let spec = json!({"certificate": {"secretName": "shared-tls"}});
    let said = ("SecretNameTaken", "choose another, or change that one");
    first_comes_first(&story, &trust.namespace, spec, said, "shared-tls").await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn two_identities_with_one_name_in_their_certificates_also_across_domains() {
    let story = Story::begin("one-name").await;
    let [a, b] = ["a", "b"].map(|suffix| format!("{}-{suffix}", story.name));
    let name = format!("shop.{}.example", story.name);
    let allowed = json!({"certificates": {"allowedNames": [
        {"name": name, "namespaces": [a, b]}, {"name": "2001:db8::1", "namespaces": [a, b]},
    ]}});
    let (first, second) = (story.trust("a", allowed.clone()).await, story.trust("b", allowed).await);
    let bystanders = Bystanders::in_namespace(&story, &first.namespace).await;
    let spec = json!({"dnsNames": [name], "ipAddresses": ["2001:db8::1"]});
    story.ready_identity(&first.namespace, "web", spec).await;
    // The same address in another spelling is the same address.
    let spec = json!({"dnsNames": [name.to_uppercase()], "ipAddresses": ["2001:DB8:0::1"]});
    story.create::<ServiceIdentity>(&second.namespace, identity("web", spec)).await;
    let holder = format!("{}/web", first.namespace);
    let words = [&*name, "2001:db8::1", &holder, "choose another, or change that one"];
    let api = story.api::<ServiceIdentity>(&second.namespace);
    says(&api, "web", ("Accepted", "False", "NameClaimed"), &words).await;
    assert!(story.certificate_names(&second.namespace, "web-tls", |_| true).await.is_empty());
    bystanders.are_untouched(&story).await;
    let api = story.api::<ServiceIdentity>(&first.namespace);
    api.delete("web", &DeleteParams::default()).await.unwrap();
    let both = |names: &std::collections::BTreeSet<String>| names.len() == 2;
    story.certificate_names(&second.namespace, "web-tls", both).await;
}

/// A foreign object with the name of an output stays as it is, the identity says so, and gets its own once it is gone.
async fn is_left_alone<K>(kind: &str, name: &str, content: Value)
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Send
        + 'static,
{
    let story = Story::begin(&format!("foreign-{}", kind.to_lowercase())).await;
    let trust = story.trust("a", json!({"foreignPolicies": "Report"})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let mut foreign = content;
    foreign["metadata"] = json!({"name": name});
    let before = story.create::<K>(&trust.namespace, foreign).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({"signingKey": {}}))).await;
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    let full = format!("{kind} {}/{name}", trust.namespace);
    let words = [&*full, "it is left alone; delete or rename it"];
    let refused = says(&identities, "order", ("NameTaken", "True", "NameTaken"), &words).await;
    assert_eq!(condition(&refused, "Ready").0, "False");
    eventually("an event says so", async || {
        event_reasons(&story, &refused).await.contains(&"NameTaken".to_owned()).then_some(())
    })
    .await;
    let api = story.api::<K>(&trust.namespace);
    assert_eq!(api.get(name).await.unwrap().meta().resource_version, before.meta().resource_version);
    api.delete(name, &DeleteParams::default()).await.unwrap();
    says(&identities, "order", ("Ready", "True", "NoPods"), &[]).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_foreign_secret_with_the_name_of_the_certificates() {
    is_left_alone::<Secret>("Secret", "order-tls", json!({"stringData": {"mine": "yes"}})).await;
}

#[tokio::test]
async fn a_foreign_secret_with_the_name_of_the_signing_keys() {
    is_left_alone::<Secret>("Secret", "order-signing-key", json!({"stringData": {"mine": "yes"}})).await;
}

#[tokio::test]
async fn a_foreign_config_map_with_the_name_of_ours() {
    is_left_alone::<ConfigMap>("ConfigMap", "order-trust", json!({"data": {"mine": "yes"}})).await;
}

#[tokio::test]
async fn a_foreign_network_policy_with_the_name_of_ours() {
    let spec = json!({"spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
    is_left_alone::<NetworkPolicy>("NetworkPolicy", "ringfence-order", spec).await;
}

#[tokio::test]
async fn a_foreign_network_policy_with_the_name_of_the_baseline() {
    let story = Story::begin("foreign-baseline").await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    let namespace = story.namespace("a").await;
    let baseline = json!({"metadata": {"name": "ringfence-baseline"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}});
    let before = story.create::<NetworkPolicy>(&namespace, baseline).await;
    let name = format!("{}-a", story.name);
    let spec = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
    story.create_cluster_wide::<TrustDomain>(crate::support::domain(&name, spec)).await;
    let full = format!("NetworkPolicy {namespace}/ringfence-baseline");
    let domains = story.all::<TrustDomain>();
    says(&domains, &name, ("NameTaken", "True", "NameTaken"), &[&full, "delete or rename it"]).await;
    let policies = story.api::<NetworkPolicy>(&namespace);
    let found = policies.get("ringfence-baseline").await.unwrap();
    assert_eq!(found.metadata.resource_version, before.metadata.resource_version);
    policies.delete("ringfence-baseline", &DeleteParams::default()).await.unwrap();
    says(&domains, &name, ("Ready", "True", "Ready"), &[]).await;
    assert_ne!(policies.get("ringfence-baseline").await.unwrap().metadata.uid, before.metadata.uid);
    bystanders.are_untouched(&story).await;
}
