//! What someone else does to an output is undone, on the whole content, and no key is thrown away that still serves.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule};
use kube::api::DeleteParams;
use kube::{Api, Resource};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{
    History, Namespaced, Story, Trust, condition, config_map, edit, essence, event_reasons, eventually, in_namespace,
    policy, secret, wait_for,
};

/// A domain in which `order` calls `inventory` with a token of its own.
async fn shop(title: &str) -> (Story, Trust) {
    let story = Story::begin(title).await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&trust.namespace, "inventory", json!({})).await;
    let spec = json!({
        "to": {"identity": "inventory", "ports": [{"port": 8080}]}, "from": [{"identity": {"name": "order"}}],
        "authentication": {"mtls": {}, "jwt": {}},
    });
    story.create::<AccessPolicy>(&trust.namespace, policy("stock", spec)).await;
    let ready = |policy: &AccessPolicy| condition(policy, "Ready").0 == "True";
    story.wait_policy(&trust.namespace, "stock", "be in force", ready).await;
    (story, trust)
}

/// Does something to an output, and waits until all of it is again as it was.
async fn is_undone<K>(story: &Story, namespace: &str, name: &str, what: &str, change: impl FnOnce(&mut K))
where
    K: Namespaced,
{
    let api = in_namespace::<K>(story, namespace);
    let before = essence(&api.get(name).await.unwrap());
    let changed = edit(&api, name, change).await;
    assert_ne!(essence(&changed), before, "{what} changed nothing");
    let undone =
        |object: &K| object.meta().resource_version != changed.meta().resource_version && essence(object) == before;
    wait_for(&api, name, &format!("be put right after: {what}"), undone).await;
}

/// Deletes an output, and waits until it is there again with the same content.
async fn comes_back<K>(story: &Story, namespace: &str, name: &str)
where
    K: Namespaced,
{
    let api = in_namespace::<K>(story, namespace);
    let before = api.get(name).await.unwrap();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let back = |object: &K| object.meta().uid != before.meta().uid && essence(object) == essence(&before);
    wait_for(&api, name, "come back", back).await;
}

fn unlabel<K: Resource>(object: &mut K) {
    object.meta_mut().labels = None;
}

fn disown<K: Resource>(object: &mut K) {
    object.meta_mut().owner_references = None;
}

