//! How namespaces come under a fence and out of it again, and what each mode does and leaves undone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{
    History, Story, Trust, condition, config_map, domain, eventually, identity, in_namespace, says, secret, wait_for,
};

const BASELINE: &str = "ringfence-baseline";
const SERVICES: [&str; 3] = ["gateway", "inventory", "order"];

/// Position of the first write to a NetworkPolicy.
fn turn(history: &History<'_>, namespace: &str, name: &str) -> usize {
    history.first("networkpolicies", &format!("{namespace}/{name}"))
}

async fn domain_is(story: &Story, domain: &str, field: &str, value: Value) -> TrustDomain {
    story.change(Api::all(story.client.clone()), domain, json!({field: value})).await
}

/// Names of the NetworkPolicies of a namespace.
async fn fences(story: &Story, namespace: &str) -> Vec<String> {
    let policies = in_namespace::<NetworkPolicy>(story, namespace).list(&ListParams::default()).await.unwrap();
    policies.into_iter().filter_map(|policy| policy.metadata.name).collect()
}

async fn fenced(story: &Story, namespace: &str) {
    let api = in_namespace::<NetworkPolicy>(story, namespace);
    for name in SERVICES {
        wait_for(&api, &format!("ringfence-{name}"), "be written", |_| true).await;
    }
    wait_for(&api, BASELINE, "be written", |_| true).await;
}

#[tokio::test]
async fn a_namespace_with_running_pods_is_closed_only_when_each_service_has_what_it_needs() {
    let story = Story::begin("running").await;
    let namespace = story.namespace("shop").await;
    for name in SERVICES {
        story.start_pod(&namespace, name, name, &[]).await;
        story.create::<ServiceIdentity>(&namespace, identity(name, json!({}))).await;
        let outside = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
        story.wait_identity(&namespace, name, "be seen", outside).await;
    }
    let history = History::begin(story.cluster);
    let spec = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
    story.create_cluster_wide::<TrustDomain>(domain(&namespace, spec)).await;
    fenced(&story, &namespace).await;
    says(&Api::<TrustDomain>::all(story.client.clone()), &namespace, ("Programmed", "True", "Programmed"), &[]).await;
    for name in SERVICES {
        let own = turn(&history, &namespace, &format!("ringfence-{name}"));
        assert!(own < turn(&history, &namespace, BASELINE), "{name} was cut off");
    }

    // The same when a domain begins to enforce later.
    domain_is(&story, &namespace, "enforcement", json!("Audit")).await;
    eventually("the fences are gone", async || fences(&story, &namespace).await.is_empty().then_some(())).await;
    let history = History::begin(story.cluster);
    domain_is(&story, &namespace, "enforcement", json!("Enforce")).await;
    fenced(&story, &namespace).await;
    for name in SERVICES {
        let own = turn(&history, &namespace, &format!("ringfence-{name}"));
        assert!(own < turn(&history, &namespace, BASELINE), "{name} was cut off");
    }
}

#[tokio::test]
async fn an_empty_namespace_is_closed_before_anything_is_opened() {
    let story = Story::begin("empty").await;
    let namespace = story.namespace("shop").await;
    for name in SERVICES {
        story.create::<ServiceIdentity>(&namespace, identity(name, json!({}))).await;
        let outside = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
        story.wait_identity(&namespace, name, "be seen", outside).await;
    }
    let history = History::begin(story.cluster);
    let spec = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
    story.create_cluster_wide::<TrustDomain>(domain(&namespace, spec)).await;
    fenced(&story, &namespace).await;
    for name in SERVICES {
        let own = turn(&history, &namespace, &format!("ringfence-{name}"));
        assert!(turn(&history, &namespace, BASELINE) < own, "{name} was first");
    }
}

