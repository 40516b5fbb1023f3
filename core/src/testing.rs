//! Worlds for tests, from the YAML that a user would write.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{NetworkPolicy, ServiceCIDR};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::access::{Grant, JudgedPolicy};
use crate::api::{ConditionType, find_condition};
use crate::world::{
    Change, ForeignPolicy, Identity, NamespaceFacts, NamespacedName, PodFacts, Problem, Settings, TokenService, Unit,
    World, service_cidrs,
};

/// Two domains. Storefront lets order out to settlement, and anyone in to its gateway; settlement lets storefront in to
/// port 8443 and a monitoring system to port 9090.
pub(crate) const SHOP: &str = r"
kind: TrustDomain
metadata: {name: storefront}
spec:
  trustDomain: storefront.example
  namespaces: [storefront]
  certificateAuthority: {selfSigned: {}}
  inbound:
  - {anywhere: {}, identities: [{name: gateway}], ports: [{port: 8443}]}
  outbound:
  - {trustDomains: [settlement], ports: [{port: 8443}]}
---
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound:
  - {trustDomains: [storefront], ports: [{port: 8443}]}
  - {namespaces: [monitoring], ports: [{port: 9090}]}
---
{kind: Namespace, metadata: {name: monitoring}}
---
{kind: ServiceIdentity, metadata: {name: gateway, namespace: storefront}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: inventory, namespace: storefront}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: order, namespace: storefront}, spec: {signingKey: {}}}
---
{kind: ServiceIdentity, metadata: {name: payment, namespace: settlement}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: delivery, namespace: settlement}, spec: {}}
";

/// The cluster's own ranges and its API server.
pub(crate) const CLUSTER: &str = r"
kind: Node
metadata: {name: one}
spec: {podCIDRs: [10.244.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
{kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16]}}
---
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.10]}]
ports: [{name: https, port: 6443, protocol: TCP}]
";

/// The cluster's DNS.
pub(crate) const DNS: &str = r"
{kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {selector: {k8s-app: kube-dns}}}
";

/// The token service `tokens/sts` in a domain of its own. Order talks to it and to an issuer of somebody else, payment to
/// the token service alone; the clients of storefront come from outside.
pub(crate) const ISSUERS: &str = "
kind: TrustDomain
metadata: {name: tokens}
spec: {namespaces: [tokens], certificateAuthority: {selfSigned: {}}}
---
{kind: ServiceIdentity, metadata: {name: sts, namespace: tokens}, spec: {}}
---
kind: TrustDomain
metadata: {name: storefront}
spec:
  trustDomain: storefront.example
  namespaces: [storefront]
  certificateAuthority: {selfSigned: {}}
  tokenIssuers:
  - {name: tokens, builtIn: {clients: {secretName: clients, cidrs: [203.0.113.0/24]}}}
  - {name: login, issuer: 'https://login.example', endpoint: {cidrs: [192.0.2.0/24], ports: [{port: 443}]}, caBundle: the roots}
  outbound: [{trustDomains: [settlement]}]
---
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  tokenIssuers:
  - {name: sts, builtIn: {}}
  - {name: login, issuer: 'https://login.example', audiences: [account]}
  inbound: [{trustDomains: [storefront]}, {anywhere: {}}]
---
{kind: ServiceIdentity, metadata: {name: order, namespace: storefront}, spec: {tokenIssuers: [tokens, login]}}
---
{kind: ServiceIdentity, metadata: {name: payment, namespace: settlement}, spec: {tokenIssuers: [sts]}}
";

/// The same where an installation runs a token service.
pub(crate) fn installation(yaml: &[&str]) -> World {
    let token_service =
        TokenService { identity: key("tokens/sts"), port: 8443, issuer: "https://sts.example".to_owned() };
    listed(World::new(Settings { token_service: Some(token_service), ..Settings::default() }), yaml)
}

/// A world in which these objects were listed.
pub(crate) fn world(yaml: &[&str]) -> World {
    listed(World::new(Settings::default()), yaml)
}

fn listed(mut world: World, yaml: &[&str]) -> World {
    for yaml in yaml {
        apply(&mut world, yaml);
    }
    world.listed();
    world
}

/// Shows objects to a world; namespaces that a TrustDomain names come into being with it.
pub(crate) fn apply(world: &mut World, yaml: &str) -> BTreeSet<Unit> {
    changes_of(yaml).into_iter().flat_map(|change| world.apply(change)).collect()
}

