//! What goes wrong with generated NetworkPolicies elsewhere, case by case.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use ringfence::controller::Clock;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use ringfence_core::world::Settings;
use serde_json::{Value, json};

use crate::support::{
    Story, TestCluster, Trust, begin_alone, closed, condition, eventually, in_namespace, pod, says, wait_for,
    writes_since,
};

const BASELINE: &str = "ringfence-baseline";
const KUBE_SYSTEM: &str = "kube-system";

/// Rules of a NetworkPolicy in one direction.
fn rules(policy: &NetworkPolicy, direction: &str) -> Vec<Value> {
    let spec = serde_json::to_value(&policy.spec).unwrap();
    spec[direction].as_array().cloned().unwrap_or_default()
}

/// Waits until the baseline and the identity's NetworkPolicy let exactly this out.
async fn lets_out(story: &Story, trust: &Trust, what: &str, wanted: &[Value]) {
    let api = in_namespace::<NetworkPolicy>(story, &trust.namespace);
    for name in [BASELINE, "ringfence-order"] {
        wait_for(&api, name, &format!("let out {what}"), |policy| rules(policy, "egress") == wanted).await;
    }
}

fn dns_pods(ports: &[(&str, u16)]) -> Value {
    json!({
        "ports": ports.iter().map(|(protocol, port)| json!({"port": port, "protocol": protocol})).collect::<Vec<_>>(),
        "to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": KUBE_SYSTEM}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }],
    })
}

fn dns_slice(ports: &Value) -> Value {
    json!({
        "metadata": {"name": "dns", "labels": {
            "kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "story",
        }},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.53"]}], "ports": ports,
    })
}

