//! Tokens that are bound to a certificate (RFC 8705), in the hands of another, and without one.

use serde_json::json;

use super::forge::claims;
use super::shop::{Shop, inactive};
use super::wire::Certificate;

#[tokio::test]
async fn a_stolen_certificate_bound_token_shows_by_its_thumbprint_that_it_is_another_s() {
    let shop = Shop::open("bound").await;
    let token = shop.token("order", "payment").await;
    let bound_to = claims(&token)["cnf"]["x5t#S256"].clone();
    // What `payment` compares with the certificate on its connection, by the token itself and by introspection.
    assert_eq!(bound_to, json!(shop["order"].thumbprint()));
    for replica in [0, 1] {
        assert_eq!(shop.at(replica).introspect("payment", &token).await["cnf"], json!({"x5t#S256": bound_to}));
    }
    for thief in ["stranger", "gateway", "payment"] {
        assert_ne!(bound_to, json!(shop[thief].thumbprint()), "{thief}");
    }
}

#[tokio::test]
async fn a_stolen_certificate_bound_token_is_of_no_use_at_the_token_service_by_another_certificate() {
    let shop = Shop::open("bound-stolen").await;
    let token = shop.token("order", "payment").await;
    for thief in ["stranger", "gateway", "ledger", "kiosk"] {
        assert_eq!(shop.introspect(thief, &token).await, inactive(), "{thief}");
        let answer = shop.exchange(thief, &token, "delivery", &[]).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant"), "{thief}");
        // Nor can a thief do away with it.
        assert_eq!(shop.revoke(thief, &token).await.status, 200);
    }
    assert_eq!(shop.introspect("payment", &token).await["active"], true);
}

#[tokio::test]
async fn a_certificate_bound_token_is_no_subject_token_of_the_service_that_it_was_issued_to() {
    let shop = Shop::open("bound-exchange").await;
    let token = shop.token("order", "payment").await;
    let answer = shop.exchange("order", &token, "delivery", &[]).await;
    assert_eq!(answer.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_no_token_where_one_is_demanded() {
    let shop = Shop::open("unbound").await;
    shop.create_accounts(&["order"]).await;
    // By its key or by its service account alone, a client shows nothing that the token could be bound to.
    let account = shop.service_account_token("order", &[shop.issuer()]).await;
    for assertion in [shop.assertion("order"), account.clone()] {
        let answer = shop.by_assertion(&assertion, "payment").await;
        assert_eq!(answer.refusal(), (400, "invalid_target"));
    }
    let subject = shop.token_with("gateway", "order", "shop.read shop.pay").await;
    for assertion in [shop.assertion("order"), account.clone()] {
        let answer = shop.exchange_by_assertion(&assertion, &subject, "payment").await;
        assert_eq!(answer.refusal(), (400, "invalid_target"));
    }
    // Where no certificate is demanded they are proof enough, and the certificate is where it is.
    for assertion in [shop.assertion("order"), account] {
        assert_eq!(shop.by_assertion(&assertion, "delivery").await.status, 200);
    }
    let token = shop.exchanged("order", &subject, "payment", &[]).await;
    assert_eq!(claims(&token)["cnf"]["x5t#S256"], json!(shop["order"].thumbprint()));
    let both = shop.with_certificate_and_assertion("order", &shop.assertion("order"), "payment").await.token();
    assert_eq!(claims(&both)["cnf"]["x5t#S256"], json!(shop["order"].thumbprint()));
}

#[tokio::test]
async fn a_certificate_of_another_domain_or_of_nobody_with_the_right_name_is_no_proof() {
    let shop = Shop::open("certificates").await;
    for (what, certificate) in [
        ("self-signed", shop.self_signed("order")),
        ("of a CA of another domain", shop.signed_by_another_domain("order")),
        ("expired", shop.expired("order")),
    ] {
        let answers = shop.with_certificate(&certificate, "delivery").await;
        assert!(answers.is_empty(), "{what}: the handshake fails: {answers:?}");
    }
    let answers = shop.with_certificate(&Certificate::of(&shop["order"]), "delivery").await;
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200]);
}
