//! Whose an object is: what has the name of an output and belongs to someone else is left alone, and what someone keeps
//! changing is not fought over.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use ringfence::controller::Clock;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{
    History, Namespaced, Story, begin_alone, condition, domain, event_reasons, eventually, gone, identity,
    in_namespace, is_owned_by, versions, wait_for,
};

/// Someone's object stands where an output of an identity belongs; it stays as it is, everything else is delivered, and
/// when it goes the output comes.
async fn stands_in_the_way_of_an_identity<K>(title: &str, name: &str, mut foreign: Value)
where
    K: Namespaced,
{
    let story = Story::begin(title).await;
    let trust = story.trust("shop", json!({"foreignPolicies": "Report"})).await;
    let namespace = &trust.namespace;
    foreign["metadata"]["name"] = json!(name);
    let before = story.create::<K>(namespace, foreign).await;
    story.create::<ServiceIdentity>(namespace, identity("order", json!({"signingKey": {}}))).await;
    let taken = |object: &ServiceIdentity| condition(object, "NameTaken").0 == "True";
    let object = story.wait_identity(namespace, "order", "say that the name is taken", taken).await;
    let (_, reason, message) = condition(&object, "NameTaken");
    assert_eq!(reason, "NameTaken");
    assert!(message.contains(&format!("{} {namespace}/{name} ", K::kind(&()))), "{message}");
    assert_eq!(condition(&object, "Ready").0, "False");
    assert_eq!(condition(&object, "Ready").1, "NameTaken");
    assert_eq!(condition(&object, "Programmed").0, "False");

    let uid = object.metadata.uid.clone().unwrap();
    eventually("everything else is delivered", async || {
        let owned = owned_outputs(&story, namespace, &uid).await;
        (owned.len() == 3).then_some(())
    })
    .await;
    let api = in_namespace::<K>(&story, namespace);
    let now = api.get(name).await.unwrap();
    assert_eq!(serde_json::to_value(&now).unwrap(), serde_json::to_value(&before).unwrap(), "it was touched");

    api.delete(name, &DeleteParams::default()).await.unwrap();
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    let object = story.wait_identity(namespace, "order", "recover", ready).await;
    assert_eq!(condition(&object, "NameTaken").0, "");
    assert_eq!(owned_outputs(&story, namespace, &uid).await.len(), 4);
}

/// The outputs of an identity named `order`, as far as they exist and are its own.
async fn owned_outputs(story: &Story, namespace: &str, uid: &str) -> Vec<String> {
    let mut owned = Vec::new();
    let secrets = in_namespace::<Secret>(story, namespace);
    for name in ["order-tls", "order-signing-key"] {
        let found = secrets.get_opt(name).await.unwrap();
        owned.extend(found.filter(|found| is_owned_by(found, uid)).map(|_| name.to_owned()));
    }
    let found = in_namespace::<ConfigMap>(story, namespace).get_opt("order-trust").await.unwrap();
    owned.extend(found.filter(|found| is_owned_by(found, uid)).map(|_| "order-trust".to_owned()));
    let found = in_namespace::<NetworkPolicy>(story, namespace).get_opt("ringfence-order").await.unwrap();
    owned.extend(found.filter(|found| is_owned_by(found, uid)).map(|_| "ringfence-order".to_owned()));
    owned
}

#[tokio::test]
async fn a_secret_of_someone_else_is_not_overwritten_with_a_certificate() {
    let foreign = json!({"type": "Opaque", "stringData": {"tls.crt": "mine", "password": "mine too"}});
    stands_in_the_way_of_an_identity::<Secret>("taken-tls", "order-tls", foreign).await;
}

#[tokio::test]
async fn a_secret_of_someone_else_is_not_overwritten_with_a_signing_key() {
    let foreign = json!({"type": "Opaque", "stringData": {"private.pem": "mine"}});
    stands_in_the_way_of_an_identity::<Secret>("taken-key", "order-signing-key", foreign).await;
}

