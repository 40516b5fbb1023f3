//! Good tokens and assertions in a place that is not theirs.

use serde_json::json;

use super::forge::{Signer, claims, jwt, lives, with};
use super::shop::{Shop, inactive};

#[tokio::test]
async fn a_service_token_that_a_caller_signed_for_its_callee_is_no_assertion_and_no_subject_token() {
    let shop = Shop::open("service-tokens").await;
    let gateway = &shop["gateway"];
    // What the token profile of services has: for another service, and, by a mistake, for the token service itself.
    for audience in [shop["order"].id(), shop.issuer().to_owned(), shop.url("/token")] {
        let header = json!({"alg": "ES256", "kid": gateway.signing_key.kid(), "typ": "service+jwt"});
        let said = json!({"iss": gateway.id(), "sub": gateway.id(), "aud": audience, "jti": "1"});
        let token = jwt(&header, &with(&said, lives(60)), &Signer::Es256(&gateway.signing_key));
        let answer = shop.by_assertion(&token, "order").await;
        assert_eq!(answer.refusal(), (401, "invalid_client"), "{audience}");
        assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.error(), "invalid_grant", "{audience}");
        assert_eq!(shop.introspect("order", &token).await, inactive());
    }
}

#[tokio::test]
async fn a_client_assertion_is_no_subject_token_and_no_access_token() {
    let shop = Shop::open("assertions").await;
    let order = &shop["order"];
    for assertion in [
        shop.assertion("order"),
        shop.assertion_with("gateway", json!({"aud": order.id()})),
        shop.assertion_with("gateway", json!({"aud": [order.id(), shop.issuer()]})),
    ] {
        assert_eq!(shop.exchange("order", &assertion, "delivery", &[]).await.error(), "invalid_grant");
        assert_eq!(shop.introspect("order", &assertion).await, inactive());
    }
}

#[tokio::test]
async fn an_access_token_is_no_client_assertion() {
    let shop = Shop::open("access-as-assertion").await;
    for token in [shop.token("gateway", "order").await, shop.token("order", "delivery").await] {
        let answer = shop.by_assertion(&token, "order").await;
        assert_eq!(answer.refusal(), (401, "invalid_client"));
    }
}

#[tokio::test]
async fn an_assertion_for_another_place_or_another_client_or_without_limits_is_no_proof() {
    let shop = Shop::open("assertion-claims").await;
    let order = shop["order"].id();
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
        let answer = shop.by_assertion(&shop.assertion_with("gateway", more), "order").await;
        assert_eq!(answer.refusal(), (401, "invalid_client"), "{what}");
    }
    // Not even with somebody's certificate beside it, or under another name.
    for assertion in [shop.assertion_with("gateway", json!({"aud": order})), shop.assertion("gateway")] {
        let answer = shop.with_certificate_and_assertion("order", &assertion, "delivery").await;
        assert_eq!(answer.refusal(), (401, "invalid_client"));
    }
    let answer = shop.by_assertion_named(&order, &shop.assertion("gateway"), "order").await;
    assert_eq!(answer.refusal(), (401, "invalid_client"));
    assert_eq!(shop.by_assertion(&shop.assertion("gateway"), "order").await.status, 200);
}

#[tokio::test]
async fn a_service_account_token_for_the_api_server_or_anyone_else_is_no_proof_and_one_for_the_issuer_is() {
    let shop = Shop::open("service-accounts").await;
    shop.create_accounts(&["gateway", "nobody", "bystander"]).await;
    let order = shop["order"].id();
    for audiences in [
        // By default, the API server's.
        vec![],
        vec![order.as_str()],
        vec!["vault"],
        // Whoever else it is for could use it as well.
        vec![shop.issuer(), "vault"],
        vec!["vault", shop.issuer()],
        vec![shop.issuer(), &order],
    ] {
        let token = shop.service_account_token("gateway", &audiences).await;
        let answer = shop.by_assertion(&token, "order").await;
        assert_eq!(answer.refusal(), (401, "invalid_client"), "{audiences:?}");
        assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.error(), "invalid_grant");
        assert_eq!(shop.introspect("order", &token).await, inactive());
    }
    // Of a service account that is no identity, or that does not list the token service.
    for other in ["nobody", "bystander"] {
        let token = shop.service_account_token(other, &[shop.issuer()]).await;
        assert_eq!(shop.by_assertion(&token, "order").await.error(), "invalid_client", "{other}");
    }
    let token = shop.service_account_token("gateway", &[shop.issuer()]).await;
    let answer = shop.by_assertion(&token, "order").await;
    assert_eq!(claims(&answer.token())["sub"], json!(shop["gateway"].id()));
    // The same token is no subject token, though its audience is the token service.
    assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.error(), "invalid_grant");
}
