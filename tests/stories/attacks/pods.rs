//! Pods that look like a service and are not.

use k8s_openapi::api::core::v1::Pod;
use ringfence_core::api::ServiceIdentity;
use serde_json::json;

use crate::support::{Bystanders, Story, condition, says};

#[tokio::test]
async fn running_a_pod_with_anothers_labels_under_a_service_account_of_ones_own() {
    let story = Story::begin("labels").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    for account in ["payment", "thief"] {
        story.run_as(&trust.namespace, account).await;
        let pod = json!({"metadata": {"name": account, "labels": {"app.kubernetes.io/name": "payment"}},
            "spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "none"}]}});
        story.create::<Pod>(&trust.namespace, pod).await;
    }
    let before =
        story.create::<ServiceIdentity>(&trust.namespace, crate::support::identity("payment", json!({}))).await;
    let words = ["pods thief match", "another service account than payment", "restart them under it"];
    let said = ("Unenforceable", "True", "ServiceAccountMismatch");
    let told = says(&api, "payment", said, &words).await;
    assert_eq!(told.metadata.uid, before.metadata.uid);
    assert_eq!(condition(&told, "Ready").1, "ServiceAccountMismatch");
    let pods = story.api::<Pod>(&trust.namespace);
    pods.delete("thief", &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    says(&api, "payment", ("Ready", "True", "Ready"), &[]).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn running_a_pod_that_is_two_services_at_once() {
    let story = Story::begin("overlap").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let spec = json!({"podSelector": {"matchLabels": {"tier": "back"}}});
    story.ready_identity(&trust.namespace, "delivery", spec).await;
    story.run_as(&trust.namespace, "payment").await;
    let pod = json!({"metadata": {"name": "both", "labels": {"app.kubernetes.io/name": "payment", "tier": "back"}},
        "spec": {"serviceAccountName": "payment", "containers": [{"name": "c", "image": "none"}]}});
    story.create::<Pod>(&trust.namespace, pod).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    for (name, other) in [("payment", "delivery"), ("delivery", "payment")] {
        let words = [other, "make the selectors exclusive"];
        says(&api, name, ("Unenforceable", "True", "SelectorOverlap"), &words).await;
    }
    bystanders.are_untouched(&story).await;
}
