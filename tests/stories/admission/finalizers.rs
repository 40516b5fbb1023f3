//! Nobody skips the revocation of a certificate.

use kube::Api;
use kube::api::{Patch, PatchParams};
use ringfence_core::api::ServiceIdentity;
use serde_json::{Value, json};

use super::{allowed, answer, begin, nothing_went_unjudged, refused};
use crate::support::wait_for;

#[tokio::test]
async fn a_tenant_cannot_take_off_the_finalizer_that_revokes_its_certificates() {
    let story = begin("unrevoked").await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let all = json!([{"apiGroups": ["ringfence.dev"], "resources": ["serviceidentities"], "verbs": ["*"]}]);
    let tenant = allowed(&story, "team", all).await;
    let everything = Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace);
    let identities = Api::<ServiceIdentity>::namespaced(tenant, &trust.namespace);
    wait_for(&everything, "order", "be held", |object| object.metadata.finalizers.is_some()).await;
    let patch = async |finalizers: Value| {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        answer(identities.patch("order", &dry, &Patch::Merge(json!({"metadata": {"finalizers": finalizers}}))).await)
    };
    for finalizers in [json!([]), json!(null), json!(["example.com/other"])] {
        let message = refused("ringfence-finalizers", async || patch(finalizers.clone()).await).await;
        assert!(message.contains("ServiceIdentity order keeps the finalizer ringfence.dev/certificates"), "{message}");
    }
    patch(json!(["ringfence.dev/certificates", "example.com/other"])).await.unwrap();
    // Who may override may.
    let (dry, none) =
        (PatchParams { dry_run: true, ..PatchParams::default() }, json!({"metadata": {"finalizers": []}}));
    everything.patch("order", &dry, &Patch::Merge(none)).await.unwrap();
    nothing_went_unjudged(&story).await;
}
