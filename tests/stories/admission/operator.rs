//! What the operator's own account can not do, should someone take it over, and what nobody can do to its rights.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{Patch, PatchParams};
use ringfence_cluster::{OPERATOR_NAMESPACE, OPERATOR_USER};
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use super::{admin_of, answer, begin, create, nothing_went_unjudged, passes, refused};
use crate::support::{Namespaced, Story, identity, in_namespace};

const POLICY: &str = "ringfence-operator";

/// The RoleBinding that the operator may write.
fn binding() -> Value {
    json!({
        "metadata": {"name": "ringfence"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ringfence-member"},
        "subjects": [{"kind": "ServiceAccount", "name": "ringfence", "namespace": OPERATOR_NAMESPACE}],
    })
}

#[tokio::test]
async fn the_operator_gives_rights_to_nobody_but_itself_and_only_those_of_a_member() {
    let story = begin("escalate").await;
    let namespace = story.namespace("any").await;
    let operator = story.cluster.client_of(OPERATOR_USER, &[]).await;
    let bindings = |namespace: &str| Api::<RoleBinding>::namespaced(operator.clone(), namespace);
    let changed = |pointer: &str, value: Value| {
        let mut binding = binding();
        *binding.pointer_mut(pointer).unwrap() = value;
        binding
    };
    let thief = json!({"kind": "ServiceAccount", "name": "thief", "namespace": namespace});
    let user = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "thief"});
    let both = json!([binding()["subjects"][0], thief]);
    for attempt in [
        changed("/metadata/name", json!("other")),
        // It holds all that this role has, so that RBAC alone would let it pass.
        changed("/roleRef/name", json!("ringfence")),
        changed("/subjects/0", thief),
        changed("/subjects/0", user),
        changed("/subjects", both),
        changed("/subjects", json!([])),
    ] {
        let message = refused(POLICY, async || create(&bindings(&namespace), attempt.clone()).await).await;
        assert!(message.contains("binds ClusterRole ringfence-member to itself"), "{message}");
    }
    for system in ["kube-system", "kube-public", "kube-node-lease", OPERATOR_NAMESPACE] {
        refused(POLICY, async || create(&bindings(system), binding()).await).await;
    }
    passes("entering a namespace", async || create(&bindings(&namespace), binding()).await).await;
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn the_operator_cannot_have_a_token_of_another_account_made_for_it() {
    let story = begin("impersonate").await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let operator = story.cluster.client_of(OPERATOR_USER, &[]).await;
    for namespace in [&*trust.namespace, OPERATOR_NAMESPACE] {
        let secrets = Api::<Secret>::namespaced(operator.clone(), namespace);
        let of_type = |kind: &str| {
            let annotations = json!({"kubernetes.io/service-account.name": "default"});
            let data = json!({"tls.crt": "", "tls.key": ""});
            json!({"metadata": {"name": "any", "annotations": annotations}, "type": kind, "stringData": data})
        };
        for kind in ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "Opaque"] {
            let message = refused("ringfence-operator-secrets", async || create(&secrets, of_type(kind)).await).await;
            assert!(message.contains("the operator writes Secrets with certificates and keys"), "{message}");
        }
        passes("a certificate", async || create(&secrets, of_type("kubernetes.io/tls")).await).await;
        let credentials = of_type("ringfence.dev/client-credentials");
        passes("credentials", async || create(&secrets, credentials.clone()).await).await;
    }
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn the_operator_declares_nothing() {
    let story = begin("declare").await;
    let trust = story.trust("shop", json!({})).await;
    let operator = story.cluster.client_of(OPERATOR_USER, &[]).await;
    let domains = Api::<TrustDomain>::all(operator);
    let patch = async |change: Value| {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        answer(domains.patch(&trust.domain, &dry, &Patch::Merge(change)).await)
    };
    let wider = json!({"spec": {"inbound": [{"anywhere": {}}]}});
    let labels = json!({"metadata": {"labels": {"mine": "yes"}}});
    let annotations = json!({"metadata": {"annotations": {"ringfence.dev/authority": "1", "mine": "yes"}}});
    for change in [wider, labels, annotations] {
        let message = refused("ringfence-operator-declarations", async || patch(change.clone()).await).await;
        assert!(
            message.contains("the operator changes finalizers and the record of a CA, and nothing else"),
            "{message}"
        );
    }
    patch(json!({"metadata": {"finalizers": ["ringfence.dev/identities", "ringfence.dev/other"]}})).await.unwrap();
    patch(json!({"metadata": {"annotations": {"ringfence.dev/authority": "1"}}})).await.unwrap();
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({}))).await;
    let identities =
        Api::<ServiceIdentity>::namespaced(story.cluster.client_of(OPERATOR_USER, &[]).await, &trust.namespace);
    refused("ringfence-operator-declarations", async || {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let record = Patch::Merge(json!({"metadata": {"annotations": {"ringfence.dev/authority": "1"}}}));
        answer(identities.patch("order", &dry, &record).await)
    })
    .await;
}

