//! Tokens that are bound to a certificate (RFC 8705), in the hands of another.

use serde_json::json;

use super::forge::claims;
use super::shop::{Shop, thumbprint};

#[tokio::test]
async fn a_stolen_certificate_bound_token_shows_by_its_thumbprint_that_it_is_another_s() {
    let shop = Shop::open("bound").await;
    let token = shop.token("order", "payment").await;
    let bound_to = claims(&token)["cnf"]["x5t#S256"].clone();
    // What `payment` compares with the certificate on its connection, by the token itself and by introspection.
    assert_eq!(bound_to, json!(thumbprint(&shop["order"].certificate)));
    assert_eq!(shop.introspect("payment", &token).await["cnf"]["x5t#S256"], bound_to);
    for thief in ["stranger", "gateway", "payment"] {
        assert_ne!(bound_to, json!(thumbprint(&shop[thief].certificate)), "{thief}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_no_token_where_one_is_demanded() {
    let shop = Shop::open("unbound").await;
    // By its key alone a client shows no certificate that the token could be bound to: what it gets is bound to nothing,
    // and the callee demands the certificate on the connection all the same.
    let answer = shop.by_assertion(&shop["order"].assertion(), "payment").await;
    if answer.status == 200 {
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert!(claims(&token).get("cnf").is_none());
    }
}

#[tokio::test]
async fn a_certificate_bound_subject_token_goes_no_further_than_the_service_that_it_was_sent_to() {
    let shop = Shop::open("bound-exchange").await;
    let token = shop.token("order", "payment").await;
    for thief in ["stranger", "gateway", "order"] {
        let answer = shop.exchange(thief, &token, "ledger", &[]).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{thief}");
        if thief != "order" {
            assert_eq!(shop.introspect(thief, &token).await, super::shop::INACTIVE, "{thief}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_domain_or_of_nobody_with_the_right_name_is_no_proof() {
    let shop = Shop::open("certificates").await;
    for (what, certificate) in [
        ("self-signed", shop.self_signed("order")),
        ("of a CA of another domain", shop.signed_by_another_domain("order")),
        ("expired", shop.expired("order")),
    ] {
        // The handshake may fail, or the request; a token there is not.
        let answers = shop.with_certificate(&certificate, "delivery").await;
        assert!(answers.iter().all(|answer| answer.status == 401), "{what}: {answers:?}");
    }
}
