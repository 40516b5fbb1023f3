//! The token service's keys are its own: who can change them, or what passes for them, makes tokens for anyone.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{admin_of, allowed, answer, begin, create, nothing_went_unjudged, refused};

const POLICY: &str = "ringfence-token-service";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

fn keys(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {MANAGED_BY: POLICY}}})
}

#[tokio::test]
async fn the_token_service_alone_writes_its_keys() {
    let story = begin("token-keys").await;
    let namespace = story.namespace("sts").await;
    let tenant = admin_of(&story, &namespace).await;
    let rules = json!([{"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["*"]}]);
    allowed(&story, "writer", rules).await;
    let account = async |name: &str| {
        let group = format!("system:serviceaccounts:{namespace}");
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{}-writer", story.name)},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        });
        story.create::<k8s_openapi::api::rbac::v1::RoleBinding>(&namespace, binding).await;
        story.cluster.client_of(&user, &["system:serviceaccounts", &group]).await
    };
    let (service, neighbour) = (account("token-service").await, account("token-store").await);
    let secrets = |client: &Client| Api::<Secret>::namespaced(client.clone(), &namespace);
    let maps = |client: &Client| Api::<ConfigMap>::namespaced(client.clone(), &namespace);

    // Nobody makes any in its place, under whatever name, and it makes no others'.
    for client in [&tenant, &neighbour] {
        refused(POLICY, async || create(&secrets(client), keys("token-service-keys")).await).await;
        refused(POLICY, async || create(&maps(client), keys("token-service-jwks")).await).await;
        refused(POLICY, async || create(&maps(client), keys("anything")).await).await;
    }
    refused(POLICY, async || create(&maps(&service), keys("token-store-jwks")).await).await;
    let unnamed = json!({"metadata": {"generateName": "a", "labels": {MANAGED_BY: POLICY}}});
    refused(POLICY, async || create(&maps(&tenant), unnamed.clone()).await).await;

    // What it made, nobody changes, takes over or deletes.
    let made = |object: Value| serde_json::from_value(object).unwrap();
    let (parameters, erased) = (PostParams::default(), ApiResource::erase::<ConfigMap>(&()));
    maps(&service).create(&parameters, &made(keys("token-service-jwks"))).await.unwrap();
    let theirs = Api::<DynamicObject>::namespaced_with(tenant.clone(), &namespace, &erased);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    for change in [
        json!({"data": {"jwks.json": "{\"keys\": []}"}}),
        json!({"metadata": {"labels": {MANAGED_BY: null}}}),
        json!({"metadata": {"labels": {MANAGED_BY: null}}, "data": {"jwks.json": "{\"keys\": []}"}}),
        json!({"metadata": {"finalizers": ["example.com/stays"]}}),
    ] {
        let patch = Patch::Merge(&change);
        let message = refused(POLICY, async || answer(theirs.patch("token-service-jwks", &dry, &patch).await)).await;
        assert!(message.contains("which it writes itself"), "{message}");
    }
    let delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
    refused(POLICY, async || answer(theirs.delete("token-service-jwks", &delete).await)).await;

    // It itself does all of that, and others write what is theirs.
    let change = json!({"data": {"jwks.json": "{}"}});
    maps(&service).patch("token-service-jwks", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    create(&secrets(&service), keys("token-service-keys")).await.unwrap();
    maps(&service).delete("token-service-jwks", &DeleteParams::default()).await.unwrap();
    create(&maps(&tenant), json!({"metadata": {"name": "token-service-jwks"}})).await.unwrap();
    nothing_went_unjudged(&story).await;
}
