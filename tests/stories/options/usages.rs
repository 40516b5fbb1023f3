//! What a certificate may be used for, and under which common name.

use k8s_openapi::api::core::v1::Service;
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::json;

use super::{certificate, choose, writes};
use crate::support::{History, OpenSsl, Peer, Story, condition, config_map, events_about, eventually, says, service};

/// Whether OpenSSL takes the certificate for a server's, and for a client's.
async fn serves_as(story: &Story, namespace: &str, name: &str) -> (bool, bool) {
    let openssl = OpenSsl::with(&Peer::of(story, namespace, name).await.files);
    let verify = |purpose: &str| {
        openssl.try_run(&format!("verify -purpose {purpose} -CAfile ca.crt -untrusted tls.crt tls.crt")).is_ok()
    };
    (verify("sslserver"), verify("sslclient"))
}

#[tokio::test]
async fn a_certificate_is_for_what_was_chosen_and_another_choice_is_one_new_certificate() {
    let story = Story::begin("usages").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    let caller = json!({"certificate": {"usages": ["ClientAuth"]}});
    let before = story.ready_identity(&namespace, "order", caller).await;
    assert_eq!(serves_as(&story, &namespace, "order").await, (false, true));
    let history = History::begin(story.cluster);
    for (usages, expected) in
        [(json!(["ServerAuth"]), (true, false)), (json!(["ClientAuth", "ServerAuth"]), (true, true))]
    {
        choose(&story, &namespace, "order", json!({"usages": usages})).await;
        assert_eq!(serves_as(&story, &namespace, "order").await, expected, "{usages}");
    }
    let both = choose(&story, &namespace, "order", json!({"usages": null})).await;
    assert_ne!(certificate(&both).serial, certificate(&before).serial);
    assert_eq!(writes(&story, &history, &namespace, "order-tls").await, 2, "both is what there is unless chosen");
    eventually("an event says why", async || {
        let events = events_about(&story, &both).await;
        events
            .iter()
            .any(|event| event.note.as_ref().is_some_and(|note| note.contains("(UsagesChanged)")))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_edge_whose_ends_can_not_show_a_certificate_is_told_and_everything_else_stands() {
    let story = Story::begin("usages-edge").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    story.ready_identity(&namespace, "order", json!({"certificate": {"usages": ["ServerAuth"]}})).await;
    for name in ["cart", "payment"] {
        story.ready_identity(&namespace, name, json!({})).await;
    }
    let from = ["order", "cart"].map(|name| json!({"identity": {"name": name}}));
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": from});
    let judged = story.judged_policy(&namespace, "pay", spec).await;
    let (status, reason, message) = condition(&judged, "Accepted");
    assert_eq!((&*status, &*reason), ("True", "PartiallyAccepted"), "{message}");
    let entries = serde_json::to_string(&judged.status.unwrap().from).unwrap();
    let why = format!("the certificate of ServiceIdentity {namespace}/order is not for clients: add ClientAuth");
    assert!(entries.contains("UsageMissing") && entries.contains(&why), "{entries}");
    let callers = async || config_map(&story, &namespace, "payment-trust").await["access.json"].clone();
    eventually("the other caller is let in, and this one is not", async || {
        let access = callers().await;
        (access.contains("/sa/cart") && !access.contains("/sa/order")).then_some(())
    })
    .await;
    let order = story.wait_identity(&namespace, "order", "be ready still", |i| condition(i, "Ready").0 == "True").await;
    assert_eq!(condition(&order, "Accepted").0, "True", "nothing is wrong with the identity");

    choose(&story, &namespace, "order", json!({"usages": null})).await;
    eventually("both are let in", async || callers().await.contains("/sa/order").then_some(())).await;
    choose(&story, &namespace, "payment", json!({"usages": ["ClientAuth"]})).await;
    let told = ["payment is not for servers: add ServerAuth to certificate.usages in it"];
    let pay = says(&story.api::<AccessPolicy>(&namespace), "pay", ("Ready", "False", "UsageMissing"), &[]).await;
    let entries = serde_json::to_string(&pay.status.unwrap().from).unwrap();
    assert!(entries.contains(told[0]), "{entries}");
}

#[tokio::test]
async fn the_common_name_is_a_name_of_the_certificate_and_goes_when_that_goes() {
    let story = Story::begin("common-name").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    story.create::<Service>(&namespace, service("order", 443, json!(8443))).await;
    let name = format!("order.{namespace}.svc");
    story.ready_identity(&namespace, "order", json!({"certificate": {"commonName": name}})).await;
    let subject = async || {
        let openssl = OpenSsl::with(&Peer::of(&story, &namespace, "order").await.files);
        openssl.run("x509 -in tls.crt -noout -subject").trim().to_owned()
    };
    assert_eq!(subject().await, format!("subject=CN = {name}"));
    story.api::<Service>(&namespace).delete("order", &Default::default()).await.unwrap();
    let api = story.api::<ServiceIdentity>(&namespace);
    let words = [&*format!("the common name {name} is refused, and order is used instead"), "services and dnsNames"];
    says(&api, "order", ("Accepted", "False", "NameNotAllowed"), &words).await;
    eventually("its own name takes the place", async || (subject().await == "subject=CN = order").then_some(())).await;
    let own = choose(&story, &namespace, "order", json!({"commonName": "order"})).await;
    assert_eq!(condition(&own, "Accepted").0, "True");
}
