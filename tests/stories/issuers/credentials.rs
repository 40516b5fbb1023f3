//! Credentials that an issuer gave out are delivered to the identities that list it.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{
    Story, Trust, condition, event_reasons, eventually, gone, in_namespace, is_owned_by, says, secret, wait_for,
};

/// A domain with an issuer that knows its clients like this.
async fn trust(story: &Story, client_authentication: Value) -> Trust {
    let issuer = json!({
        "name": "idp", "issuer": "https://127.0.0.1:1",
        "endpoint": {"cidrs": ["192.0.2.1/32"], "ports": [{"port": 443}]},
        "clientAuthentication": client_authentication,
    });
    story.trust("shop", json!({"tokenIssuers": [issuer]})).await
}

/// The Secret of the platform team.
async fn keep(story: &Story, data: &[(&str, &str)]) -> Api<Secret> {
    let data: Value =
        data.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into();
    let api = in_namespace::<Secret>(story, OPERATOR_NAMESPACE);
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": story.name}, "stringData": data});
    api.patch(&story.name, &PatchParams::apply("platform").force(), &Patch::Apply(object)).await.unwrap();
    api
}

/// Waits until an identity has these credentials.
async fn has(story: &Story, namespace: &str, name: &str, id: &str, secret: &str) -> Secret {
    let wanted = |found: &Secret| {
        let data = found.data.as_ref().unwrap();
        data.len() == 2 && data["client-id"].0 == id.as_bytes() && data["client-secret"].0 == secret.as_bytes()
    };
    wait_for(&in_namespace::<Secret>(story, namespace), name, &format!("hold those of {id}"), wanted).await
}

