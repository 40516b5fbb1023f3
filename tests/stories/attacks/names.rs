//! Names that belong to others: in certificates, in tokens, and of the objects that keys are written to.

use k8s_openapi::api::core::v1::{Secret, Service};
use kube::Resource;
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::{Value, json};

use crate::support::{
    Bystanders, OpenSsl, Story, begin_alone, condition, config_map, identity, policy, says, secret, service,
};

/// A name that the story's domains allow to a namespace.
fn allowed(story: &Story, namespace: &str) -> (String, Value) {
    let name = format!("shop.{}.example", story.name);
    let allowed = json!([{"name": name, "namespaces": [format!("{}-{namespace}", story.name)]}]);
    (name, json!({"certificates": {"allowedNames": allowed}}))
}

#[tokio::test]
async fn stealing_a_name_for_a_certificate_by_naming_anothers_service() {
    let story = Story::begin("theft-service").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.create::<Service>(&trust.namespace, service("payment", 443, json!(8443))).await;
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("thief", json!({"services": ["payment"]}))).await;
    let payment = format!("{}/payment", trust.namespace);
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    says(&api, "thief", ("Accepted", "False", "ServiceTaken"), &["payment", &payment, "its names are left out"]).await;
    assert!(story.certificate_names(&trust.namespace, "thief-tls", |_| true).await.is_empty());
    let name = format!("payment.{}.svc", trust.namespace);
    story.certificate_names(&trust.namespace, "payment-tls", |names| names.contains(&name)).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn putting_anothers_service_into_the_common_name() {
    let story = Story::begin("theft-cn").await;
    let trust = story.trust("a", json!({})).await;
    let namespace = &trust.namespace;
    let bystanders = Bystanders::in_namespace(&story, namespace).await;
    story.create::<Service>(namespace, service("payment", 443, json!(8443))).await;
    story.ready_identity(namespace, "payment", json!({})).await;
    let api = story.api::<ServiceIdentity>(namespace);
    // By its name alone the API server refuses it; what looks like a Service's is refused by whose it is.
    let bare = identity("thief", json!({"certificate": {"commonName": "payment"}}));
    let refused = story.refused::<ServiceIdentity>(namespace, bare).await;
    assert!(refused.contains("certificate.commonName must be the name of the identity"), "{refused}");
    let theirs = format!("payment.{namespace}.svc");
    for (number, name) in [&*theirs, "kubernetes.default.svc", "payment.svc.example.com"].into_iter().enumerate() {
        let thief = format!("thief-{number}");
        let spec = json!({"services": ["payment"], "certificate": {"commonName": name}});
        story.create::<ServiceIdentity>(namespace, identity(&thief, spec)).await;
        let words = [&*format!("the common name {name} is refused, and {thief} is used instead")];
        says(&api, &thief, ("Accepted", "False", "ServiceTaken"), &words).await;
        story.certificate_names(namespace, &format!("{thief}-tls"), |_| true).await;
        let data = secret(&story, namespace, &format!("{thief}-tls")).await;
        let subject = OpenSsl::with(&data).run("x509 -in tls.crt -noout -subject");
        assert_eq!(subject.trim(), format!("subject=CN = {thief}"));
    }
    // A name that another domain allows to another namespace.
    let spec = json!({"dnsNames": ["bank.example.com"], "certificate": {"commonName": "bank.example.com"}});
    story.create::<ServiceIdentity>(namespace, identity("bank", spec)).await;
    let words =
        ["the name bank.example.com is refused", "the common name bank.example.com is refused, and bank is used"];
    says(&api, "bank", ("Accepted", "False", "NameNotAllowed"), &words).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn stealing_a_name_by_editing_an_older_identity() {
    let story = Story::begin("theft-edit").await;
    let (name, ceiling) = allowed(&story, "a");
    let trust = story.trust("a", ceiling).await;
    story.create::<Service>(&trust.namespace, service("payment", 443, json!(8443))).await;
    story.ready_identity(&trust.namespace, "older", json!({"services": []})).await;
    let spec = json!({"dnsNames": [name], "audiences": ["https://shop.example"]});
    let before = story.ready_identity(&trust.namespace, "payment", spec).await.status.unwrap().certificate.unwrap();
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let spec = json!({
        "services": ["payment"], "dnsNames": [name], "audiences": ["https://shop.example"],
        "certificate": {"secretName": "payment-tls"},
    });
    story.change(api.clone(), "older", spec).await;
    let payment = format!("{}/payment", trust.namespace);
    says(&api, "older", ("Accepted", "False", "SecretNameTaken"), &[&payment]).await;
    story.change(api.clone(), "older", json!({"certificate": {"secretName": null}})).await;
    let claimed = format!("the name {name} belongs to");
    let words = ["Service payment belongs to", &*claimed, "the audience https://shop.example"];
    says(&api, "older", ("Accepted", "False", "ServiceTaken"), &words).await;
    let still = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    let payment = story.wait_identity(&trust.namespace, "payment", "be ready still", still).await;
    assert_eq!(payment.status.unwrap().certificate.unwrap().serial, before.serial);
}

#[tokio::test]
async fn stealing_a_name_by_editing_an_older_identity_while_the_operator_is_away() {
    let (story, _turn) = begin_alone("theft-away").await;
    let operation = story.cluster.operate().await;
    let (name, ceiling) = allowed(&story, "a");
    let trust = story.trust("a", ceiling).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.ready_identity(&trust.namespace, "a-older", json!({})).await;
    let spec = json!({"dnsNames": [name]});
    let before = story.ready_identity(&trust.namespace, "payment", spec.clone()).await.status.unwrap();
    operation.stop().await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    story.change(api.clone(), "a-older", spec).await;
    let operation = story.cluster.operate().await;
    let payment = format!("{}/payment", trust.namespace);
    says(&api, "a-older", ("Accepted", "False", "NameClaimed"), &[&name, &payment]).await;
    let still = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    let payment = story.wait_identity(&trust.namespace, "payment", "be ready still", still).await;
    assert_eq!(payment.status.unwrap().certificate.unwrap().serial, before.certificate.unwrap().serial);
    bystanders.are_untouched(&story).await;
    operation.stop().await;
}

#[tokio::test]
async fn keeping_a_name_from_its_owner_by_claiming_it_first_without_the_allowance() {
    let story = Story::begin("squat").await;
    let (name, ceiling) = allowed(&story, "owner");
    let squatter = story.trust("squatter", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &squatter.namespace).await;
    let spec = json!({"dnsNames": [name]});
    story.create::<ServiceIdentity>(&squatter.namespace, identity("order", spec.clone())).await;
    let api = story.api::<ServiceIdentity>(&squatter.namespace);
    says(&api, "order", ("Accepted", "False", "NameNotAllowed"), &[&name, &squatter.domain]).await;
    let owner = story.trust("owner", ceiling).await;
    story.ready_identity(&owner.namespace, "order", spec).await;
    let names = story.certificate_names(&owner.namespace, "order-tls", |_| true).await;
    assert!(names.contains(&name), "{names:?}");
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn accepting_tokens_under_the_name_of_another_service() {
    let story = Story::begin("theft-audience").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.create::<Service>(&trust.namespace, service("payment", 443, json!(8443))).await;
    let payment = story.ready_identity(&trust.namespace, "payment", json!({})).await.status.unwrap().spiffe_id.unwrap();
    let service_name = format!("payment.{}.svc", trust.namespace);
    let below = format!("x.payment.{}.svc.cluster.local", trust.namespace);
    let spec = json!({"audiences": [payment, service_name, below, "https://own.example"]});
    story.create::<ServiceIdentity>(&trust.namespace, identity("thief", spec)).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let words = [&*payment, &*service_name, &*below, "belongs to that service alone"];
    says(&api, "thief", ("Accepted", "False", "AudienceTaken"), &words).await;
    let access = config_map(&story, &trust.namespace, "thief-trust").await;
    let access: Value = serde_json::from_str(&access["access.json"]).unwrap();
    assert_eq!(access["audiences"], json!(["https://own.example"]));
    bystanders.are_untouched(&story).await;
}

/// Someone has created a Secret where the identity's key would be written: nothing is written there.
async fn no_key_is_written_into(title: &str, metadata: impl AsyncFn(&Story, &str) -> Value, kind: &str, keys: &[&str]) {
    let story = Story::begin(title).await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let data: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), json!("mine"))).collect();
    let secrets = story.api::<Secret>(&trust.namespace);
    let mut before = Vec::new();
    for name in ["order-tls", "order-signing-key"] {
        let mut metadata = metadata(&story, &trust.namespace).await;
        metadata["name"] = json!(name);
        let secret = json!({"metadata": metadata, "type": kind, "stringData": data});
        before.push(story.create::<Secret>(&trust.namespace, secret).await);
    }
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({"signingKey": {}}))).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let words = ["order-tls", "order-signing-key", "it is left alone; delete or rename it"];
    let refused = says(&api, "order", ("NameTaken", "True", "NameTaken"), &words).await;
    let status = refused.status.unwrap();
    assert!(status.certificate.is_none() && status.signing_key.is_none());
    // Nobody is told to trust what lies there.
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order"}}], "authentication": {"jwt": {}}});
    story.create::<AccessPolicy>(&trust.namespace, policy("by-token", spec)).await;
    let says_pending = ("Programmed", "False", "Pending");
    says(&story.api::<AccessPolicy>(&trust.namespace), "by-token", says_pending, &["/order"]).await;
    for secret in before {
        let found = secrets.get(secret.meta().name.as_deref().unwrap()).await.unwrap();
        assert_eq!((&found.data, &found.metadata), (&secret.data, &secret.metadata));
    }
    let delivered = config_map(&story, &trust.namespace, "payment-trust").await;
    assert!(!delivered.contains_key(&format!("jwks.{}.order.json", trust.namespace)), "{:?}", delivered.keys());
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn having_a_key_written_into_a_secret_created_before() {
    no_key_is_written_into("deputy", async |_, _| json!({}), "Opaque", &["mine"]).await;
}

#[tokio::test]
async fn having_a_key_written_into_a_secret_with_our_label() {
    let labelled = async |_: &Story, _: &str| json!({"labels": {"app.kubernetes.io/managed-by": "ringfence"}});
    no_key_is_written_into("deputy-label", labelled, "kubernetes.io/tls", &["tls.crt", "tls.key"]).await;
}

#[tokio::test]
async fn having_a_key_written_into_a_secret_that_another_identity_seems_to_own() {
    let owned = async |story: &Story, namespace: &str| {
        let other = story.api::<ServiceIdentity>(namespace).get("bystander").await.unwrap();
        let owner = other.controller_owner_ref(&()).unwrap();
        json!({"labels": {"app.kubernetes.io/managed-by": "ringfence"}, "ownerReferences": [owner]})
    };
    no_key_is_written_into("deputy-owner", owned, "kubernetes.io/tls", &["tls.crt", "tls.key"]).await;
}
