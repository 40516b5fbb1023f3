//! What the API server itself refuses, and in what words.

use kube::Api;
use kube::api::{Patch, PatchParams};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, domain, identity, policy};

fn trust_domain(mut spec: Value) -> Value {
    if spec.get("certificateAuthority").is_none() {
        spec["certificateAuthority"] = json!({"selfSigned": {}});
    }
    domain("refused", spec)
}

fn access_policy(mut spec: Value) -> Value {
    if spec.get("to").is_none() {
        spec["to"] = json!({"identity": "bystander", "ports": [{"port": 8443}]});
    }
    if spec.get("from").is_none() {
        spec["from"] = json!([{"identity": {"name": "companion"}}]);
    }
    policy("refused", spec)
}

fn check(message: &str, words: &[&str]) {
    assert!(words.iter().all(|word| message.contains(word)), "{words:?} should be in: {message}");
}

#[tokio::test]
async fn trust_domains_that_contradict_themselves() {
    let story = Story::begin("schema-td").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let selector = |selector: Value| json!({"namespaceSelector": selector});
    let authority = |authority: Value| json!({"certificateAuthority": authority});
    let inbound = |entry: Value| json!({"inbound": [entry]});
    let outbound = |entry: Value| json!({"outbound": [entry]});
    let one_authority = "exactly one of selfSigned, secret and parent must be set";
    let one_end = "exactly one of anywhere, trustDomains, namespaces, cidrs and kubernetesAPI must be set";
    let keys = "namespaceSelector may use only the keys kubernetes.io/metadata.name and ringfence.dev/*";
    let cases = [
        (authority(json!({})), one_authority),
        (authority(json!({"selfSigned": {}, "parent": {"name": "root"}})), one_authority),
        (authority(json!({"selfSigned": {"duration": "59m"}})), "a root must be valid for at least 1h"),
        (
            authority(json!({"parent": {"name": "root", "duration": "5m"}})),
            "an intermediate must be valid for at least 1h",
        ),
        (selector(json!({})), "an empty namespaceSelector would take in every namespace of the cluster"),
        (selector(json!({"matchLabels": {"team": "shop"}})), keys),
        (selector(json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]})), keys),
        (selector(json!({"matchLabels": {"ringfence.developer/a": "b"}})), keys),
        (
            selector(json!({"matchExpressions": [{"key": "ringfence.dev/a", "operator": "In"}]})),
            "values must be set for the operators In and NotIn, and unset for Exists and DoesNotExist",
        ),
        (json!({"trustDomain": "Shop"}), "spec.trustDomain"),
        (json!({"trustDomain": "shop/x"}), "spec.trustDomain"),
        (json!({"namespaces": ["a", "a"]}), "spec.namespaces[1]: Duplicate value"),
        (json!({"certificates": {"duration": "4m59s"}}), "a certificate must be valid for at least 5m"),
        (json!({"certificates": {"duration": "tomorrow"}}), "spec.certificates.duration"),
        (json!({"certificates": {"algorithm": "RSA-1024"}}), "RSA-2048"),
        (
            json!({"certificates": {"allowedNames": [{"name": "*.shop.example", "namespaces": ["a"]}]}}),
            "allowed names are exact: wildcards are not accepted",
        ),
        (json!({"signingKeys": {"maxTokenLifetime": "9s"}}), "maxTokenLifetime must be from 10s to 24h"),
        (json!({"signingKeys": {"maxTokenLifetime": "25h"}}), "maxTokenLifetime must be from 10s to 24h"),
        (json!({"signingKeys": {"algorithm": "none"}}), "ES256"),
        (inbound(json!({})), one_end),
        (inbound(json!({"anywhere": {}, "cidrs": ["203.0.113.0/24"]})), one_end),
        (outbound(json!({})), one_end),
        (outbound(json!({"kubernetesAPI": {}, "trustDomains": ["a"]})), one_end),
        (inbound(json!({"cidrs": ["203.0.113.0"]})), "cidrs must be address ranges such as 203.0.113.0/24"),
        (outbound(json!({"cidrs": ["203.0.113.0/33"]})), "cidrs must be address ranges such as 203.0.113.0/24"),
        (inbound(json!({"trustDomains": []})), "spec.inbound[0].trustDomains"),
        (inbound(json!({"anywhere": {}, "ports": [{"port": 443, "endPort": 80}]})), "endPort must not be below port"),
        (inbound(json!({"anywhere": {}, "ports": [{"port": 0}]})), "spec.inbound[0].ports[0].port"),
        (inbound(json!({"anywhere": {}, "acceptedAuthentication": []})), "acceptedAuthentication"),
        (json!({"enforcement": "Perhaps"}), "\"Enforce\", \"Audit\", \"Disabled\""),
    ];
    for (spec, words) in cases {
        check(&story.refused::<TrustDomain>("", trust_domain(spec)).await, &[words]);
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn identities_that_contradict_themselves() {
    let story = Story::begin("schema-sid").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let cases = [
        ("baseline", json!({}), "the name baseline is taken by the NetworkPolicy ringfence-baseline: choose another"),
        ("order", json!({"podSelector": {}}), "podSelector must not be empty"),
        ("order", json!({"podSelector": {"matchLabels": {}}}), "podSelector must not be empty"),
        ("order", json!({"podSelector": {"matchExpressions": []}}), "podSelector must not be empty"),
        (
            "order",
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
            "unset for Exists and DoesNotExist",
        ),
        ("order", json!({"serviceAccountName": "Order"}), "spec.serviceAccountName"),
        ("order", json!({"serviceAccountName": ""}), "spec.serviceAccountName"),
        ("order", json!({"ipAddresses": ["192.0.2.0/24"]}), "ipAddresses must be IPv4 or IPv6 addresses"),
        ("order", json!({"ipAddresses": ["here"]}), "ipAddresses must be IPv4 or IPv6 addresses"),
        ("order", json!({"services": ["web", "web"]}), "spec.services[1]: Duplicate value"),
        ("order", json!({"certificate": {"duration": "1m"}}), "a certificate must be valid for at least 5m"),
        ("order", json!({"certificate": {"duration": "-1h"}}), "a certificate must be valid for at least 5m"),
        ("order", json!({"certificate": {"algorithm": "DSA"}}), "ECDSA-P256"),
        ("order", json!({"certificate": {"secretName": "../ca"}}), "spec.certificate.secretName"),
        ("order", json!({"certificate": {"usages": []}}), "spec.certificate.usages"),
        ("order", json!({"certificate": {"usages": ["CodeSigning"]}}), "ServerAuth"),
        ("order", json!({"certificate": {"usages": ["ClientAuth", "ClientAuth"]}}), "Duplicate value"),
        ("order", json!({"certificate": {"commonName": ""}}), "spec.certificate.commonName"),
        (
            "order",
            json!({"certificate": {"commonName": format!("{}.a.svc", "x".repeat(60))}}),
            "spec.certificate.commonName",
        ),
        (
            "order",
            json!({"certificate": {"commonName": "payment"}}),
            "certificate.commonName must be the name of the identity",
        ),
        (
            "order",
            json!({"certificate": {"secretTemplate": {"labels": {"app.kubernetes.io/managed-by": "me"}}}}),
            "labels may not use the keys of kubernetes.io, k8s.io and ringfence.dev, nor app.kubernetes.io/managed-by",
        ),
        (
            "order",
            json!({"certificate": {"secretTemplate": {"labels": {"ringfence.dev/a": "b"}}}}),
            "labels may not use the keys of",
        ),
        (
            "order",
            json!({"certificate": {"secretTemplate": {"annotations": {"ringfence.dev/content-hash": "b"}}}}),
            "annotations may not use the keys of",
        ),
        (
            "order",
            json!({"certificate": {"secretTemplate": {"annotations": {"kubectl.kubernetes.io/restartedAt": "b"}}}}),
            "annotations may not use the keys of",
        ),
        (
            "order",
            json!({"certificate": {"secretTemplate": {"labels": {"a": "x".repeat(64)}}}}),
            "spec.certificate.secretTemplate.labels.a",
        ),
        (
            "order",
            json!({"certificate": {"secretTemplate": {"annotations": {"a": "x".repeat(4097)}}}}),
            "spec.certificate.secretTemplate.annotations.a",
        ),
        (
            "order",
            json!({"certificate": {"secretTemplate": {"labels": (0..17).map(|n| (format!("l{n}"), json!(""))).collect::<serde_json::Map<_, _>>()}}}),
            "must have at most 16 items",
        ),
        ("order", json!({"certificate": {"pkcs12": {}}}), "spec.certificate.pkcs12.passwordSecretRef"),
        (
            "order",
            json!({"certificate": {"pkcs12": {"passwordSecretRef": {"name": "../x", "key": "a"}}}}),
            "spec.certificate.pkcs12.passwordSecretRef.name",
        ),
        (
            "order",
            json!({"certificate": {"pkcs12": {"passwordSecretRef": {"name": "x", "key": "a/b"}}}}),
            "spec.certificate.pkcs12.passwordSecretRef.key",
        ),
        ("order", json!({"signingKey": {"algorithm": "HS256"}}), "ES256"),
        ("order", json!({"restart": {"workloads": []}}), "spec.restart.workloads"),
        (
            "order",
            json!({"restart": {"workloads": [{"kind": "CronJob", "name": "a"}]}}),
            "\"StatefulSet\", \"DaemonSet\"",
        ),
        (
            "order",
            json!({"restart": {"workloads": [{"kind": "Deployment", "name": "A"}]}}),
            "spec.restart.workloads[0].name",
        ),
        (
            "order",
            json!({"restart": {"workloads": [{"kind": "Deployment", "name": "a"}, {"kind": "Deployment", "name": "a"}]}}),
            "spec.restart.workloads[1]: Duplicate value",
        ),
        (
            "order",
            json!({"certificate": {"secretName": "same"}, "signingKey": {"secretName": "same"}}),
            "certificate and signingKey need a Secret each",
        ),
        ("order", json!({"signingKey": {"secretName": "order-tls"}}), "certificate and signingKey need a Secret each"),
        ("order", json!({"audiences": []}), "spec.audiences"),
    ];
    for (name, spec, words) in cases {
        check(&story.refused::<ServiceIdentity>(&trust.namespace, identity(name, spec)).await, &[words]);
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn policies_that_contradict_themselves() {
    let story = Story::begin("schema-ap").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let to = |to: Value| json!({"to": to});
    let from = |from: Value| json!({"from": [from]});
    let one_target = "exactly one of identity, pods, external and kubernetesAPI must be set";
    let one_source = "exactly one of identity, trustDomain, pods, cidr, anywhere and kubernetesAPI must be set";
    let port = |port: Value| to(json!({"identity": "bystander", "ports": [port]}));
    let external = |cidr: &str, port: Value| to(json!({"external": {"cidrs": [cidr], "ports": [{"port": port}]}}));
    let with = |mut spec: Value, key: &str, value: Value| {
        spec[key] = value;
        spec
    };
    let cases = [
        (to(json!({})), one_target),
        (to(json!({"identity": "a", "ports": [{"port": 1}], "kubernetesAPI": {}})), one_target),
        (to(json!({"identity": "a"})), "ports must name at least one port of the identity being called"),
        (to(json!({"kubernetesAPI": {}, "ports": [{"port": 1}]})), "ports beside identity only"),
        (port(json!({"port": 0})), "port must be a number from 1 to 65535 or a port name"),
        (port(json!({"port": 65536})), "port must be a number from 1 to 65535 or a port name"),
        (port(json!({"port": ""})), "port must be a number from 1 to 65535 or a port name"),
        (port(json!({"port": "grpc", "endPort": 9})), "endPort needs a numeric port that is not above it"),
        (port(json!({"port": 10, "endPort": 9})), "endPort needs a numeric port that is not above it"),
        (port(json!({"port": 1, "protocol": "ICMP"})), "\"TCP\", \"UDP\", \"SCTP\""),
        (external("203.0.113.0", json!(443)), "cidrs must be address ranges such as 203.0.113.0/24"),
        (external("203.0.113.0/24", json!("https")), "ports of pods and external callees must be numbers"),
        (
            with(external("203.0.113.0/24", json!(443)), "from", json!([{"anywhere": {}}])),
            "to pods, external and kubernetesAPI only identities of this namespace may go",
        ),
        (
            with(to(json!({"kubernetesAPI": {}})), "from", json!([{"identity": {"name": "a", "namespace": "b"}}])),
            "to pods, external and kubernetesAPI only identities of this namespace may go",
        ),
        (
            with(to(json!({"kubernetesAPI": {}})), "authentication", json!({"mtls": {}})),
            "authentication and rules need a callee with an identity",
        ),
        (json!({"from": []}), "spec.from"),
        (from(json!({})), one_source),
        (from(json!({"anywhere": {}, "cidr": "203.0.113.0/24"})), one_source),
        (from(json!({"cidr": "203.0.113.0/240"})), "cidr must be an address range such as 203.0.113.0/24"),
        (from(json!({"cidr": "example.com"})), "cidr must be an address range such as 203.0.113.0/24"),
        (json!({"authentication": {}}), "authentication must demand mtls, jwt or both"),
        (json!({"authentication": {"jwt": {"maxLifetime": "1s"}}}), "maxLifetime must be at least 10s"),
        (
            with(from(json!({"trustDomain": "a"})), "authentication", json!({"jwt": {}})),
            "a jwt that the caller signs needs callers named one by one",
        ),
        (
            json!({"rules": [{"methods": ["GET"], "grpcService": "a.B"}]}),
            "a rule is either about HTTP (methods, paths) or about gRPC (grpcService, grpcMethods)",
        ),
        (json!({"rules": [{"paths": ["orders"]}]}), "spec.rules[0].paths[0]"),
        (json!({"rules": [{"paths": ["/a*b"]}]}), "spec.rules[0].paths[0]"),
    ];
    for (spec, words) in cases {
        check(&story.refused::<AccessPolicy>(&trust.namespace, access_policy(spec)).await, &[words]);
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn what_a_spiffe_id_contains_is_immutable() {
    let story = Story::begin("immutable").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let named = story.trust("named", json!({"trustDomain": format!("{}.example", story.name)})).await;
    story.ready_identity(&trust.namespace, "order", json!({"serviceAccountName": "orders"})).await;
    let domains = story.all::<TrustDomain>();
    let words = ["trustDomain is immutable: every SPIFFE ID of the domain contains it"];
    for (name, value) in
        [(&trust.domain, json!("other")), (&named.domain, json!("other")), (&named.domain, json!(null))]
    {
        check(&unchanged(&domains, name, json!({"trustDomain": value})).await, &words);
    }
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    let words = ["serviceAccountName is immutable", "delete and create the identity instead"];
    for (name, value) in [("bystander", json!("other")), ("order", json!("other")), ("order", json!(null))] {
        check(&unchanged(&identities, name, json!({"serviceAccountName": value})).await, &words);
    }
    bystanders.are_untouched(&story).await;
}

/// Tries to change a spec, which the API server must refuse as invalid; returns what it says.
async fn unchanged<K>(api: &Api<K>, name: &str, spec: Value) -> String
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await {
        Err(kube::Error::Api(status)) if status.code == 422 => status.message,
        other => panic!("the API server should have refused {spec} and answered {other:#?}"),
    }
}
