//! What a restart changes: nothing, but what happened meanwhile.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::json;

use crate::support::{
    History, Story, Trust, begin_alone, condition, config_map, domain, edit, eventually, identity, in_namespace,
    policy, secret, versions, wait_for,
};

/// Services of one domain; each calls the next one with certificate and token.
const SERVICES: usize = 20;

fn service(number: usize) -> String {
    format!("service-{number:02}")
}

/// Declares three domains with twenty services each.
async fn declare(story: &Story) -> Vec<Trust> {
    let mut trusts = Vec::new();
    for suffix in ["left", "middle", "right"] {
        let namespace = story.namespace(suffix).await;
        let spec = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
        story.create_cluster_wide::<TrustDomain>(domain(&namespace, spec)).await;
        join_all((0..SERVICES).map(async |number| {
            let (name, next) = (service(number), service((number + 1) % SERVICES));
            story.create::<ServiceIdentity>(&namespace, identity(&name, json!({"signingKey": {}}))).await;
            let spec = json!({
                "to": {"identity": next, "ports": [{"port": 8443}]}, "from": [{"identity": {"name": name}}],
                "authentication": {"mtls": {}, "jwt": {}},
            });
            story.create::<AccessPolicy>(&namespace, policy(&name, spec)).await;
        }))
        .await;
        trusts.push(Trust { domain: namespace.clone(), namespace });
    }
    trusts
}

/// Waits until everything that was declared is there.
async fn complete(story: &Story, trusts: &[Trust]) {
    for Trust { domain, namespace } in trusts {
        story.wait_domain(domain, "be ready", |object| condition(object, "Ready").0 == "True").await;
        for number in 0..SERVICES {
            let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
            story.wait_identity(namespace, &service(number), "be ready", ready).await;
            let ready = |object: &AccessPolicy| condition(object, "Ready").0 == "True";
            story.wait_policy(namespace, &service(number), "be in force", ready).await;
        }
    }
}

/// Waits until the operator has looked at everything: policies come last.
async fn has_looked(story: &Story, namespace: &str) {
    let nobody =
        json!({"to": {"identity": "nobody", "ports": [{"port": 1}]}, "from": [{"identity": {"name": "nobody"}}]});
    story.judged_policy(namespace, "zzz", nobody).await;
}

#[tokio::test]
async fn a_restart_writes_nothing() {
    let (story, _turn) = begin_alone("restart").await;
    let operation = story.cluster.operate().await;
    let trusts = declare(&story).await;
    complete(&story, &trusts).await;
    let last = story.namespace("zzz").await;
    operation.stop().await;

    let history = History::begin(story.cluster);
    let operation = story.cluster.operate().await;
    has_looked(&story, &last).await;
    let sentinel = format!("{last}/zzz");
    eventually("the operator has judged the last policy", async || {
        (history.writes_to("accesspolicies/status", &sentinel) > 0).then_some(())
    })
    .await;
    let events = format!("{last}/");
    let mut writes = history.writes();
    // What other stories left in this cluster, objects that no status can be stored for among it, tells of itself again.
    writes.retain(|write| write.object.contains(&story.name) && write.object != sentinel);
    writes.retain(|write| !(write.resource == "events" && write.object.starts_with(&events)));
    assert_eq!(writes, []);
    operation.stop().await;
}

