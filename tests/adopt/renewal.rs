//! What is delivered while services run.

use ringfence_core::api::SigningAlgorithm;

use crate::peers::{Client, Server, pairs};
use crate::shop::{By, ORDER, PAYMENT, Shop};

/// The old certificate is revoked, and nothing but the new one gets through.
#[tokio::test]
async fn a_renewed_certificate_is_in_use_without_a_restart_and_a_revoked_one_of_no_use() {
    for (server, client) in pairs() {
        let pair = format!("{client:?} calls {server:?}");
        let mut shop = Shop::new(SigningAlgorithm::ES256);
        let (order, payment) = (shop.order(By::Certificate), shop.payment(By::Certificate));
        let mut listening = Server::start(server, &payment).await;
        let mut calling = Client::start(client, &order);
        let passes = |answer: &Result<(u16, String), String>| answer.as_ref().is_ok_and(|(status, _)| *status == 200);
        let answer = calling.call(&listening).await;
        assert!(passes(&answer), "{pair}: {answer:?}");

        shop.storefront.revoke(&shop.order);
        payment.mount("trust", &shop.callees_trust(By::Certificate));
        listening.takes_up().await;
        let answer = calling.call(&listening).await;
        assert!(!passes(&answer), "{pair}, order is revoked: {answer:?}");

        shop.order = shop.storefront.issue(ORDER);
        order.mount("tls", &shop.storefront.secret(&shop.order));
        calling.takes_up().await;
        let answer = calling.call(&listening).await;
        assert!(passes(&answer), "{pair}, order is renewed: {answer:?}");

        shop.settlement.revoke(&shop.payment);
        order.mount("trust", &shop.callers_trust(By::Certificate));
        calling.takes_up().await;
        let answer = calling.call(&listening).await;
        assert!(!passes(&answer), "{pair}, payment is revoked: {answer:?}");

        shop.payment = shop.settlement.issue(PAYMENT);
        payment.mount("tls", &shop.settlement.secret(&shop.payment));
        listening.takes_up().await;
        let answer = calling.call(&listening).await;
        assert!(passes(&answer), "{pair}, payment is renewed: {answer:?}");
    }
}
