//! Mutual TLS between both languages.

use crate::peers::{Client, LANGUAGES, Server, pairs};
use crate::shop::{By, CART, DELIVERY, ORDER, PAYMENT, Shop};
use ringfence_core::api::SigningAlgorithm;

#[tokio::test]
async fn each_calls_the_other_and_knows_who_it_is() {
    let shop = Shop::new(SigningAlgorithm::ES256);
    let (order, payment) = (shop.order(By::Certificate), shop.payment(By::Certificate));
    for (server, client) in pairs() {
        let listening = Server::start(server, &payment).await;
        let (status, body) = Client::start(client, &order).call(&listening).await.unwrap();
        assert_eq!((status, body.contains(ORDER)), (200, true), "{client:?} calls {server:?}: {body}");
    }
}

#[tokio::test]
async fn clients_that_are_someone_else_are_refused_by_both() {
    let shop = Shop::new(SigningAlgorithm::ES256);
    let payment = shop.payment(By::Certificate);
    let refused_in_the_handshake = [
        ("a sibling domain issued order's name", shop.settlement.secret(&shop.settlement.issue(ORDER))),
        ("the shared root issued order's name", shop.root.secret(&shop.root.issue(ORDER))),
    ];
    let not_in_access = [
        ("a member of order's domain", shop.storefront.secret(&shop.storefront.issue(CART))),
        ("a member of payment's own domain", shop.settlement.secret(&shop.settlement.issue(DELIVERY))),
    ];
    for (server, client) in pairs() {
        let listening = Server::start(server, &payment).await;
        for (who, tls) in &refused_in_the_handshake {
            let answer = Client::start(client, &shop.caller(By::Certificate, tls)).call(&listening).await;
            assert!(answer.is_err(), "{who}, {client:?} calls {server:?}: {answer:?}");
        }
        for (who, tls) in &not_in_access {
            let answer = Client::start(client, &shop.caller(By::Certificate, tls)).call(&listening).await;
            assert!(matches!(answer, Ok((403, _))), "{who}, {client:?} calls {server:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn servers_that_are_someone_else_are_refused_by_both() {
    let shop = Shop::new(SigningAlgorithm::ES256);
    let order = shop.order(By::Certificate);
    let impostors = [
        ("a sibling domain issued payment's name", shop.storefront.secret(&shop.storefront.issue(PAYMENT))),
        ("the shared root issued payment's name", shop.root.secret(&shop.root.issue(PAYMENT))),
        ("another member of payment's domain", shop.settlement.secret(&shop.settlement.issue(DELIVERY))),
    ];
    for (who, tls) in impostors {
        let pod = shop.callee(By::Certificate, &tls);
        for server in LANGUAGES {
            let listening = Server::start(server, &pod).await;
            for client in LANGUAGES {
                let answer = Client::start(client, &order).call(&listening).await;
                assert!(answer.is_err(), "{who}, {client:?} calls {server:?}: {answer:?}");
            }
        }
    }
}
