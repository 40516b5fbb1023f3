//! What Ringfence writes, and what would pass for it.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::Resource;
use kube::{Api, Client};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use super::{admin_of, allowed, answer, begin, create, passes, refused};
use crate::support::{Story, Trust, eventually, gone, wait_for};

const POLICY: &str = "ringfence-outputs";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Any object of a kind, whatever the kind.
fn objects<K: Resource<DynamicType = ()>>(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// A domain with an identity `order` that can sign, after everything of it is written.
async fn order(story: &Story) -> (Trust, ServiceIdentity) {
    let trust = story.trust("shop", json!({})).await;
    let identity = story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    let policies = Api::<NetworkPolicy>::namespaced(story.client.clone(), &trust.namespace);
    wait_for(&policies, "ringfence-baseline", "be written", |_| true).await;
    (trust, identity)
}

fn dry() -> PatchParams {
    PatchParams { dry_run: true, ..PatchParams::default() }
}

/// Every way to tamper with an object is refused.
async fn untouchable(objects: &Api<DynamicObject>, name: &str, content: Value) {
    let adopted = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "any", "uid": "any"}]);
    let changes = [
        content,
        json!({"metadata": {"labels": {MANAGED_BY: null}}}),
        json!({"metadata": {"ownerReferences": adopted}}),
        json!({"metadata": {"annotations": {"note": "mine"}}}),
        json!({"metadata": {"finalizers": ["example.com/stays"]}}),
    ];
    for change in changes {
        let patch = Patch::Merge(&change);
        let message = refused(POLICY, async || answer(objects.patch(name, &dry(), &patch).await)).await;
        assert!(message.contains("written by Ringfence alone"), "{message}");
    }
    let delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
    refused(POLICY, async || answer(objects.delete(name, &delete).await)).await;
}

#[tokio::test]
async fn a_tenant_cannot_tamper_with_what_ringfence_wrote() {
    let story = begin("tamper").await;
    let (trust, _) = order(&story).await;
    let tenant = admin_of(&story, &trust.namespace).await;
    let secrets = objects::<Secret>(&tenant, &trust.namespace);
    untouchable(&secrets, "order-tls", json!({"data": {"tls.key": "aGVsbG8="}})).await;
    untouchable(&secrets, "order-signing-key", json!({"data": {"extra": "aGVsbG8="}})).await;
    let maps = objects::<ConfigMap>(&tenant, &trust.namespace);
    untouchable(&maps, "order-trust", json!({"data": {"callers.pem": "mine"}})).await;
    let policies = objects::<NetworkPolicy>(&tenant, &trust.namespace);
    let wide = json!({"spec": {"ingress": [{}]}});
    untouchable(&policies, "ringfence-order", wide.clone()).await;
    untouchable(&policies, "ringfence-baseline", wide).await;
    let bindings = objects::<RoleBinding>(&tenant, &trust.namespace);
    let mine = json!([{"kind": "ServiceAccount", "name": "default", "namespace": trust.namespace}]);
    untouchable(&bindings, "ringfence", json!({"subjects": mine})).await;

    // Deleting everything at once deletes what is the tenant's own.
    let own = json!({"metadata": {"name": "own"}, "stringData": {"password": "x"}});
    story.create::<Secret>(&trust.namespace, own).await;
    refused(POLICY, async || answer(secrets.delete_collection(&DeleteParams::default(), &ListParams::default()).await))
        .await;
    answer(secrets.delete("own", &DeleteParams::default()).await).ok();
    let left = secrets.list(&ListParams::default()).await.unwrap();
    let left: Vec<_> = left.items.into_iter().filter_map(|secret| secret.metadata.name).collect();
    assert_eq!(left, ["order-signing-key", "order-tls"]);
}

#[tokio::test]
async fn the_keys_of_an_authority_are_as_safe_as_those_of_an_identity() {
    let story = begin("authority").await;
    let (trust, _) = order(&story).await;
    let tenant = admin_of(&story, OPERATOR_NAMESPACE).await;
    let secrets = objects::<Secret>(&tenant, OPERATOR_NAMESPACE);
    untouchable(&secrets, &format!("{}-ca", trust.domain), json!({"data": {"extra": "aGVsbG8="}})).await;
    let maps = objects::<ConfigMap>(&tenant, OPERATOR_NAMESPACE);
    untouchable(&maps, &format!("{}-trust", trust.domain), json!({"data": {"extra": "mine"}})).await;
}

