//! Ways around the ceiling: by port mapping, by NetworkPolicies of one's own, by leaving the domain, by consent of one side.

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{
    Bystanders, Story, closed, condition, config_map, domain, eventually, gone, policy, says, service, wait_for,
};

async fn spec_of(story: &Story, namespace: &str, name: &str) -> Value {
    serde_json::to_value(story.api::<NetworkPolicy>(namespace).get(name).await.unwrap().spec).unwrap()
}

fn is_empty(rules: &Value) -> bool {
    rules.as_array().is_none_or(Vec::is_empty)
}

fn pod(name: &str, ports: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"app.kubernetes.io/name": "payment"}},
        "spec": {"serviceAccountName": "payment", "containers": [{"name": "c", "image": "none", "ports": ports}]}})
}

#[tokio::test]
async fn reaching_a_forbidden_port_through_the_name_of_an_allowed_one() {
    let story = Story::begin("mapping").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    let ceiling = json!({"inbound": [{"trustDomains": [left.domain], "ports": [{"port": 443}, {"port": 8443}]}]});
    story.change(story.all::<TrustDomain>(), &right.domain, ceiling).await;
    let bystanders = Bystanders::in_namespace(&story, &right.namespace).await;
    story.ready_identity(&left.namespace, "order", json!({})).await;
    story.run_as(&right.namespace, "payment").await;
    story.create::<Pod>(&right.namespace, pod("payment-1", json!([{"name": "https", "containerPort": 8443}]))).await;
    story.create::<Service>(&right.namespace, service("payment", 443, json!("https"))).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": 443}]},
        "from": [{"identity": {"name": "order", "namespace": left.namespace}}]});
    story.ready_policy(&right.namespace, "mapped", spec).await;
    let open = spec_of(&story, &right.namespace, "ringfence-payment").await;
    assert_eq!(open["ingress"][0]["ports"], json!([{"port": 8443, "protocol": "TCP"}]));
    // The tenant's next pods call another port by that name.
    let pods = story.api::<Pod>(&right.namespace);
    pods.delete("payment-1", &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    story.create::<Pod>(&right.namespace, pod("payment-2", json!([{"name": "https", "containerPort": 22}]))).await;
    let policies = story.api::<AccessPolicy>(&right.namespace);
    let words = [&*right.domain, "not on 22/TCP"];
    says(&policies, "mapped", ("Accepted", "False", "InboundNotAllowed"), &words).await;
    eventually("the port is closed", async || {
        is_empty(&spec_of(&story, &right.namespace, "ringfence-payment").await["ingress"]).then_some(())
    })
    .await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn widening_the_fence_with_a_network_policy_of_ones_own_however_it_is_disguised() {
    let story = Story::begin("widen").await;
    let trust = story.trust("a", json!({"foreignPolicies": "Report"})).await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    story.run_as(&trust.namespace, "payment").await;
    story.create::<Pod>(&trust.namespace, pod("payment", json!([]))).await;
    let payment = story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let domain = story.all::<TrustDomain>().get(&trust.domain).await.unwrap();
    let (identity_owner, domain_owner) = (payment.controller_owner_ref(&()), domain.controller_owner_ref(&()));
    let mut imitation = serde_json::to_value(&identity_owner).unwrap();
    imitation["apiVersion"] = json!("ringfence.developer/v1");
    let label = json!({"app.kubernetes.io/managed-by": "ringfence"});
    let disguises = [
        ("plain", json!({})),
        ("labelled", json!({"labels": label})),
        ("owned", json!({"labels": label, "ownerReferences": [identity_owner]})),
        ("ringfence-owned", json!({"labels": label, "ownerReferences": [identity_owner]})),
        ("ringfence-payment-2", json!({"labels": label, "ownerReferences": [imitation]})),
        ("ringfence-by-domain", json!({"labels": label, "ownerReferences": [domain_owner]})),
    ];
    for (name, mut metadata) in disguises {
        metadata["name"] = json!(name);
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]});
        story.create::<NetworkPolicy>(&trust.namespace, json!({"metadata": metadata, "spec": spec})).await;
        let full = format!("{}/{name} (1 rule of ingress)", trust.namespace);
        let words = [&*full, "delete them and declare an AccessPolicy"];
        says(&api, "payment", ("Widened", "True", "ForeignPolicy"), &words).await;
        let policies = story.api::<NetworkPolicy>(&trust.namespace);
        policies.delete(name, &Default::default()).await.unwrap();
        story
            .wait_identity(&trust.namespace, "payment", "be fenced again", |o| condition(o, "Widened").0.is_empty())
            .await;
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn putting_a_network_policy_of_ones_own_in_the_place_of_ours() {
    let story = Story::begin("replace").await;
    let trust = story.trust("a", json!({"foreignPolicies": "Report"})).await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    let payment = story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let policies = story.api::<NetworkPolicy>(&trust.namespace);
    policies.delete("ringfence-payment", &Default::default()).await.unwrap();
    // Owned by the identity, as ours is, it is taken for ours, and put right.
    let metadata = json!({"name": "ringfence-payment", "ownerReferences": [payment.controller_owner_ref(&())]});
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]});
    let object =
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec});
    policies.patch("ringfence-payment", &PatchParams::apply("tenant").force(), &Patch::Apply(object)).await.unwrap();
    let is_right = |found: &NetworkPolicy| {
        let spec = found.spec.as_ref().unwrap();
        spec.ingress.as_ref().is_none_or(Vec::is_empty) && spec.policy_types.as_ref().is_some_and(|t| t.len() == 2)
    };
    wait_for(&policies, "ringfence-payment", "be put right", is_right).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn leaving_the_domain_to_be_rid_of_the_fence() {
    let story = Story::begin("leave").await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    let namespace = story.namespace("a").await;
    let name = format!("{}-a", story.name);
    let label = |value: Value| json!({"metadata": {"labels": {"ringfence.dev/zone": value}}});
    let namespaces = story.all::<Namespace>();
    namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(label(json!(name)))).await.unwrap();
    let spec = json!({"certificateAuthority": {"selfSigned": {}}, "inbound": [{"anywhere": {}}],
        "namespaceSelector": {"matchLabels": {"ringfence.dev/zone": name}}});
    story.create_cluster_wide::<TrustDomain>(domain(&name, spec)).await;
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    for identity in ["gateway", "order"] {
        story
            .create::<ServiceIdentity>(&namespace, crate::support::identity(identity, json!({"signingKey": {}})))
            .await;
        story.wait_identity(&namespace, identity, "be ready", ready).await;
    }
    let from = json!([{"anywhere": {}}, {"identity": {"name": "order"}}]);
    let spec = json!({"to": {"identity": "gateway", "ports": [{"port": 8443}]}, "from": from});
    story.ready_policy(&namespace, "open", spec).await;
    let policies = story.api::<NetworkPolicy>(&namespace);
    let baseline = wait_for(&policies, "ringfence-baseline", "be written", |_| true).await;
    assert!(!is_empty(&spec_of(&story, &namespace, "ringfence-gateway").await["ingress"]));

    namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(label(json!(null)))).await.unwrap();
    let identities = story.api::<ServiceIdentity>(&namespace);
    for identity in ["gateway", "order"] {
        let words = [&*namespace, "ask the platform team"];
        says(&identities, identity, ("Accepted", "False", "NotInTrustDomain"), &words).await;
    }
    says(&story.api::<AccessPolicy>(&namespace), "open", ("ResolvedRefs", "False", "CalleeNotFound"), &["gateway"])
        .await;
    // What was open is closed, and the fence stays until the identities are gone.
    for identity in ["gateway", "order"] {
        let dns_alone = |found: &NetworkPolicy| {
            let spec = serde_json::to_value(&found.spec).unwrap();
            is_empty(&spec["ingress"])
                && spec["egress"]
                    .as_array()
                    .is_none_or(|rules| rules.iter().all(|rule| rule["to"].to_string().contains("kube-system")))
        };
        wait_for(&policies, &format!("ringfence-{identity}"), "be closed", dns_alone).await;
    }
    assert_eq!(policies.get("ringfence-baseline").await.unwrap().metadata.uid, baseline.metadata.uid);
    for identity in ["gateway", "order"] {
        identities.delete(identity, &Default::default()).await.unwrap();
    }
    gone(&policies, "ringfence-baseline").await;
    bystanders.are_untouched(&story).await;
}