#[tokio::test]
async fn what_happened_while_the_operator_was_down_is_made_up_for() {
    let (story, _turn) = begin_alone("meanwhile").await;
    let operation = story.cluster.operate().await;
    let trust =
        story.trust("shop", json!({"namespaceSelector": {"matchLabels": {"ringfence.dev/team": story.name}}})).await;
    let namespace = &trust.namespace;
    let guest = story.namespace("guest").await;
    relabel(&story, &guest, Some(&story.name)).await;
    for name in ["gateway", "order", "inventory"] {
        story.ready_identity(namespace, name, json!({})).await;
    }
    story.ready_identity(&guest, "visitor", json!({})).await;
    let grant = |to: &str, from: &str| json!({"to": {"identity": to, "ports": [{"port": 8443}]}, "from": [{"identity": {"name": from}}]});
    for (name, to, from) in [("buy", "order", "gateway"), ("look", "inventory", "gateway")] {
        story.create::<AccessPolicy>(namespace, policy(name, grant(to, from))).await;
        let ready = |object: &AccessPolicy| condition(object, "Ready").0 == "True";
        story.wait_policy(namespace, name, "be in force", ready).await;
    }
    let untouched = secret(&story, namespace, "gateway-tls").await;
    let tls = secret(&story, namespace, "order-tls").await;
    operation.stop().await;

    in_namespace::<AccessPolicy>(&story, namespace).delete("buy", &DeleteParams::default()).await.unwrap();
    story.create::<AccessPolicy>(namespace, policy("ship", grant("inventory", "order"))).await;
    edit(&in_namespace::<NetworkPolicy>(&story, namespace), "ringfence-baseline", |policy| {
        policy.spec.as_mut().unwrap().ingress = Some(vec![NetworkPolicyIngressRule::default()]);
    })
    .await;
    edit(&in_namespace::<Secret>(&story, namespace), "order-tls", |secret| {
        secret.data.as_mut().unwrap().insert("tls.key".to_owned(), ByteString::default());
    })
    .await;
    in_namespace::<ConfigMap>(&story, namespace).delete("gateway-trust", &DeleteParams::default()).await.unwrap();
    relabel(&story, &guest, None).await;

    let operation = story.cluster.operate().await;
    let policies = in_namespace::<NetworkPolicy>(&story, namespace);
    let admits = |policy: &NetworkPolicy| serde_json::to_value(policy).unwrap()["spec"]["ingress"].to_string();
    wait_for(&policies, "ringfence-order", "close", |policy| !admits(policy).contains("gateway")).await;
    wait_for(&policies, "ringfence-inventory", "open", |policy| admits(policy).contains("order")).await;
    wait_for(&policies, "ringfence-baseline", "be put right", |policy| admits(policy) == "null").await;
    let callees = |map: &ConfigMap| map.data.as_ref().unwrap()["access.json"].clone();
    let maps = in_namespace::<ConfigMap>(&story, namespace);
    let one = |map: &ConfigMap| callees(map).contains("sa/inventory") && !callees(map).contains("sa/order");
    wait_for(&maps, "gateway-trust", "come back without the closed edge", one).await;
    let whole = |secret: &Secret| {
        let data = secret.data.as_ref().unwrap();
        !data["tls.key"].0.is_empty() && data["tls.crt"].0 != tls["tls.crt"].as_bytes()
    };
    wait_for(&in_namespace::<Secret>(&story, namespace), "order-tls", "be issued anew", whole).await;
    let out = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
    story.wait_identity(&guest, "visitor", "have left the domain", out).await;
    assert!(in_namespace::<NetworkPolicy>(&story, &guest).get_opt("ringfence-baseline").await.unwrap().is_some());
    assert_eq!(secret(&story, namespace, "gateway-tls").await, untouched);
    operation.stop().await;
}

async fn relabel(story: &Story, namespace: &str, team: Option<&str>) {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"ringfence.dev/team": team}}}));
    Api::<Namespace>::all(story.client.clone()).patch(namespace, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn crashes_in_the_middle_of_the_work_leave_one_ca_for_each_domain() {
    let (story, _turn) = begin_alone("crash").await;
    let history = History::begin(story.cluster);
    let mut operation = story.cluster.operate().await;
    let trusts = declare(&story).await;
    for _ in 0..4 {
        let progress = history.writes().len();
        eventually("some work is done", async || (history.writes().len() >= progress + 30).then_some(())).await;
        operation.kill().await;
        operation = story.cluster.operate().await;
    }
    complete(&story, &trusts).await;
    let mut serials = BTreeMap::new();
    for Trust { domain, namespace } in &trusts {
        // The answer to a write in a crash reaches nobody, and the log does not call it a success.
        assert!(history.writes_to("secrets", &format!("ringfence-system/{domain}-ca")) <= 1, "more than one CA");
        let roots = config_map(&story, OPERATOR_NAMESPACE, &format!("{domain}-trust")).await["roots.pem"].clone();
        for number in 0..SERVICES {
            let name = service(number);
            let tls = secret(&story, namespace, &format!("{name}-tls")).await;
            assert_eq!(tls["ca.crt"], roots);
            let object = in_namespace::<ServiceIdentity>(&story, namespace).get(&name).await.unwrap();
            let serial = object.status.unwrap().certificate.unwrap().serial;
            assert_eq!(serials.insert(serial, name.clone()), None);
            // What was created before a crash is taken over, not made again.
            for kind in ["tls", "signing-key"] {
                let written = history.writes_to("secrets", &format!("{namespace}/{name}-{kind}"));
                assert!(written <= 1, "{name}-{kind} was written {written} times");
            }
        }
        assert_eq!(versions(&story, namespace).await.len(), 4 * SERVICES + 1);
    }
    operation.stop().await;
}
