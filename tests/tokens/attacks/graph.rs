//! Tokens that the access graph does not allow, or allows no more.

use serde_json::json;

use super::forge::claims;
use super::shop::{Shop, inactive};

#[tokio::test]
async fn a_token_for_an_audience_without_a_policy_or_without_a_name_is_not_minted() {
    let shop = Shop::open("audiences").await;
    let (order, kiosk) = (shop["order"].id(), shop["kiosk"].id());
    for (who, callee) in [("stranger", "order"), ("gateway", "payment"), ("order", "gateway"), ("gateway", "gateway")] {
        let answer = shop.ask_token(who, &[("audience", &shop[callee].id())]).await;
        assert_eq!(answer.refusal(), (400, "invalid_target"), "{who} to {callee}");
    }
    let host = order.replace("sa/order", "sa/*");
    for audience in ["*", "", "order", "spiffe://", &host, &format!("{order}/"), &order.to_uppercase(), shop.issuer()] {
        let answer = shop.ask_token("gateway", &[("audience", audience)]).await;
        assert!(["invalid_target", "invalid_request"].contains(&answer.error()), "{audience:?}");
    }
    // Two at once, in each way that there is.
    for form in [
        [("audience", order.as_str()), ("audience", order.as_str())],
        [("audience", order.as_str()), ("resource", kiosk.as_str())],
        [("resource", order.as_str()), ("resource", kiosk.as_str())],
    ] {
        let answer = shop.ask_token("gateway", &form).await;
        assert!(["invalid_target", "invalid_request"].contains(&answer.error()), "{form:?}");
    }
    let both = format!("{order} {kiosk}");
    assert_eq!(shop.ask_token("gateway", &[("audience", &both)]).await.status, 400);
}

#[tokio::test]
async fn a_token_has_one_audience_and_is_nothing_at_another_service() {
    let shop = Shop::open("one-audience").await;
    let token = shop.token("gateway", "order").await;
    assert_eq!(claims(&token)["aud"], json!(shop["order"].id()));
    for other in ["payment", "ledger", "stranger"] {
        assert_eq!(shop.introspect(other, &token).await, inactive(), "{other}");
        let callee = if other == "payment" { "ledger" } else { "payment" };
        assert_eq!(shop.exchange(other, &token, callee, &[]).await.error(), "invalid_grant", "{other}");
    }
}

#[tokio::test]
async fn a_subject_token_that_is_meant_for_another_service_can_not_be_exchanged() {
    let shop = Shop::open("stolen-subject").await;
    // `order` may call `delivery`; yet with what the gateway was sent, it can't.
    let sent_to_gateway = shop.web_token("gateway", "shop.read").await;
    let answer = shop.exchange("order", &sent_to_gateway, "delivery", &[]).await;
    assert_eq!(answer.refusal(), (400, "invalid_grant"));
    // Nor can the client that it was issued to hand it on by itself.
    let own = shop.token("gateway", "order").await;
    assert_eq!(shop.exchange("gateway", &own, "kiosk", &[]).await.error(), "invalid_grant");
}

#[tokio::test]
async fn an_exchange_to_a_callee_without_policy_is_refused() {
    let shop = Shop::open("exchange-target").await;
    let token = shop.token("gateway", "order").await;
    for callee in ["stranger", "gateway", "kiosk", "order"] {
        let answer = shop.exchange("order", &token, callee, &[]).await;
        assert_eq!(answer.refusal(), (400, "invalid_target"), "{callee}");
    }
    assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.status, 200);
}

#[tokio::test]
async fn an_exchange_never_widens_scope_or_lifetime() {
    let shop = Shop::open("widen").await;
    // The subject's token is for reading, and `ledger` demands more than that.
    let reading = shop.web_token("gateway", "shop.read").await;
    let hop = shop.exchanged("gateway", &reading, "order", &[]).await;
    for (callee, scope) in [
        ("delivery", "shop.read shop.pay"),
        ("delivery", "shop.pay"),
        ("delivery", "shop.admin"),
        ("payment", "shop.pay"),
        ("payment", "shop.read"),
    ] {
        let answer = shop.exchange("order", &hop, callee, &[("scope", scope)]).await;
        assert_eq!(answer.refusal(), (400, "invalid_scope"), "{callee}: {scope}");
    }
    assert_eq!(
        shop.exchange("order", &hop, "payment", &[]).await.error(),
        "invalid_scope",
        "what it demands is not there"
    );

    // And what is about to expire does not live on.
    let short = shop.web_token("kiosk", "shop.read").await;
    let next = shop.exchanged("kiosk", &short, "payment", &[]).await;
    assert!(claims(&next)["exp"].as_i64() <= claims(&short)["exp"].as_i64());
}

