//! NetworkPolicies of others in a fenced namespace.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use ringfence_core::api::TrustDomain;
use serde_json::{Value, json};

use super::{admin_of, answer, begin, create, member, passes, refused};
use crate::support::wait_for;

const POLICY: &str = "ringfence-foreign-network-policies";

/// Lets everyone in.
fn wide_open() -> Value {
    json!({"metadata": {"name": "wide-open"}, "spec": {"podSelector": {}, "ingress": [{}]}})
}

fn dry() -> PatchParams {
    PatchParams { dry_run: true, ..PatchParams::default() }
}

#[tokio::test]
async fn a_tenants_own_network_policy_cannot_widen_the_fence() {
    let story = begin("foreign").await;
    let trust = story.trust("shop", json!({})).await;
    let tenant = admin_of(&story, &trust.namespace).await;
    let inside = Api::<NetworkPolicy>::namespaced(tenant, &trust.namespace);
    let message = refused(POLICY, async || create(&inside, wide_open()).await).await;
    let fenced = format!("namespace {} is fenced by TrustDomain {}", trust.namespace, trust.domain);
    for part in [fenced.as_str(), "create an AccessPolicy", "foreignPolicies: Report"] {
        assert!(message.contains(part), "{message}");
    }

    // Nor can anyone else by mistake, not even the cluster's administrator.
    let inside = Api::<NetworkPolicy>::namespaced(story.client.clone(), &trust.namespace);
    refused(POLICY, async || create(&inside, wide_open()).await).await;

    // Where there is no fence, everyone goes on as before; and the operator writes the fence itself.
    let elsewhere = story.namespace("elsewhere").await;
    let outside = Api::<NetworkPolicy>::namespaced(story.client.clone(), &elsewhere);
    answer(outside.create(&PostParams::default(), &serde_json::from_value(wide_open()).unwrap()).await).unwrap();
    wait_for(&inside, "ringfence-baseline", "be written", |_| true).await;
}

#[tokio::test]
async fn a_domain_that_reports_or_does_not_enforce_lets_network_policies_pass() {
    let story = begin("lenient").await;
    let domains = || Api::<TrustDomain>::all(story.client.clone());
    let trust = story.trust("shop", json!({})).await;
    member(&story, &trust.domain, &trust.namespace).await;
    let inside = Api::<NetworkPolicy>::namespaced(story.client.clone(), &trust.namespace);
    for lenient in
        [json!({"foreignPolicies": "Report"}), json!({"enforcement": "Audit"}), json!({"enforcement": "Disabled"})]
    {
        refused(POLICY, async || create(&inside, wide_open()).await).await;
        story.change(domains(), &trust.domain, lenient.clone()).await;
        passes(&lenient.to_string(), async || create(&inside, wide_open()).await).await;
        let strict = json!({"foreignPolicies": "Deny", "enforcement": "Enforce"});
        story.change(domains(), &trust.domain, strict).await;
    }
}

#[tokio::test]
async fn a_network_policy_from_before_the_fence_can_go_but_not_grow() {
    let story = begin("older").await;
    let domains = || Api::<TrustDomain>::all(story.client.clone());
    let trust = story.trust("shop", json!({"foreignPolicies": "Report"})).await;
    member(&story, &trust.domain, &trust.namespace).await;
    let inside = Api::<NetworkPolicy>::namespaced(story.client.clone(), &trust.namespace);
    inside.create(&PostParams::default(), &serde_json::from_value(wide_open()).unwrap()).await.unwrap();
    story.change(domains(), &trust.domain, json!({"foreignPolicies": "Deny"})).await;

    let grow = Patch::Merge(json!({"spec": {"egress": [{}]}}));
    refused(POLICY, async || answer(inside.patch("wide-open", &dry(), &grow).await)).await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"note": "obsolete"}}}));
    answer(inside.patch("wide-open", &dry(), &label).await).unwrap();
    answer(inside.delete("wide-open", &DeleteParams::default()).await).unwrap();
}