#[tokio::test]
async fn a_config_map_of_someone_else_is_not_overwritten_with_trust() {
    let foreign = json!({"data": {"callers.pem": "mine"}});
    stands_in_the_way_of_an_identity::<ConfigMap>("taken-trust", "order-trust", foreign).await;
}

#[tokio::test]
async fn a_network_policy_of_someone_else_is_not_overwritten() {
    let foreign = json!({"spec": {"podSelector": {"matchLabels": {"app": "mine"}}, "policyTypes": ["Ingress"]}});
    stands_in_the_way_of_an_identity::<NetworkPolicy>("taken-policy", "ringfence-order", foreign).await;
}

#[tokio::test]
async fn a_label_makes_nothing_ours() {
    let foreign = json!({
        "metadata": {"labels": {"app.kubernetes.io/managed-by": "ringfence"}}, "data": {"callers.pem": "mine"},
    });
    stands_in_the_way_of_an_identity::<ConfigMap>("label", "order-trust", foreign).await;
}

#[tokio::test]
async fn a_secret_of_our_kind_that_another_object_controls_is_not_ours() {
    let story = Story::begin("controlled").await;
    let trust = story.trust("shop", json!({})).await;
    let other = story.ready_identity(&trust.namespace, "other", json!({})).await;
    let theirs = in_namespace::<Secret>(&story, &trust.namespace).get("other-tls").await.unwrap();
    let foreign = json!({
        "metadata": {
            "name": "order-tls", "labels": theirs.metadata.labels, "ownerReferences": theirs.metadata.owner_references,
        },
        "type": theirs.type_, "data": theirs.data,
    });
    let before = story.create::<Secret>(&trust.namespace, foreign).await;
    assert!(is_owned_by(&before, other.metadata.uid.as_deref().unwrap()));
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({}))).await;
    let taken = |object: &ServiceIdentity| condition(object, "Ready").1 == "NameTaken";
    story.wait_identity(&trust.namespace, "order", "say that the name is taken", taken).await;
    let api = in_namespace::<Secret>(&story, &trust.namespace);
    assert_eq!(api.get("order-tls").await.unwrap(), before);
    api.delete("order-tls", &DeleteParams::default()).await.unwrap();
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    story.wait_identity(&trust.namespace, "order", "recover", ready).await;
}

/// Someone's object stands where an output of a domain belongs.
async fn stands_in_the_way_of_a_domain<K>(title: &str, place: impl Fn(&str) -> (String, String), mut foreign: Value)
where
    K: Namespaced,
{
    let story = Story::begin(title).await;
    let member = story.namespace("shop").await;
    let (namespace, name) = place(&member);
    foreign["metadata"]["name"] = json!(name);
    let before = story.create::<K>(&namespace, foreign).await;
    let spec = json!({
        "certificateAuthority": {"selfSigned": {}}, "namespaces": [member], "foreignPolicies": "Report",
    });
    story.create_cluster_wide::<TrustDomain>(domain(&member, spec)).await;
    let taken = |object: &TrustDomain| condition(object, "NameTaken").0 == "True";
    let object = story.wait_domain(&member, "say that the name is taken", taken).await;
    let (_, _, message) = condition(&object, "NameTaken");
    assert!(message.contains(&format!("{} {namespace}/{name} ", K::kind(&()))), "{message}");
    let [ready, programmed] = ["Ready", "Programmed"].map(|kind| condition(&object, kind));
    assert_eq!((ready.0.as_str(), ready.1.as_str(), programmed.0.as_str()), ("False", "NameTaken", "False"));

    let api = in_namespace::<K>(&story, &namespace);
    let now = api.get(&name).await.unwrap();
    assert_eq!(serde_json::to_value(&now).unwrap(), serde_json::to_value(&before).unwrap(), "it was touched");
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    let ready =
        |object: &TrustDomain| condition(object, "Ready").0 == "True" && condition(object, "Programmed").0 == "True";
    let object = story.wait_domain(&member, "recover", ready).await;
    assert_eq!(condition(&object, "NameTaken").0, "");
    let ours = wait_for(&api, &name, "be ours", |_| true).await;
    assert_ne!(ours.meta().uid, before.meta().uid);
    story.ready_identity(&member, "order", json!({})).await;
}

