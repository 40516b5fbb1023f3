//! The ways in which clients prove who they are.

use std::collections::BTreeSet;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringfence_core::access::CallerName;
use ringfence_core::tokens::DirectoryClients;
use serde_json::Value;

use super::support::{Shop, eventually};

const ASSERTION: (&str, &str) = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

#[tokio::test]
async fn an_assertion_proves_who_a_service_is_once_at_whichever_replica() {
    let shop = Shop::open("assertion").await;
    let replicas = [shop.sts.first(&[]).ready().await, shop.sts.another(&[]).ready().await];
    let [one, other] = [shop.anonymous(&replicas[0]), shop.anonymous(&replicas[1])];
    let audience = shop.payment.audience();
    let assertion = shop.order.assertion(&shop.sts);
    let with = |assertion| [ASSERTION, ("client_assertion", assertion)];
    let answer = one.client_credentials(&audience, &with(&assertion)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for replica in [&one, &other] {
        assert_eq!(replica.client_credentials(&audience, &with(&assertion)).await.error(), (401, "invalid_client"));
    }
    let again = shop.order.assertion(&shop.sts);
    assert_eq!(other.client_credentials(&audience, &with(&again)).await.status, 200);
    // Beside a certificate it must be the same service's.
    let again = shop.order.assertion(&shop.sts);
    let mixed = shop.client(&replicas[0], &shop.stranger).client_credentials(&audience, &with(&again)).await;
    assert_eq!(mixed.error(), (401, "invalid_client"));
    let reasons: Vec<Value> = replicas[0].audited("refused").into_iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["Replayed", "WrongCertificate"]);
    for replica in &replicas {
        for secret in [&assertion, &again, answer.token()] {
            assert!(!replica.log().contains(secret), "nothing that proves something is in the log");
        }
    }
}

#[tokio::test]
async fn a_service_account_token_for_the_issuer_is_enough_to_begin_and_one_for_the_api_server_is_not() {
    let mut shop = Shop::open("account").await;
    let namespace = format!("{}-pods", shop.sts.namespace);
    shop.sts.create_accounts(&namespace, &["order", "nobody"]).await;
    shop.order = shop.domain.member(&namespace, "order");
    let mut pods = super::support::directory(&namespace, &shop.domain, &[&shop.order]);
    pods.domain.name = shop.directory.domain.name.clone();
    shop.sts.publish(&pods).await;
    shop.directory.grants = vec![super::support::grant(&shop.order, &shop.payment)];
    shop.sts.publish(&shop.directory).await;
    let replica = shop.sts.first(&[]).ready().await;
    let (client, audience) = (shop.anonymous(&replica), shop.payment.audience());
    let request = async |account: &str, audiences: &[&str]| {
        let token = shop.sts.account_token(&namespace, account, audiences).await;
        client.client_credentials(&audience, &[ASSERTION, ("client_assertion", &token)]).await
    };
    assert_eq!(request("order", &[&shop.sts.issuer]).await.status, 200);
    assert_eq!(request("order", &[]).await.error(), (401, "invalid_client"), "for the API server");
    assert_eq!(request("order", &["https://vault.example"]).await.error(), (401, "invalid_client"));
    assert_eq!(request("nobody", &[&shop.sts.issuer]).await.error(), (401, "invalid_client"));
    let reasons: Vec<Value> = replica.audited("refused").into_iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["WrongAudience", "WrongAudience", "UnknownClient"]);
}

#[tokio::test]
async fn a_client_outside_the_cluster_uses_what_the_command_printed() {
    let mut shop = Shop::open("outside").await;
    let made = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["client", "web", "--secret-name=shop-clients", "--scope=customer"])
        .arg(format!("--namespace={}", shop.sts.namespace))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8(made.stderr).unwrap();
    let secret = said.lines().nth(1).unwrap();
    assert_eq!(secret.len(), 43);
    let entry = String::from_utf8(made.stdout).unwrap();
    assert!(!entry.contains(secret));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), entry).unwrap();
    super::support::apply(file.path()).await;

    shop.directory.domain.clients =
        Some(DirectoryClients { secret_name: "shop-clients".to_owned(), cidrs: vec!["127.0.0.0/8".to_owned()] });
    let mut open = super::support::grant(&shop.order, &shop.payment);
    open.caller = CallerName::Anywhere;
    open.scopes = BTreeSet::from(["customer".to_owned()]);
    shop.directory.grants.push(open);
    shop.sts.publish(&shop.directory).await;
    let replica = shop.sts.first(&[]).ready().await;
    let (client, audience) = (shop.anonymous(&replica), shop.payment.audience());
    let posted = [("client_id", "web"), ("client_secret", secret)];
    eventually("the client is registered", async || {
        (client.client_credentials(&audience, &posted).await.status == 200).then_some(())
    })
    .await;
    let form = [("grant_type", "client_credentials"), ("audience", audience.as_str())];
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("web:{secret}")));
    let answer = client.post_as("/token", &basic(secret), &form).await;
    assert_eq!((answer.status, &answer.json["scope"]), (200, &"customer".into()));
    let wrong = client.post_as("/token", &basic("wrong"), &form).await;
    assert_eq!(wrong.error(), (401, "invalid_client"));
    assert!(wrong.headers.contains_key("www-authenticate"));
    let both = client.post_as("/token", &basic(secret), &[&form[..], &posted].concat()).await;
    assert_eq!(both.error(), (400, "invalid_request"));
    assert!(shop.is_active(&replica, answer.token()).await);
    let revoked = client.post_as("/revoke", &basic(secret), &[("token", answer.token())]).await;
    assert_eq!(revoked.status, 200);
    assert!(!shop.is_active(&replica, answer.token()).await);
    assert!(!replica.log().contains(secret));

    shop.sts.write_secret("shop-clients", &[("web", "{}")]).await;
    eventually("the client is gone", async || {
        (client.client_credentials(&audience, &posted).await.status == 401).then_some(())
    })
    .await;
    assert!(replica.log().contains("a client is not registered"));
}