#[tokio::test]
async fn dns_is_open_to_the_dns_pods_alone_on_their_own_ports_by_udp_and_tcp() {
    let (story, _turn) = begin_alone("dns").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    lets_out(&story, &trust, "DNS as usual", &[dns_pods(&[("TCP", 53), ("UDP", 53)])]).await;

    let slices = in_namespace::<EndpointSlice>(&story, KUBE_SYSTEM);
    let ports = json!([
        {"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5353, "protocol": "TCP"},
        {"name": "metrics", "port": 9153, "protocol": "TCP"},
    ]);
    story.create::<EndpointSlice>(KUBE_SYSTEM, dns_slice(&ports)).await;
    lets_out(&story, &trust, "DNS where it is served", &[dns_pods(&[("TCP", 5353), ("UDP", 5353)])]).await;
    slices.delete("dns", &DeleteParams::default()).await.unwrap();
    lets_out(&story, &trust, "DNS as usual", &[dns_pods(&[("TCP", 53), ("UDP", 53)])]).await;

    // Without DNS pods nothing is open, least of all everything, and somebody is told.
    let services = in_namespace::<Service>(&story, KUBE_SYSTEM);
    let mut service = services.get("kube-dns").await.unwrap();
    services.delete("kube-dns", &DeleteParams::default()).await.unwrap();
    lets_out(&story, &trust, "nothing", &[]).await;
    let domains = Api::<TrustDomain>::all(story.client.clone());
    says(&domains, &trust.domain, ("Unenforceable", "True", "DnsNotFound"), &["kube-system/kube-dns"]).await;
    service.metadata.resource_version = None;
    service.metadata.uid = None;
    story.create::<Service>(KUBE_SYSTEM, serde_json::to_value(&service).unwrap()).await;
    lets_out(&story, &trust, "DNS as usual", &[dns_pods(&[("TCP", 53), ("UDP", 53)])]).await;
    let well = |object: &TrustDomain| condition(object, "Unenforceable").0.is_empty();
    story.wait_domain(&trust.domain, "be well again", well).await;
    operation.stop().await;
}

fn addresses(addresses: &[&str]) -> Value {
    json!({
        "ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        "to": addresses.iter().map(|address| json!({"ipBlock": {"cidr": address}})).collect::<Vec<_>>(),
    })
}

/// The rules for DNS with caches on the nodes, which are on the same ports as the DNS pods.
fn with_caches(cidrs: &[&str]) -> Vec<Value> {
    let (mut rule, pods) = (addresses(cidrs), dns_pods(&[("TCP", 53), ("UDP", 53)]));
    rule["to"].as_array_mut().unwrap().extend(pods["to"].as_array().unwrap().clone());
    vec![rule]
}

#[tokio::test]
async fn dns_caches_on_the_nodes_are_found_and_reached_by_address() {
    let (story, _turn) = begin_alone("caches").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let dns = in_namespace::<Service>(&story, KUBE_SYSTEM).get("kube-dns").await.unwrap();
    let dns = format!("{}/32", dns.spec.unwrap().cluster_ip.unwrap());
    let usual = [dns_pods(&[("TCP", 53), ("UDP", 53)])];
    lets_out(&story, &trust, "DNS as usual", &usual).await;
    story.run_as(KUBE_SYSTEM, "node-local-dns").await;
    let mut cache = pod("node-local-dns-1", "node-local-dns", &[]);
    cache["metadata"]["labels"] = json!({"k8s-app": "node-local-dns"});
    cache["spec"]["hostNetwork"] = json!(true);
    story.create::<Pod>(KUBE_SYSTEM, cache).await;
    lets_out(&story, &trust, "DNS by the caches", &with_caches(&[&dns, "169.254.20.10/32"])).await;
    story.end_pod(KUBE_SYSTEM, "node-local-dns-1").await;
    lets_out(&story, &trust, "DNS as usual", &usual).await;
    operation.stop().await;

    // Whoever runs them elsewhere says so.
    let settings =
        Settings { node_local_dns: Some(BTreeSet::from(["169.254.25.10".parse().unwrap()])), ..Settings::default() };
    let operation = story.cluster.operate_with(settings, Clock::system()).await;
    lets_out(&story, &trust, "DNS by those caches", &with_caches(&[&dns, "169.254.25.10/32"])).await;
    operation.stop().await;
    let operation = story.cluster.operate().await;
    lets_out(&story, &trust, "DNS as usual", &usual).await;
    operation.stop().await;
}

/// Addresses and ports of the API server, as the cluster itself says.
async fn api_server(story: &Story) -> (Vec<String>, u64) {
    let slice = in_namespace::<EndpointSlice>(story, "default").get("kubernetes").await.unwrap();
    let cidrs = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(|address| format!("{address}/32"));
    let port = slice.ports.unwrap()[0].port.unwrap();
    (cidrs.collect(), port.try_into().unwrap())
}

#[tokio::test]
async fn the_api_server_is_reached_where_it_is_and_reaches_webhooks_from_there() {
    let (story, _turn) = begin_alone("api").await;
    let operation = story.cluster.operate().await;
    let ceiling = json!({"inbound": [{"kubernetesAPI": {}}], "outbound": [{"kubernetesAPI": {}}]});
    let trust = story.trust("shop", ceiling).await;
    story.ready_identity(&trust.namespace, "webhook", json!({})).await;
    let out = json!({"to": {"kubernetesAPI": {}}, "from": [{"identity": {"name": "webhook"}}]});
    story.ready_policy(&trust.namespace, "out", out).await;
    let into = json!({"to": {"identity": "webhook", "ports": [{"port": 9443}]}, "from": [{"kubernetesAPI": {}}]});
    story.ready_policy(&trust.namespace, "in", into).await;
    let (cidrs, port) = api_server(&story).await;
    assert_ne!(port, 443, "the Service's port would be a guess that happens to be right");
    let reached = async |cidrs: &[String]| {
        let blocks: Vec<Value> = cidrs.iter().map(|cidr| json!({"ipBlock": {"cidr": cidr}})).collect();
        let out = json!({"ports": [{"port": port, "protocol": "TCP"}], "to": blocks});
        let into = json!({"ports": [{"port": 9443, "protocol": "TCP"}], "from": blocks});
        let both = |policy: &NetworkPolicy| {
            rules(policy, "egress").contains(&out) && rules(policy, "ingress") == [into.clone()]
        };
        let api = in_namespace::<NetworkPolicy>(&story, &trust.namespace);
        wait_for(&api, "ringfence-webhook", &format!("name {cidrs:?}"), both).await;
    };
    reached(&cidrs).await;
    let second = json!({
        "metadata": {"name": "story", "labels": {
            "kubernetes.io/service-name": "kubernetes", "endpointslice.kubernetes.io/managed-by": "story",
        }},
        "addressType": "IPv4", "endpoints": [{"addresses": ["203.0.113.200"]}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    story.create::<EndpointSlice>("default", second).await;
    let mut both = cidrs.clone();
    both.push("203.0.113.200/32".to_owned());
    both.sort();
    reached(&both).await;
    in_namespace::<EndpointSlice>(&story, "default").delete("story", &DeleteParams::default()).await.unwrap();
    reached(&cidrs).await;
    operation.stop().await;
}

#[tokio::test]
async fn probes_of_the_kubelet_need_no_rule_and_get_none() {
    let story = Story::begin("probes").await;
    let trust = story.trust("shop", json!({})).await;
    story.run_as(&trust.namespace, "order").await;
    let mut probed = pod("order-1", "order", &[("api", 8443)]);
    probed["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"path": "/", "port": "api"}});
    story.create::<Pod>(&trust.namespace, probed).await;
    let ready = |object: &ServiceIdentity| condition(object, "Ready").1 == "Ready";
    story.create::<ServiceIdentity>(&trust.namespace, crate::support::identity("order", json!({}))).await;
    story.wait_identity(&trust.namespace, "order", "know its pod", ready).await;
    let policies = in_namespace::<NetworkPolicy>(&story, &trust.namespace);
    for name in ["ringfence-order", BASELINE] {
        let policy = wait_for(&policies, name, "be written", |_| true).await;
        assert_eq!(rules(&policy, "ingress"), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn nothing_is_open_to_everybody_unless_the_platform_says_so_and_the_namespace_too() {
    let story = Story::begin("ingress").await;
    let trust = story.trust("shop", json!({})).await;
    let controllers = story.namespace("ingress").await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({})).await;
    let policies = in_namespace::<NetworkPolicy>(&story, namespace);
    let to = json!({"identity": "order", "ports": [{"port": 8443}]});
    let anywhere = json!({"to": to, "from": [{"anywhere": {}}]});
    story.judged_policy(namespace, "public", anywhere).await;
    closed(&story, namespace, "public", 0, "InboundNotAllowed").await;
    let named = json!({"to": to, "from": [{"pods": {
        "namespaces": [controllers], "selector": {"matchLabels": {"app": "nginx"}},
    }}]});
    story.judged_policy(namespace, "named", named).await;
    closed(&story, namespace, "named", 0, "InboundNotAllowed").await;
    let order = policies.get("ringfence-order").await.unwrap();
    assert_eq!(rules(&order, "ingress"), Vec::<Value>::new());

    // A named controller is let in where the platform admits its namespace, and opens nothing else.
    let domains = || Api::<TrustDomain>::all(story.client.clone());
    story.change(domains(), &trust.domain, json!({"inbound": [{"namespaces": [controllers]}]})).await;
    let rule = json!([{
        "ports": [{"port": 8443, "protocol": "TCP"}],
        "from": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": controllers}},
            "podSelector": {"matchLabels": {"app": "nginx"}},
        }],
    }]);
    let only = |policy: &NetworkPolicy| json!(rules(policy, "ingress")) == rule;
    wait_for(&policies, "ringfence-order", "let in the controller", only).await;
    closed(&story, namespace, "public", 0, "InboundNotAllowed").await;

    story.change(domains(), &trust.domain, json!({"inbound": [{"anywhere": {}}]})).await;
    let everybody = json!({"ports": [{"port": 8443, "protocol": "TCP"}]});
    let open = |policy: &NetworkPolicy| rules(policy, "ingress").contains(&everybody);
    wait_for(&policies, "ringfence-order", "be open to all", open).await;
    in_namespace::<AccessPolicy>(&story, namespace).delete("public", &DeleteParams::default()).await.unwrap();
    wait_for(&policies, "ringfence-order", "be open to the controller alone", only).await;
}

#[tokio::test]
async fn pods_on_the_network_of_their_node_are_named_as_unenforceable() {
    let story = Story::begin("host").await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({})).await;
    story.run_as(namespace, "order").await;
    let mut host = pod("order-on-host", "order", &[]);
    host["spec"]["hostNetwork"] = json!(true);
    story.create::<Pod>(namespace, host).await;
    story.start_pod(namespace, "order-fenced", "order", &[]).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    let object = says(&identities, "order", ("Unenforceable", "True", "HostNetwork"), &["order-on-host"]).await;
    assert!(!condition(&object, "Unenforceable").2.contains("order-fenced"));
    assert_eq!(condition(&object, "Ready").0, "False");
    story.end_pod(namespace, "order-on-host").await;
    let ready = |object: &ServiceIdentity| {
        condition(object, "Ready").0 == "True" && condition(object, "Unenforceable").0.is_empty()
    };
    story.wait_identity(namespace, "order", "be well", ready).await;
}

#[tokio::test]
async fn namespaces_are_selected_by_the_one_label_that_nobody_in_them_can_change() {
    let story = Story::begin("select").await;
    let members: Vec<String> = vec![story.namespace("a").await, story.namespace("b").await];
    let names = ["left", "right"].map(|side| format!("{}-{side}", story.name));
    let left = story.trust("left", json!({"outbound": [{"trustDomains": [names[1]]}]})).await;
    let right = json!({"inbound": [{"trustDomains": [names[0]]}, {"namespaces": members}], "outbound": [{"namespaces": members}]});
    let right = story.trust("right", right).await;
    story.ready_identity(&left.namespace, "order", json!({})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    let into = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": [
        {"identity": {"name": "order", "namespace": left.namespace}}, {"trustDomain": left.domain},
    ]});
    story.ready_policy(&right.namespace, "in", into).await;
    let scrape = json!({
        "to": {"identity": "payment", "ports": [{"port": 9090}]}, "from": [{"pods": {"namespaces": members}}],
    });
    story.ready_policy(&right.namespace, "scrape", scrape).await;
    let out = json!({
        "to": {"pods": {"namespaces": members, "ports": [{"port": 5432}]}}, "from": [{"identity": {"name": "payment"}}],
    });
    story.ready_policy(&right.namespace, "out", out).await;
    let mut selected = BTreeSet::new();
    for namespace in [&left.namespace, &right.namespace] {
        for policy in in_namespace::<NetworkPolicy>(&story, namespace).list(&ListParams::default()).await.unwrap() {
            let peers = ["ingress", "egress"].into_iter().flat_map(|direction| rules(&policy, direction));
            let peers = peers.flat_map(|rule| [rule["from"].clone(), rule["to"].clone()]);
            for peer in peers.flat_map(|peers| peers.as_array().cloned().unwrap_or_default()) {
                let selector = &peer["namespaceSelector"];
                assert!(selector.is_object(), "a peer without a namespace: {peer}");
                let labels = selector["matchLabels"].as_object().cloned().unwrap_or_default();
                let expressions = selector["matchExpressions"].as_array().cloned().unwrap_or_default();
                assert!(labels.len() + expressions.len() == 1, "{selector}");
                selected.extend(labels.keys().cloned());
                selected.extend(expressions.iter().map(|found| found["key"].as_str().unwrap().to_owned()));
            }
        }
    }
    assert_eq!(selected, BTreeSet::from(["kubernetes.io/metadata.name".to_owned()]));
}

#[tokio::test]
async fn the_operator_writes_only_what_it_says_it_writes_and_never_a_pod() {
    let story = Story::begin("writes").await;
    let trust = story.trust("shop", json!({})).await;
    story.start_pod(&trust.namespace, "order-1", "order", &[("api", 8443)]).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    let (writes, _) = writes_since(TestCluster::shared().await, 0);
    let resources: BTreeSet<&str> = writes.iter().map(|write| write.resource.as_str()).collect();
    let allowed = [
        "accesspolicies/status",
        "configmaps",
        "events",
        "networkpolicies",
        // Its own access to the namespace, and the question whether it has it.
        "rolebindings",
        "selfsubjectaccessreviews",
        "secrets",
        "serviceidentities",
        "serviceidentities/status",
        "trustdomains",
        "trustdomains/status",
    ];
    assert!(resources.iter().all(|resource| allowed.contains(resource)), "{resources:?}");
    assert!(["secrets", "networkpolicies"].iter().all(|resource| resources.contains(resource)), "{resources:?}");
}

#[tokio::test]
async fn a_network_policy_of_someone_else_that_widens_is_named() {
    let story = Story::begin("widened").await;
    let trust = story.trust("shop", json!({"foreignPolicies": "Report"})).await;
    let namespace = &trust.namespace;
    for name in ["order", "inventory"] {
        story.start_pod(namespace, &format!("{name}-1"), name, &[]).await;
        story.ready_identity(namespace, name, json!({})).await;
    }
    let foreign = |name: &str, app: &str, ingress: Value| {
        json!({"metadata": {"name": name}, "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": app}}, "policyTypes": ["Ingress"], "ingress": ingress,
        }})
    };
    let policies = in_namespace::<NetworkPolicy>(&story, namespace);
    story.create::<NetworkPolicy>(namespace, foreign("deny", "order", json!([]))).await;
    story.create::<NetworkPolicy>(namespace, foreign("nobody", "nothing", json!([{}]))).await;
    story.create::<NetworkPolicy>(namespace, foreign("open", "order", json!([{}]))).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    let words = [&*format!("{namespace}/open")];
    let object = says(&identities, "order", ("Widened", "True", "ForeignPolicy"), &words).await;
    let message = condition(&object, "Widened").2;
    assert!(!message.contains("/deny") && !message.contains("/nobody"), "{message}");
    assert_eq!(condition(&identities.get("inventory").await.unwrap(), "Widened").0, "");
    policies.delete("open", &DeleteParams::default()).await.unwrap();
    let well =
        |object: &ServiceIdentity| condition(object, "Widened").0.is_empty() && condition(object, "Ready").0 == "True";
    story.wait_identity(namespace, "order", "be well again", well).await;
    // One that bears our name and an owner that it does not have is no more ours.
    let order = identities.get("order").await.unwrap();
    let mut forged = foreign("ringfence-backdoor", "order", json!([{}]));
    forged["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "ringfence"});
    forged["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "ServiceIdentity", "name": "order",
        "uid": order.metadata.uid, "controller": true,
    }]);
    story.create::<NetworkPolicy>(namespace, forged).await;
    says(&identities, "order", ("Widened", "True", "ForeignPolicy"), &["ringfence-backdoor"]).await;
}