#[tokio::test]
async fn a_secret_of_someone_else_is_not_overwritten_with_a_ca() {
    let place = |domain: &str| (OPERATOR_NAMESPACE.to_owned(), format!("{domain}-ca"));
    let foreign = json!({"type": "Opaque", "stringData": {"ca.key": "mine"}});
    stands_in_the_way_of_a_domain::<Secret>("taken-ca", place, foreign).await;
}

#[tokio::test]
async fn a_config_map_of_someone_else_is_not_overwritten_with_the_trust_of_a_domain() {
    let place = |domain: &str| (OPERATOR_NAMESPACE.to_owned(), format!("{domain}-trust"));
    stands_in_the_way_of_a_domain::<ConfigMap>("taken-bundle", place, json!({"data": {"roots.pem": "mine"}})).await;
}

#[tokio::test]
async fn a_network_policy_of_someone_else_is_not_overwritten_with_the_baseline() {
    let place = |domain: &str| (domain.to_owned(), "ringfence-baseline".to_owned());
    let foreign = json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    stands_in_the_way_of_a_domain::<NetworkPolicy>("taken-baseline", place, foreign).await;
}

#[tokio::test]
async fn an_identity_that_is_deleted_and_created_again_gets_everything_anew() {
    let story = Story::begin("again").await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    let old = story.ready_identity(namespace, "order", json!({"signingKey": {}})).await;
    let before = versions(&story, namespace).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    identities.delete("order", &DeleteParams::default()).await.unwrap();
    gone(&identities, "order").await;
    let new = story.ready_identity(namespace, "order", json!({"signingKey": {}})).await;
    assert_ne!(new.metadata.uid, old.metadata.uid);
    assert_eq!(owned_outputs(&story, namespace, new.metadata.uid.as_deref().unwrap()).await.len(), 4);
    let after = versions(&story, namespace).await;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, version) in &before {
        assert_eq!(*version == after[name], name == "NetworkPolicy ringfence-baseline", "{name}");
    }
    let [old, new] = [old, new].map(|object| object.status.unwrap());
    assert_ne!(old.certificate.unwrap().serial, new.certificate.unwrap().serial);
    assert_ne!(old.signing_key.unwrap().key_id, new.signing_key.unwrap().key_id);
}

#[tokio::test]
async fn what_a_deleted_identity_left_behind_is_not_adopted_by_its_successor() {
    let story = Story::begin("orphans").await;
    let trust = story.trust("shop", json!({"foreignPolicies": "Report"})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({})).await;
    // Once the garbage collector has cleaned up after a younger one, it knows the outputs of this one, too.
    story.ready_identity(namespace, "younger", json!({})).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    identities.delete("younger", &DeleteParams::default()).await.unwrap();
    gone(&in_namespace::<Secret>(&story, namespace), "younger-tls").await;
    gone(&in_namespace::<ConfigMap>(&story, namespace), "younger-trust").await;
    gone(&in_namespace::<NetworkPolicy>(&story, namespace), "ringfence-younger").await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    identities.delete("order", &orphan).await.unwrap();
    gone(&identities, "order").await;
    let left = versions(&story, namespace).await;
    assert_eq!(left.len(), 4, "{left:?}");
    story.create::<ServiceIdentity>(namespace, identity("order", json!({}))).await;
    let taken = |object: &ServiceIdentity| condition(object, "Ready").1 == "NameTaken";
    story.wait_identity(namespace, "order", "say that the names are taken", taken).await;
    assert_eq!(versions(&story, namespace).await, left);
    let delete = DeleteParams::default();
    in_namespace::<Secret>(&story, namespace).delete("order-tls", &delete).await.unwrap();
    in_namespace::<ConfigMap>(&story, namespace).delete("order-trust", &delete).await.unwrap();
    in_namespace::<NetworkPolicy>(&story, namespace).delete("ringfence-order", &delete).await.unwrap();
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    story.wait_identity(namespace, "order", "recover", ready).await;
}

