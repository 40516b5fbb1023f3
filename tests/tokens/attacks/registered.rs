//! Clients outside the cluster, whose names two domains give.

use ringfence_core::tokens::DirectoryClients;

use super::shop::{Shop, basic, inactive};
use super::wire::Request;
use crate::support::{eventually, registration};

#[tokio::test]
async fn a_client_by_the_name_of_one_of_another_domain_gets_nothing_and_what_the_other_had_is_not_taken_for_its_own() {
    let shop = Shop::open("namesakes").await;
    let (web, _) = shop.web();
    let token = shop.web_token("gateway", "shop.read").await;
    let (secret, registration) = registration();
    let mut couriers = shop.couriers().clone();
    couriers.domain.clients =
        Some(DirectoryClients { secret_name: "courier-clients".to_owned(), cidrs: vec!["127.0.0.0/8".to_owned()] });
    shop.sts().write_secret("courier-clients", &[(web, &registration)]).await;
    shop.sts().publish(&couriers).await;
    for replica in [0, 1] {
        let shop = shop.at(replica);
        // Whose it would be nobody could tell: until one of the two is gone, it is nobody's.
        shop.eventually_inactive("gateway", &token).await;
        let gateway = shop["gateway"].id();
        let form = [("grant_type", "client_credentials"), ("audience", gateway.as_str()), ("scope", "shop.read")];
        let answer = shop.wire(None).send(&Request::form("/token", form).header(basic(web, &secret))).await;
        assert_eq!(answer.refusal(), (401, "invalid_client"));
        assert_eq!(shop.ask_web_token("gateway", "shop.read").await.refusal(), (401, "invalid_client"));
        let revoke = Request::form("/revoke", [("token", &token)]).header(basic(web, &secret));
        assert_eq!(shop.wire(None).send(&revoke).await.refusal(), (401, "invalid_client"));
    }
    shop.sts().write_secret("courier-clients", &[]).await;
    for replica in [0, 1] {
        let shop = shop.at(replica);
        eventually("the first is itself again", async || {
            (shop.introspect("gateway", &token).await != inactive()).then_some(())
        })
        .await;
        assert_eq!(shop.ask_web_token("gateway", "shop.read").await.status, 200);
    }
}
