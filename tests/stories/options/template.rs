//! Labels and annotations of a certificate's Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use ringfence_core::api::ServiceIdentity;
use serde_json::json;

use super::{certificate, choose, wait_secret, writes};
use crate::support::{History, Story, edit, event_reasons, eventually, in_namespace};

/// What a template gave: labels and annotations that are neither ours nor the API server's.
fn given(secret: &Secret) -> BTreeMap<String, String> {
    let all = secret.metadata.labels.iter().chain(&secret.metadata.annotations).flatten();
    let own = |key: &str| key.starts_with("ringfence.dev/") || key == "app.kubernetes.io/managed-by";
    all.filter(|(key, _)| !own(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn a_template_is_on_the_secret_and_each_change_of_it_is_one_write() {
    let story = Story::begin("template").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    let template = json!({"labels": {"team": "checkout", "app.kubernetes.io/part-of": "shop"}});
    let spec = json!({"signingKey": {}, "certificate": {"secretTemplate": template}});
    let before = story.ready_identity(&namespace, "order", spec).await;
    let secrets = in_namespace::<Secret>(&story, &namespace);
    let first = secrets.get("order-tls").await.unwrap();
    assert_eq!(given(&first), map([("team", "checkout"), ("app.kubernetes.io/part-of", "shop")]));
    assert_eq!(given(&secrets.get("order-signing-key").await.unwrap()), map([]), "the signing key is another matter");

    let history = History::begin(story.cluster);
    let more = json!({"labels": {"team": "sales"}, "annotations": {"example.com/note": "any text"}});
    choose(&story, &namespace, "order", json!({"secretTemplate": more})).await;
    let changed = [("team", "sales"), ("app.kubernetes.io/part-of", "shop"), ("example.com/note", "any text")];
    assert_eq!(given(&secrets.get("order-tls").await.unwrap()), map(changed), "a merge patch keeps the other label");
    let fewer = json!({"labels": {"team": null}, "annotations": null});
    choose(&story, &namespace, "order", json!({"secretTemplate": fewer})).await;
    let left = secrets.get("order-tls").await.unwrap();
    assert_eq!(given(&left), map([("app.kubernetes.io/part-of", "shop")]));
    let without = choose(&story, &namespace, "order", json!({"secretTemplate": null})).await;
    let bare = secrets.get("order-tls").await.unwrap();
    assert_eq!(given(&bare), map([]));
    assert_eq!(bare.metadata.annotations, None, "as if there had never been one");
    assert_eq!(bare.data, first.data);
    assert_eq!(certificate(&without).serial, certificate(&before).serial);
    assert_eq!(writes(&story, &history, &namespace, "order-tls").await, 3);
    eventually("the events tell of what was asked for, and accuse nobody", async || {
        let reasons = event_reasons(&story, &without).await;
        assert!(!reasons.contains(&"DriftCorrected".to_owned()), "{reasons:?}");
        reasons.contains(&"SecretUpdated".to_owned()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_others_put_on_the_secret_stays_and_what_they_take_off_comes_back() {
    let story = Story::begin("template-drift").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    let spec = json!({"certificate": {"secretTemplate": {"labels": {"team": "checkout"}}}});
    let before = story.ready_identity(&namespace, "order", spec).await;
    let secrets = in_namespace::<Secret>(&story, &namespace);
    let history = History::begin(story.cluster);
    edit(&secrets, "order-tls", |secret| {
        secret.metadata.labels.as_mut().unwrap().insert("theirs".to_owned(), "x".to_owned());
    })
    .await;
    assert_eq!(writes(&story, &history, &namespace, "order-tls").await, 0, "it is none of ours");
    assert_eq!(given(&secrets.get("order-tls").await.unwrap()), map([("team", "checkout"), ("theirs", "x")]));
    edit(&secrets, "order-tls", |secret| {
        secret.metadata.labels.as_mut().unwrap().insert("team".to_owned(), "mine".to_owned());
    })
    .await;
    let is_back = |secret: &Secret| given(secret).get("team").is_some_and(|team| team == "checkout");
    wait_secret(&story, &namespace, "order-tls", "be put right", is_back).await;
    edit(&secrets, "order-tls", |secret| secret.metadata.annotations = None).await;
    let is_recorded = |secret: &Secret| secret.metadata.annotations.is_some() && is_back(secret);
    wait_secret(&story, &namespace, "order-tls", "have its record again", is_recorded).await;
    let after = story.api::<ServiceIdentity>(&namespace).get("order").await.unwrap();
    assert_eq!(certificate(&after).serial, certificate(&before).serial);
    eventually("an event tells of it", async || {
        event_reasons(&story, &after).await.contains(&"DriftCorrected".to_owned()).then_some(())
    })
    .await;
}
