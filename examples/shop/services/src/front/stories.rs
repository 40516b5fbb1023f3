//! What a browser gets from the service, and who would like to be one.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::task::JoinSet;
use tracing::Level;

use super::Shopfront;
use super::issuer::{Fault, LoggedIn, Tokens};
use super::session::{NoToken, Session};
use super::stage::{CLIENT, Stage, basic, query, settings};
use crate::hop::Hops;

#[tokio::test]
async fn a_customer_logs_in_shops_and_logs_out() {
    let stage = Stage::new().await;
    let mut alice = stage.browser();
    assert_eq!(alice.get("/session").await.json(), json!({"signedIn": false, "name": null}));
    assert_eq!(alice.get("/api/items").await.status, StatusCode::UNAUTHORIZED);

    let sent_to = alice.begin().await;
    let (_, attributes) = &alice.cookies["__Host-login"];
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600");
    let answer = alice.arrive(&stage.keycloak.log_in(&sent_to)).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    let names: Vec<&String> = alice.cookies.keys().collect();
    assert_eq!(names, ["__Host-session"], "the login is over");
    assert_eq!(alice.cookies["__Host-session"].1, "HttpOnly; SameSite=Strict; Secure; Path=/");
    assert_eq!(alice.get("/session").await.json(), json!({"signedIn": true, "name": "alice"}));
    assert_eq!((stage.logins("Done"), stage.front.metrics.sessions.get()), (1, 1));

    let found = alice.get("/api/items?search=green+tea").await;
    assert_eq!((found.status, &found.json()["path"]), (StatusCode::OK, &json!("/items?search=green+tea")));
    assert_eq!(found.json()["headers"]["authorization"], "Bearer access-2");
    let Hops(hops) = Hops::of_response(&found.headers);
    let told: Vec<_> = hops.iter().map(|hop| (&*hop.caller, &*hop.by)).collect();
    assert_eq!(told, [("alice", "its session"), ("front", "all of it")]);
    let placed = alice.post("/api/orders", r#"{"items": []}"#).await;
    assert_eq!((placed.status, &placed.json()["body"]), (StatusCode::CREATED, &json!(r#"{"items": []}"#)));

    let mut copy = alice.clone();
    assert_eq!(alice.post("/logout", "").await.status, StatusCode::NO_CONTENT);
    assert!(alice.cookies.is_empty());
    assert_eq!(stage.keycloak.book().revoked, ["refresh-3"]);
    // The cookie opens nothing any more, whoever has a copy of it.
    assert!(!copy.is_signed_in().await);
    assert_eq!(copy.get("/api/items").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(stage.front.metrics.sessions.get(), 0);
}

#[tokio::test]
async fn an_answer_to_no_login_of_this_browser_logs_nobody_in() {
    let stage = Stage::new().await;
    // Somebody else's answer, in a link, is the way to log a customer in under another's name.
    let mut mallory = stage.browser();
    let of_mallory = stage.keycloak.log_in(&mallory.begin().await);
    let cases = [
        ("NoCode", "state=STATE&iss=ISSUER", StatusCode::BAD_REQUEST),
        ("WrongState", "code=c", StatusCode::BAD_REQUEST),
        ("WrongState", "state=guessed&code=c", StatusCode::BAD_REQUEST),
        ("WrongState", "state=STATE&state=STATE&code=c", StatusCode::BAD_REQUEST),
        ("WrongState", "error=access_denied", StatusCode::BAD_REQUEST),
        ("Denied", "state=STATE&error=access_denied&iss=ISSUER", StatusCode::FORBIDDEN),
        ("WrongIssuer", "state=STATE&code=c", StatusCode::BAD_REQUEST),
        ("WrongIssuer", "state=STATE&error=access_denied", StatusCode::BAD_REQUEST),
        ("WrongIssuer", "state=STATE&code=c&iss=https://other.svc", StatusCode::BAD_REQUEST),
    ];
    for (outcome, answer, status) in cases {
        let mut alice = stage.browser();
        let back = stage.keycloak.log_in(&alice.begin().await);
        let answer = answer.replace("STATE", &query(&back)["state"]).replace("ISSUER", &stage.keycloak.url);
        let counted = stage.logins(outcome);
        let refused = alice.arrive(&format!("/callback?{answer}")).await;
        assert_eq!((refused.status, stage.logins(outcome)), (status, counted + 1), "{outcome}: {answer}");
        assert!(refused.text.contains("Not signed in") && alice.cookies.is_empty(), "{outcome}: {}", refused.text);
        // The right answer comes too late then: one attempt, one answer.
        assert_eq!(alice.arrive(&back).await.status, StatusCode::BAD_REQUEST);
    }
    let mut alice = stage.browser();
    assert_eq!(alice.arrive(&of_mallory).await.status, StatusCode::BAD_REQUEST);
    alice.begin().await;
    assert_eq!(alice.arrive(&of_mallory).await.status, StatusCode::BAD_REQUEST);
    assert!(!alice.is_signed_in().await);
    assert_eq!((stage.logins("Done"), stage.front.metrics.sessions.get()), (0, 0));
}

#[tokio::test]
async fn an_answer_is_good_once() {
    let stage = Stage::new().await;
    let mut alice = stage.browser();
    let back = stage.keycloak.log_in(&alice.begin().await);
    let mut copy = alice.clone();
    assert_eq!(alice.arrive(&back).await.status, StatusCode::SEE_OTHER);
    assert_eq!((copy.arrive(&back).await.status, stage.logins("NoAttempt")), (StatusCode::BAD_REQUEST, 1));
    // A code that was used, in an answer that is otherwise right.
    let again = stage.keycloak.log_in(&copy.begin().await);
    let replayed = copy.arrive(&again.replace(&query(&again)["code"], &query(&back)["code"])).await;
    assert_eq!((replayed.status, stage.logins("CodeRefused")), (StatusCode::BAD_REQUEST, 1));
    assert!(!copy.is_signed_in().await && alice.is_signed_in().await);
}

#[tokio::test]
async fn an_issuer_that_does_not_do_its_part_logs_nobody_in() {
    let stage = Stage::new().await;
    for (refusal, audience) in [
        (Some((StatusCode::UNAUTHORIZED, "invalid_client")), None),
        (Some((StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")), None),
        (None, Some("somebody-else")),
    ] {
        (stage.keycloak.book().refuses, stage.keycloak.book().audience) = (refusal, audience);
        let mut alice = stage.browser();
        let back = stage.keycloak.log_in(&alice.begin().await);
        let refused = alice.arrive(&back).await;
        assert_eq!((refused.status, alice.is_signed_in().await), (StatusCode::BAD_GATEWAY, false), "{refusal:?}");
    }
    assert_eq!(stage.logins("IssuerUnavailable"), 3);
    let stage = Stage::with(|settings| "unheard-of".clone_into(&mut settings.issuer)).await;
    assert_eq!(stage.browser().get("/login").await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_new_login_ends_the_session_before_it() {
    let stage = Stage::new().await;
    let mut alice = stage.logged_in().await;
    let mut before = alice.clone();
    let back = stage.keycloak.log_in(&alice.begin().await);
    assert_eq!(alice.arrive(&back).await.status, StatusCode::SEE_OTHER);
    assert_ne!(alice.cookies["__Host-session"].0, before.cookies["__Host-session"].0);
    assert!(alice.is_signed_in().await && !before.is_signed_in().await);
    stage.keycloak.revocation().await;
    assert_eq!((stage.keycloak.book().revoked.len(), stage.front.metrics.sessions.get()), (1, 1));
}

#[tokio::test]
async fn a_browser_that_goes_away_at_the_end_of_its_login_leaves_no_session() {
    let stage = Stage::new().await;
    let mut alice = stage.browser();
    let back = stage.keycloak.log_in(&alice.begin().await);
    tokio::select! {
        biased;
        answer = alice.arrive(&back) => panic!("{} before the issuer was asked", answer.status),
        () = std::future::ready(()) => {}
    }
    stage.keycloak.revocation().await;
    assert_eq!(stage.keycloak.book().revoked, ["refresh-3"]);
    assert_eq!((stage.logins("Done"), stage.front.metrics.sessions.get()), (0, 0));
}

#[tokio::test]
async fn who_begins_too_many_logins_waits_and_others_do_not() {
    let stage = Stage::with(|settings| settings.login_rate = NonZeroU32::MIN).await;
    let mut mallory = stage.browser();
    let mut refused = None;
    for _ in 0..20 {
        let answer = mallory.get("/login").await;
        refused = refused.or(Some(answer).filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS));
    }
    let refused = refused.unwrap();
    assert_eq!((refused.header("retry-after"), refused.header("location")), ("1", ""));
    assert!(refused.text.contains("Not signed in") && stage.logins("TooMany") > 0, "{}", refused.text);
    // One in 65,536 shares a bucket; of four, not all do.
    let mut led_on = 0;
    for host in 1..=4 {
        let mut other = stage.browser_at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)));
        led_on += u32::from(other.get("/login").await.status == StatusCode::SEE_OTHER);
    }
    assert!(led_on > 0);
}

#[tokio::test]
async fn an_issuer_that_never_says_who_it_is_need_not_and_none_is_asked_in_the_clear() {
    let stage = Stage::new().await;
    stage.keycloak.book().metadata = [("authorization_response_iss_parameter_supported", json!(false))].into();
    let mut alice = stage.browser();
    let back = stage.keycloak.log_in(&alice.begin().await);
    let (without, _) = back.split_once("&iss=").unwrap();
    assert_eq!(alice.arrive(without).await.status, StatusCode::SEE_OTHER);
    for endpoint in ["authorization_endpoint", "token_endpoint", "revocation_endpoint"] {
        let stage = Stage::new().await;
        stage.keycloak.book().metadata = [(endpoint, json!("http://keycloak.login.svc/endpoint"))].into();
        assert_eq!(stage.browser().get("/login").await.status, StatusCode::BAD_GATEWAY, "{endpoint}");
    }
}

#[tokio::test]
async fn what_one_issuer_gave_is_shown_to_no_other_by_the_same_name() {
    let stage = Stage::new().await;
    let (former, issuer) = ("https://former.svc/realms/shop", &stage.front.issuer);
    let refused = issuer.exchange(former, "code".to_owned(), "verifier").await.err().unwrap();
    assert!(matches!(refused, Fault::Another(_)), "{refused}");
    for refused in [issuer.refresh(former, "token").await.err(), issuer.revoke(former, "token").await.err()] {
        assert!(matches!(refused, Some(Fault::Another(_))), "{refused:?}");
    }
    let good = Instant::now() + Duration::from_mins(5);
    let tokens = Tokens { access: "of-alice".to_owned().into(), renew_at: good, ends_at: good, refresh: None };
    let session = Session::of(LoggedIn { issuer: former.to_owned(), name: None, tokens });
    let refused = session.access_token(issuer, &stage.front.metrics).await.unwrap_err();
    assert!(matches!(refused, NoToken::Ended), "{refused:?}");
}

#[tokio::test]
async fn an_access_token_near_its_end_is_renewed_once_for_all_who_ask() {
    let stage = Stage::new().await;
    stage.keycloak.book().lives = vec![5, 300];
    let alice = stage.logged_in().await;
    let mut asking = JoinSet::new();
    for _ in 0..5 {
        let mut browser = alice.clone();
        asking.spawn(async move { browser.get("/api/items").await.json()["headers"]["authorization"].clone() });
    }
    assert_eq!(asking.join_all().await, vec![json!("Bearer access-4"); 5]);
    assert_eq!(stage.refreshes("Done"), 1);
}

#[tokio::test]
async fn while_the_issuer_is_away_an_access_token_is_used_until_it_is_over() {
    for (life, status) in [(9, StatusCode::OK), (0, StatusCode::BAD_GATEWAY)] {
        let stage = Stage::new().await;
        stage.keycloak.book().lives = vec![life];
        let alice = stage.logged_in().await;
        stage.keycloak.book().refuses = Some((StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
        let mut asking = JoinSet::new();
        for _ in 0..5 {
            let mut browser = alice.clone();
            asking.spawn(async move { browser.get("/api/items").await.status });
        }
        assert_eq!(asking.join_all().await, [status; 5], "with {life} seconds left");
        assert_eq!(stage.refreshes("IssuerUnavailable"), 1, "the issuer is asked once for all who wait");
    }
}

#[tokio::test]
async fn an_access_token_that_is_good_for_ever_is_used_for_a_while() {
    let stage = Stage::new().await;
    stage.keycloak.book().lives = vec![u64::MAX];
    let mut alice = stage.logged_in().await;
    assert_eq!(alice.get("/api/items").await.json()["headers"]["authorization"], "Bearer access-2");
}

#[tokio::test]
async fn a_session_ends_when_its_refresh_token_is_refused_and_only_then() {
    let stage = Stage::new().await;
    stage.keycloak.book().lives = vec![0, 5];
    let mut alice = stage.logged_in().await;
    stage.keycloak.book().refuses = Some((StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
    assert_eq!(alice.get("/api/items").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!((alice.is_signed_in().await, stage.refreshes("IssuerUnavailable")), (true, 1));
    stage.keycloak.book().refuses = None;
    assert_eq!(alice.get("/api/items").await.status, StatusCode::OK);
    stage.keycloak.book().refuses = Some((StatusCode::BAD_REQUEST, "invalid_grant"));
    assert_eq!(alice.get("/api/items").await.status, StatusCode::UNAUTHORIZED);
    assert!(alice.cookies.is_empty());
    assert_eq!((stage.refreshes("Refused"), stage.front.metrics.sessions.get()), (1, 0));
}

#[tokio::test]
async fn a_session_does_not_outlive_its_time() {
    let stage = Stage::with(|settings| settings.session_lifetime = Duration::ZERO).await;
    let mut alice = stage.logged_in().await;
    assert!(!alice.is_signed_in().await);
    assert_eq!((alice.get("/api/items").await.status, stage.gateway.asked()), (StatusCode::UNAUTHORIZED, 0));
}

#[tokio::test]
async fn what_changes_something_comes_from_the_page() {
    let stage = Stage::new().await;
    let mut alice = stage.logged_in().await;
    let of_the_page = || Request::post("/api/orders").header("x-shop", "1");
    for (what, request) in [
        ("a form of another page", Request::post("/api/orders")),
        ("a browser that says whence", of_the_page().header("sec-fetch-site", "same-site")),
        ("a browser that says whence", of_the_page().header("sec-fetch-site", "cross-site")),
        ("another value", Request::post("/api/orders").header("x-shop", "2")),
        ("a form that would log out", Request::post("/logout")),
        ("another method", Request::delete("/api/orders/1")),
    ] {
        assert_eq!(alice.send(request, "{}").await.status, StatusCode::FORBIDDEN, "{what}");
    }
    assert_eq!((stage.gateway.asked(), alice.is_signed_in().await), (0, true));
    // A browser that does not say whence needs the header all the same, and no more.
    assert_eq!(alice.send(of_the_page(), "{}").await.status, StatusCode::CREATED);
    // Where another page sends the browser to, it is nobody.
    assert_eq!(alice.arrive("/api/items").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn only_what_is_named_gets_to_the_gateway() {
    let stage = Stage::new().await;
    let mut alice = stage.logged_in().await;
    for path in [
        "/api",
        "/api/",
        "/api/reservations",
        "/api/healthz",
        "/api/items/1",
        "/api/orders/",
        "/api/orders/..",
        "/api/orders/%2e%2e",
        "/api/orders/1%2f..%2freservations",
        "/api/orders/1/items",
        "/api//items",
        "/items",
    ] {
        assert_eq!(alice.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(alice.get("/api/graphql").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(alice.post("/api/items", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(alice.post("/api/orders", &"x".repeat(65_537)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(stage.gateway.asked(), 0);
    for path in ["/api/items", "/api/items?search=a%2fb", "/api/orders/b1da8da7"] {
        assert_eq!(alice.get(path).await.json()["path"], path.strip_prefix("/api").unwrap());
    }
    assert_eq!(alice.post("/api/graphql", "{}").await.json()["path"], "/graphql");
}

#[tokio::test]
async fn of_a_request_only_what_the_gateway_needs_is_passed_on() {
    let stage = Stage::new().await;
    let mut alice = stage.logged_in().await;
    let request = Request::post("/api/orders")
        .header("x-shop", "1")
        .header("content-type", "application/json")
        .header("idempotency-key", "k-1")
        .header("x-correlation-id", "c-1")
        .header("authorization", "Bearer of-the-browser")
        .header("x-on-behalf-of", r#"{"sub": "mallory"}"#)
        .header("connection", "x-secret")
        .header("te", "trailers")
        .header("x-forwarded-for", "192.0.2.1")
        .header("origin", "https://front.storefront.svc:8443");
    let answer = alice.send(request, "{}").await;
    let passed = answer.json()["headers"].clone();
    let mut names: Vec<&String> = passed.as_object().unwrap().keys().filter(|name| *name != "host").collect();
    names.retain(|name| *name != "traceparent" && *name != "tracestate");
    assert_eq!(names, ["authorization", "content-length", "content-type", "idempotency-key", "x-correlation-id"]);
    assert_eq!(passed["authorization"], "Bearer access-2");
    assert_eq!((&passed["idempotency-key"], &passed["x-correlation-id"]), (&json!("k-1"), &json!("c-1")));
    // And of the answer only what the page needs.
    assert_eq!((answer.header("retry-after"), answer.header("x-correlation-id")), ("7", "c-1"));
    assert_eq!((answer.header("content-type"), answer.header("set-cookie")), ("application/json", ""));
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_of_others() {
    let stage = Stage::new().await;
    let mut anybody = stage.browser();
    for (path, kind) in [("/", "text/html"), ("/app.js", "text/javascript"), ("/app.css", "text/css")] {
        let file = anybody.get(path).await;
        assert_eq!((file.status, file.header("content-type")), (StatusCode::OK, &*format!("{kind}; charset=utf-8")));
        let policy = file.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        for inline in ["style=", "onclick", "<script>", "<style>", "http:", "https:", "innerHTML", "localStorage"] {
            assert!(!file.text.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(move || writer.clone()).finish();
    // Of all stories that are told at the same time, for what one thread never logs others might not log either.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let stage = Stage::new().await;
    stage.keycloak.book().lives = vec![5];
    let mut alice = stage.logged_in().await;
    alice.get("/api/items").await;
    let cookie = alice.cookies["__Host-session"].0.clone();
    let mut bob = stage.browser();
    let back = stage.keycloak.log_in(&bob.begin().await);
    let attempt = bob.cookies["__Host-login"].0.clone();
    bob.arrive(&back.replace("code=", "error=looks-like-a-token&code=")).await;
    stage.keycloak.book().refuses = Some((StatusCode::BAD_REQUEST, "invalid_grant"));
    let back = stage.keycloak.log_in(&bob.begin().await);
    bob.arrive(&back).await;
    alice.post("/logout", "").await;
    let logged = lines.text();
    assert!(logged.contains("a customer logged in") && logged.contains("a login was refused"), "{logged}");
    let given = stage.keycloak.book().secrets.clone();
    let own = [CLIENT.1.to_owned(), basic(), cookie, attempt, "looks-like-a-token".to_owned()];
    for secret in given.iter().chain(&own) {
        let line = logged.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "{secret} is logged");
    }
}

#[tokio::test]
async fn urls_that_are_no_origins_are_refused_at_the_start() {
    let stage = Stage::new().await;
    for url in ["http://front.storefront.svc", "https://front.storefront.svc/shop", "https://front/?x=1", "front"] {
        let mut other = settings(&stage.gateway.url);
        other.public_url = url.parse().unwrap();
        let refused = Shopfront::new(&stage.workload, other, &mut Registry::default()).err().unwrap();
        assert!(refused.to_string().starts_with("--public-url "), "{url}: {refused:#}");
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
