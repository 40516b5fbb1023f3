//! What the operator writes takes effect at once, and what can't be read does no harm.

use ringfence_core::tokens::directory_config_map;

use super::support::{Shop, eventually};

#[tokio::test]
async fn a_grant_that_goes_ends_minting_and_the_tokens_that_were_minted_by_it() {
    let mut shop = Shop::open("revoked").await;
    let replica = shop.sts.first(&[]).ready().await;
    let client = shop.client(&replica, &shop.order);
    let token = shop.token(&replica).await;
    assert!(shop.is_active(&replica, &token).await);
    shop.directory.grants.clear();
    shop.sts.publish(&shop.directory).await;
    eventually("the grant is gone", async || {
        let answer = client.client_credentials(&shop.payment.audience(), &[]).await;
        (answer.status != 200).then(|| assert_eq!(answer.error(), (400, "invalid_target")))
    })
    .await;
    assert!(!shop.is_active(&replica, &token).await);
    shop.sts.config_maps().delete(&directory_config_map("shop"), &Default::default()).await.unwrap();
    eventually("the document is gone", async || {
        let answer = client.client_credentials(&shop.payment.audience(), &[]).await;
        (answer.status == 401).then(|| assert_eq!(answer.error(), (401, "invalid_client")))
    })
    .await;
}

#[tokio::test]
async fn a_suspended_identity_and_a_revoked_certificate_are_refused_on_connections_that_are_open() {
    let mut shop = Shop::open("suspended").await;
    let replica = shop.sts.first(&[]).ready().await;
    let (order, payment) = (shop.client(&replica, &shop.order), shop.client(&replica, &shop.payment));
    let (audience, token) = (shop.payment.audience(), shop.token(&replica).await);
    let mut open = order.connect().await;
    assert_eq!(open.client_credentials(&audience).await, 200);

    shop.domain.revoke(&shop.order);
    shop.directory.domain.revocation_lists = shop.domain.revocation_lists();
    shop.sts.publish(&shop.directory).await;
    eventually("the open connection is refused", async || {
        (open.client_credentials(&audience).await == 401).then_some(())
    })
    .await;
    shop.client(&replica, &shop.order).try_post("/token", &[]).await.unwrap_err();
    assert!(shop.is_active(&replica, &token).await, "the identity has got another certificate");

    shop.directory.identities.retain(|identity| identity.spiffe_id != shop.order.id());
    shop.directory.grants.clear();
    shop.sts.publish(&shop.directory).await;
    eventually("its tokens are no good any more", async || {
        let answer = payment.post("/introspect", &[("token", &token)]).await;
        (answer.json == serde_json::json!({"active": false})).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_document_that_can_not_be_read_leaves_the_last_one_in_force_and_is_told_of() {
    let mut shop = Shop::open("bad").await;
    let replica = shop.sts.first(&[]).ready().await;
    let (client, audience) = (shop.client(&replica, &shop.order), shop.payment.audience());
    let good = serde_json::to_string(&shop.directory).unwrap();
    let broken = [
        ("{", "can't be read"),
        (&good.replace(r#""version":1"#, r#""version":2"#), "has version 2"),
        (&good.replace(r#""namespace":"shop""#, r#""namespace":"other""#), "is about namespace"),
        (&good.replace("BEGIN CERTIFICATE", "BEGIN NONSENSE"), "trusted certificates"),
    ];
    for (text, said) in broken {
        shop.sts.publish_text("shop", text).await;
        eventually(said, async || replica.log().contains(said).then_some(())).await;
        eventually("it is counted", async || {
            replica.measured("ringfence_token_service_documents_refused ").await.filter(|refused| *refused == 1.0)
        })
        .await;
        assert_eq!(client.client_credentials(&audience, &[]).await.status, 200, "{said}");
    }
    shop.directory.grants.clear();
    shop.sts.publish(&shop.directory).await;
    eventually("the next good one is in force", async || {
        (client.client_credentials(&audience, &[]).await.status == 400).then_some(())
    })
    .await;
    assert_eq!(replica.measured("ringfence_token_service_documents_refused ").await, Some(0.0));
}
