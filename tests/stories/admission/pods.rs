//! Pods that pass for a service.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use ringfence_core::api::ServiceIdentity;
use serde_json::{Value, json};

use super::{answer, begin, create, nothing_went_unjudged, passes, refused};
use crate::support::{Story, identity};

const POLICY: &str = "ringfence-pod-service-accounts";

fn pod(labels: Value, account: &str) -> Value {
    json!({"metadata": {"name": "any", "labels": labels}, "spec": {
        "serviceAccountName": account, "containers": [{"name": "main", "image": "example"}],
    }})
}

/// A namespace with an identity `order`, which can sign, and its account.
async fn order(story: &Story, spec: Value) -> (String, Api<Pod>) {
    let namespace = story.namespace("shop").await;
    for account in ["order", "clerk"] {
        story.create::<ServiceAccount>(&namespace, json!({"metadata": {"name": account}})).await;
    }
    story.create::<ServiceIdentity>(&namespace, identity("order", spec)).await;
    let pods = Api::namespaced(story.client.clone(), &namespace);
    (namespace, pods)
}

#[tokio::test]
async fn a_pod_cannot_take_a_services_labels_without_its_account() {
    let story = begin("labels").await;
    let (_, pods) = order(&story, json!({})).await;
    let impostor = pod(json!({"app.kubernetes.io/name": "order"}), "default");
    let message = refused(POLICY, async || create(&pods, impostor.clone()).await).await;
    for part in ["ServiceIdentity order", "as service account default", "serviceAccountName to order"] {
        assert!(message.contains(part), "{message}");
    }
    create(&pods, pod(json!({"app.kubernetes.io/name": "order"}), "order")).await.unwrap();
    create(&pods, pod(json!({"app.kubernetes.io/name": "clerk"}), "clerk")).await.unwrap();
    create(&pods, pod(json!({}), "clerk")).await.unwrap();

    // The identity speaks for its namespace alone.
    let elsewhere = Api::<Pod>::namespaced(story.client.clone(), &story.namespace("elsewhere").await);
    passes("a pod in another namespace", async || create(&elsewhere, impostor.clone()).await).await;
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn a_running_pod_cannot_slip_into_a_services_labels() {
    let story = begin("relabel").await;
    let (_, pods) = order(&story, json!({})).await;
    let running = serde_json::from_value(pod(json!({"app.kubernetes.io/name": "clerk"}), "clerk")).unwrap();
    pods.create(&PostParams::default(), &running).await.unwrap();
    let relabel = async |value: &str| {
        let labels = json!({"metadata": {"labels": {"app.kubernetes.io/name": value}}});
        answer(pods.patch("any", &PatchParams { dry_run: true, ..PatchParams::default() }, &Patch::Merge(labels)).await)
    };
    refused(POLICY, async || relabel("order").await).await;
    relabel("cashier").await.unwrap();
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn a_pod_from_before_the_identity_can_still_be_changed() {
    let story = begin("older").await;
    let namespace = story.namespace("shop").await;
    story.create::<ServiceAccount>(&namespace, json!({"metadata": {"name": "clerk"}})).await;
    let pods = Api::<Pod>::namespaced(story.client.clone(), &namespace);
    let older = serde_json::from_value(pod(json!({"app.kubernetes.io/name": "order"}), "clerk")).unwrap();
    pods.create(&PostParams::default(), &older).await.unwrap();
    story.create::<ServiceIdentity>(&namespace, identity("order", json!({}))).await;
    let again = pod(json!({"app.kubernetes.io/name": "order"}), "clerk");
    refused(POLICY, async || create(&pods, again.clone()).await).await;

    let change = async |metadata: Value| {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        answer(pods.patch("any", &PatchParams { dry_run: true, ..PatchParams::default() }, &patch).await)
    };
    change(json!({"annotations": {"note": "still here"}})).await.unwrap();
    change(json!({"labels": {"app.kubernetes.io/name": "former-order"}})).await.unwrap();
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn selectors_match_pods_here_as_they_do_everywhere() {
    let story = begin("selectors").await;
    let selector = json!({"matchLabels": {"app": "shop"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["front", "back"]},
        {"key": "stage", "operator": "NotIn", "values": ["test"]},
        {"key": "owner", "operator": "Exists"},
        {"key": "draft", "operator": "DoesNotExist"},
    ]});
    let (_, pods) = order(&story, json!({"serviceAccountName": "clerk", "podSelector": selector})).await;
    let matching = [
        json!({"app": "shop", "tier": "front", "owner": "me"}),
        json!({"app": "shop", "tier": "back", "owner": "", "stage": "live", "more": "labels"}),
    ];
    for labels in matching {
        let message = refused(POLICY, async || create(&pods, pod(labels.clone(), "order")).await).await;
        assert!(message.contains("serviceAccountName to clerk"), "{message}");
        create(&pods, pod(labels, "clerk")).await.unwrap();
    }
    let others = [
        json!({"tier": "front", "owner": "me"}),
        json!({"app": "other", "tier": "front", "owner": "me"}),
        json!({"app": "shop", "owner": "me"}),
        json!({"app": "shop", "tier": "middle", "owner": "me"}),
        json!({"app": "shop", "tier": "front", "owner": "me", "stage": "test"}),
        json!({"app": "shop", "tier": "front"}),
        json!({"app": "shop", "tier": "front", "owner": "me", "draft": ""}),
        json!({"app.kubernetes.io/name": "order"}),
    ];
    for labels in others {
        let answer = create(&pods, pod(labels.clone(), "order")).await;
        assert_eq!(answer, Ok(()), "{labels}");
    }
    nothing_went_unjudged(&story).await;
}

/// A pod's spec that uses a Secret, in each of the ways there are.
fn uses(secret: &str) -> Vec<(&'static str, Value)> {
    let variable = json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "tls.key"}}}]);
    let all = json!([{"secretRef": {"name": secret}}]);
    let container = |extra: (&str, &Value)| {
        let mut container = json!({"name": "extra", "image": "example"});
        container[extra.0] = extra.1.clone();
        json!([container])
    };
    let source = json!({"sources": [{"configMap": {"name": "any"}}, {"secret": {"name": secret}}]});
    vec![
        ("a volume", json!({"volumes": [{"name": "v", "secret": {"secretName": secret}}]})),
        ("a projected volume", json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "projected": source}]})),
        ("a variable", json!({"containers": container(("env", &variable))})),
        ("all variables", json!({"containers": container(("envFrom", &all))})),
        ("a variable of an init container", json!({"initContainers": container(("env", &variable))})),
        ("all variables of an init container", json!({"initContainers": container(("envFrom", &all))})),
    ]
}

