//! What the installed chart has the API server refuse.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Story, object, pod, service};

#[test]
fn pods_and_policies_that_would_belie_a_fence_are_refused() {
    let Some(story) = Story::begin("admission") else { return };
    let (fenced, free) = (story.namespace("fenced"), story.namespace("free"));
    let mut objects = vec![
        object(
            "TrustDomain",
            None,
            "admission",
            json!({
                "namespaces": [fenced], "certificateAuthority": {"selfSigned": {}},
            }),
        ),
        object("ServiceIdentity", Some(&fenced), "payment", json!({})),
    ];
    for namespace in [&fenced, &free] {
        objects.extend(service(namespace, "payment"));
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "tenant", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}],
        }));
    }
    story.apply(&objects);
    story.all_ready("serviceidentities.ringfence.dev", &fenced);

    // A pod that passes for the service, by its label or with its key.
    let create = "create --as=tenant";
    let mut thief = pod(&fenced, "thief", "thief", "default");
    thief["spec"]["volumes"] = json!([{"name": "key", "secret": {"secretName": "payment-tls"}}]);
    for refused in [pod(&fenced, "double", "payment", "default"), thief] {
        comes_to_refuse(&story, create, &refused, "set spec.serviceAccountName to payment");
    }
    story.try_with(create, &[pod(&fenced, "payment", "payment", "payment")]).unwrap();
    story.try_with(create, &[pod(&free, "double", "payment", "default")]).unwrap();

    // A NetworkPolicy that lets everyone in.
    let open = |namespace: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "open", "namespace": namespace}, "spec": {"podSelector": {}, "ingress": [{}]}})
    };
    comes_to_refuse(&story, create, &open(&fenced), "to open a connection, create an AccessPolicy");
    comes_to_refuse(&story, "create", &open(&fenced), "to open a connection, create an AccessPolicy");
    story.try_with(create, &[open(&free)]).unwrap();

    // And what there is, nobody takes down.
    for name in ["ringfence-baseline", "ringfence-payment"] {
        story.kubectl(&format!("wait networkpolicy/{name} --for=create --timeout=60s --namespace={fenced}"));
    }
    let policies = story.kubectl(&format!("get networkpolicies --output=name --namespace={fenced}"));
    let delete = format!("delete networkpolicies --all --as=tenant --namespace={fenced}");
    assert!(story.try_kubectl(&delete).unwrap_err().contains("are written by Ringfence alone"));
    assert_eq!(story.kubectl(&format!("get networkpolicies --output=name --namespace={fenced}")), policies);
    story.assert_rights_suffice();
}

/// Waits until the API server refuses it, which it does a moment after it was told what to refuse, and then for good.
fn comes_to_refuse(story: &Story, verb: &str, object: &Value, because: &str) {
    let started = Instant::now();
    while story.try_with(&format!("{verb} --dry-run=server"), std::slice::from_ref(object)).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(30), "{object} is not refused");
    }
    let refusal = story.try_with(verb, std::slice::from_ref(object)).unwrap_err();
    assert!(refusal.contains(because), "{refusal}");
}