#[tokio::test]
async fn client_credentials_for_more_than_the_grant_or_the_registration_allow_are_refused() {
    let shop = Shop::open("scopes").await;
    let order = shop["order"].id();
    for scope in ["shop.admin", "shop.read shop.admin", "shop.pay", "shop.read  shop.pay\u{0}", "shop.read\"", "\u{e9}"]
    {
        let answer = shop.ask_token("gateway", &[("audience", &order), ("scope", scope)]).await;
        assert_eq!(answer.refusal(), (400, "invalid_scope"), "{scope:?}");
    }
    assert_eq!(shop.ask_web_token("gateway", "shop.read shop.audit").await.error(), "invalid_scope");
    assert_eq!(shop.ask_web_token("order", "shop.read").await.error(), "invalid_target");
}

#[tokio::test]
async fn introspection_by_a_stranger_or_by_nobody_tells_nothing() {
    let shop = Shop::open("strangers").await;
    for (who, callee) in [("gateway", "order"), ("order", "delivery")] {
        let token = shop.token(who, callee).await;
        assert_eq!(shop.introspect("stranger", &token).await, inactive());
        let answer = shop.post(None, "/introspect", &[("token", &token)]).await;
        assert_eq!(answer.refusal(), (401, "invalid_client"));
        assert!(!answer.text().contains("active"), "{}", answer.text());
        // Of one domain with it, but without the right to talk to the token service at all.
        let answer = shop.post(Some("bystander"), "/introspect", &[("token", &token)]).await;
        assert_eq!(answer.refusal(), (401, "invalid_client"));
        assert_eq!(shop.introspect(callee, &token).await["active"], true);
    }
    let silent = shop.replica().audited("inactive");
    let told = silent.iter().map(|line| (line["client"].as_str().unwrap(), line["reason"].as_str().unwrap()));
    let stranger = shop["stranger"].id();
    assert_eq!(told.collect::<Vec<_>>(), [(stranger.as_str(), "NotForThisClient"); 2], "the log tells more");
}

#[tokio::test]
async fn a_suspended_identity_gets_no_token_and_those_of_it_and_for_it_are_not_active() {
    let shop = Shop::open("suspended").await;
    let by_gateway = shop.token("gateway", "order").await;
    let first = shop.web_token("gateway", "shop.read").await;
    let through_gateway = shop.exchanged("gateway", &first, "order", &[]).await;
    let further = shop.exchanged("order", &through_gateway, "delivery", &[]).await;
    assert_eq!(shop.introspect("delivery", &further).await["active"], true);

    shop.suspend("gateway").await;
    for replica in [0, 1] {
        let shop = shop.at(replica);
        shop.eventually_shut_out("gateway", "order").await;
        assert_eq!(shop.by_assertion(&shop.assertion("gateway"), "order").await.error(), "invalid_client");
        for token in [&by_gateway, &through_gateway] {
            assert_eq!(shop.introspect("order", token).await, inactive());
            assert_eq!(shop.exchange("order", token, "delivery", &[]).await.error(), "invalid_grant");
        }
        assert_eq!(shop.introspect("delivery", &further).await, inactive(), "it acted in the chain");
        let answer = shop.ask_web_token("gateway", "shop.read").await;
        assert_eq!(answer.refusal(), (400, "invalid_target"), "nobody gets one for it");
    }
}

#[tokio::test]
async fn revoking_a_policy_stops_minting_and_turns_introspection_negative() {
    let shop = Shop::open("policy-revoked").await;
    let direct = shop.token("order", "delivery").await;
    let subject = shop.token("gateway", "order").await;
    let exchanged = shop.exchanged("order", &subject, "delivery", &[]).await;

    shop.close_to_couriers("order").await;
    for replica in [0, 1] {
        let shop = shop.at(replica);
        shop.eventually_refused("order", "delivery", "invalid_target").await;
        assert_eq!(shop.exchange("order", &subject, "delivery", &[]).await.error(), "invalid_target");
        for token in [&direct, &exchanged] {
            assert_eq!(shop.introspect("delivery", token).await, inactive());
        }
        assert_eq!(shop.introspect("order", &subject).await["active"], true, "the other edge stands");
    }
}