#[tokio::test]
async fn an_identity_that_gives_up_does_not_keep_its_namespace_open() {
    let story = Story::begin("waiting").await;
    let namespace = story.namespace("shop").await;
    // Its NetworkPolicy can't be written: another identity has its service account.
    story.start_pod(&namespace, "order", "order", &[]).await;
    let spec = json!({"serviceAccountName": "order"});
    for name in ["order", "rival"] {
        story.create::<ServiceIdentity>(&namespace, identity(name, spec.clone())).await;
        let outside = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
        story.wait_identity(&namespace, name, "be seen", outside).await;
    }
    let whole = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
    story.create_cluster_wide::<TrustDomain>(domain(&namespace, whole)).await;
    let refused = |object: &ServiceIdentity| condition(object, "Accepted").1 == "ServiceAccountTaken";
    story.wait_identity(&namespace, "rival", "be refused", refused).await;
    let api = in_namespace::<NetworkPolicy>(&story, &namespace);
    wait_for(&api, BASELINE, "be written", |_| true).await;
}

/// A domain in this mode, with an edge from `order` to `inventory`.
async fn unenforced(title: &str, mode: &str) -> (Story, Trust) {
    let story = Story::begin(title).await;
    let trust = story.trust("shop", json!({"enforcement": mode})).await;
    let namespace = &trust.namespace;
    for name in ["order", "inventory"] {
        story.ready_identity(namespace, name, json!({"signingKey": {}})).await;
    }
    let spec = json!({
        "to": {"identity": "inventory", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}],
    });
    let policy = story.ready_policy(namespace, "stock", spec).await;
    assert_eq!(policy.status.unwrap().edges, Some(1));
    assert_eq!(fences(&story, namespace).await, Vec::<String>::new());
    (story, trust)
}

#[tokio::test]
async fn audit_computes_and_delivers_everything_and_closes_nothing() {
    let (story, trust) = unenforced("audit", "Audit").await;
    let domain = Api::<TrustDomain>::all(story.client.clone()).get(&trust.domain).await.unwrap();
    assert_eq!(condition(&domain, "Ready").1, "Audit");
    let order = in_namespace::<ServiceIdentity>(&story, &trust.namespace).get("order").await.unwrap();
    assert_eq!((condition(&order, "Ready").0.as_str(), condition(&order, "Ready").1.as_str()), ("True", "Audit"));
    let access = config_map(&story, &trust.namespace, "inventory-trust").await["access.json"].clone();
    assert!(access.contains("/sa/order"), "{access}");

    let history = History::begin(story.cluster);
    domain_is(&story, &trust.domain, "enforcement", json!("Enforce")).await;
    let api = in_namespace::<NetworkPolicy>(&story, &trust.namespace);
    for name in ["ringfence-order", "ringfence-inventory", BASELINE] {
        wait_for(&api, name, "be written", |_| true).await;
    }
    for kind in ["secrets", "configmaps"] {
        let touched = |name: &str| history.writes_to(kind, &format!("{}/{name}", trust.namespace));
        assert_eq!(["order-tls", "order-signing-key", "order-trust", "inventory-trust"].map(touched), [0; 4]);
    }
}

