//! The shop of `examples/shop`: what its declarations open, by the word of two judges, and what a user sees of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kube::Api;
use kube::api::ListParams;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::Value;

use crate::support::{
    Connection, OUTSIDE, Peer, Story, TestCluster, Workload, condition, cyclonus, event_reasons, eventually, handshake,
    network_policies, np_guard,
};

/// The label of an identity's pods.
const NAME: &str = "app.kubernetes.io/name";

/// The services, strangers beside them, and impostors elsewhere.
const PODS: [Workload; 12] = [
    pod("storefront", "gateway", (NAME, "gateway")),
    pod("storefront", "inventory", (NAME, "inventory")),
    pod("storefront", "order", (NAME, "order")),
    pod("settlement", "payment", (NAME, "payment")),
    pod("settlement", "delivery", (NAME, "delivery")),
    pod("storefront", "stranger", ("app", "stranger")),
    pod("settlement", "stranger", ("app", "stranger")),
    pod("settlement", "copy-of-order", (NAME, "order")),
    pod("elsewhere", "stranger", ("app", "stranger")),
    pod("elsewhere", "copy-of-order", (NAME, "order")),
    pod("elsewhere", "copy-of-dns", ("k8s-app", "kube-dns")),
    pod("kube-system", "dns", ("k8s-app", "kube-dns")),
];

/// Who may call whom, as anybody reads it off the shop's policies.
const EDGES: [(&str, &str); 5] = [
    ("storefront/gateway", "storefront/inventory"),
    ("storefront/gateway", "storefront/order"),
    ("storefront/order", "storefront/inventory"),
    ("storefront/order", "settlement/payment"),
    ("storefront/order", "settlement/delivery"),
];

#[tokio::test]
async fn exactly_the_declared_edges_are_open_by_the_word_of_two_judges() {
    let story = shop().await;
    let policies = network_policies(story.client.clone()).await;
    let names: BTreeSet<String> = policies.iter().map(key).collect();
    let expected = [
        "settlement/ringfence-baseline",
        "settlement/ringfence-delivery",
        "settlement/ringfence-payment",
        "storefront/ringfence-baseline",
        "storefront/ringfence-gateway",
        "storefront/ringfence-inventory",
        "storefront/ringfence-order",
    ];
    assert_eq!(names, expected.into_iter().map(str::to_owned).collect());

    let ports = [("TCP", 8443), ("UDP", 8443), ("TCP", 443), ("TCP", 53), ("UDP", 53), ("TCP", 9090)];
    assert_eq!(at_the_fence(np_guard(&policies, &PODS)), declared(), "np-guard");
    assert_eq!(at_the_fence(cyclonus(&policies, &PODS, &ports)), declared(), "cyclonus");
    // A judge that sees no policy lets everything pass: they do judge ours.
    assert!(at_the_fence(cyclonus(&[], &PODS, &[("TCP", 8443)])).len() > declared().len());
}

