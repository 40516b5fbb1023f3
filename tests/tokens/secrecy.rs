//! Nothing that proves something is ever told, and what is told says which request it was about.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::support::Shop;

#[tokio::test]
async fn whatever_is_logged_holds_no_token_assertion_secret_or_key() {
    let shop = Shop::open("secrecy").await;
    let replica = shop.sts.first(&["--log=trace,kube=trace"]).ready().await;
    let (anonymous, audience) = (shop.anonymous(&replica), shop.payment.audience());
    let (token, assertion) = (shop.token(&replica).await, shop.order.assertion(&shop.sts));
    let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let proved = [kind, ("client_assertion", assertion.as_str())];
    assert_eq!(anonymous.client_credentials(&audience, &proved).await.status, 200);
    assert_eq!(anonymous.client_credentials(&audience, &proved).await.status, 401);
    assert!(shop.is_active(&replica, &token).await);
    // To be reviewed by the API server, which is asked with the token in the body.
    let claims =
        serde_json::json!({"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:shop:order"});
    let account = shop.stranger.sign("JWT", &claims);
    assert_eq!(anonymous.client_credentials(&audience, &[kind, ("client_assertion", &account)]).await.status, 401);
    let (secret, basic) = ("a-secret-that-is-wrong", STANDARD.encode("web:a-secret-that-is-wrong"));
    let form = [("grant_type", "client_credentials"), ("audience", audience.as_str())];
    assert_eq!(anonymous.post_as("/token", &format!("Basic {basic}"), &form).await.status, 401);
    let posted = [("client_id", "web"), ("client_secret", secret)];
    assert_eq!(anonymous.client_credentials(&audience, &posted).await.status, 401);

    let keys = shop.sts.secrets().get("token-service-keys").await.unwrap();
    let keys = keys.data.unwrap().into_values().filter_map(|octets| String::from_utf8(octets.0).ok());
    let keys = keys.filter(|text| text.contains("PRIVATE KEY")).map(|pem| pem.lines().nth(1).unwrap().to_owned());
    let mut never: Vec<String> = keys.collect();
    assert!(!never.is_empty());
    never.extend([token, assertion, account, secret.to_owned(), basic]);
    let log = replica.log();
    assert!(log.contains(r#""level":"TRACE""#), "much is logged");
    for proof in never {
        // The signature alone would be worth as much as the whole, to who knows the rest.
        let end = &proof[proof.len() - 20..];
        assert!(!log.contains(end), "{end} is in the log");
    }
}

#[tokio::test]
async fn a_line_of_the_audit_log_names_the_trace_or_the_id_of_its_request() {
    let shop = Shop::open("correlation").await;
    let replica = shop.sts.first(&[]).ready().await;
    let client = shop.client(&replica, &shop.order);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let cases = [
        ("traceparent", format!("00-{trace}-b7ad6b7169203331-01"), Some(trace)),
        ("x-request-id", "7f9c-1".to_owned(), Some("7f9c-1")),
        ("x-correlation-id", "order:42".to_owned(), Some("order:42")),
        // What could be taken for something else in a line is left out.
        ("x-request-id", "a\" b".to_owned(), None),
        ("x-request-id", "x".repeat(500), None),
    ];
    let body = format!("grant_type=client_credentials&audience={}", shop.payment.audience());
    for (header, value, expected) in cases {
        let request = client.request("/token").header(header, value).body(body.clone().into()).unwrap();
        assert_eq!(client.send(request).await.unwrap().status, 200);
        let line = replica.audited("issued").pop().unwrap();
        assert_eq!(line["correlation"].as_str(), expected, "{header}");
    }
}
