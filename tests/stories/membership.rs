//! Which namespaces are inside: by name or by label, the first claim stays, and leaving opens nothing.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{
    Story, condition, domain, eventually, gone, identity, in_namespace, is_owned_by, says, secret, wait_for,
};

const BASELINE: &str = "ringfence-baseline";

async fn claim(story: &Story, name: &str, members: Value) {
    let mut spec = json!({"certificateAuthority": {"selfSigned": {}}});
    spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    story.create_cluster_wide::<TrustDomain>(domain(name, spec)).await;
}

async fn label(story: &Story, namespace: &str, labels: Value) {
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    Api::<Namespace>::all(story.client.clone()).patch(namespace, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until a domain holds exactly these namespaces.
async fn holds(story: &Story, domain: &str, namespaces: &[&str]) -> TrustDomain {
    let held = |object: &TrustDomain| object.status.as_ref().is_some_and(|status| status.namespaces == namespaces);
    story.wait_domain(domain, &format!("hold {namespaces:?}"), held).await
}

#[tokio::test]
async fn members_are_named_or_selected_by_label() {
    let story = Story::begin("members").await;
    let [named, selected, other] =
        [story.namespace("a-named").await, story.namespace("b-selected").await, story.namespace("c-other").await];
    let selector = json!({"matchLabels": {"ringfence.dev/team": story.name}});
    claim(&story, &story.name, json!({"namespaces": [named], "namespaceSelector": selector})).await;
    holds(&story, &story.name, &[&named]).await;
    label(&story, &selected, json!({"ringfence.dev/team": story.name})).await;
    label(&story, &other, json!({"team": story.name})).await;
    holds(&story, &story.name, &[&named, &selected]).await;
    for namespace in [&named, &selected] {
        wait_for(&in_namespace::<NetworkPolicy>(&story, namespace), BASELINE, "be written", |_| true).await;
        story.ready_identity(namespace, "order", json!({})).await;
    }
    story.create::<ServiceIdentity>(&other, identity("order", json!({}))).await;
    let outside = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
    story.wait_identity(&other, "order", "be outside", outside).await;
    let policies = in_namespace::<NetworkPolicy>(&story, &other).list(&ListParams::default()).await.unwrap();
    assert_eq!(policies.items, []);
    let secrets = in_namespace::<Secret>(&story, &other);
    assert!(secrets.get_opt("order-tls").await.unwrap().is_none());

    // By the name that nobody can change.
    let spec = json!({"namespaces": [], "namespaceSelector": {"matchLabels": null, "matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [named, selected, other]},
    ]}});
    story.change(Api::<TrustDomain>::all(story.client.clone()), &story.name, spec).await;
    holds(&story, &story.name, &[&named, &selected, &other]).await;
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    story.wait_identity(&other, "order", "be inside", ready).await;
}

#[tokio::test]
async fn a_namespace_that_leaves_keeps_its_fence_until_its_identities_are_gone() {
    let story = Story::begin("leaves").await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({})).await;
    story.ready_identity(namespace, "inventory", json!({})).await;
    let grant = json!({
        "to": {"identity": "inventory", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}],
    });
    story.ready_policy(namespace, "stock", grant).await;
    let policies = in_namespace::<NetworkPolicy>(&story, namespace);
    let fence = wait_for(&policies, BASELINE, "be written", |_| true).await;
    let credentials = secret(&story, namespace, "order-tls").await;
    story.change(Api::<TrustDomain>::all(story.client.clone()), &trust.domain, json!({"namespaces": []})).await;
    holds(&story, &trust.domain, &[]).await;
    for name in ["order", "inventory"] {
        let outside = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
        story.wait_identity(namespace, name, "be outside", outside).await;
    }
    // What was open is closed, and nothing else opens.
    let closed = |policy: &NetworkPolicy| !serde_json::to_string(&policy.spec).unwrap().contains("8443");
    wait_for(&policies, "ringfence-order", "be closed", closed).await;
    wait_for(&policies, "ringfence-inventory", "be closed", closed).await;
    assert_eq!(policies.get(BASELINE).await.unwrap(), fence);
    assert_eq!(secret(&story, namespace, "order-tls").await, credentials, "it serves until it expires");

    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    identities.delete("order", &DeleteParams::default()).await.unwrap();
    gone(&policies, "ringfence-order").await;
    assert_eq!(policies.get(BASELINE).await.unwrap(), fence);
    identities.delete("inventory", &DeleteParams::default()).await.unwrap();
    gone(&policies, BASELINE).await;
}