#[tokio::test]
async fn a_pod_cannot_use_another_identitys_secrets() {
    let story = begin("secrets").await;
    let certificate = json!({"secretName": "order-certificate"});
    let spec = json!({"signingKey": {}, "certificate": certificate, "tokenIssuers": ["sts", "idp"]});
    let (_, pods) = order(&story, spec).await;
    let with = |account: &str, uses: &Value| {
        let mut pod = pod(json!({"app.kubernetes.io/name": "clerk"}), account);
        let spec = pod["spec"].as_object_mut().unwrap();
        spec.extend(uses.as_object().unwrap().clone());
        pod
    };
    for secret in ["order-certificate", "order-signing-key", "order-idp-client"] {
        for (way, spec) in uses(secret) {
            let message = refused(POLICY, async || create(&pods, with("clerk", &spec)).await).await;
            assert!(message.contains("ServiceIdentity order, or uses its Secrets"), "{message}");
            assert_eq!(create(&pods, with("order", &spec)).await, Ok(()), "{way}");
        }
    }
    for (way, spec) in uses("clerk-tls") {
        assert_eq!(create(&pods, with("clerk", &spec)).await, Ok(()), "{way}");
    }
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn debugging_a_pod_does_not_open_another_identitys_secrets() {
    let story = begin("debug").await;
    let (_, pods) = order(&story, json!({})).await;
    let running = serde_json::from_value(pod(json!({}), "clerk")).unwrap();
    pods.create(&PostParams::default(), &running).await.unwrap();
    let debug = async |secret: &str| {
        let container = json!({"name": "debug", "image": "example", "envFrom": [{"secretRef": {"name": secret}}]});
        let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": [container]}}));
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        answer(pods.patch_ephemeral_containers("any", &dry, &patch).await)
    };
    refused(POLICY, async || debug("order-tls").await).await;
    debug("clerk-tls").await.unwrap();
    nothing_went_unjudged(&story).await;
}