#[tokio::test]
async fn nobody_can_make_an_object_that_passes_for_ringfences() {
    let story = begin("forge").await;
    let (trust, identity) = order(&story).await;
    let tenant = admin_of(&story, &trust.namespace).await;
    let (secrets, maps) = (
        Api::<Secret>::namespaced(tenant.clone(), &trust.namespace),
        Api::<ConfigMap>::namespaced(tenant.clone(), &trust.namespace),
    );
    let owner = |controller: bool| {
        json!({"name": "forged", "ownerReferences": [{
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "ServiceIdentity", "name": "order",
            "uid": identity.metadata.uid, "controller": controller,
        }]})
    };
    let labelled = |by: &str| json!({"metadata": {"name": "forged", "labels": {MANAGED_BY: by}}});
    refused(POLICY, async || create(&maps, labelled("ringfence")).await).await;
    create(&maps, labelled("Helm")).await.unwrap();
    refused(POLICY, async || create(&maps, json!({"metadata": owner(true)})).await).await;
    create(&maps, json!({"metadata": owner(false)})).await.unwrap();
    let typed = |kind: &str| json!({"metadata": {"name": "forged"}, "type": kind});
    for kind in ["ringfence.dev/signing-key", "ringfence.dev/certificate-authority"] {
        refused(POLICY, async || create(&secrets, typed(kind)).await).await;
    }
    create(&secrets, typed("Opaque")).await.unwrap();

    // Nor can something that exists be turned into one.
    story.create::<ConfigMap>(&trust.namespace, json!({"metadata": {"name": "own"}})).await;
    let claim = Patch::Merge(json!({"metadata": {"labels": {MANAGED_BY: "ringfence"}}}));
    refused(POLICY, async || answer(maps.patch("own", &dry(), &claim).await)).await;
    let change = Patch::Merge(json!({"data": {"mine": "yes"}}));
    answer(maps.patch("own", &dry(), &change).await).unwrap();
}

#[tokio::test]
async fn writing_an_object_back_as_it_is_passes() {
    let story = begin("rewrite").await;
    let (trust, _) = order(&story).await;
    let tenant = admin_of(&story, &trust.namespace).await;
    for (objects, name) in [
        (objects::<Secret>(&tenant, &trust.namespace), "order-tls"),
        (objects::<ConfigMap>(&tenant, &trust.namespace), "order-trust"),
        (objects::<NetworkPolicy>(&tenant, &trust.namespace), "ringfence-order"),
    ] {
        passes(name, async || {
            let Ok(as_it_is) = objects.get(name).await else { return Err("no rights yet".to_owned()) };
            answer(objects.replace(name, &PostParams { dry_run: true, ..PostParams::default() }, &as_it_is).await)
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_left_behind_is_cleaned_up() {
    let story = begin("cleanup").await;
    let (trust, _) = order(&story).await;
    let client = || story.client.clone();
    let identities = Api::<ServiceIdentity>::namespaced(client(), &trust.namespace);
    identities.delete("order", &DeleteParams::default()).await.unwrap();
    gone(&Api::<Secret>::namespaced(client(), &trust.namespace), "order-tls").await;
    gone(&Api::<ConfigMap>::namespaced(client(), &trust.namespace), "order-trust").await;

    let other = story.ready_identity(&trust.namespace, "payment", json!({})).await;
    assert!(other.status.is_some());
    let namespaces = Api::<Namespace>::all(client());
    namespaces.delete(&trust.namespace, &DeleteParams::default()).await.unwrap();
    gone(&namespaces, &trust.namespace).await;
}

#[tokio::test]
async fn the_verb_override_breaks_the_glass_and_ringfence_mends_it() {
    let story = begin("glass").await;
    let (trust, _) = order(&story).await;
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"]},
        {"apiGroups": ["ringfence.dev"], "resources": ["trustdomains"], "verbs": ["override"]},
    ]);
    let firefighter = allowed(&story, "firefighter", rules).await;
    let secrets = Api::<Secret>::namespaced(firefighter, &trust.namespace);
    let before = Api::<Secret>::namespaced(story.client.clone(), &trust.namespace).get("order-tls").await.unwrap();
    let break_in = Patch::Merge(json!({"data": {"extra": "aGVsbG8="}}));
    passes("breaking the glass", async || answer(secrets.patch("order-tls", &PatchParams::default(), &break_in).await))
        .await;
    eventually("the Secret is as it was", async || {
        let now = secrets.get("order-tls").await.ok()?;
        (now.data == before.data).then_some(())
    })
    .await;

    // On one domain alone it is not enough: who holds it may write as Ringfence does, anywhere.
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"]},
        {"apiGroups": ["ringfence.dev"], "resources": ["trustdomains"], "resourceNames": [trust.domain], "verbs": ["override"]},
    ]);
    let half = Api::<Secret>::namespaced(allowed(&story, "half", rules).await, &trust.namespace);
    refused(POLICY, async || answer(half.patch("order-tls", &dry(), &break_in).await)).await;
}

#[tokio::test]
async fn nobody_else_writes_a_status() {
    let story = begin("status").await;
    let (trust, _) = order(&story).await;
    let everything = json!([{"apiGroups": ["ringfence.dev"], "resources": ["*"], "verbs": ["get", "patch", "update"]}]);
    let tenant = allowed(&story, "tenant", everything).await;
    let forged = Patch::Merge(json!({"status": {"conditions": [], "namespaces": [], "spiffeID": "spiffe://forged/"}}));
    let identities = Api::<ServiceIdentity>::namespaced(tenant.clone(), &trust.namespace);
    let domains = Api::<TrustDomain>::all(tenant);
    for message in [
        refused("ringfence-status", async || answer(identities.patch_status("order", &dry(), &forged).await)).await,
        refused("ringfence-status", async || answer(domains.patch_status(&trust.domain, &dry(), &forged).await)).await,
    ] {
        assert!(message.contains("the status is written by Ringfence alone"), "{message}");
    }
    let spec = Patch::Merge(json!({"spec": {"audiences": ["https://order.example"]}}));
    answer(identities.patch("order", &dry(), &spec).await).unwrap();
}
