//! Good tokens and assertions in a place that is not theirs.

use serde_json::json;

use super::forge::{Signer, claims, jwt, lives, with};
use super::shop::{INACTIVE, Shop};

#[tokio::test]
async fn a_service_token_that_a_caller_signed_for_its_callee_is_no_assertion_and_no_subject_token() {
    let shop = Shop::open("service-tokens").await;
    let gateway = &shop["gateway"];
    // What the token profile of services has: for another service, and, by a mistake, for the token service itself.
    for audience in [shop["order"].id.clone(), shop.issuer().to_owned(), shop.url("/token")] {
        let header = json!({"alg": "ES256", "kid": gateway.kid(), "typ": "service+jwt"});
        let said = json!({"iss": gateway.id, "sub": gateway.id, "aud": audience, "jti": "1"});
        let token = jwt(&header, &with(&said, lives(60)), &Signer::Es256(&gateway.key));
        let answer = shop.by_assertion(&token, "order").await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{audience}");
        assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.error(), "invalid_grant", "{audience}");
        assert_eq!(shop.introspect("order", &token).await, INACTIVE);
    }
}

#[tokio::test]
async fn a_client_assertion_is_no_subject_token_and_no_access_token() {
    let shop = Shop::open("assertions").await;
    let order = &shop["order"];
    for assertion in [
        order.assertion(),
        shop["gateway"].assertion_with(&json!({"aud": order.id})),
        shop["gateway"].assertion_with(&json!({"aud": [order.id, shop.issuer()]})),
    ] {
        assert_eq!(shop.exchange("order", &assertion, "delivery", &[]).await.error(), "invalid_grant");
        assert_eq!(shop.introspect("order", &assertion).await, INACTIVE);
    }
}

#[tokio::test]
async fn an_access_token_is_no_client_assertion() {
    let shop = Shop::open("access-as-assertion").await;
    for token in [shop.token("gateway", "order").await, shop.token("order", "delivery").await] {
        let answer = shop.by_assertion(&token, "order").await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    }
}

#[tokio::test]
async fn an_assertion_for_another_place_or_another_client_or_without_limits_is_no_proof() {
    let shop = Shop::open("assertion-claims").await;
    let gateway = &shop["gateway"];
    let order = &shop["order"].id;
    for (what, more) in [
        ("another audience", json!({"aud": order})),
        ("another audience besides", json!({"aud": [shop.issuer(), order]})),
        ("another place of the token service", json!({"aud": format!("{}/", shop.issuer())})),
        ("no audience", json!({"aud": null})),
        ("an empty list of audiences", json!({"aud": []})),
        ("another subject", json!({"sub": order})),
        ("no subject", json!({"sub": null})),
        ("another issuer", json!({"iss": order})),
        ("another issuer and subject", json!({"iss": order, "sub": order})),
        ("no issuer", json!({"iss": null})),
        ("no expiry", json!({"exp": null})),
        ("expired", json!({"exp": 1})),
        ("an expiry far away", lives(7 * 24 * 3600)),
        ("an expiry that is a text", json!({"exp": "9999999999"})),
        ("an expiry that is no number", json!({"exp": 1e300})),
        ("not valid yet", json!({"nbf": lives(3600)["exp"]})),
        ("no id", json!({"jti": null})),
        ("an empty id", json!({"jti": ""})),
    ] {
        let answer = shop.by_assertion(&gateway.assertion_with(&more), "order").await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{what}");
    }
    // Not even with somebody's certificate beside it, or under another name.
    let assertion = gateway.assertion_with(&json!({"aud": order}));
    assert_eq!(shop.with_certificate_and_assertion("order", &assertion, "delivery").await.status / 100, 4);
    let answer = shop.by_assertion_named(order, &gateway.assertion(), "order").await;
    assert_eq!(answer.status / 100, 4);
    assert_eq!(shop.by_assertion(&gateway.assertion(), "order").await.status, 200);
}

#[tokio::test]
async fn a_service_account_token_for_the_api_server_or_anyone_else_is_no_proof_and_one_for_the_issuer_is() {
    let shop = Shop::open("service-accounts").await;
    let order = shop["order"].id.clone();
    for audiences in [vec!["https://kubernetes.default.svc.cluster.local"], vec![order.as_str()], vec!["vault"]] {
        let token = shop.service_account_token("gateway", &audiences).await;
        let answer = shop.by_assertion(&token, "order").await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{audiences:?}");
        assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.error(), "invalid_grant");
        assert_eq!(shop.introspect("order", &token).await, INACTIVE);
    }
    // Of a service account that is no identity, or that does not list the token service.
    for other in ["nobody", "bystander"] {
        let token = shop.service_account_token(other, &[shop.issuer()]).await;
        assert_eq!(shop.by_assertion(&token, "order").await.error(), "invalid_client", "{other}");
    }
    let token = shop.service_account_token("gateway", &[shop.issuer()]).await;
    let answer = shop.by_assertion(&token, "order").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let access = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&access)["sub"], json!(shop["gateway"].id));
    // The same token is no subject token, though its audience is the token service.
    assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.error(), "invalid_grant");
}
