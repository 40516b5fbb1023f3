//! What may be used once, and what may be used no more, on whichever replica.

use serde_json::json;

use super::shop::{INACTIVE, Shop};

#[tokio::test]
async fn a_one_time_token_that_is_replayed_is_refused_on_the_same_and_on_the_other_replica() {
    let shop = Shop::open("one-time").await;
    for (first, second) in [(0, 0), (0, 1), (1, 0)] {
        let token = shop.transaction_token("order", "ledger").await;
        assert_eq!(shop.at(first).introspect("ledger", &token).await["active"], true);
        for replica in [second, 0, 1] {
            assert_eq!(shop.at(replica).introspect("ledger", &token).await, INACTIVE, "{first}, then {replica}");
        }
    }
}

#[tokio::test]
async fn of_many_who_use_a_one_time_token_at_once_one_gets_through() {
    let shop = Shop::open("one-time-race").await;
    for _ in 0..5 {
        let token = shop.transaction_token("order", "ledger").await;
        let replicas = [shop.at(0), shop.at(1)];
        let uses = (0..8).map(|number| replicas[number % 2].introspect("ledger", &token));
        let answers = futures::future::join_all(uses).await;
        assert_eq!(answers.iter().filter(|answer| answer["active"] == true).count(), 1, "{answers:?}");
    }
}

#[tokio::test]
async fn nobody_but_its_audience_uses_up_a_one_time_token() {
    let shop = Shop::open("one-time-strangers").await;
    let token = shop.transaction_token("order", "ledger").await;
    for other in ["stranger", "payment", "gateway"] {
        assert_eq!(shop.introspect(other, &token).await, INACTIVE, "{other}");
    }
    // Nor does it become a subject token by which it would be used twice.
    assert_eq!(shop.introspect("ledger", &token).await["active"], true);
    assert!(shop.exchange("ledger", &token, "payment", &[]).await.status >= 400);
}

#[tokio::test]
async fn a_client_assertion_that_is_replayed_is_refused_on_the_same_and_on_the_other_replica() {
    let shop = Shop::open("replayed-assertion").await;
    let gateway = &shop["gateway"];
    for (first, second) in [(0, 0), (0, 1), (1, 0)] {
        let assertion = gateway.assertion();
        assert_eq!(shop.at(first).by_assertion(&assertion, "order").await.status, 200);
        let answer = shop.at(second).by_assertion(&assertion, "order").await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{first}, then {second}");
    }
    // Another JWT with the same id is a replay as well; the same id of another client is none.
    let again = gateway.assertion_with(&json!({"jti": "the-same", "aud": shop.url("/token")}));
    assert_eq!(shop.by_assertion(&again, "order").await.status, 200);
    let again = gateway.assertion_with(&json!({"jti": "the-same"}));
    assert_eq!(shop.at(1).by_assertion(&again, "order").await.error(), "invalid_client");
    let anothers = shop["order"].assertion_with(&json!({"jti": "the-same"}));
    assert_eq!(shop.by_assertion(&anothers, "delivery").await.status, 200);
}

#[tokio::test]
async fn an_assertion_serves_for_one_request_whatever_the_request_is() {
    let shop = Shop::open("assertion-elsewhere").await;
    let token = shop.token("gateway", "order").await;
    let assertion = shop["order"].assertion();
    let answer = shop.introspect_by_assertion(&assertion, &token).await;
    assert_eq!(answer.json()["active"], true, "{}", answer.text());
    assert_eq!(shop.at(1).by_assertion(&assertion, "delivery").await.error(), "invalid_client");
}

#[tokio::test]
async fn a_revoked_token_is_not_active_on_the_other_replica_and_can_not_be_exchanged() {
    let shop = Shop::open("revoked").await;
    for (revoking, asked) in [(0, 1), (1, 0)] {
        let (jwt, opaque) = (shop.token("gateway", "order").await, shop.token("order", "delivery").await);
        // By who is not its client: nothing is told, and nothing changes.
        assert_eq!(shop.at(revoking).revoke("order", &jwt).await.status, 200);
        assert_eq!(shop.at(asked).introspect("order", &jwt).await["active"], true);

        assert_eq!(shop.at(revoking).revoke("gateway", &jwt).await.status, 200);
        assert_eq!(shop.at(asked).introspect("order", &jwt).await, INACTIVE);
        assert_eq!(shop.at(asked).exchange("order", &jwt, "delivery", &[]).await.error(), "invalid_grant");
        assert_eq!(shop.at(revoking).revoke("order", &opaque).await.status, 200);
        assert_eq!(shop.at(asked).introspect("delivery", &opaque).await, INACTIVE);
    }
}

#[tokio::test]
async fn an_expired_token_is_not_active_and_can_not_be_exchanged() {
    let shop = Shop::open("expired").await;
    let token = shop.token("gateway", "kiosk").await;
    shop.eventually_inactive("kiosk", &token).await;
    assert_eq!(shop.exchange("kiosk", &token, "payment", &[]).await.error(), "invalid_grant");
}
