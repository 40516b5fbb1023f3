//! Whose keys are fetched, how often, and what becomes of them when the declaration changes.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::TrustDomain;
use ringfence_core::world::Settings;
use serde_json::{Value, json};

use super::{declared, is_content, kids_of, on_record};
use crate::support::{
    Answer, Forward, Replica, Story, TestIssuer, begin_alone, condition, edit, event_reasons, eventually, gone,
    in_namespace, is_owned_by, key_set, says, wait_for,
};

#[tokio::test]
async fn the_keys_of_an_issuer_are_fetched_and_put_on_record() {
    let story = Story::begin("fetched").await;
    let issuer = TestIssuer::start().await;
    let mut keys = key_set(&["a", "b"]);
    keys["keys"][0]["x5c"] = json!(["MIIB"]);
    let url = issuer.issue("/realms/shop", &keys);
    let trust = story.trust("shop", json!({"tokenIssuers": [declared(&issuer, "idp", &url)]})).await;
    let record = on_record(&story, &trust.domain, "idp", &["a", "b"]).await;
    assert_eq!((&record["issuer"], &record["introspectionUri"]), (&json!(url), &json!(format!("{url}/introspect"))));
    assert!(!record.to_string().contains("x5c"), "only what verifies is taken over");
    assert_eq!(record.get("failure"), None);
    let domain = is_content(&story, &trust.domain).await;
    eventually("an event says so", async || {
        event_reasons(&story, &domain).await.contains(&"IssuerKeysFetched".to_owned()).then_some(())
    })
    .await;
    let records = in_namespace::<ConfigMap>(&story, OPERATOR_NAMESPACE);
    let name = format!("{}-issuers", trust.domain);
    assert!(is_owned_by(&records.get(&name).await.unwrap(), domain.metadata.uid.as_deref().unwrap()));
    // RFC 8414's place is looked at first, and the keys are asked for once.
    assert_eq!(issuer.asked("/.well-known/oauth-authorization-server/realms/shop"), 1);
    assert_eq!(issuer.asked("/realms/shop/keys"), 1);

    // What someone else puts there is no key of the issuer.
    edit(&records, &name, |record| {
        let data = record.data.as_mut().unwrap();
        *data.get_mut("idp.json").unwrap() = data["idp.json"].replace("\"a\"", "\"evil\"");
    })
    .await;
    on_record(&story, &trust.domain, "idp", &["a", "b"]).await;
    records.delete(&name, &DeleteParams::default()).await.unwrap();
    on_record(&story, &trust.domain, "idp", &["a", "b"]).await;
    assert_eq!(issuer.asked("/realms/shop/keys"), 1);

    // Its keys go with its name.
    story.change(story.all::<TrustDomain>(), &trust.domain, json!({"tokenIssuers": null})).await;
    gone(&records, &name).await;
    is_content(&story, &trust.domain).await;
}

#[tokio::test]
async fn keys_reach_who_is_called_with_the_issuers_tokens_and_its_root_who_talks_to_it_and_nobody_else() {
    let story = Story::begin("delivered").await;
    let issuer = TestIssuer::start().await;
    let url = issuer.issue("", &key_set(&["a"]));
    let mut idp = declared(&issuer, "idp", &url);
    idp["endpoint"] = json!({"cidrs": ["192.0.2.7/32"], "ports": [{"port": 443}]});
    let spec = json!({"tokenIssuers": [idp], "inbound": [{"anywhere": {}}]});
    let trust = story.trust("shop", spec).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "gateway", json!({})).await;
    story.ready_identity(namespace, "login", json!({"tokenIssuers": ["idp"]})).await;
    story.ready_identity(namespace, "bystander", json!({})).await;
    let spec = json!({
        "to": {"identity": "gateway", "ports": [{"port": 8443}]}, "from": [{"anywhere": {}}],
        "authentication": {"jwt": {"signer": "Issuer", "scopes": ["customer"]}},
    });
    story.ready_policy(namespace, "gateway", spec).await;
    let has = |kid: &'static str| {
        move |found: &ConfigMap| {
            let keys = found.data.as_ref().and_then(|data| data.get("issuer.idp.jwks.json"));
            keys.is_some_and(|keys| kids_of(&serde_json::from_str::<Value>(keys).unwrap()) == [kid])
        }
    };
    let delivered = in_namespace::<ConfigMap>(&story, namespace);
    let gateway = wait_for(&delivered, "gateway-trust", "hold the issuer's key", has("a")).await.data.unwrap();
    assert_eq!(gateway.get("issuer.idp.pem"), None, "it does not talk to the issuer");
    let access: Value = serde_json::from_str(&gateway["access.json"]).unwrap();
    assert_eq!(access["issuers"][&url]["keySet"], "issuer.idp.jwks.json");
    let login = delivered.get("login-trust").await.unwrap().data.unwrap();
    assert_eq!(login["issuer.idp.pem"], issuer.certificate());
    assert_eq!(login.get("issuer.idp.jwks.json"), None, "nobody calls it with tokens");
    let access: Value = serde_json::from_str(&login["access.json"]).unwrap();
    assert_eq!(access["issuers"][&url]["introspectionUri"], json!(format!("{url}/introspect")));
    let bystander = delivered.get("bystander-trust").await.unwrap();
    assert!(!bystander.data.unwrap().keys().any(|file| file.starts_with("issuer.")));
}