#[tokio::test]
async fn one_bad_policy_keeps_nothing_else_from_being_cleaned_up() {
    let story = Story::begin("orderly").await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    for name in ["order", "inventory", "gateway"] {
        story.ready_identity(namespace, name, json!({})).await;
    }
    let grant = |from: &str| json!({"to": {"identity": "order", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": from}}]});
    story.ready_policy(namespace, "good", grant("gateway")).await;
    story.ready_policy(namespace, "other", grant("inventory")).await;
    story.judged_policy(namespace, "bad", grant("nobody")).await;
    closed(&story, namespace, "bad", 0, "CallerNotFound").await;
    in_namespace::<AccessPolicy>(&story, namespace).delete("good", &DeleteParams::default()).await.unwrap();
    let callers = |policy: &NetworkPolicy| serde_json::to_string(&rules(policy, "ingress")).unwrap();
    let policies = in_namespace::<NetworkPolicy>(&story, namespace);
    let one = |policy: &NetworkPolicy| callers(policy).contains("inventory") && !callers(policy).contains("gateway");
    wait_for(&policies, "ringfence-order", "lose one caller", one).await;
    eventually("nothing is left over", async || {
        let found = policies.list(&ListParams::default()).await.unwrap();
        (found.items.len() == 4).then_some(())
    })
    .await;
    Api::<Namespace>::all(story.client.clone()).delete(namespace, &DeleteParams::default()).await.unwrap();
}