/// Waits for the event that tells of it, and until the object is content.
async fn told<K>(story: &Story, api: &Api<K>, name: &str)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let object = wait_for(api, name, "be ready again", |object: &K| condition(object, "Ready").0 == "True").await;
    eventually("an event tells of it", async || {
        event_reasons(story, &object).await.contains(&"DriftCorrected".to_owned()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_change_to_the_trust_of_an_identity_is_undone() {
    let (story, trust) = shop("drift-trust").await;
    let namespace = &trust.namespace;
    let data = |map: &mut ConfigMap, change: &dyn Fn(&mut BTreeMap<String, String>)| {
        change(map.data.get_or_insert_default());
    };
    let undone = async |what: &str, change: &dyn Fn(&mut BTreeMap<String, String>)| {
        is_undone::<ConfigMap>(&story, namespace, "inventory-trust", what, |map| data(map, change)).await;
    };
    undone("a changed value", &|data| drop(data.insert("access.json".to_owned(), "{}".to_owned()))).await;
    undone("an extra key", &|data| drop(data.insert("extra.pem".to_owned(), "mine".to_owned()))).await;
    undone("a removed key", &|data| drop(data.remove("callers.pem"))).await;
    is_undone::<ConfigMap>(&story, namespace, "inventory-trust", "binary data", |map| {
        map.binary_data = Some(BTreeMap::from([("extra".to_owned(), ByteString(vec![0xff]))]));
    })
    .await;
    told(&story, &in_namespace::<ServiceIdentity>(&story, namespace), "inventory").await;

    is_undone::<ConfigMap>(&story, namespace, "order-trust", "a removed label", unlabel).await;
    is_undone::<ConfigMap>(&story, namespace, "order-trust", "a removed owner", disown).await;
    comes_back::<ConfigMap>(&story, namespace, "order-trust").await;
    told(&story, &in_namespace::<ServiceIdentity>(&story, namespace), "order").await;
}

#[tokio::test]
async fn every_change_to_the_network_policy_of_an_identity_is_undone() {
    let (story, trust) = shop("drift-policy").await;
    let namespace = &trust.namespace;
    let undone = async |name: &str, what: &str, change: &dyn Fn(&mut NetworkPolicy)| {
        is_undone::<NetworkPolicy>(&story, namespace, name, what, change).await;
    };
    let name = "ringfence-inventory";
    undone(name, "a rule that admits anyone", &|policy| {
        let spec = policy.spec.as_mut().unwrap();
        spec.ingress.get_or_insert_default().push(NetworkPolicyIngressRule::default());
    })
    .await;
    undone(name, "an extra way out", &|policy| {
        let spec = policy.spec.as_mut().unwrap();
        spec.egress.get_or_insert_default().push(NetworkPolicyEgressRule::default());
    })
    .await;
    undone(name, "no rules", &|policy| {
        let spec = policy.spec.as_mut().unwrap();
        (spec.ingress, spec.egress) = (None, None);
    })
    .await;
    undone(name, "another selector", &|policy| {
        policy.spec.as_mut().unwrap().pod_selector.as_mut().unwrap().match_labels =
            Some(BTreeMap::from([("app".to_owned(), "none".to_owned())]));
    })
    .await;
    told(&story, &in_namespace::<ServiceIdentity>(&story, namespace), "inventory").await;

    let name = "ringfence-order";
    undone(name, "one direction only", &|policy| {
        policy.spec.as_mut().unwrap().policy_types = Some(vec!["Ingress".to_owned()]);
    })
    .await;
    undone(name, "a removed label", &unlabel).await;
    undone(name, "a removed owner", &disown).await;
    comes_back::<NetworkPolicy>(&story, namespace, name).await;
    told(&story, &in_namespace::<ServiceIdentity>(&story, namespace), "order").await;
}

#[tokio::test]
async fn every_change_to_the_baseline_is_undone() {
    let story = Story::begin("drift-baseline").await;
    let trust = story.trust("shop", json!({})).await;
    let (namespace, name) = (&trust.namespace, "ringfence-baseline");
    wait_for(&in_namespace::<NetworkPolicy>(&story, namespace), name, "be written", |_| true).await;
    is_undone::<NetworkPolicy>(&story, namespace, name, "a rule that admits anyone", |policy| {
        policy.spec.as_mut().unwrap().ingress = Some(vec![NetworkPolicyIngressRule::default()]);
    })
    .await;
    is_undone::<NetworkPolicy>(&story, namespace, name, "a removed label", unlabel).await;
    is_undone::<NetworkPolicy>(&story, namespace, name, "a removed owner", disown).await;
    comes_back::<NetworkPolicy>(&story, namespace, name).await;
    told(&story, &Api::<TrustDomain>::all(story.client.clone()), &trust.domain).await;
}

#[tokio::test]
async fn every_change_to_the_trust_of_a_domain_is_undone() {
    let story = Story::begin("drift-bundle").await;
    let trust = story.trust("shop", json!({})).await;
    let (namespace, name) = (OPERATOR_NAMESPACE, format!("{}-trust", trust.domain));
    wait_for(&in_namespace::<ConfigMap>(&story, namespace), &name, "be written", |_| true).await;
    is_undone::<ConfigMap>(&story, namespace, &name, "another root", |map| {
        map.data.as_mut().unwrap().insert("roots.pem".to_owned(), "mine".to_owned());
    })
    .await;
    is_undone::<ConfigMap>(&story, namespace, &name, "a removed label", unlabel).await;
    is_undone::<ConfigMap>(&story, namespace, &name, "a removed owner", disown).await;
    is_undone::<ConfigMap>(&story, namespace, &name, "another root that is to stay", |map| {
        map.data.as_mut().unwrap().insert("roots.pem".to_owned(), "mine".to_owned());
        map.immutable = Some(true);
    })
    .await;
    comes_back::<ConfigMap>(&story, namespace, &name).await;
    told(&story, &Api::<TrustDomain>::all(story.client.clone()), &trust.domain).await;
}

fn put(secret: &mut Secret, key: &str, value: &str) {
    secret.data.get_or_insert_default().insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
}

#[tokio::test]
async fn a_certificate_outlives_changes_around_it() {
    let (story, trust) = shop("drift-tls").await;
    let namespace = &trust.namespace;
    let before = secret(&story, namespace, "order-tls").await;
    let undone = async |what: &str, change: &dyn Fn(&mut Secret)| {
        is_undone::<Secret>(&story, namespace, "order-tls", what, change).await;
    };
    undone("an extra key", &|secret| put(secret, "extra", "mine")).await;
    undone("another root", &|secret| put(secret, "ca.crt", "mine")).await;
    undone("a removed root", &|secret| drop(secret.data.as_mut().unwrap().remove("ca.crt"))).await;
    undone("a removed label", &unlabel).await;
    undone("a removed owner", &disown).await;
    assert_eq!(secret(&story, namespace, "order-tls").await, before, "leaf and key have been kept");
    told(&story, &in_namespace::<ServiceIdentity>(&story, namespace), "order").await;
}

/// Spoils the Secret with the certificate of `order` and waits for another certificate.
async fn is_reissued(story: &Story, namespace: &str, what: &str, spoil: impl FnOnce(&mut Secret)) {
    let identities = in_namespace::<ServiceIdentity>(story, namespace);
    let serial = |object: &ServiceIdentity| object.status.clone().unwrap().certificate.unwrap().serial;
    let before = serial(&identities.get("order").await.unwrap());
    let old = secret(story, namespace, "order-tls").await;
    edit(&in_namespace::<Secret>(story, namespace), "order-tls", spoil).await;
    let issued = |object: &ServiceIdentity| condition(object, "Ready").0 == "True" && serial(object) != before;
    wait_for(&identities, "order", &format!("get another certificate after: {what}"), issued).await;
    let new = secret(story, namespace, "order-tls").await;
    assert_eq!(new.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(new["ca.crt"], old["ca.crt"]);
    assert_ne!(new["tls.key"], old["tls.key"], "a key that someone had in hand is not used again");
}

#[tokio::test]
async fn a_certificate_that_someone_spoiled_is_issued_anew() {
    let (story, trust) = shop("spoil-tls").await;
    let namespace = &trust.namespace;
    let other = secret(&story, namespace, "inventory-tls").await;
    is_reissued(&story, namespace, "certificate of another identity", |secret| {
        put(secret, "tls.crt", &other["tls.crt"]);
    })
    .await;
    is_reissued(&story, namespace, "key of another identity", |secret| put(secret, "tls.key", &other["tls.key"])).await;
    is_reissued(&story, namespace, "certificate and key of another identity", |secret| {
        put(secret, "tls.crt", &other["tls.crt"]);
        put(secret, "tls.key", &other["tls.key"]);
    })
    .await;
    is_reissued(&story, namespace, "no certificate", |secret| put(secret, "tls.crt", "")).await;
    told(&story, &in_namespace::<ServiceIdentity>(&story, namespace), "order").await;
    assert_eq!(secret(&story, namespace, "inventory-tls").await, other);
}

#[tokio::test]
async fn a_deleted_certificate_is_issued_anew() {
    let (story, trust) = shop("deleted-tls").await;
    let before = secret(&story, &trust.namespace, "order-tls").await;
    let api = in_namespace::<Secret>(&story, &trust.namespace);
    let uid = api.get("order-tls").await.unwrap().metadata.uid;
    api.delete("order-tls", &DeleteParams::default()).await.unwrap();
    wait_for(&api, "order-tls", "come back", |secret| secret.metadata.uid != uid).await;
    let after = secret(&story, &trust.namespace, "order-tls").await;
    assert_eq!(after["ca.crt"], before["ca.crt"]);
    assert_ne!(after["tls.crt"], before["tls.crt"]);
    told(&story, &in_namespace::<ServiceIdentity>(&story, &trust.namespace), "order").await;
}

#[tokio::test]
async fn a_signing_key_outlives_changes_around_it() {
    let (story, trust) = shop("drift-key").await;
    let namespace = &trust.namespace;
    let before = secret(&story, namespace, "order-signing-key").await;
    let peer = config_map(&story, namespace, "inventory-trust").await;
    let history = History::begin(story.cluster);
    let undone = async |what: &str, change: &dyn Fn(&mut Secret)| {
        is_undone::<Secret>(&story, namespace, "order-signing-key", what, change).await;
    };
    undone("an extra key", &|secret| put(secret, "extra", "mine")).await;
    undone("another id", &|secret| put(secret, "kid", "mine")).await;
    undone("no JWK", &|secret| drop(secret.data.as_mut().unwrap().remove("jwk.json"))).await;
    undone("a removed label", &unlabel).await;
    undone("a removed owner", &disown).await;
    assert_eq!(secret(&story, namespace, "order-signing-key").await, before, "the key has been kept");
    told(&story, &in_namespace::<ServiceIdentity>(&story, namespace), "order").await;
    assert_eq!(config_map(&story, namespace, "inventory-trust").await, peer);
    assert_eq!(history.writes_to("configmaps", &format!("{namespace}/inventory-trust")), 0, "verifiers noticed");
}

#[tokio::test]
async fn a_signing_key_that_someone_replaced_is_not_delivered_to_anyone() {
    let (story, trust) = shop("swap-key").await;
    let namespace = &trust.namespace;
    let rogue = story.ready_identity(namespace, "rogue", json!({"signingKey": {}})).await;
    let rogue_kid = rogue.status.unwrap().signing_key.unwrap().key_id;
    let stolen = secret(&story, namespace, "rogue-signing-key").await;
    let before = secret(&story, namespace, "order-signing-key").await;
    let secrets = in_namespace::<Secret>(&story, namespace);
    edit(&secrets, "order-signing-key", |secret| {
        for (key, value) in &stolen {
            put(secret, key, value);
        }
    })
    .await;
    let kid = |secret: &Secret| String::from_utf8(secret.data.as_ref().unwrap()["kid"].0.clone()).unwrap();
    let fresh = |secret: &Secret| kid(secret) != before["kid"] && kid(secret) != rogue_kid;
    let fresh = kid(&wait_for(&secrets, "order-signing-key", "hold a new key", fresh).await);
    let maps = in_namespace::<ConfigMap>(&story, namespace);
    let delivered = |map: &ConfigMap| map.data.as_ref().unwrap()["jwks.json"].contains(&fresh);
    let map = wait_for(&maps, "inventory-trust", "hold the new key", delivered).await;
    let keys: Value = serde_json::from_str(&map.data.unwrap()["jwks.json"]).unwrap();
    let kids: Vec<&str> = keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids, [fresh.as_str()], "neither the old one nor the stolen one");
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    told(&story, &identities, "order").await;
    let recorded = identities.get("order").await.unwrap().status.unwrap().signing_key.unwrap().key_id;
    assert_eq!(recorded, fresh);
    // Comes back with another key, too, when it is deleted.
    secrets.delete("order-signing-key", &DeleteParams::default()).await.unwrap();
    let anew = |secret: &Secret| kid(secret) != fresh;
    let anew = kid(&wait_for(&secrets, "order-signing-key", "come back", anew).await);
    let delivered = |map: &ConfigMap| map.data.as_ref().unwrap()["jwks.json"].contains(&anew);
    wait_for(&maps, "inventory-trust", "hold the newest key", delivered).await;
}
