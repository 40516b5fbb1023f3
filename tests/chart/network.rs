//! The operator's own NetworkPolicy: none unless it is asked for, and then what the operator needs and no more.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde_json::{Value, json};

use crate::helm::{hooks, of_kind, render};

/// The policy with some values beside `enabled`, and other values of the chart.
fn policy(network_policy: &Value, mut others: Value) -> NetworkPolicySpec {
    others["networkPolicy"] = network_policy.clone();
    others["networkPolicy"]["enabled"] = json!(true);
    let mut policies = of_kind::<NetworkPolicy>(&render(&others));
    assert_eq!(policies.len(), 1);
    let policy = policies.remove(0);
    assert_eq!((policy.name_any().as_str(), policy.namespace().as_deref()), ("ringfence", Some(OPERATOR_NAMESPACE)));
    policy.spec.unwrap()
}

type Rule = (Vec<String>, Vec<Value>);

fn rule(ports: Option<Vec<NetworkPolicyPort>>, peers: Option<Vec<NetworkPolicyPeer>>) -> Rule {
    let port = |port: NetworkPolicyPort| match port.port {
        Some(IntOrString::Int(number)) => format!("{number}/{}", port.protocol.unwrap()),
        other => panic!("{other:?}"),
    };
    let ports = ports.into_iter().flatten().map(port).collect();
    (ports, peers.into_iter().flatten().map(|peer| json!(peer)).collect())
}

fn ingress(spec: &NetworkPolicySpec) -> Vec<Rule> {
    spec.ingress.clone().unwrap().into_iter().map(|found| rule(found.ports, found.from)).collect()
}

fn egress(spec: &NetworkPolicySpec) -> Vec<Rule> {
    spec.egress.clone().unwrap().into_iter().map(|found| rule(found.ports, found.to)).collect()
}

fn anyone(ports: &[&str]) -> Rule {
    (ports.iter().map(|port| (*port).to_owned()).collect(), Vec::new())
}

#[test]
fn nothing_fences_the_operator_unless_it_is_asked_for() {
    assert_eq!(of_kind::<NetworkPolicy>(&render(&json!({}))), []);
}

#[test]
fn in_come_health_and_metrics_and_out_go_dns_and_the_api_server() {
    let spec = policy(&json!({}), json!({}));
    assert_eq!(spec.policy_types.as_deref().unwrap(), ["Ingress", "Egress"]);
    assert_eq!(ingress(&spec), [anyone(&["8081/TCP"]), anyone(&["9090/TCP"])]);
    assert_eq!(egress(&spec), [anyone(&["53/UDP", "53/TCP"]), anyone(&["443/TCP", "6443/TCP"])]);
}

#[test]
fn it_is_about_the_operator_and_what_runs_before_it_is_uninstalled() {
    let selected = policy(&json!({}), json!({})).pod_selector.unwrap().match_labels.unwrap();
    assert!(!selected.is_empty());
    let operator = of_kind::<Deployment>(&render(&json!({}))).remove(0).spec.unwrap().template;
    let hook = of_kind::<Job>(&hooks(&json!({}))).remove(0).spec.unwrap().template;
    for pod in [operator, hook] {
        let labels: BTreeMap<_, _> = pod.metadata.unwrap().labels.unwrap();
        assert!(selected.iter().all(|(key, value)| labels.get(key) == Some(value)), "{labels:?}");
    }
}

#[test]
fn ports_and_peers_are_those_of_the_cluster() {
    let monitoring = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}});
    let other = json!({"ipBlock": {"cidr": "192.0.2.0/24"}});
    let network_policy = json!({
        "apiServerPorts": [16443], "apiServerCIDRs": ["192.0.2.7/32", "2001:db8::7/128"], "dnsPorts": [53, 5353],
        "tokenIssuerPorts": [443, 8443], "tokenIssuerCIDRs": ["198.51.100.7/32"],
        "metricsFrom": [monitoring],
        "extraIngress": [{"from": [other], "ports": [{"port": 7000, "protocol": "TCP"}]}],
        "extraEgress": [{"to": [other], "ports": [{"port": 14318, "protocol": "TCP"}]}],
    });
    let spec = policy(&network_policy, json!({"metrics": {"port": 9191}}));
    let with =
        |port: &str, peers: &[&Value]| (vec![port.to_owned()], peers.iter().map(|peer| (*peer).clone()).collect());
    assert_eq!(ingress(&spec), [anyone(&["8081/TCP"]), with("9191/TCP", &[&monitoring]), with("7000/TCP", &[&other])]);
    let servers = ["192.0.2.7/32", "2001:db8::7/128"].map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
    let expected = [
        anyone(&["53/UDP", "53/TCP", "5353/UDP", "5353/TCP"]),
        with("16443/TCP", &[&servers[0], &servers[1]]),
        (vec!["443/TCP".to_owned(), "8443/TCP".to_owned()], vec![json!({"ipBlock": {"cidr": "198.51.100.7/32"}})]),
        with("14318/TCP", &[&other]),
    ];
    assert_eq!(egress(&spec), expected);
}

#[test]
fn token_issuers_are_reached_anywhere_unless_it_is_said_where_they_are() {
    let spec = policy(&json!({"tokenIssuerPorts": [443]}), json!({}));
    assert_eq!(egress(&spec)[2..], [anyone(&["443/TCP"])]);
}

#[test]
fn nobody_asks_for_metrics_that_are_not_served() {
    let spec = policy(&json!({}), json!({"metrics": {"enabled": false}}));
    assert_eq!(ingress(&spec), [anyone(&["8081/TCP"])]);
}

#[test]
fn traces_get_to_the_port_of_their_collector() {
    for (endpoint, port) in [
        ("http://collector.monitoring.svc:4318", "4318/TCP"),
        ("https://traces.example.com/otlp", "443/TCP"),
        ("http://traces.example.com", "80/TCP"),
        ("http://[2001:db8::1]:4319/", "4319/TCP"),
        ("https://[2001:db8::1]", "443/TCP"),
    ] {
        let spec = policy(&json!({}), json!({"tracing": {"endpoint": endpoint}}));
        assert_eq!(egress(&spec)[2..], [anyone(&[port])], "{endpoint}");
    }
}