#[tokio::test]
async fn the_first_claim_to_a_namespace_sticks_until_it_is_given_up() {
    let story = Story::begin("claims").await;
    let namespace = story.namespace("shop").await;
    let [first, second] = ["z-first", "a-second"].map(|name| format!("{}-{name}", story.name));
    claim(&story, &first, json!({"namespaces": [namespace]})).await;
    holds(&story, &first, &[&namespace]).await;
    claim(&story, &second, json!({"namespaces": [namespace]})).await;
    let domains = Api::<TrustDomain>::all(story.client.clone());
    says(&domains, &second, ("Accepted", "False", "NamespaceTaken"), &[&namespace, &first]).await;
    holds(&story, &first, &[&namespace]).await;
    let old = story.ready_identity(&namespace, "order", json!({})).await;
    let spiffe_id = |object: &ServiceIdentity| object.status.as_ref().unwrap().spiffe_id.clone().unwrap();
    assert!(spiffe_id(&old).starts_with(&format!("spiffe://{first}/")));

    let policies = in_namespace::<NetworkPolicy>(&story, &namespace);
    let fence = wait_for(&policies, BASELINE, "be written", |_| true).await;

    story.change(domains.clone(), &first, json!({"namespaces": []})).await;
    holds(&story, &second, &[&namespace]).await;
    says(&domains, &second, ("Accepted", "True", "Accepted"), &[]).await;
    let moved = |object: &ServiceIdentity| {
        condition(object, "Ready").0 == "True" && spiffe_id(object).starts_with(&format!("spiffe://{second}/"))
    };
    let moved = story.wait_identity(&namespace, "order", "move", moved).await;
    let serial = |object: &ServiceIdentity| object.status.clone().unwrap().certificate.unwrap().serial;
    assert_ne!(serial(&moved), serial(&old));
    let uid = domains.get(&second).await.unwrap().metadata.uid.unwrap();
    let after = wait_for(&policies, BASELINE, "change hands", |policy| is_owned_by(policy, &uid)).await;
    assert_eq!(after.metadata.uid, fence.metadata.uid, "there was a moment without a fence");
    domains.delete(&first, &DeleteParams::default()).await.unwrap();
    gone(&domains, &first).await;
    assert!(is_owned_by(&policies.get(BASELINE).await.unwrap(), &uid));
}

#[tokio::test]
async fn the_namespaces_that_the_cluster_depends_on_stay_outside() {
    let story = Story::begin("system").await;
    let own = story.namespace("shop").await;
    claim(&story, &story.name, json!({"namespaces": [own, "kube-system", OPERATOR_NAMESPACE]})).await;
    let domains = Api::<TrustDomain>::all(story.client.clone());
    let words = ["kube-system", OPERATOR_NAMESPACE];
    let object = says(&domains, &story.name, ("Accepted", "False", "NamespaceNotAllowed"), &words).await;
    assert_eq!(object.status.unwrap().namespaces, std::slice::from_ref(&own));
    story.ready_identity(&own, "order", json!({})).await;
    for namespace in words {
        story.create::<ServiceIdentity>(namespace, identity(&story.name, json!({}))).await;
        let outside = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
        story.wait_identity(namespace, &story.name, "be outside", outside).await;
        let policies = in_namespace::<NetworkPolicy>(&story, namespace).list(&ListParams::default()).await.unwrap();
        assert_eq!(policies.items, []);
        in_namespace::<ServiceIdentity>(&story, namespace).delete(&story.name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_namespace_that_is_named_before_it_exists_is_fenced_when_it_comes() {
    let story = Story::begin("unborn").await;
    let namespace = format!("{}-shop", story.name);
    claim(&story, &story.name, json!({"namespaces": [namespace]})).await;
    let domains = Api::<TrustDomain>::all(story.client.clone());
    says(&domains, &story.name, ("ResolvedRefs", "False", "NamespaceNotFound"), &[&namespace]).await;
    story.namespace("shop").await;
    wait_for(&in_namespace::<NetworkPolicy>(&story, &namespace), BASELINE, "be written", |_| true).await;
    says(&domains, &story.name, ("Ready", "True", "Ready"), &[]).await;
    // It comes again after it was deleted.
    let namespaces = Api::<Namespace>::all(story.client.clone());
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    gone(&namespaces, &namespace).await;
    eventually("it is missed", async || {
        let object = domains.get(&story.name).await.unwrap();
        (condition(&object, "ResolvedRefs").1 == "NamespaceNotFound").then_some(())
    })
    .await;
    story.namespace("shop").await;
    wait_for(&in_namespace::<NetworkPolicy>(&story, &namespace), BASELINE, "be written again", |_| true).await;
}
