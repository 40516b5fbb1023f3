//! What may be used once, and what may be used no more, on whichever replica.

use serde_json::json;

use super::shop::{Shop, TRANSACTION_TOKEN, inactive};

#[tokio::test]
async fn a_one_time_token_that_is_replayed_is_refused_on_the_same_and_on_the_other_replica() {
    let shop = Shop::open("one-time").await;
    for (first, second) in [(0, 0), (0, 1), (1, 0)] {
        let token = shop.transaction_token("order", "ledger").await;
        assert_eq!(shop.at(first).introspect("ledger", &token).await["active"], true);
        for replica in [second, 0, 1] {
            assert_eq!(shop.at(replica).introspect("ledger", &token).await, inactive(), "{first}, then {replica}");
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
        assert_eq!(shop.introspect(other, &token).await, inactive(), "{other}");
    }
    // Not even the one that it was issued to, which is not told either whether it was used.
    assert_eq!(shop.introspect("order", &token).await, inactive());
    assert_eq!(shop.introspect("ledger", &token).await["active"], true);
}

#[tokio::test]
async fn a_one_time_token_leads_to_each_next_service_once_on_whichever_replica() {
    let shop = Shop::open("one-time-hops").await;
    for (first, second) in [(0, 0), (0, 1), (1, 0)] {
        let token = shop.transaction_token("order", "ledger").await;
        let exchange = async |replica, callee| {
            shop.at(replica).exchange_of("ledger", &token, TRANSACTION_TOKEN, callee, &[]).await
        };
        assert_eq!(shop.at(first).introspect("ledger", &token).await["active"], true);
        // One call may make several others necessary, and none of them twice.
        for callee in ["payment", "delivery"] {
            assert_eq!(exchange(first, callee).await.status, 200, "{callee}");
            for replica in [second, 0, 1] {
                let answer = exchange(replica, callee).await;
                assert_eq!(answer.refusal(), (400, "invalid_grant"), "{callee}: {first}, then {replica}");
            }
        }
        assert_eq!(shop.at(second).introspect("ledger", &token).await, inactive());
    }
}

#[tokio::test]
async fn of_many_who_exchange_a_one_time_token_at_once_one_gets_through() {
    let shop = Shop::open("one-time-hop-race").await;
    let token = shop.transaction_token("order", "ledger").await;
    let replicas = [shop.at(0), shop.at(1)];
    let exchanges =
        (0..8).map(|number| replicas[number % 2].exchange_of("ledger", &token, TRANSACTION_TOKEN, "payment", &[]));
    let answers = futures::future::join_all(exchanges).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_one_time_token_does_not_pass_for_an_access_token_nor_the_other_way_round() {
    let shop = Shop::open("one-time-types").await;
    let once = shop.transaction_token("order", "ledger").await;
    assert_eq!(shop.exchange("ledger", &once, "payment", &[]).await.refusal(), (400, "invalid_grant"));
    let often = shop.token("gateway", "order").await;
    let answer = shop.exchange_of("order", &often, TRANSACTION_TOKEN, "delivery", &[]).await;
    assert_eq!(answer.refusal(), (400, "invalid_grant"));
    // Where each call needs one of its own, a token that can be used often is not to be had, and elsewhere none for one.
    let (ledger, delivery) = (shop["ledger"].id(), shop["delivery"].id());
    assert_eq!(shop.ask_token("order", &[("audience", &ledger)]).await.refusal(), (400, "invalid_target"));
    let form = [("audience", delivery.as_str()), ("requested_token_type", TRANSACTION_TOKEN), ("purpose", "story")];
    assert_eq!(shop.ask_token("order", &form).await.refusal(), (400, "invalid_target"));
    assert_eq!(shop.exchange_of("ledger", &once, TRANSACTION_TOKEN, "payment", &[]).await.status, 200);
}

#[tokio::test]
async fn a_client_assertion_that_is_replayed_is_refused_on_the_same_and_on_the_other_replica() {
    let shop = Shop::open("replayed-assertion").await;
    for (first, second) in [(0, 0), (0, 1), (1, 0)] {
        let assertion = shop.assertion("gateway");
        assert_eq!(shop.at(first).by_assertion(&assertion, "order").await.status, 200);
        let answer = shop.at(second).by_assertion(&assertion, "order").await;
        assert_eq!(answer.refusal(), (401, "invalid_client"), "{first}, then {second}");
    }
    // Another JWT with the same id is a replay as well; the same id of another client is none.
    let again = shop.assertion_with("gateway", json!({"jti": "the-same", "aud": shop.issuer()}));
    assert_eq!(shop.by_assertion(&again, "order").await.status, 200);
    let again = shop.assertion_with("gateway", json!({"jti": "the-same"}));
    assert_eq!(shop.at(1).by_assertion(&again, "order").await.error(), "invalid_client");
    let anothers = shop.assertion_with("order", json!({"jti": "the-same"}));
    assert_eq!(shop.by_assertion(&anothers, "delivery").await.status, 200);
}

#[tokio::test]
async fn an_assertion_serves_for_one_request_whatever_the_request_is() {
    let shop = Shop::open("assertion-elsewhere").await;
    let token = shop.token("gateway", "order").await;
    let assertion = shop.assertion("order");
    let answer = shop.introspect_by_assertion(&assertion, &token).await;
    assert_eq!(answer.json["active"], true, "{}", answer.text());
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
        assert_eq!(shop.at(asked).introspect("order", &jwt).await, inactive());
        assert_eq!(shop.at(asked).exchange("order", &jwt, "delivery", &[]).await.error(), "invalid_grant");
        assert_eq!(shop.at(revoking).revoke("order", &opaque).await.status, 200);
        assert_eq!(shop.at(asked).introspect("delivery", &opaque).await, inactive());
    }
}

#[tokio::test]
async fn an_expired_token_is_not_active_and_can_not_be_exchanged() {
    let shop = Shop::open("expired").await;
    let token = shop.token("gateway", "kiosk").await;
    shop.eventually_inactive("kiosk", &token).await;
    assert_eq!(shop.exchange("kiosk", &token, "payment", &[]).await.error(), "invalid_grant");
}