#[tokio::test]
async fn off_issues_and_renews_and_fences_nothing() {
    let (story, trust) = unenforced("off", "Disabled").await;
    let namespace = &trust.namespace;
    let domain = Api::<TrustDomain>::all(story.client.clone()).get(&trust.domain).await.unwrap();
    assert_eq!(condition(&domain, "Ready").1, "EnforcementDisabled");
    let secrets = in_namespace::<Secret>(&story, namespace);
    let uid = secrets.get("order-tls").await.unwrap().metadata.uid;
    secrets.delete("order-tls", &DeleteParams::default()).await.unwrap();
    wait_for(&secrets, "order-tls", "come back", |secret| secret.metadata.uid != uid).await;
    let late = story.ready_identity(namespace, "late", json!({})).await;
    assert_eq!(condition(&late, "Ready").1, "EnforcementDisabled");
    assert_eq!(fences(&story, namespace).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_baseline_goes_first_when_a_domain_stops_enforcing() {
    for mode in ["Audit", "Disabled"] {
        let story = Story::begin(&format!("stop-{}", mode.to_lowercase())).await;
        let trust = story.trust("shop", json!({})).await;
        for name in SERVICES {
            story.ready_identity(&trust.namespace, name, json!({})).await;
        }
        fenced(&story, &trust.namespace).await;
        let credentials = secret(&story, &trust.namespace, "order-tls").await;
        let history = History::begin(story.cluster);
        domain_is(&story, &trust.domain, "enforcement", json!(mode)).await;
        let gone = async || fences(&story, &trust.namespace).await.is_empty().then_some(());
        eventually("the fences are gone", gone).await;
        eventually("the log is complete", async || {
            let writes = history.writes();
            let own = writes.iter().filter(|write| write.object.starts_with(&format!("{}/", trust.namespace)));
            (own.filter(|write| write.verb == "delete").count() == 4).then_some(())
        })
        .await;
        for name in SERVICES {
            let own = turn(&history, &trust.namespace, &format!("ringfence-{name}"));
            assert!(turn(&history, &trust.namespace, BASELINE) < own, "{name} was cut off");
        }
        assert_eq!(secret(&story, &trust.namespace, "order-tls").await, credentials);
        let ready =
            |object: &TrustDomain| condition(object, "Ready").0 == "True" && condition(object, "Ready").1 != "Ready";
        story.wait_domain(&trust.domain, "be at rest", ready).await;
    }
}

#[tokio::test]
async fn a_draft_counts_its_edges_and_opens_nothing() {
    let story = Story::begin("draft").await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    for name in ["order", "inventory"] {
        story.ready_identity(namespace, name, json!({"signingKey": {}})).await;
    }
    let before = outputs(&story, namespace).await;
    let spec = json!({
        "to": {"identity": "inventory", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}],
        "authentication": {"mtls": {}, "jwt": {}}, "enforcement": "Audit",
    });
    let draft = story.ready_policy(namespace, "stock", spec).await;
    assert_eq!(condition(&draft, "Ready").1, "Audit");
    assert_eq!(draft.status.as_ref().unwrap().edges, Some(1));
    assert_eq!(draft.status.unwrap().effective_after, None);
    // A policy that is in force shows that the draft has been seen by everything that it is about.
    let other = json!({
        "to": {"identity": "inventory", "ports": [{"port": 9443}]}, "from": [{"identity": {"name": "order"}}],
    });
    story.ready_policy(namespace, "other", other).await;
    let now = outputs(&story, namespace).await;
    assert!(now.values().all(|content| !content.contains("8443")), "{now:#?}");
    in_namespace::<AccessPolicy>(&story, namespace).delete("other", &DeleteParams::default()).await.unwrap();
    eventually("everything is as before", async || (outputs(&story, namespace).await == before).then_some(())).await;

    story.change(in_namespace::<AccessPolicy>(&story, namespace), "stock", json!({"enforcement": "Enforce"})).await;
    let opened = |policy: &NetworkPolicy| serde_json::to_string(&policy.spec).unwrap().contains("8443");
    let api = in_namespace::<NetworkPolicy>(&story, namespace);
    wait_for(&api, "ringfence-order", "open", opened).await;
    wait_for(&api, "ringfence-inventory", "open", opened).await;
    let in_force = |policy: &AccessPolicy| policy.status.as_ref().unwrap().effective_after.is_some();
    story.wait_policy(namespace, "stock", "be in force", in_force).await;
}

/// Contents of what tells the two services about each other.
async fn outputs(story: &Story, namespace: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    for name in ["order", "inventory"] {
        let map = in_namespace::<ConfigMap>(story, namespace).get(&format!("{name}-trust")).await.unwrap();
        outputs.insert(format!("{name} files"), format!("{:?}", map.data));
        let policy = in_namespace::<NetworkPolicy>(story, namespace).get(&format!("ringfence-{name}")).await.unwrap();
        outputs.insert(format!("{name} packets"), format!("{:?}", policy.spec));
    }
    outputs
}
