//! What goes when something is deleted, in which order, and what does not.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, PropagationPolicy};
use kube::core::{NamespaceResourceScope, Resource};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{
    History, Story, Trust, begin_alone, condition, event_reasons, eventually, gone, in_namespace, policy, versions,
    wait_for,
};

/// `gateway` calls `order`, which calls `inventory`.
async fn shop(title: &str) -> (Story, Trust) {
    let story = Story::begin(title).await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["gateway", "order", "inventory"] {
        story.ready_identity(&trust.namespace, name, json!({"signingKey": {}})).await;
    }
    grant(&story, &trust.namespace, "order", "gateway").await;
    grant(&story, &trust.namespace, "inventory", "order").await;
    (story, trust)
}

/// Lets one identity call another, and waits until it may.
async fn grant(story: &Story, namespace: &str, to: &str, from: &str) {
    let spec = json!({
        "to": {"identity": to, "ports": [{"port": 8443}]}, "from": [{"identity": {"name": from}}],
        "authentication": {"mtls": {}, "jwt": {}},
    });
    story.create::<AccessPolicy>(namespace, policy(to, spec)).await;
    let ready = |object: &AccessPolicy| condition(object, "Ready").0 == "True";
    story.wait_policy(namespace, to, "be in force", ready).await;
}

/// Waits until the NetworkPolicy and the trust of an identity mention another one, or don't.
async fn mentions(story: &Story, namespace: &str, name: &str, other: &str, wanted: bool) {
    let policies = in_namespace::<NetworkPolicy>(story, namespace);
    let mentioned = |object: &NetworkPolicy| {
        let spec = serde_json::to_value(&object.spec).unwrap();
        [&spec["ingress"], &spec["egress"]].iter().any(|rules| rules.to_string().contains(&format!("\"{other}\"")))
    };
    let what = format!("{} {other}", if wanted { "mention" } else { "lose" });
    wait_for(&policies, &format!("ringfence-{name}"), &what, |object| mentioned(object) == wanted).await;
    let maps = in_namespace::<ConfigMap>(story, namespace);
    let mentioned =
        |map: &ConfigMap| map.data.as_ref().unwrap()["access.json"].contains(&format!("/ns/{namespace}/sa/{other}\""));
    wait_for(&maps, &format!("{name}-trust"), &what, |map| mentioned(map) == wanted).await;
}

async fn delete<K>(story: &Story, namespace: &str, name: &str, how: Option<PropagationPolicy>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let params = DeleteParams { propagation_policy: how, ..DeleteParams::default() };
    in_namespace::<K>(story, namespace).delete(name, &params).await.unwrap();
}

/// Versions of all outputs but those of some identities.
async fn others(story: &Story, namespace: &str, without: &[&str]) -> BTreeMap<String, String> {
    let mut versions = versions(story, namespace).await;
    versions.retain(|name, _| without.iter().all(|without| !name.contains(without)));
    versions
}

async fn an_identity_takes_exactly_its_own_with_it(title: &str, how: PropagationPolicy) {
    let (story, trust) = shop(title).await;
    let namespace = &trust.namespace;
    mentions(&story, namespace, "order", "gateway", true).await;
    mentions(&story, namespace, "inventory", "order", true).await;
    let bystander = others(&story, namespace, &["order", "inventory", "gateway"]).await;
    let credentials = |all: BTreeMap<String, String>| -> Vec<_> {
        all.into_iter().filter(|(name, _)| name.starts_with("Secret") && !name.contains("order")).collect()
    };
    let before = credentials(versions(&story, namespace).await);
    assert_eq!(before.len(), 4);
    let history = History::begin(story.cluster);

    delete::<ServiceIdentity>(&story, namespace, "order", Some(how)).await;
    let secrets = in_namespace::<Secret>(&story, namespace);
    gone(&secrets, "order-tls").await;
    gone(&secrets, "order-signing-key").await;
    gone(&in_namespace::<ConfigMap>(&story, namespace), "order-trust").await;
    gone(&in_namespace::<NetworkPolicy>(&story, namespace), "ringfence-order").await;
    gone(&in_namespace::<ServiceIdentity>(&story, namespace), "order").await;
    mentions(&story, namespace, "gateway", "order", false).await;
    mentions(&story, namespace, "inventory", "order", false).await;
    assert_eq!(others(&story, namespace, &["order", "inventory", "gateway"]).await, bystander);
    assert_eq!(credentials(versions(&story, namespace).await), before);
    for (name, reason) in [("order", "CalleeNotFound"), ("inventory", "CallerNotFound")] {
        let said = |object: &AccessPolicy| condition(object, "ResolvedRefs").1 == reason;
        story.wait_policy(namespace, name, "say who is missing", said).await;
    }
    let wrote = history.writes().into_iter().filter(|write| {
        let outputs = ["order-tls", "order-signing-key", "order-trust", "ringfence-order"];
        outputs.iter().any(|name| write.object == format!("{namespace}/{name}"))
    });
    assert_eq!(wrote.collect::<Vec<_>>(), [], "written while it was being deleted");
}

