//! What is too much: requests, failures, octets.

use axum::body::Bytes;
use http_body_util::Full;

use super::support::Shop;

#[tokio::test]
async fn a_client_that_asks_too_often_waits_and_no_other_does() {
    let mut shop = Shop::open("rate").await;
    shop.directory.grants.push(super::support::grant(&shop.stranger, &shop.payment));
    shop.sts.publish(&shop.directory).await;
    let replica = shop.sts.first(&["--client-rate=2"]).ready().await;
    let (busy, other) = (shop.client(&replica, &shop.order), shop.client(&replica, &shop.stranger));
    let audience = shop.payment.audience();
    let mut refused = None;
    for _ in 0..20 {
        let answer = busy.client_credentials(&audience, &[]).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!((refused.status, &refused.headers["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(other.client_credentials(&audience, &[]).await.status, 200);
    assert!(replica.measured(r#"ringfence_token_service_limited_total{limit="client"}"#).await >= Some(1.0));
}

#[tokio::test]
async fn a_client_that_shows_its_certificate_and_proves_nothing_besides_waits_too() {
    let shop = Shop::open("certified").await;
    let replica = shop.sts.first(&["--client-rate=2"]).ready().await;
    let (busy, audience) = (shop.client(&replica, &shop.stranger), shop.payment.audience());
    // Each would have the API server asked.
    let account = shop.stranger.sign("JWT", &serde_json::json!({"iss": "https://kubernetes.default.svc"}));
    let proof = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", account.as_str()),
    ];
    let mut refused = None;
    for _ in 0..20 {
        let answer = busy.client_credentials(&audience, &proof).await;
        if answer.status != 401 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (429, true));
    // Who shows another certificate at the same address does not wait.
    assert_eq!(shop.client(&replica, &shop.order).client_credentials(&audience, &[]).await.status, 200);
}

#[tokio::test]
async fn an_address_that_guesses_is_not_listened_to_and_services_there_are() {
    let shop = Shop::open("guesses").await;
    let replica = shop.sts.first(&[]).ready().await;
    let guess = [("client_id", "web"), ("client_secret", "guess")];
    let (stranger, audience) = (shop.anonymous(&replica), shop.payment.audience());
    let mut guesses = 0;
    while stranger.client_credentials(&audience, &guess).await.status == 401 {
        guesses += 1;
        assert!(guesses < 100);
    }
    assert!(guesses >= 30);
    let refused = stranger.client_credentials(&audience, &guess).await;
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (429, true));
    assert_eq!(shop.client(&replica, &shop.order).client_credentials(&audience, &[]).await.status, 200);
}

#[tokio::test]
async fn what_is_too_large_or_no_form_is_refused_in_the_standards_words() {
    let shop = Shop::open("large").await;
    let replica = shop.sts.first(&[]).ready().await;
    let client = shop.client(&replica, &shop.order);
    let send = async |builder: http::request::Builder, body: String| {
        client.send(builder.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap()
    };
    let form = format!("grant_type=client_credentials&audience={}", shop.payment.audience());
    assert_eq!(send(client.request("/token"), form.clone()).await.status, 200);
    let large = format!("{form}&padding={}", "x".repeat(65_536));
    assert_eq!(send(client.request("/token"), large).await.error(), (413, "invalid_request"));
    for body in
        [format!("{form}&{form}"), format!("{form}&scope=a&scope=b"), format!("{form}&scope=%f"), "%".to_owned()]
    {
        assert_eq!(send(client.request("/token"), body.clone()).await.error(), (400, "invalid_request"), "{body}");
    }
    assert_eq!(send(client.request("/token?grant_type=x"), form.clone()).await.error(), (400, "invalid_request"));
    let json = http::Request::post(client.url("/token")).header("content-type", "application/json");
    assert_eq!(send(json, form.clone()).await.error(), (400, "invalid_request"));
    let unknown = form.replace("client_credentials", "password");
    assert_eq!(send(client.request("/token"), unknown).await.error(), (400, "unsupported_grant_type"));
    let heads = client.request("/token").header("x-padding", "x".repeat(32 * 1024));
    assert_eq!(send(heads, form).await.status, 431);
    let get = client.get("/token").await;
    assert_eq!((get.status, &get.headers["allow"]), (405, &"POST".parse().unwrap()));
    assert_eq!(client.get("/tokens").await.status, 404);
}