#[tokio::test]
async fn nobody_takes_the_name_of_the_operators_role_binding() {
    let story = begin("squat").await;
    let namespace = story.namespace("any").await;
    let tenant = admin_of(&story, &namespace).await;
    let bindings = Api::<RoleBinding>::namespaced(tenant, &namespace);
    let theirs = |name: &str| {
        json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
        })
    };
    refused("ringfence-outputs", async || create(&bindings, theirs("ringfence")).await).await;
    passes("another name", async || create(&bindings, theirs("other")).await).await;
}

/// What the operator may change of a workload: one annotation, to a hash.
async fn only_rolls<K: Namespaced>(story: &Story, namespace: &str) {
    let labels = json!({"app": "order"});
    let workload = json!({"metadata": {"name": "order", "labels": labels}, "spec": {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels, "annotations": {"example.com/note": "kept"}}, "spec": {
            "containers": [{"name": "main", "image": "none"}],
        }},
    }});
    story.create::<K>(namespace, workload).await;
    let api = Api::<K>::namespaced(story.cluster.client_of(OPERATOR_USER, &[]).await, namespace);
    let patch = async |change: Value| {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        answer(api.patch("order", &dry, &Patch::Merge(change)).await)
    };
    let annotated = |annotations: Value| json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let hash = "0123456789abcdef".repeat(4);
    let whole = annotated(json!({"ringfence.dev/credentials-hash": hash}));
    let and = |pointer: &[&str], value: Value| {
        let mut change = whole.clone();
        pointer.iter().fold(&mut change, |change, key| &mut change[*key]).clone_from(&value);
        change
    };
    let image = json!([{"name": "main", "image": "theirs"}]);
    let attempts = [
        json!({"metadata": {"labels": {"mine": "yes"}}}),
        json!({"metadata": {"annotations": {"mine": "yes"}}}),
        and(&["spec", "template", "spec"], json!({"containers": image})),
        and(&["spec", "template", "spec"], json!({"serviceAccountName": "another"})),
        and(&["spec", "template", "spec"], json!({"hostNetwork": true})),
        and(&["spec", "template", "metadata", "labels"], json!({"mine": "yes"})),
        and(&["spec", "minReadySeconds"], json!(7)),
        and(&["spec", "template", "metadata", "annotations", "mine"], json!("yes")),
        and(&["spec", "template", "metadata", "annotations", "template"], json!("yes")),
        and(&["spec", "template", "metadata", "annotations", "example.com/note"], json!("mine")),
        and(&["spec", "template", "metadata", "annotations", "example.com/note"], Value::Null),
        annotated(json!({"ringfence.dev/credentials-hash": "not a hash"})),
        annotated(json!({"kubectl.kubernetes.io/restartedAt": "2026-03-01T12:00:00Z"})),
    ];
    for attempt in attempts {
        let message = refused("ringfence-operator-workloads", async || patch(attempt.clone()).await).await;
        assert!(message.contains("changes nothing of a workload but the annotation"), "{attempt}: {message}");
    }
    passes("a restart", async || patch(whole.clone()).await).await;
    let params = PatchParams::default();
    api.patch("order", &params, &Patch::Merge(whole)).await.unwrap();
    let next = annotated(json!({"ringfence.dev/credentials-hash": hash.replace('0', "f")}));
    passes("another restart", async || patch(next.clone()).await).await;
    // Everybody else changes what they like.
    let scaled = Patch::Merge(json!({"spec": {"minReadySeconds": 7}}));
    in_namespace::<K>(story, namespace).patch("order", &params, &scaled).await.unwrap();
}

#[tokio::test]
async fn the_operator_rolls_workloads_and_changes_nothing_else_of_them() {
    let story = begin("rolls").await;
    let trust = story.trust("shop", json!({"enforcement": "Audit"})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    only_rolls::<Deployment>(&story, &trust.namespace).await;
    only_rolls::<StatefulSet>(&story, &trust.namespace).await;
    only_rolls::<DaemonSet>(&story, &trust.namespace).await;
    nothing_went_unjudged(&story).await;
}
