//! How a replica starts, and how it ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Domain, Installation, Shop, directory, eventually, grant};

#[tokio::test]
async fn a_replica_says_what_it_waits_for_and_is_ready_when_it_has_certificate_keys_and_documents() {
    let sts = Installation::begin("start").await;
    sts.secrets().delete("token-service-tls", &Default::default()).await.unwrap();
    let replica = sts.first(&[]);
    let waits = |text: &'static str| {
        let replica = &replica;
        async move {
            let says = async || replica.probe("/readyz").await.filter(|said| *said == (503, text.to_owned()));
            eventually(text, says).await;
        }
    };
    waits("not there yet: its certificate").await;
    assert_eq!(replica.probe("/livez").await, Some((200, "ok".to_owned())));
    sts.certify(&sts.certificate()).await;
    let replica = replica.ready().await;
    // No document at all is all that the operator has written for an installation without members.
    let domain = Domain::new("shop.example");
    let [order, payment] = ["order", "payment"].map(|name| domain.member("shop", name));
    let mut shop = directory("shop", &domain, &[&order, &payment]);
    shop.grants.push(grant(&order, &payment));
    sts.publish(&shop).await;
    let client = super::support::Client::of(&sts, &replica, &order);
    let minted =
        async || client.try_client_credentials(&payment.audience()).await.filter(|answer| answer.status == 200);
    eventually("the document is in force", minted).await;
}

#[tokio::test]
async fn a_token_says_who_called_whom_and_the_metadata_say_where_everything_is() {
    let shop = Shop::open("answers").await;
    let replica = shop.sts.first(&[]).ready().await;
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let metadata = shop.anonymous(&replica).get(path).await;
        assert_eq!((metadata.status, &metadata.json["issuer"]), (200, &shop.sts.issuer.clone().into()));
        assert_eq!(metadata.json["token_endpoint"], format!("{}/token", shop.sts.issuer));
    }
    let keys = shop.anonymous(&replica).get("/jwks").await;
    assert_eq!(keys.headers["cache-control"], "public, max-age=60");
    assert_eq!(keys.json["keys"].as_array().unwrap().len(), 2, "the one in use and the next");

    let audience = shop.payment.audience();
    let answer = shop.client(&replica, &shop.order).client_credentials(&audience, &[]).await;
    assert_eq!((answer.status, &answer.headers["cache-control"]), (200, &"no-store".parse().unwrap()));
    assert_eq!((&answer.json["token_type"], &answer.json["expires_in"]), (&"Bearer".into(), &300.into()));
    let looked = shop.client(&replica, &shop.payment).post("/introspect", &[("token", answer.token())]).await;
    assert_eq!(looked.json["client_id"], shop.order.id());
    assert_eq!((&looked.json["aud"], &looked.json["iss"]), (&audience.clone().into(), &shop.sts.issuer.clone().into()));
    let refused = shop.client(&replica, &shop.stranger).client_credentials(&audience, &[]).await;
    assert_eq!(refused.error(), (400, "invalid_target"));

    let lines = replica.audited("issued");
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["client"], &lines[0]["jti"]), (&shop.order.id().into(), &looked.json["jti"]));
    let lines = replica.audited("refused");
    assert_eq!((&lines[0]["client"], &lines[0]["reason"]), (&shop.stranger.id().into(), &"NoGrant".into()));
}

#[tokio::test]
async fn what_was_begun_is_answered_before_a_replica_ends() {
    let shop = Shop::open("drain").await;
    let mut replica = shop.sts.first(&["--stop-delay=0s"]).ready().await;
    let mut stream = shop.client(&replica, &shop.order).connect().await;
    let body = format!("grant_type=client_credentials&audience={}", shop.payment.audience());
    let (half, rest) = body.split_at(20);
    let head = format!(
        "POST /token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{half}").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut waited_for = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut waited_for).await.unwrap();
    assert_eq!(&waited_for, b"HTTP/1.1 100 Continue\r\n\r\n", "the request is there when its body is waited for");
    // A connection without a request is not waited for.
    let idle = shop.client(&replica, &shop.order).connect().await;
    eventually("both connections are open", async || {
        replica.measured("ringfence_token_service_connections ").await.filter(|open| *open == 2.0)
    })
    .await;
    replica.signal("TERM");
    eventually("it is told", async || replica.log().contains("told to stop").then_some(())).await;
    stream.write_all(rest.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("access_token"), "{answer}");
    assert!(replica.ended().await.success());
    drop(idle);
    shop.client(&replica, &shop.order).try_client_credentials(&shop.payment.audience()).await.ok_or(()).unwrap_err();
}

#[tokio::test]
async fn a_replica_that_stops_says_so_before_it_closes() {
    let shop = Shop::open("rolling").await;
    let mut replica = shop.sts.first(&["--stop-delay=2s"]).ready().await;
    replica.signal("TERM");
    eventually("it is not ready any more", async || {
        (replica.probe("/readyz").await? == (503, "it stops".to_owned())).then_some(())
    })
    .await;
    assert_eq!(replica.probe("/livez").await, Some((200, "ok".to_owned())));
    // Who was sent here meanwhile is answered, on a connection of its own too.
    shop.token(&replica).await;
    shop.token(&replica).await;
    assert!(replica.ended().await.success());
}