#[tokio::test]
async fn a_deleted_identity_takes_exactly_its_own_with_it() {
    an_identity_takes_exactly_its_own_with_it("gone", PropagationPolicy::Background).await;
}

#[tokio::test]
async fn an_identity_whose_outputs_are_deleted_first_gets_no_new_ones() {
    an_identity_takes_exactly_its_own_with_it("foreground", PropagationPolicy::Foreground).await;
}

#[tokio::test]
async fn packets_stop_before_files_change_and_files_change_before_packets_flow() {
    let (story, trust) = shop("order").await;
    let namespace = &trust.namespace;
    let before = others(&story, namespace, &["order", "gateway"]).await;
    let before_packets = |history: &History<'_>, name: &str| {
        let packets = history.first("networkpolicies", &format!("{namespace}/ringfence-{name}"));
        packets < history.first("configmaps", &format!("{namespace}/{name}-trust"))
    };

    let history = History::begin(story.cluster);
    delete::<AccessPolicy>(&story, namespace, "order", None).await;
    mentions(&story, namespace, "gateway", "order", false).await;
    mentions(&story, namespace, "order", "gateway", false).await;
    mentions(&story, namespace, "order", "inventory", true).await;
    logged(&history, namespace).await;
    assert!(before_packets(&history, "gateway") && before_packets(&history, "order"), "{:#?}", history.writes());

    let history = History::begin(story.cluster);
    grant(&story, namespace, "order", "gateway").await;
    mentions(&story, namespace, "gateway", "order", true).await;
    mentions(&story, namespace, "order", "gateway", true).await;
    logged(&history, namespace).await;
    assert!(!before_packets(&history, "gateway") && !before_packets(&history, "order"), "{:#?}", history.writes());
    assert_eq!(others(&story, namespace, &["order", "gateway"]).await, before, "others noticed");
}