#[tokio::test]
async fn every_edge_of_the_shop_is_a_handshake_and_no_other_pair_is() {
    let story = shop().await;
    let services =
        ["storefront/gateway", "storefront/inventory", "storefront/order", "settlement/payment", "settlement/delivery"];
    let mut peers = BTreeMap::new();
    for service in services {
        let (namespace, name) = service.split_once('/').unwrap();
        peers.insert(service, Peer::of(&story, namespace, name).await);
    }
    for caller in services {
        for callee in services.iter().filter(|callee| **callee != caller) {
            let shaken = handshake(peers[caller].client(), peers[callee].server(8443));
            assert_eq!(shaken.is_ok(), EDGES.contains(&(caller, callee)), "{caller} calls {callee}: {shaken:?}");
        }
    }
    let signers =
        |service: &str| peers[service].access()["keySets"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let order = ["spiffe://storefront/ns/storefront/sa/order".to_owned()];
    for service in services {
        let expected = if service.starts_with("settlement") { order.as_slice() } else { &[] };
        assert_eq!(signers(service), expected, "{service}");
    }
}

#[tokio::test]
async fn render_shows_what_the_operator_writes() {
    let story = shop().await;
    let written = specs(&network_policies(story.client.clone()).await);
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("render").arg(folder()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(specs(&rendered), written);
    for document in rendered.iter().filter(|document| document["kind"] == "ConfigMap") {
        let (namespace, name) =
            (document["metadata"]["namespace"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap());
        let map = crate::support::config_map(&story, namespace, name).await;
        assert_eq!(document["data"]["access.json"], map["access.json"], "{namespace}/{name}");
    }
}

#[tokio::test]
async fn events_tell_what_happened_to_security() {
    let story = shop().await;
    let has = async |reasons: &[&str], found: Vec<String>| {
        reasons.iter().all(|reason| found.contains(&(*reason).to_owned())).then_some(())
    };
    for domain in Api::<TrustDomain>::all(story.client.clone()).list(&ListParams::default()).await.unwrap() {
        let name = domain.metadata.name.clone().unwrap();
        let expected: &[&str] =
            if name == "shop-root" { &["AuthorityCreated"] } else { &["AuthorityCreated", "Fenced"] };
        eventually(&format!("the events of TrustDomain {name} are {expected:?}"), async || {
            has(expected, event_reasons(&story, &domain).await).await
        })
        .await;
    }
    for identity in Api::<ServiceIdentity>::all(story.client.clone()).list(&ListParams::default()).await.unwrap() {
        eventually(&format!("ServiceIdentity {:?} was issued", identity.metadata.name), async || {
            has(&["Issued"], event_reasons(&story, &identity).await).await
        })
        .await;
    }
    for policy in Api::<AccessPolicy>::all(story.client.clone()).list(&ListParams::default()).await.unwrap() {
        eventually(&format!("AccessPolicy {:?} was opened", policy.metadata.name), async || {
            has(&["EdgeOpened"], event_reasons(&story, &policy).await).await
        })
        .await;
    }
}

#[tokio::test]
async fn kubectl_shows_the_columns_that_matter_and_explains_every_field() {
    let story = shop().await;
    let kubectl = |arguments: &[&str]| story.cluster.cluster().kubectl(arguments).unwrap();
    let header = |resource: &str| -> String {
        kubectl(&["get", resource, "-A", "-o", "wide"])
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(header("td"), "NAME READY REASON TRUST DOMAIN ENFORCEMENT CA EXPIRES NAMESPACES MESSAGE AGE");
    assert_eq!(header("sid"), "NAMESPACE NAME READY REASON SPIFFE ID EXPIRES RENEWS MESSAGE AGE");
    assert_eq!(header("ap"), "NAMESPACE NAME READY REASON TO EDGES ENFORCEMENT EFFECTIVE AFTER MESSAGE AGE");
    let row = |resource: &str, starts: &[&str]| {
        let table = kubectl(&["get", resource, "-A"]);
        let found = table.lines().find(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(starts));
        found.unwrap_or_else(|| panic!("{starts:?} is not in\n{table}")).to_owned()
    };
    assert!(row("td", &["storefront", "True", "Ready", "storefront", "Enforce"]).contains("Z"), "with the CA's end");
    assert!(row("sid", &["storefront", "order", "True"]).contains("spiffe://storefront/ns/storefront/sa/order"));
    row("ap", &["storefront", "inventory", "True", "Ready", "inventory", "2", "Enforce"]);
    let all = kubectl(&["get", "ringfence", "-A", "-o", "name"]);
    assert_eq!(all.lines().count(), 3 + 5 + 5, "the category holds all three kinds:\n{all}");

    for (path, words) in [
        ("td.spec.inbound.acceptedAuthentication", "Ways for a caller to prove itself"),
        ("sid.spec.signingKey", "a key to sign its own tokens"),
        ("ap.spec.from", "Who may call"),
    ] {
        let text = eventually(&format!("{path} is explained"), async || {
            story.cluster.cluster().kubectl(&["explain", path]).ok()
        })
        .await;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{path}: {text}");
    }
}

/// The shop, applied, with everything in it ready.
async fn shop() -> Story {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    let story = Story::begin_in(TestCluster::kept(&CLUSTER).await, "shop").await;
    declare(&story).await;
    story
}

/// Applies the shop, and waits until everything in it is ready.
pub async fn declare(story: &Story) {
    story.cluster.cluster().kubectl(&["apply", "--server-side", "-f", folder().to_str().unwrap()]).unwrap();
    let ready = |object: &Value| condition(object, "Ready").0 == "True";
    for name in ["shop-root", "storefront", "settlement"] {
        story.wait_domain(name, "become ready", |domain| ready(&serde_json::to_value(domain).unwrap())).await;
    }
    for (namespace, name) in [
        ("storefront", "gateway"),
        ("storefront", "inventory"),
        ("storefront", "order"),
        ("settlement", "payment"),
        ("settlement", "delivery"),
    ] {
        story
            .wait_identity(namespace, name, "become ready", |identity| ready(&serde_json::to_value(identity).unwrap()))
            .await;
        story
            .wait_policy(namespace, name, "become ready", |policy| ready(&serde_json::to_value(policy).unwrap()))
            .await;
    }
}

/// What the policies say, written by hand: the edges, DNS for all who are fenced, and the gateway's door for whoever can
/// get out of where he is.
fn declared() -> BTreeSet<Connection> {
    let connection = |from: &str, to: &str, port: &str| (from.to_owned(), to.to_owned(), port.to_owned());
    let mut declared: BTreeSet<Connection> =
        EDGES.into_iter().map(|(from, to)| connection(from, to, "TCP 8443")).collect();
    for pod in PODS {
        let name = format!("{}/{}", pod.namespace, pod.name);
        if is_fenced(&name) {
            declared.extend(["TCP 53", "UDP 53"].map(|port| connection(&name, "kube-system/dns", port)));
        } else {
            declared.insert(connection(&name, "storefront/gateway", "TCP 8443"));
        }
    }
    declared.insert(connection(OUTSIDE, "storefront/gateway", "TCP 8443"));
    declared
}

/// Those of which at least one end is fenced; the rest is none of our business.
fn at_the_fence(connections: BTreeSet<Connection>) -> BTreeSet<Connection> {
    connections.into_iter().filter(|(from, to, _)| is_fenced(from) || is_fenced(to)).collect()
}

fn is_fenced(pod: &str) -> bool {
    pod.starts_with("storefront/") || pod.starts_with("settlement/")
}

/// The NetworkPolicies among some objects, by name. The API server leaves out a list that is empty.
fn specs(objects: &[Value]) -> BTreeMap<String, Value> {
    let policies = objects.iter().filter(|object| object["kind"] == "NetworkPolicy");
    let specs = policies.map(|policy| {
        let mut spec = policy["spec"].clone();
        for direction in ["ingress", "egress"] {
            let rules = spec[direction].as_array().cloned().unwrap_or_default();
            spec[direction] = rules.into();
        }
        (key(policy), spec)
    });
    specs.collect()
}

fn key(object: &Value) -> String {
    let part = |part: &str| object["metadata"][part].as_str().unwrap().to_owned();
    format!("{}/{}", part("namespace"), part("name"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/policies")
}

const fn pod(namespace: &'static str, name: &'static str, label: (&'static str, &'static str)) -> Workload {
    Workload { namespace, name, label }
}
