//! What an identity may choose about its certificate and the Secret that holds it.

#[cfg(feature = "pkcs12")]
mod keystores;
mod template;
mod usages;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use ringfence_core::api::{CertificateStatus, ServiceIdentity};
use serde_json::{Value, json};

use crate::support::{History, Story, condition, eventually, in_namespace, wait_for};

/// Changes what an identity says of its certificate, and waits until that is in its status.
async fn choose(story: &Story, namespace: &str, name: &str, certificate: Value) -> ServiceIdentity {
    let api = story.api::<ServiceIdentity>(namespace);
    let changed = story.change(api, name, json!({"certificate": certificate})).await;
    let generation = changed.metadata.generation;
    story
        .wait_identity(namespace, name, "be looked at and be programmed", |identity| {
            identity.status.as_ref().is_some_and(|status| status.observed_generation == generation)
                && condition(identity, "Programmed").0 == "True"
        })
        .await
}

fn certificate(identity: &ServiceIdentity) -> CertificateStatus {
    identity.status.clone().unwrap().certificate.unwrap()
}

/// How often a Secret was written; the audit log comes a moment after the write.
async fn writes(story: &Story, history: &History<'_>, namespace: &str, name: &str) -> usize {
    // What is written now comes after all that was written before.
    let sentinel = format!("sentinel-{}", Timestamp::now().as_nanosecond());
    story.ready_identity(namespace, &sentinel, json!({})).await;
    let is_told = format!("{namespace}/{sentinel}-tls");
    eventually("the audit log has come so far", async || (history.writes_to("secrets", &is_told) > 0).then_some(()))
        .await;
    history.writes_to("secrets", &format!("{namespace}/{name}"))
}

/// Waits until a Secret is as wanted.
async fn wait_secret(
    story: &Story,
    namespace: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(&Secret) -> bool,
) -> Secret {
    wait_for(&in_namespace::<Secret>(story, namespace), name, what, wanted).await
}