#[tokio::test]
async fn declared_addresses_spare_the_metadata_and_another_issuer_has_other_keys() {
    let story = Story::begin("declared").await;
    let issuer = TestIssuer::start().await;
    issuer.answer("/elsewhere", Answer::json(&key_set(&["direct"]), 60));
    let url = issuer.url("");
    let mut idp = declared(&issuer, "idp", &url);
    idp["jwksUri"] = json!(issuer.url("/elsewhere"));
    idp["introspectionUri"] = json!(issuer.url("/ask"));
    let trust = story.trust("shop", json!({"tokenIssuers": [idp]})).await;
    let record = on_record(&story, &trust.domain, "idp", &["direct"]).await;
    assert_eq!(record["introspectionUri"], json!(issuer.url("/ask")));
    assert_eq!(issuer.asked("/.well-known/oauth-authorization-server"), 0);
    assert_eq!(issuer.asked("/.well-known/openid-configuration"), 0);

    // Without metadata there is no introspection, and keys all the same.
    idp = declared(&issuer, "idp", &url);
    idp["jwksUri"] = json!(issuer.url("/elsewhere"));
    story.change(story.all::<TrustDomain>(), &trust.domain, json!({"tokenIssuers": [idp]})).await;
    eventually("the metadata are looked for", async || {
        (issuer.asked("/.well-known/openid-configuration") > 0).then_some(())
    })
    .await;

    // Under the same name, but not the same: the old keys don't verify its tokens.
    let other = issuer.url("/other");
    let declared = json!({"tokenIssuers": [declared(&issuer, "idp", &other)]});
    story.change(story.all::<TrustDomain>(), &trust.domain, declared).await;
    gone(&in_namespace::<ConfigMap>(&story, OPERATOR_NAMESPACE), &format!("{}-issuers", trust.domain)).await;
    let said = ("ResolvedRefs", "False", "IssuerInvalid");
    says(&story.all::<TrustDomain>(), &trust.domain, said, &["idp", "has no metadata", "can't be verified"]).await;
    issuer.issue("/other", &key_set(&["new"]));
    on_record(&story, &trust.domain, "idp", &["new"]).await;
    is_content(&story, &trust.domain).await;
}

#[tokio::test]
async fn what_can_not_be_used_of_a_declaration_is_said_and_nobody_is_asked() {
    let story = Story::begin("faulty").await;
    let issuer = TestIssuer::start().await;
    let url = issuer.issue("", &key_set(&["a"]));
    let broken = json!({"name": "idp", "issuer": url, "caBundle": "-----BEGIN CERTIFICATE-----\nMIIB\n"});
    let trust = story.trust("shop", json!({"tokenIssuers": [broken]})).await;
    let said = ("Accepted", "False", "Invalid");
    says(&story.all::<TrustDomain>(), &trust.domain, said, &["token issuer idp", "caBundle", "correct it"]).await;
    let right = json!({"tokenIssuers": [declared(&issuer, "idp", &url)]});
    story.change(story.all::<TrustDomain>(), &trust.domain, right).await;
    on_record(&story, &trust.domain, "idp", &["a"]).await;
    is_content(&story, &trust.domain).await;

    // Without its root it is a stranger.
    let stranger = json!({"name": "stranger", "issuer": url});
    story.change(story.all::<TrustDomain>(), &trust.domain, json!({"tokenIssuers": [stranger]})).await;
    let said = ("ResolvedRefs", "False", "IssuerUnreachable");
    says(&story.all::<TrustDomain>(), &trust.domain, said, &["stranger", "UnknownIssuer", "caBundle"]).await;
}

#[tokio::test]
async fn a_key_that_an_issuer_rotates_is_known_when_the_old_ones_have_had_their_time() {
    let (story, _turn) = begin_alone("rotated").await;
    let clock = Forward::default();
    let operation = story.cluster.operate_with(Settings::default(), clock.clock()).await;
    let issuer = TestIssuer::start().await;
    let url = issuer.issue("", &key_set(&["old"]));
    let trust = story.trust("shop", json!({"tokenIssuers": [declared(&issuer, "idp", &url)]})).await;
    on_record(&story, &trust.domain, "idp", &["old"]).await;
    is_content(&story, &trust.domain).await;
    issuer.answer("/keys", Answer::json(&key_set(&["new", "old"]), 60));
    clock.to(61);
    on_record(&story, &trust.domain, "idp", &["new", "old"]).await;
    assert_eq!(issuer.asked("/keys"), 2, "in between nobody asks");
    operation.stop().await;
}

#[tokio::test]
async fn whoever_follows_asks_no_issuer_and_whoever_takes_over_has_the_keys_at_once() {
    let (story, _turn) = begin_alone("followed").await;
    let mut issuer = TestIssuer::start().await;
    let url = issuer.issue("", &key_set(&["a"]));
    issuer.answer("/keys", Answer::json(&key_set(&["a"]), 3600));
    let first = Replica::start(story.cluster, 2);
    first.leads().await;
    let trust = story.trust("shop", json!({"tokenIssuers": [declared(&issuer, "idp", &url)]})).await;
    on_record(&story, &trust.domain, "idp", &["a"]).await;
    let second = Replica::start(story.cluster, 2);
    second.follows().await;
    // What it would ask, it would ask before it is ready.
    assert_eq!(issuer.asked("/keys"), 1);
    issuer.stop();
    let before: Value = super::record(&story, &trust.domain).await.into_iter().collect();
    drop(first);
    second.leads().await;
    let said = ("ResolvedRefs", "False", "IssuerUnreachable");
    let domain = says(&story.all::<TrustDomain>(), &trust.domain, said, &["idp", "stay in use"]).await;
    assert_eq!(condition(&domain, "Ready").1, "IssuerUnreachable");
    let record = on_record(&story, &trust.domain, "idp", &["a"]).await;
    let kept: Value = serde_json::from_str(before["idp.json"].as_str().unwrap()).unwrap();
    assert_eq!(record["jwks"], kept["jwks"]);
    issuer.resume().await;
    is_content(&story, &trust.domain).await;
}
