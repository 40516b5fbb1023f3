//! Traces: one tree for each look at something declared.

use kube::api::{Patch, PatchParams};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use ringfence_core::api::ServiceIdentity;
use serde_json::json;

use super::{begin, remove};
use crate::support::eventually;

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

/// Name and attributes, in words.
fn words(span: &Span) -> String {
    let attributes = ["verb", "kind", "namespace", "name", "outcome"].into_iter();
    let values: Vec<String> = attributes.filter_map(|key| attribute(span, key)).collect();
    [span.name.as_str()].into_iter().chain(values.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_an_identity_is_a_tree_of_its_steps() {
    let observed = begin("traced", "info").await;
    observed.story.ready_identity("storefront", "traced", json!({"signingKey": {}})).await;
    let root = "reconcile ServiceIdentity storefront traced done";
    let tree = eventually("a look that wrote everything is traced", async || {
        let spans = observed.collector.spans();
        let roots = spans.iter().filter(|span| words(span) == root && span.parent_span_id.is_empty());
        let trees = roots.map(|root| {
            let steps =
                spans.iter().filter(|span| span.parent_span_id == root.span_id && span.trace_id == root.trace_id);
            let mut steps: Vec<&Span> = steps.collect();
            steps.sort_by_key(|span| span.start_time_unix_nano);
            assert!(steps.iter().all(|step| step.end_time_unix_nano <= root.end_time_unix_nano));
            steps.into_iter().map(words).collect::<Vec<_>>()
        });
        trees.into_iter().find(|steps| steps.len() > 4)
    })
    .await;
    assert_eq!(
        tree,
        [
            "plan",
            "write create Secret storefront traced-tls done",
            "write create Secret storefront traced-signing-key done",
            "write create ConfigMap storefront traced-trust done",
            "write create NetworkPolicy storefront ringfence-traced done",
            "status done",
        ]
    );
    let resource = observed.collector.received().remove(0).resource_spans.remove(0).resource.unwrap();
    let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    assert_eq!(name.value.clone().unwrap().value, Some(Any::StringValue("ringfence".to_owned())));
    let kinds = ["TrustDomain", "Member", "Fence", "AccessPolicy"];
    let traced = |kind: &str| {
        observed
            .collector
            .spans()
            .iter()
            .any(|span| span.name == "reconcile" && attribute(span, "kind").as_deref() == Some(kind))
    };
    assert!(kinds.into_iter().all(traced));
    remove(&observed.story.api::<ServiceIdentity>("storefront"), "traced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_still_to_be_sent_is_sent_when_the_operator_ends() {
    let mut observed = begin("traced-to-the-end", "info").await;
    observed.story.ready_identity("storefront", "last", json!({})).await;
    observed.operator.end();
    let last = |span: &Span| words(span) == "write create Secret storefront last-tls done";
    assert!(observed.collector.spans().iter().any(last));
    assert!(observed.operator.log().contains("told to stop"), "it ended in order");
    // Nobody is left to release it.
    let api = observed.story.api::<ServiceIdentity>("storefront");
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("last", &PatchParams::default(), &released).await.unwrap();
    remove(&api, "last").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_takes_nothing_is_told_of_and_keeps_nobody_from_work() {
    let observed = begin("untraced", "info").await;
    observed.collector.refuse();
    observed.story.ready_identity("storefront", "untraced", json!({})).await;
    let told = r#""status":503"#;
    eventually("the log tells of lost traces", async || {
        let log = observed.operator.log();
        log.lines().any(|line| line.contains("does not take traces") && line.contains(told)).then_some(())
    })
    .await;
    remove(&observed.story.api::<ServiceIdentity>("storefront"), "untraced").await;
}
