//! Identities that select nothing, or name what is not there.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Patch, PatchParams};
use ringfence_core::api::ServiceIdentity;
use serde_json::json;

use crate::support::{Bystanders, Story, condition, identity, says, service};

#[tokio::test]
async fn a_selector_that_matches_nothing_is_ready_and_says_that_no_pods_match() {
    let story = Story::begin("no-pods").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({}))).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let words = ["credentials are delivered", "podSelector"];
    let ready = says(&api, "order", ("Ready", "True", "NoPods"), &words).await;
    for other in ["Accepted", "ResolvedRefs", "Programmed"] {
        assert_eq!(condition(&ready, other).0, "True", "{other}");
    }
    let pod = json!({"metadata": {"name": "order", "labels": {"app.kubernetes.io/name": "order"}},
        "spec": {"serviceAccountName": "order", "containers": [{"name": "c", "image": "none"}]}});
    story.run_as(&trust.namespace, "order").await;
    story.create::<Pod>(&trust.namespace, pod).await;
    says(&api, "order", ("Ready", "True", "Ready"), &["the fence stands"]).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_service_that_is_named_and_missing_is_named_in_turn_and_lends_its_names_when_it_comes() {
    let story = Story::begin("no-service").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({"services": ["web"]}))).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let web = format!("{}/web", trust.namespace);
    let words = [&*web, "create it, or take it out of services"];
    says(&api, "order", ("ResolvedRefs", "False", "ServiceNotFound"), &words).await;
    let mut web = service("web", 443, json!(8443));
    web["spec"]["selector"] = json!({"app.kubernetes.io/name": "order"});
    story.create::<Service>(&trust.namespace, web).await;
    says(&api, "order", ("Ready", "True", "NoPods"), &[]).await;
    let name = format!("web.{}.svc", trust.namespace);
    story.certificate_names(&trust.namespace, "order-tls", |names| names.contains(&name)).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_service_that_selects_pods_of_others_does_not_lend_its_names() {
    let story = Story::begin("mismatch").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let pod = json!({"metadata": {"name": "stranger", "labels": {"tier": "web"}},
        "spec": {"containers": [{"name": "c", "image": "none"}]}});
    story.run_as(&trust.namespace, "default").await;
    story.create::<Pod>(&trust.namespace, pod).await;
    let mut web = service("web", 443, json!(8443));
    web["spec"]["selector"] = json!({"tier": "web"});
    story.create::<Service>(&trust.namespace, web).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({"services": ["web"]}))).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let web = format!("{}/web", trust.namespace);
    let words = [&*web, "it selects pod stranger, which is not of this identity"];
    says(&api, "order", ("ResolvedRefs", "False", "ServiceMismatch"), &words).await;
    let names = story.certificate_names(&trust.namespace, "order-tls", |_| true).await;
    assert!(!names.iter().any(|name| name.starts_with("web.")), "{names:?}");
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_selector_that_kubernetes_would_refuse_is_refused_and_closes_what_it_opened() {
    let story = Story::begin("selector").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let bad = json!({"podSelector": {"matchLabels": {"not a label": "order"}}});
    story.change(api.clone(), "order", bad).await;
    says(&api, "order", ("Accepted", "False", "Invalid"), &["not a label", "correct it"]).await;
    let good = json!({"spec": {"podSelector": {"matchLabels": {"not a label": null, "app": "order"}}}});
    api.patch("order", &PatchParams::default(), &Patch::Merge(good)).await.unwrap();
    says(&api, "order", ("Ready", "True", "NoPods"), &[]).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_certificate_for_longer_than_the_domain_allows_lives_only_as_long_as_allowed() {
    let story = Story::begin("long").await;
    let trust = story.trust("a", json!({"certificates": {"duration": "2h"}})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let spec = json!({"certificate": {"duration": "3h"}});
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", spec)).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let words = [&*trust.domain, "2h", "that limit is used"];
    let refused = says(&api, "order", ("Accepted", "False", "DurationTooLong"), &words).await;
    let has_certificate =
        |object: &ServiceIdentity| object.status.as_ref().is_some_and(|status| status.certificate.is_some());
    let issued = if has_certificate(&refused) {
        refused
    } else {
        story.wait_identity(&trust.namespace, "order", "get a certificate", has_certificate).await
    };
    let certificate = issued.status.unwrap().certificate.unwrap();
    let life = certificate.not_after.0.duration_since(certificate.not_before.0);
    assert_eq!(life.as_mins(), 121, "two hours, and a minute for clocks that are behind");
    bystanders.are_untouched(&story).await;
}