/// Waits until the log tells of both writes for both ends.
async fn logged(history: &History<'_>, namespace: &str) {
    eventually("the log is complete", async || {
        let done = ["order", "gateway"].iter().all(|name| {
            history.writes_to("networkpolicies", &format!("{namespace}/ringfence-{name}")) > 0
                && history.writes_to("configmaps", &format!("{namespace}/{name}-trust")) > 0
        });
        done.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_that_revokes_an_edge_says_that_open_connections_may_live_on() {
    let (story, trust) = shop("revoke").await;
    let namespace = &trust.namespace;
    let object = in_namespace::<AccessPolicy>(&story, namespace).get("order").await.unwrap();
    eventually("the opening is told", async || {
        event_reasons(&story, &object).await.contains(&"EdgeOpened".to_owned()).then_some(())
    })
    .await;
    delete::<AccessPolicy>(&story, namespace, "order", None).await;
    let note = eventually("the closing is told", async || closed(&story, &object).await).await;
    assert!(note.contains("connections that are already open may live on"), "{note}");
    assert!(note.contains(&format!("identity {namespace}/gateway -> identity {namespace}/order 8443/TCP")), "{note}");

    // Not only a deletion: a policy that moves to another port closes the old one.
    let api = in_namespace::<AccessPolicy>(&story, namespace);
    let object = api.get("inventory").await.unwrap();
    story.change(api, "inventory", json!({"to": {"identity": "inventory", "ports": [{"port": 9443}]}})).await;
    let note = eventually("the move is told", async || closed(&story, &object).await).await;
    assert!(note.contains("8443/TCP") && !note.contains("9443/TCP"), "{note}");
}

/// The note of the event that tells of a closed edge.
async fn closed(story: &Story, policy: &AccessPolicy) -> Option<String> {
    use k8s_openapi::api::events::v1::Event;
    let selector = format!("regarding.uid={},reason=EdgeClosed", policy.metadata.uid.as_deref().unwrap());
    let params = kube::api::ListParams::default().fields(&selector);
    let namespace = policy.metadata.namespace.as_deref().unwrap();
    in_namespace::<Event>(story, namespace).list(&params).await.unwrap().items.pop().and_then(|event| event.note)
}

#[tokio::test]
async fn a_deleted_domain_waits_for_its_identities_and_then_takes_everything_with_it() {
    let story = Story::begin("domain").await;
    let trust = story.trust("shop", json!({})).await;
    let other = story.trust("other", json!({})).await;
    let namespace = &trust.namespace;
    story.ready_identity(&other.namespace, "order", json!({})).await;
    let untouched = versions(&story, &other.namespace).await;
    story.ready_identity(namespace, "order", json!({})).await;
    let domains = Api::<TrustDomain>::all(story.client.clone());
    domains.delete(&trust.domain, &DeleteParams::default()).await.unwrap();
    let waits = |object: &TrustDomain| condition(object, "Ready").1 == "IdentitiesRemain";
    let object = story.wait_domain(&trust.domain, "say what it waits for", waits).await;
    assert!(condition(&object, "Ready").2.contains(&format!("{namespace}/order")));
    // Meanwhile it serves: a certificate that is lost is issued anew, and the fence stands.
    let secrets = in_namespace::<Secret>(&story, namespace);
    let uid = secrets.get("order-tls").await.unwrap().metadata.uid;
    secrets.delete("order-tls", &DeleteParams::default()).await.unwrap();
    wait_for(&secrets, "order-tls", "come back", |secret| secret.metadata.uid != uid).await;
    let policies = in_namespace::<NetworkPolicy>(&story, namespace);
    assert!(policies.get_opt("ringfence-baseline").await.unwrap().is_some());

    delete::<ServiceIdentity>(&story, namespace, "order", None).await;
    gone(&domains, &trust.domain).await;
    let system = in_namespace::<Secret>(&story, OPERATOR_NAMESPACE);
    gone(&system, &format!("{}-ca", trust.domain)).await;
    gone(&in_namespace::<ConfigMap>(&story, OPERATOR_NAMESPACE), &format!("{}-trust", trust.domain)).await;
    gone(&policies, "ringfence-baseline").await;
    gone(&secrets, "order-tls").await;
    assert_eq!(versions(&story, namespace).await, BTreeMap::new());
    assert!(system.get_opt(&format!("{}-ca", other.domain)).await.unwrap().is_some());
    assert_eq!(versions(&story, &other.namespace).await, untouched);
}

#[tokio::test]
async fn a_namespace_with_a_fence_can_be_deleted() {
    let (story, trust) = shop("emptied").await;
    let namespaces = Api::<Namespace>::all(story.client.clone());
    let domains = Api::<TrustDomain>::all(story.client.clone());
    namespaces.delete(&trust.namespace, &DeleteParams::default()).await.unwrap();
    gone(&namespaces, &trust.namespace).await;
    let left = |object: &TrustDomain| object.status.as_ref().unwrap().namespaces.is_empty();
    story.wait_domain(&trust.domain, "lose the namespace", left).await;
    domains.delete(&trust.domain, &DeleteParams::default()).await.unwrap();
    gone(&domains, &trust.domain).await;
}

#[tokio::test]
async fn a_namespace_and_its_domain_can_be_deleted_at_once() {
    let (story, trust) = shop("together").await;
    let namespaces = Api::<Namespace>::all(story.client.clone());
    let domains = Api::<TrustDomain>::all(story.client.clone());
    domains.delete(&trust.domain, &DeleteParams::default()).await.unwrap();
    namespaces.delete(&trust.namespace, &DeleteParams::default()).await.unwrap();
    gone(&namespaces, &trust.namespace).await;
    gone(&domains, &trust.domain).await;
    gone(&in_namespace::<Secret>(&story, OPERATOR_NAMESPACE), &format!("{}-ca", trust.domain)).await;
}

#[tokio::test]
async fn a_domain_that_was_deleted_while_the_operator_was_down_goes_when_it_is_back() {
    let (story, _turn) = begin_alone("late").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    operation.stop().await;
    let domains = Api::<TrustDomain>::all(story.client.clone());
    domains.delete(&trust.domain, &DeleteParams::default()).await.unwrap();
    delete::<ServiceIdentity>(&story, &trust.namespace, "order", None).await;
    assert!(domains.get_opt(&trust.domain).await.unwrap().is_some(), "the finalizer holds it");
    let operation = story.cluster.operate().await;
    gone(&domains, &trust.domain).await;
    gone(&in_namespace::<Secret>(&story, OPERATOR_NAMESPACE), &format!("{}-ca", trust.domain)).await;
    operation.stop().await;
}

#[tokio::test]
async fn an_edge_between_domains_closes_when_either_side_withdraws_its_consent() {
    let story = Story::begin("consent").await;
    let names = ["left", "right"].map(|side| format!("{}-{side}", story.name));
    let left = story.trust("left", json!({"outbound": [{"trustDomains": [names[1]]}]})).await;
    let right = story.trust("right", json!({"inbound": [{"trustDomains": [names[0]]}]})).await;
    story.ready_identity(&left.namespace, "order", json!({})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    let spec = json!({
        "to": {"identity": "payment", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order", "namespace": left.namespace}}],
    });
    story.create::<AccessPolicy>(&right.namespace, policy("pay", spec)).await;
    let domains = || Api::<TrustDomain>::all(story.client.clone());
    for (domain, field, other) in [(&left.domain, "outbound", &right.domain), (&right.domain, "inbound", &left.domain)]
    {
        is_open(&story, &left, &right, true).await;
        story.change(domains(), domain, json!({field: []})).await;
        is_open(&story, &left, &right, false).await;
        story.change(domains(), domain, json!({field: [{"trustDomains": [other]}]})).await;
    }
    is_open(&story, &left, &right, true).await;
}

/// Waits until `order` may call `payment`, or may not: packets, bundles and permissions on both ends.
async fn is_open(story: &Story, left: &Trust, right: &Trust, open: bool) {
    let ends = [(left, "order", "egress", right), (right, "payment", "ingress", left)];
    for (own, name, direction, other) in ends {
        let rules = |object: &NetworkPolicy| {
            let spec = serde_json::to_value(&object.spec).unwrap();
            spec[direction].to_string().contains(&other.namespace)
        };
        let policies = in_namespace::<NetworkPolicy>(story, &own.namespace);
        let what = if open { "open" } else { "close" };
        wait_for(&policies, &format!("ringfence-{name}"), what, |object| rules(object) == open).await;
        let files = |map: &ConfigMap| {
            let data = map.data.as_ref().unwrap();
            let document: Value = serde_json::from_str(&data["access.json"]).unwrap();
            (
                data.contains_key(&format!("bundle.{}.pem", other.domain)),
                document.to_string().contains(&format!("spiffe://{}/", other.domain)),
            )
        };
        let maps = in_namespace::<ConfigMap>(story, &own.namespace);
        wait_for(&maps, &format!("{name}-trust"), what, |map| files(map) == (open, open)).await;
    }
}