/// Opens the NetworkPolicy of `order` again and again, until the operator leaves it alone.
async fn fight(story: &Story, namespace: &str) {
    let api = in_namespace::<NetworkPolicy>(story, namespace);
    let identities = in_namespace::<ServiceIdentity>(story, namespace);
    loop {
        open(&api, true).await;
        let contested = eventually("the change is undone, or left alone", async || {
            let undone = !is_open(&api.get("ringfence-order").await.unwrap());
            let object = identities.get("order").await.unwrap();
            let contested = condition(&object, "Contested").0 == "True";
            (undone || contested).then_some(contested)
        })
        .await;
        if contested {
            return;
        }
    }
}

async fn open(api: &Api<NetworkPolicy>, open: bool) {
    let ingress = if open { json!([{}]) } else { Value::Null };
    let patch = Patch::Merge(json!({"spec": {"ingress": ingress}}));
    api.patch("ringfence-order", &PatchParams::default(), &patch).await.unwrap();
}

fn is_open(policy: &NetworkPolicy) -> bool {
    policy.spec.as_ref().is_some_and(|spec| spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty()))
}

#[tokio::test]
async fn there_is_no_war_of_writes_with_someone_who_keeps_changing_an_output() {
    let story = Story::begin("contest").await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    let object = story.ready_identity(namespace, "order", json!({})).await;
    let history = History::begin(story.cluster);
    fight(&story, namespace).await;
    let policy = format!("{namespace}/ringfence-order");
    let contested = |object: &ServiceIdentity| condition(object, "Contested").0 == "True";
    let object = story.wait_identity(namespace, &object.metadata.name.unwrap(), "say so", contested).await;
    let (_, reason, message) = condition(&object, "Contested");
    assert_eq!(reason, "Contested");
    assert!(message.contains(&format!("NetworkPolicy {policy} ")), "{message}");
    assert_eq!(condition(&object, "Ready").0, "False");
    assert_eq!(condition(&object, "Programmed").1, "Contested");
    assert_eq!(history.writes_to("networkpolicies", &policy), 5);

    // The other one goes on; whatever is declared later is served and shows that the operator has seen it.
    let api = in_namespace::<NetworkPolicy>(&story, namespace);
    for round in 0..5 {
        open(&api, false).await;
        open(&api, true).await;
        story.ready_identity(namespace, &format!("later-{round}"), json!({})).await;
    }
    assert_eq!(history.writes_to("networkpolicies", &policy), 5, "it went on");
    let reasons = event_reasons(&story, &object).await;
    assert!(reasons.contains(&"DriftCorrected".to_owned()) && reasons.contains(&"Contested".to_owned()), "{reasons:?}");

    // He gives in.
    open(&api, false).await;
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    let object = story.wait_identity(namespace, "order", "recover", ready).await;
    assert_eq!(condition(&object, "Contested").0, "");
    assert_eq!(history.writes_to("networkpolicies", &policy), 5);
}

#[tokio::test]
async fn a_contested_output_is_put_right_when_some_time_has_passed() {
    let (story, _turn) = begin_alone("peace").await;
    let minutes = Arc::new(AtomicI64::new(0));
    let later = Arc::clone(&minutes);
    let clock =
        Clock::new(Arc::new(move || Timestamp::now() + SignedDuration::from_mins(later.load(Ordering::Relaxed))));
    let operation = story.cluster.operate_by(clock).await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({})).await;
    fight(&story, namespace).await;
    let api = in_namespace::<NetworkPolicy>(&story, namespace);
    assert!(is_open(&api.get("ringfence-order").await.unwrap()));
    minutes.store(11, Ordering::Relaxed);
    wait_for(&api, "ringfence-order", "be put right", |policy| !is_open(policy)).await;
    minutes.store(0, Ordering::Relaxed);
    let at_peace = |object: &ServiceIdentity| condition(object, "Contested").0.is_empty();
    story.wait_identity(namespace, "order", "be at peace", at_peace).await;
    operation.stop().await;
}