/// A policy across a border for which these are the ceilings of caller and callee: both entries are refused.
async fn does_not_cross(title: &str, outbound: bool, inbound: bool, reason: &str) {
    let story = Story::begin(title).await;
    let [left, right] = ["left", "right"].map(|suffix| format!("{}-{suffix}", story.name));
    let ceiling = |side: &str, other: &str, agrees: bool| match agrees {
        true => json!({side: [{"trustDomains": [other]}]}),
        false => json!({}),
    };
    let caller = story.trust("left", ceiling("outbound", &right, outbound)).await;
    let callee = story.trust("right", ceiling("inbound", &left, inbound)).await;
    let bystanders = Bystanders::in_namespace(&story, &callee.namespace).await;
    story.ready_identity(&caller.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&callee.namespace, "payment", json!({})).await;
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order", "namespace": caller.namespace}}, {"trustDomain": left}]});
    story.create::<AccessPolicy>(&callee.namespace, policy("across", spec)).await;
    let refusing = if inbound { &left } else { &right };
    for index in 0..2 {
        let refusal = closed(&story, &callee.namespace, "across", index, reason).await;
        assert!(refusal.message.contains(refusing), "{}", refusal.message);
        assert!(refusal.message.contains("ask the platform team to add one"), "{}", refusal.message);
    }
    says(&story.api::<AccessPolicy>(&callee.namespace), "across", ("Accepted", "False", reason), &[refusing]).await;
    let payment = spec_of(&story, &callee.namespace, "ringfence-payment").await;
    assert!(is_empty(&payment["ingress"]), "{payment}");
    let order = spec_of(&story, &caller.namespace, "ringfence-order").await;
    assert!(!order["egress"].to_string().contains(&callee.namespace), "{order}");
    let delivered = config_map(&story, &callee.namespace, "payment-trust").await;
    assert!(!delivered.contains_key(&format!("bundle.{left}.pem")), "{:?}", delivered.keys());
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn crossing_a_border_by_the_consent_of_the_callee_alone() {
    does_not_cross("callee-alone", false, true, "OutboundNotAllowed").await;
}

#[tokio::test]
async fn crossing_a_border_by_the_consent_of_the_caller_alone() {
    does_not_cross("caller-alone", true, false, "InboundNotAllowed").await;
}