/// The changes that objects make.
pub(crate) fn changes_of(yaml: &str) -> Vec<Change> {
    let documents = serde_saphyr::from_multiple::<Value>(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    documents.into_iter().flat_map(changes).collect()
}

/// Shows one object to a world.
pub(crate) fn show(world: &mut World, document: Value) -> BTreeSet<Unit> {
    changes(document).into_iter().flat_map(|change| world.apply(change)).collect()
}

/// Tells a world that something is gone: a kind, and `<namespace>/<name>` or a name.
pub(crate) fn forget(world: &mut World, kind: &str, name: &str) -> BTreeSet<Unit> {
    world.apply(match kind {
        "TrustDomain" => Change::Domain(name.to_owned(), None),
        "ServiceIdentity" => Change::Identity(key(name), None),
        "AccessPolicy" => Change::Policy(key(name), None),
        "Namespace" => Change::Namespace(name.to_owned(), None),
        "Service" => Change::Service(key(name), None),
        "Pod" => Change::Pod(key(name), None),
        "Secret" => Change::Secret(key(name), None),
        "ConfigMap" => Change::ConfigMap(key(name), None),
        "NetworkPolicy" => Change::NetworkPolicy(key(name), None),
        "RoleBinding" => Change::RoleBinding(key(name), None),
        "Node" => Change::Node(name.to_owned(), None),
        other => panic!("nothing of kind {other} goes"),
    })
}

/// Units in words, e.g. `identity storefront/order`.
pub(crate) fn in_words(units: &BTreeSet<Unit>) -> Vec<String> {
    let words = units.iter().map(|unit| match unit {
        Unit::Domain(name) => format!("domain {name}"),
        Unit::Member(namespace) => format!("member {namespace}"),
        Unit::Fence(namespace) => format!("fence {namespace}"),
        Unit::Directory(key) => format!("directory {key}"),
        Unit::Identity(key) => format!("identity {key}"),
        Unit::Policy(key) => format!("policy {key}"),
    });
    words.collect()
}

/// Problems in words, e.g. `Accepted ServiceTaken: Service …`.
pub(crate) fn problems_in_words<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> Vec<String> {
    let words = problems.into_iter().map(|p| format!("{} {}: {}", p.condition.as_str(), p.reason, p.message));
    words.collect()
}

/// One condition in words, e.g. `False NameTaken: Secret …`; nothing if it is not there.
pub(crate) fn condition(conditions: &[Condition], kind: ConditionType) -> Option<String> {
    let found = find_condition(conditions, kind)?;
    Some(format!("{} {}: {}", found.status, found.reason, found.message))
}

/// What is wrong with an identity.
pub(crate) fn complaints(world: &World, identity: &str) -> Vec<String> {
    problems_in_words(&world.resolved(&key(identity)).unwrap().problems)
}

/// `<namespace>/<name>`.
pub(crate) fn key(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').unwrap();
    NamespacedName::new(namespace, name)
}

pub(crate) fn identity<'a>(world: &'a World, name: &str) -> &'a Identity {
    world.identity(&key(name)).unwrap_or_else(|| panic!("{name}: {:?}", world.resolved(&key(name))))
}

pub(crate) fn judged<'a>(world: &'a World, name: &str) -> &'a Arc<JudgedPolicy> {
    world.judged(&key(name)).unwrap()
}

/// The grants in force in which an identity calls or is called.
pub(crate) fn grants_of<'a>(world: &'a World, identity: &Identity) -> Vec<&'a Grant> {
    let judged = world.judged_of(&identity.key).filter(|judged| !judged.draft);
    judged.flat_map(|judged| &judged.grants).filter(|g| g.is_source(identity) || g.is_target(identity)).collect()
}

/// What came of each `from` entry, in order: its edges, or `<reason>: <message>`.
pub(crate) fn verdicts(world: &World, policy: &str) -> Vec<String> {
    let judged = judged(world, policy);
    let grants = judged.grants.iter().map(|grant| {
        let edges: Vec<String> = grant.edges().map(|edge| edge.to_string()).collect();
        (grant.index, edges.join("; "))
    });
    let refusals = judged.refusals.iter().map(|r| (r.index, format!("{}: {}", r.reason, r.message)));
    let mut verdicts: Vec<(usize, String)> = grants.chain(refusals).collect();
    verdicts.sort();
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

fn changes(document: Value) -> Vec<Change> {
    let name = || document["metadata"]["name"].as_str().unwrap().to_owned();
    match document["kind"].as_str().unwrap() {
        "TrustDomain" => {
            let named = document["spec"]["namespaces"].as_array().into_iter().flatten();
            let named =
                named.map(|name| Change::Namespace(name.as_str().unwrap().to_owned(), Some(NamespaceFacts::default())));
            named.chain([own(document.clone(), |key, object| Change::Domain(key.name, Some(object)))]).collect()
        }
        "ServiceIdentity" => vec![own(document, |key, object| Change::Identity(key, Some(object)))],
        "AccessPolicy" => vec![own(document, |key, object| Change::Policy(key, Some(object)))],
        "Namespace" => vec![Change::Namespace(name(), Some((&typed::<Namespace>(document)).into()))],
        "Service" => {
            let service: Service = typed(document);
            vec![Change::Service(key_of(&service), Some((&service).into()))]
        }
        "Pod" => {
            let pod: Pod = typed(document);
            vec![Change::Pod(key_of(&pod), PodFacts::of(&pod))]
        }
        "Node" => vec![World::node_change(name(), Some(&typed::<Node>(document)))],
        "ServiceCIDR" => vec![Change::ServiceCidr(name(), Some(service_cidrs(&typed::<ServiceCIDR>(document))))],
        "EndpointSlice" => World::endpoints_change(&typed::<EndpointSlice>(document), false).into_iter().collect(),
        "NetworkPolicy" => {
            let policy: NetworkPolicy = typed(document);
            let facts = ForeignPolicy { spec: policy.spec.clone().unwrap_or_default() };
            vec![Change::ForeignPolicy(key_of(&policy), Some(Arc::new(facts)))]
        }
        other => panic!("no change for kind {other}"),
    }
}

fn own<K: Resource + DeserializeOwned>(
    document: Value,
    change: impl FnOnce(NamespacedName, Arc<K>) -> Change,
) -> Change {
    let mut object: K = typed(document);
    let key = key_of(&object);
    object.meta_mut().uid.get_or_insert_with(|| key.to_string());
    change(key, Arc::new(object))
}

fn typed<T: DeserializeOwned>(document: Value) -> T {
    let text = document.to_string();
    serde_json::from_value(document).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn key_of(object: &impl Resource) -> NamespacedName {
    NamespacedName::new(
        object.meta().namespace.clone().unwrap_or_default(),
        object.meta().name.clone().unwrap_or_default(),
    )
}
