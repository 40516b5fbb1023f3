//! Names in certificates: whatever is not one's own is left out, even where the platform team allowed it by mistake; and
//! names at the limit of their length.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, domain, identity, policy, says, service};

/// A domain that allows these names to its namespace.
fn allowing(story: &Story, names: &[&str]) -> Value {
    let namespace = format!("{}-a", story.name);
    let allowed = names.iter().map(|name| json!({"name": name, "namespaces": [namespace]}));
    json!({"certificates": {"allowedNames": allowed.collect::<Vec<_>>()}})
}

/// An identity that works asks for more names: they are refused, and its certificate stays as it is.
async fn is_refused(story: &Story, namespace: &str, spec: Value, words: &[&str]) {
    let before = story.ready_identity(namespace, "order", json!({})).await.status.unwrap().certificate.unwrap();
    let api = story.api::<ServiceIdentity>(namespace);
    story.change(api.clone(), "order", spec).await;
    let refused = says(&api, "order", ("Accepted", "False", "NameNotAllowed"), words).await;
    assert_eq!(refused.status.unwrap().certificate.unwrap().serial, before.serial);
    assert!(story.certificate_names(namespace, "order-tls", |_| true).await.is_empty());
}

#[tokio::test]
async fn the_name_of_a_service_in_another_namespace_is_refused() {
    let story = Story::begin("san-other").await;
    let victim = story.namespace("victim").await;
    let names = [format!("payment.{victim}.svc"), format!("payment.{victim}.svc.cluster.local"), format!("x.{victim}")];
    let names = names.each_ref().map(String::as_str);
    let trust = story.trust("a", allowing(&story, &names)).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let words = [names[0], names[1], names[2], "from the field services alone"];
    is_refused(&story, &trust.namespace, json!({"dnsNames": names}), &words).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn the_names_and_addresses_of_the_api_server_are_refused() {
    let story = Story::begin("san-api").await;
    let kubernetes = Api::<Service>::namespaced(story.client.clone(), "default").get("kubernetes").await.unwrap();
    let cluster_ip = kubernetes.spec.unwrap().cluster_ip.unwrap();
    let endpoints = Api::<Endpoints>::namespaced(story.client.clone(), "default").get("kubernetes").await.unwrap();
    let address = endpoints.subsets.unwrap()[0].addresses.as_ref().unwrap()[0].ip.clone();
    let names = ["kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "kubernetes.default", "kubernetes"];
    let trust = story.trust("a", allowing(&story, &[&names[..], &[&*cluster_ip, &*address]].concat())).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let words = [&names[..], &[&*cluster_ip, &*address, "it is an address of the cluster itself"]].concat();
    let spec = json!({"dnsNames": names, "ipAddresses": [cluster_ip, address]});
    is_refused(&story, &trust.namespace, spec, &words).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_bare_name_and_a_wildcard_are_refused() {
    let story = Story::begin("san-bare").await;
    let trust = story.trust("a", allowing(&story, &["order"])).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let words = ["order", "without a dot", "*.shop.example", "wildcards are not accepted"];
    is_refused(&story, &trust.namespace, json!({"dnsNames": ["order", "*.shop.example"]}), &words).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn what_can_be_no_name_in_a_certificate_is_refused() {
    let story = Story::begin("san-odd").await;
    let names =
        ["shop.example.", "a..example", "shop example.com", "-shop.example", "shöp.example", "shop_1.example/x"];
    let trust = story.trust("a", allowing(&story, &names)).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let words = [&names[..], &["is no DNS name"]].concat();
    is_refused(&story, &trust.namespace, json!({"dnsNames": names}), &words).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_name_outside_the_allowance_is_refused_and_taken_when_it_is_allowed() {
    let story = Story::begin("san-allow").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let words = ["shop.example.com", "192.0.2.10", &*trust.domain, &*trust.namespace, "certificates.allowedNames"];
    let spec = json!({"dnsNames": ["Shop.example.com"], "ipAddresses": ["192.0.2.10"]});
    is_refused(&story, &trust.namespace, spec, &words).await;
    let allowed = ["shop.example.com", "192.0.2.10"];
    story.change(story.all::<TrustDomain>(), &trust.domain, allowing(&story, &allowed)).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    says(&api, "order", ("Ready", "True", "NoPods"), &[]).await;
    let names = story.certificate_names(&trust.namespace, "order-tls", |names| !names.is_empty()).await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["192.0.2.10", "shop.example.com"]);
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn names_of_63_characters_serve_and_one_more_is_refused() {
    let story = Story::begin("length").await;
    let padded = |prefix: &str, length: usize| format!("{prefix}{}", "x".repeat(length - prefix.len()));
    let namespace = padded(&format!("{}-", story.name), 63);
    story.create_cluster_wide::<k8s_openapi::api::core::v1::Namespace>(json!({"metadata": {"name": namespace}})).await;
    let domain_name = padded(&format!("{}-d", story.name), 63);
    let spec = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
    story.create_cluster_wide::<TrustDomain>(domain(&domain_name, spec.clone())).await;
    says(&story.all::<TrustDomain>(), &domain_name, ("Ready", "True", "Ready"), &[]).await;
    let bystanders = Bystanders::in_namespace(&story, &namespace).await;
    let (caller, callee) = ("c".repeat(63), "d".repeat(63));
    story.create::<Service>(&namespace, service(&callee, 443, json!(8443))).await;
    for name in [&caller, &callee] {
        let issued = story.ready_identity(&namespace, name, json!({"signingKey": {}})).await;
        let id = format!("spiffe://{domain_name}/ns/{namespace}/sa/{name}");
        assert_eq!(issued.status.unwrap().spiffe_id.unwrap(), id);
    }
    let jwt = json!({"to": {"identity": callee, "ports": [{"port": 443}]},
        "from": [{"identity": {"name": caller}}], "authentication": {"jwt": {}}});
    let name = "p".repeat(63);
    story.create::<AccessPolicy>(&namespace, policy(&name, jwt.clone())).await;
    let policies = story.api::<AccessPolicy>(&namespace);
    says(&policies, &name, ("Ready", "True", "Ready"), &[]).await;
    let trust = story.api::<ConfigMap>(&namespace).get(&format!("{callee}-trust")).await.unwrap().data.unwrap();
    assert!(trust.contains_key(&format!("jwks.{namespace}.{caller}.json")), "{:?}", trust.keys());
    assert!(trust.contains_key(&format!("bundle.{domain_name}.pem")), "{:?}", trust.keys());
    assert!(story.api::<NetworkPolicy>(&namespace).get_opt(&format!("ringfence-{callee}")).await.unwrap().is_some());
    assert!(story.api::<Secret>(&namespace).get_opt(&format!("{callee}-signing-key")).await.unwrap().is_some());

    let long = "e".repeat(64);
    let message = story.refused::<TrustDomain>("", domain(&long, spec)).await;
    assert!(message.contains("at most 63 characters"), "{message}");
    let message = story.refused::<ServiceIdentity>(&namespace, identity(&long, json!({}))).await;
    assert!(message.contains("at most 63 characters"), "{message}");
    let message = story.refused::<AccessPolicy>(&namespace, json!({"metadata": {"name": long}, "spec": jwt})).await;
    assert!(message.contains("at most 63 characters"), "{message}");
    let spec = json!({"serviceAccountName": long});
    let message = story.refused::<ServiceIdentity>(&namespace, identity("order", spec)).await;
    assert!(message.contains("serviceAccountName") && message.contains("63"), "{message}");
    let spec = json!({"certificateAuthority": {"selfSigned": {}}, "trustDomain": long});
    let message = story.refused::<TrustDomain>("", domain("too-long", spec)).await;
    assert!(message.contains("trustDomain") && message.contains("63"), "{message}");
    let secret = |length: usize| json!({"certificate": {"secretName": "s".repeat(length)}});
    let message = story.refused::<ServiceIdentity>(&namespace, identity("order", secret(254))).await;
    assert!(message.contains("secretName") && message.contains("253"), "{message}");
    story.ready_identity(&namespace, "order", secret(253)).await;
    bystanders.are_untouched(&story).await;
}