#[tokio::test]
async fn whoever_lists_an_issuer_gets_its_credentials_and_nobody_else_does() {
    let story = Story::begin("client").await;
    let trust = trust(&story, json!({"secretRef": {"name": format!("client-{}", story.name)}})).await;
    let namespace = &trust.namespace;
    let platform = in_namespace::<Secret>(&story, OPERATOR_NAMESPACE);
    let source = format!("client-{}", story.name);
    let listing = json!({"tokenIssuers": ["idp"]});
    story.create::<ServiceIdentity>(namespace, crate::support::identity("order", listing.clone())).await;
    let said = ("ResolvedRefs", "False", "SecretNotFound");
    let words = ["issuer idp", &format!("{OPERATOR_NAMESPACE}/{source}"), "does not exist", "ask the platform team"];
    let order = says(&story.api::<ServiceIdentity>(namespace), "order", said, &words).await;
    assert_eq!(condition(&order, "Programmed").0, "True", "everything else is there");

    let own = format!("{namespace}.cart.");
    let object = json!({"metadata": {"name": source}, "stringData": {
        "client-id": "acme", "client-secret": "shared-secret",
        format!("{own}client-id"): "cart", format!("{own}client-secret"): "own-secret",
    }});
    story.create::<Secret>(OPERATOR_NAMESPACE, object).await;
    story.ready_identity(namespace, "cart", listing).await;
    story.ready_identity(namespace, "bystander", json!({})).await;
    let delivered = has(&story, namespace, "order-idp-client", "acme", "shared-secret").await;
    assert_eq!(delivered.type_.as_deref(), Some("ringfence.dev/client-credentials"));
    assert!(is_owned_by(&delivered, order.metadata.uid.as_deref().unwrap()));
    let shown = serde_json::to_string(&delivered.metadata).unwrap();
    assert!(!shown.contains("acme") && !shown.contains("shared-secret"), "{shown}");
    has(&story, namespace, "cart-idp-client", "cart", "own-secret").await;
    let secrets = in_namespace::<Secret>(&story, namespace);
    assert_eq!(secrets.get_opt("bystander-idp-client").await.unwrap(), None);
    let order = says(&story.api::<ServiceIdentity>(namespace), "order", ("Ready", "True", "NoPods"), &[]).await;
    eventually("an event says so", async || {
        event_reasons(&story, &order).await.contains(&"CredentialsDelivered".to_owned()).then_some(())
    })
    .await;

    // A new secret follows, for those whom it concerns.
    let cart = secrets.get("cart-idp-client").await.unwrap().metadata.resource_version;
    let change = json!({"stringData": {"client-secret": "rotated-secret"}});
    platform.patch(&source, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    has(&story, namespace, "order-idp-client", "acme", "rotated-secret").await;
    assert_eq!(secrets.get("cart-idp-client").await.unwrap().metadata.resource_version, cart);

    // Drift is put right, whatever it is.
    let add = json!({"stringData": {"client-secret": "mine", "more": "data"}});
    secrets.patch("order-idp-client", &PatchParams::default(), &Patch::Merge(add)).await.unwrap();
    has(&story, namespace, "order-idp-client", "acme", "rotated-secret").await;
    secrets.delete("order-idp-client", &DeleteParams::default()).await.unwrap();
    has(&story, namespace, "order-idp-client", "acme", "rotated-secret").await;
    eventually("an event says so", async || {
        event_reasons(&story, &order).await.contains(&"DriftCorrected".to_owned()).then_some(())
    })
    .await;

    // What goes wrong with the source takes nothing away.
    let broken = json!({"stringData": {"client-secret": "line-feed\n"}});
    platform.patch(&source, &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    let said = ("ResolvedRefs", "False", "Invalid");
    let told = says(&story.api::<ServiceIdentity>(namespace), "order", said, &["client-secret", "line feed"]).await;
    assert!(!serde_json::to_string(&told).unwrap().contains("line-feed"));
    has(&story, namespace, "order-idp-client", "acme", "rotated-secret").await;
    platform.delete(&source, &DeleteParams::default()).await.unwrap();
    says(&story.api::<ServiceIdentity>(namespace), "order", ("ResolvedRefs", "False", "SecretNotFound"), &[]).await;
    has(&story, namespace, "order-idp-client", "acme", "rotated-secret").await;

    // Who does not list it any more loses them; so does who is suspended, and who goes.
    story.change(story.api::<ServiceIdentity>(namespace), "order", json!({"tokenIssuers": null})).await;
    gone(&secrets, "order-idp-client").await;
    story.change(story.api::<ServiceIdentity>(namespace), "cart", json!({"suspended": true})).await;
    gone(&secrets, "cart-idp-client").await;
    assert!(!secret(&story, namespace, "order-tls").await.is_empty());
}

#[tokio::test]
async fn a_secret_of_someone_else_is_left_alone() {
    let story = Story::begin("taken").await;
    let trust = trust(&story, json!({"secretRef": {"name": story.name}})).await;
    let source = keep(&story, &[("client-id", "acme"), ("client-secret", "s")]).await;
    let theirs = json!({"metadata": {"name": "order-idp-client"}, "stringData": {"mine": "yes"}});
    story.create::<Secret>(&trust.namespace, theirs).await;
    let listing = json!({"tokenIssuers": ["idp"]});
    story.create::<ServiceIdentity>(&trust.namespace, crate::support::identity("order", listing)).await;
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    says(&identities, "order", ("NameTaken", "True", "NameTaken"), &["order-idp-client"]).await;
    assert_eq!(secret(&story, &trust.namespace, "order-idp-client").await["mine"], "yes");
    in_namespace::<Secret>(&story, &trust.namespace)
        .delete("order-idp-client", &DeleteParams::default())
        .await
        .unwrap();
    has(&story, &trust.namespace, "order-idp-client", "acme", "s").await;
    source.delete(&story.name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn who_can_not_prove_itself_to_an_issuer_is_told_what_to_do() {
    let story = Story::begin("prove").await;
    let trust = trust(&story, json!({"privateKeyJwt": {}})).await;
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    let listing = json!({"tokenIssuers": ["idp"]});
    story.create::<ServiceIdentity>(&trust.namespace, crate::support::identity("order", listing)).await;
    let said = ("Accepted", "False", "NoSigningKey");
    says(&identities, "order", said, &["token issuer idp", "privateKeyJwt", "set signingKey"]).await;
    story.change(story.api::<ServiceIdentity>(&trust.namespace), "order", json!({"signingKey": {}})).await;
    says(&identities, "order", ("Accepted", "True", "Accepted"), &[]).await;

    let by_certificate = json!({"tokenIssuers": [{
        "name": "idp", "issuer": "https://127.0.0.1:1",
        "endpoint": {"cidrs": ["192.0.2.1/32"], "ports": [{"port": 443}]},
        "clientAuthentication": {"mtls": {}},
    }]});
    story.change(story.all::<TrustDomain>(), &trust.domain, by_certificate).await;
    story
        .change(
            story.api::<ServiceIdentity>(&trust.namespace),
            "order",
            json!({"certificate": {"usages": ["ServerAuth"]}}),
        )
        .await;
    says(&identities, "order", ("Accepted", "False", "UsageMissing"), &["idp", "mtls", "ClientAuth"]).await;
}
