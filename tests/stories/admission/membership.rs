//! Labels that put a namespace into a domain.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{allowed, answer, begin, create, nothing_went_unjudged, passes, refused};
use crate::support::Story;

/// Both rules begin like this; which one speaks first when both refuse is up to the API server.
const EITHER: &str = "ringfence-membership";
const DOMAINS_OWN: &str = "ringfence-membership'";
const LABEL: &str = "ringfence.dev/trust-domain";

/// Someone who may write namespaces, and has the verb `join` on some domains.
async fn labeller(story: &Story, user: &str, joins: &[&str]) -> Api<Namespace> {
    let subresources = ["namespaces", "namespaces/status", "namespaces/finalize"];
    let mut rules = vec![json!({
        "apiGroups": [""], "resources": subresources, "verbs": ["get", "create", "update", "patch"],
    })];
    if !joins.is_empty() {
        rules.push(json!({
            "apiGroups": ["ringfence.dev"], "resources": ["trustdomains"], "resourceNames": joins, "verbs": ["join"],
        }));
    }
    Api::all(allowed(story, user, json!(rules)).await)
}

/// Tries to merge labels into a namespace.
async fn label(namespaces: &Api<Namespace>, namespace: &str, labels: Value) -> Result<(), String> {
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    answer(namespaces.patch(namespace, &PatchParams { dry_run: true, ..PatchParams::default() }, &patch).await)
}

/// Sets labels, as the administrator.
async fn labelled(client: &Client, namespace: &str, labels: Value) {
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    Api::<Namespace>::all(client.clone()).patch(namespace, &PatchParams::default(), &patch).await.unwrap();
}

fn selects(key: &str, values: &[&str]) -> Value {
    json!({"namespaceSelector": {"matchExpressions": [{"key": key, "operator": "In", "values": values}]}})
}

#[tokio::test]
async fn a_tenant_cannot_relabel_a_namespace_into_a_domain_or_out_of_it() {
    let story = begin("relabel").await;
    let own = format!("{}-shop", story.name);
    story.trust("shop", selects(LABEL, &[&own])).await;
    let (outside, inside) = (story.namespace("outside").await, story.namespace("inside").await);
    labelled(&story.client, &inside, json!({LABEL: own})).await;
    let tenant = labeller(&story, "tenant", &[]).await;
    let member = labeller(&story, "member", &[&own]).await;

    let (enter, leave) = (json!({LABEL: own}), json!({LABEL: null}));
    let message = refused(EITHER, async || label(&tenant, &outside, enter.clone()).await).await;
    assert!(message.contains("the verb join on"), "{message}");
    assert!(message.contains(&own), "{message}");
    refused(EITHER, async || label(&tenant, &inside, leave.clone()).await).await;
    refused(EITHER, async || label(&tenant, &inside, json!({LABEL: "elsewhere"})).await).await;
    let born = json!({"metadata": {"name": format!("{}-born", story.name), "labels": enter}});
    refused(EITHER, async || create(&tenant, born.clone()).await).await;
    label(&tenant, &inside, json!({"team": "shop"})).await.unwrap();
    create(&tenant, json!({"metadata": {"name": format!("{}-plain", story.name)}})).await.unwrap();

    passes("entering", async || label(&member, &outside, json!({LABEL: own})).await).await;
    passes("leaving", async || label(&member, &inside, leave.clone()).await).await;
    passes("being born inside", async || create(&member, born.clone()).await).await;
    // The name of a namespace is a label too, which the API server itself keeps as it is.
    labelled(&story.client, &outside, json!({"kubernetes.io/metadata.name": inside})).await;
    let namespace = member.get(&outside).await.unwrap();
    assert_eq!(namespace.metadata.labels.unwrap()["kubernetes.io/metadata.name"], outside);
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn no_subresource_is_a_back_door_to_the_labels() {
    let story = begin("backdoor").await;
    let own = format!("{}-shop", story.name);
    story.trust("shop", selects(LABEL, &[&own])).await;
    let outside = story.namespace("outside").await;
    let tenant = labeller(&story, "tenant", &[]).await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {LABEL: own}}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    refused(EITHER, async || answer(tenant.patch_status(&outside, &dry, &patch).await)).await;

    let finalize = async |labels: Value| {
        let mut namespace = serde_json::to_value(tenant.get(&outside).await.unwrap()).unwrap();
        namespace["metadata"]["labels"].as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        answer(tenant.replace_subresource("finalize", &outside, &dry, &namespace).await)
    };
    refused(EITHER, async || finalize(json!({LABEL: own})).await).await;
    finalize(json!({"team": "shop"})).await.unwrap();
}

#[tokio::test]
async fn who_may_join_one_domain_does_not_get_into_another() {
    let story = begin("other").await;
    // The domain goes by a label whose value is not its name.
    let (value, own) = (format!("{}-gold", story.name), format!("{}-shop", story.name));
    story.trust("shop", selects("ringfence.dev/tier", &[&value])).await;
    let (outside, inside) = (story.namespace("outside").await, story.namespace("inside").await);
    labelled(&story.client, &inside, json!({"ringfence.dev/tier": value})).await;
    let stranger = labeller(&story, "stranger", &[&value]).await;
    let message =
        refused(DOMAINS_OWN, async || label(&stranger, &outside, json!({"ringfence.dev/tier": value})).await).await;
    assert!(message.contains(&format!("TrustDomain {own} and needs the verb join")), "{message}");
    refused(DOMAINS_OWN, async || label(&stranger, &inside, json!({"ringfence.dev/tier": null})).await).await;
    // What no domain asks for is free to who may join a domain of that name, and to nobody else.
    passes("a label of no domain", async || label(&stranger, &outside, json!({"ringfence.dev/wing": value})).await)
        .await;
    refused(EITHER, async || label(&stranger, &outside, json!({"ringfence.dev/wing": "left"})).await).await;
    refused(EITHER, async || label(&stranger, &outside, json!({"ringfence.dev/wing": ""})).await).await;

    let member = labeller(&story, "member", &[&value, &own]).await;
    passes("entering", async || label(&member, &outside, json!({"ringfence.dev/tier": value})).await).await;
    nothing_went_unjudged(&story).await;
}

#[tokio::test]
async fn moving_between_domains_takes_the_consent_of_both() {
    let story = begin("move").await;
    let names = ["left", "right"].map(|side| format!("{}-{side}", story.name));
    for (side, name) in ["left", "right"].into_iter().zip(&names) {
        story.trust(side, selects(LABEL, &[name])).await;
    }
    let [left, right] = &names;
    let moving = story.namespace("moving").await;
    labelled(&story.client, &moving, json!({LABEL: left})).await;
    let there = json!({LABEL: right});
    for (user, joins) in [("left-only", [left.as_str()]), ("right-only", [right.as_str()])] {
        let half = labeller(&story, user, &joins).await;
        refused(EITHER, async || label(&half, &moving, there.clone()).await).await;
    }
    let both = labeller(&story, "both", &[left, right]).await;
    passes("moving", async || label(&both, &moving, there.clone()).await).await;
    nothing_went_unjudged(&story).await;
}
