//! Tokens of issuers that others run, exchanged for one of ours.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringfence_core::api::TokenFormat;
use ringfence_core::tokens::DirectoryIssuer;
use serde_json::json;

use super::support::{ForeignIssuer, Shop, eventually, now};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

#[tokio::test]
async fn an_opaque_token_is_exchanged_for_what_its_issuer_says_of_it() {
    let mut shop = Shop::open("foreign").await;
    let issuer = ForeignIssuer::start(&shop.sts.certificate()).await;
    shop.directory.domain.issuers.push(DirectoryIssuer {
        name: "keycloak".to_owned(),
        issuer: issuer.identifier(),
        jwks: None,
        introspection_uri: Some(issuer.introspection_uri()),
        audiences: BTreeSet::from(["account".to_owned()]),
    });
    shop.sts.publish(&shop.directory).await;
    let replica = shop.sts.first(&[]).ready().await;
    let (order, audience) = (shop.client(&replica, &shop.order), shop.payment.audience());
    let exchange = async || {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", "opaque-of-keycloak"),
            ("subject_token_type", ACCESS_TOKEN),
            ("audience", &audience),
        ];
        order.post("/token", &form).await
    };
    // As long as the token service itself does not list the issuer, nobody is asked.
    assert_eq!(exchange().await.error(), (400, "invalid_grant"));
    assert!(issuer.asked.lock().unwrap().is_empty());

    let issuers = json!({issuer.identifier(): {
        "name": "keycloak", "introspectionUri": issuer.introspection_uri(), "roots": "issuer.keycloak.pem",
    }});
    let access = json!({"spiffeID": "spiffe://platform/ns/sts/sa/token-service", "issuers": issuers});
    shop.sts.write_trust(&[("access.json", &access.to_string()), ("issuer.keycloak.pem", shop.sts.roots())]).await;
    let client_id = "client_id=spiffe%3A%2F%2Fplatform%2Fns%2Fsts%2Fsa%2Ftoken-service";
    eventually("the issuer is asked by a client that its certificate proves", async || {
        assert_eq!(exchange().await.error(), (400, "invalid_grant"));
        let asked = issuer.asked.lock().unwrap();
        asked.iter().any(|(authorization, form)| authorization.is_empty() && form.contains(client_id)).then_some(())
    })
    .await;
    let secret = [("client-id", "ringfence"), ("client-secret", "s:e cret")];
    shop.sts.write_secret("token-service-keycloak-client", &secret).await;
    let expected = format!("Basic {}", STANDARD.encode("ringfence:s%3Ae+cret"));
    eventually("the issuer is asked with its credentials", async || {
        assert_eq!(exchange().await.error(), (400, "invalid_grant"), "it says that the token is not active");
        let asked = issuer.asked.lock().unwrap();
        asked.iter().any(|(authorization, _)| *authorization == expected).then_some(())
    })
    .await;
    assert!(issuer.asked.lock().unwrap()[0].1.starts_with("token=opaque-of-keycloak&"));

    let good = json!({
        "active": true, "sub": "alice", "aud": "account", "exp": now().as_second() + 120, "scope": "customer",
    });
    issuer.answer.lock().unwrap().clone_from(&good);
    let answer = exchange().await;
    assert_eq!((answer.status, &answer.json["issued_token_type"]), (200, &ACCESS_TOKEN.into()), "{answer:?}");
    assert!(answer.json["expires_in"].as_i64().unwrap() <= 120, "it lives no longer than what it was given for");
    let looked = shop.client(&replica, &shop.payment).post("/introspect", &[("token", answer.token())]).await;
    assert_eq!((&looked.json["active"], &looked.json["sub"]), (&true.into(), &"alice".into()));
    assert_eq!(looked.json["act"], json!({"sub": shop.order.id()}));

    let mut meant_for_others = good.clone();
    meant_for_others["aud"] = json!("https://elsewhere");
    *issuer.answer.lock().unwrap() = meant_for_others;
    assert_eq!(exchange().await.error(), (400, "invalid_grant"));
    *issuer.answer.lock().unwrap() = json!("nonsense");
    assert_eq!(exchange().await.error(), (400, "invalid_grant"));
    let log = replica.log();
    assert!(!log.contains("opaque-of-keycloak") && !log.contains("s:e cret") && !log.contains("s%3Ae+cret"));
}

#[tokio::test]
async fn a_token_that_can_not_be_the_issuer_s_is_not_shown_to_it() {
    let mut shop = Shop::open("not-shown").await;
    let namespace = format!("{}-pods", shop.sts.namespace);
    shop.sts.create_accounts(&namespace, &["order"]).await;
    let issuer = ForeignIssuer::start(&shop.sts.certificate()).await;
    let good = json!({
        "active": true, "sub": "alice", "aud": "account", "exp": now().as_second() + 120, "scope": "customer",
    });
    issuer.answer.lock().unwrap().clone_from(&good);
    shop.directory.domain.issuers.push(DirectoryIssuer {
        name: "keycloak".to_owned(),
        issuer: issuer.identifier(),
        jwks: None,
        introspection_uri: Some(issuer.introspection_uri()),
        audiences: BTreeSet::from(["account".to_owned()]),
    });
    shop.directory.domain.token_format = TokenFormat::Opaque;
    shop.directory.grants[0].max_lifetime_seconds = 2;
    shop.sts.publish(&shop.directory).await;
    let access = json!({"issuers": {issuer.identifier(): {
        "name": "keycloak", "introspectionUri": issuer.introspection_uri(), "roots": "issuer.keycloak.pem",
    }}});
    shop.sts.write_secret("token-service-keycloak-client", &[("client-id", "ringfence"), ("client-secret", "s")]).await;
    shop.sts.write_trust(&[("access.json", &access.to_string()), ("issuer.keycloak.pem", shop.sts.roots())]).await;
    let replica = shop.sts.first(&[]).ready().await;
    let (order, audience) = (shop.client(&replica, &shop.order), shop.payment.audience());
    let exchange = async |token: &str| {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("audience", &audience),
        ];
        order.post("/token", &form).await
    };
    eventually("the issuer is asked", async || (exchange("opaque-of-keycloak").await.status == 200).then_some(()))
        .await;
    // It says of everything that it is good; so that whatever is refused is refused without it.
    let own = shop.token(&replica).await;
    eventually("our own token has expired", async || (!shop.is_active(&replica, &own).await).then_some(())).await;
    let elsewhere = json!({"iss": "https://another.example", "sub": "alice", "aud": "account"});
    issuer.asked.lock().unwrap().clear();
    for (what, token) in [
        ("our own, expired", own.clone()),
        ("our own, changed", format!("{own}A")),
        ("another issuer's", shop.order.sign("at+jwt", &elsewhere)),
        ("a service account's", shop.sts.account_token(&namespace, "order", &[&shop.sts.issuer]).await),
        ("the API server's", shop.sts.account_token(&namespace, "order", &[]).await),
        ("an assertion", shop.order.assertion(&shop.sts)),
    ] {
        assert_eq!(exchange(&token).await.error(), (400, "invalid_grant"), "{what}");
        assert!(issuer.asked.lock().unwrap().is_empty(), "{what} was shown to the issuer");
    }
    assert_eq!(exchange("opaque-of-keycloak").await.status, 200);
    assert_eq!(issuer.asked.lock().unwrap().len(), 1);
}
