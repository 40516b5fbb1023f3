//! A service that talks to a token issuer by itself, and calls others with the tokens that it got there.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod delivered;

use std::convert::Infallible;

use http::header::{AUTHORIZATION, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use ringfence_workload::{CallError, Client, IssuerToken};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::service_fn;
use zeroize::Zeroizing;

use crate::delivered::{Domain, PORT, Pod};

/// A server that answers with the `Authorization` of the request. It ends with this value.
struct Server {
    port: u16,
    _pod: Pod,
    _stop: DropGuard,
}

impl Server {
    async fn start(pod: Pod) -> Self {
        Self::answering(pod, |request| async move { authorization(&request) }).await
    }

    async fn answering<F, A>(pod: Pod, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = String> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, stop) = (listener.local_addr().unwrap().port(), CancellationToken::new());
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer(request).await))) }
        });
        let serving = pod.workload().server(PORT).serve(listener, service, stop.clone());
        tokio::spawn(serving);
        Self { port, _pod: pod, _stop: stop.drop_guard() }
    }
}

fn authorization(request: &Request<Incoming>) -> String {
    let shown = request.headers().get(AUTHORIZATION);
    shown.map_or("nothing", |value| value.to_str().unwrap()).to_owned()
}

/// An issuer whose tokens are what it was asked for them: the `Authorization` and the form.
async fn issuer(request: Request<Incoming>) -> String {
    let host = request.uri().authority().map(ToString::to_string);
    let host = host.unwrap_or_else(|| request.headers()[HOST].to_str().unwrap().to_owned());
    let url = format!("https://{host}/realms/shop");
    if request.uri().path().ends_with("/openid-configuration") {
        return json!({"issuer": url, "token_endpoint": format!("{url}/token")}).to_string();
    }
    let shown = authorization(&request);
    let form = request.into_body().collect().await.unwrap().to_bytes();
    json!({"access_token": format!("{shown} {}", String::from_utf8_lossy(&form)), "expires_in": 60}).to_string()
}

/// What a server says that it was shown.
async fn shown(client: &Client, request: http::request::Builder) -> Result<String, CallError> {
    let answer = client.request(request.body(Empty::<Bytes>::new()).unwrap()).await?;
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_said_to_an_issuer_is_said_as_it_is() {
    let (shop, login) = (Domain::new("shop"), Domain::new("login"));
    let keycloak = Server::start(login.service("keycloak").open().pod()).await;
    let issuer = format!("https://127.0.0.1:{}/realms/shop", keycloak.port);
    let front = shop.service("front").talks_to("keycloak", &issuer, &login).pod();
    let client = front.workload().client();
    let metadata = format!("{issuer}/.well-known/openid-configuration");
    assert_eq!(shown(&client, Request::get(&metadata)).await.unwrap(), "nothing");
    let with_own = Request::get(&metadata).header(AUTHORIZATION, "Basic of-the-service");
    assert_eq!(shown(&client, with_own).await.unwrap(), "Basic of-the-service");
}

#[tokio::test]
async fn nobody_else_is_talked_to_in_an_issuers_place() {
    let (shop, login, other) = (Domain::new("shop"), Domain::new("login"), Domain::new("other"));
    let impostor = Server::start(other.service("keycloak").open().pod()).await;
    let issuer = format!("https://127.0.0.1:{}/realms/shop", impostor.port);
    let front = shop.service("front").talks_to("keycloak", &issuer, &login).pod();
    let client = front.workload().client();
    let refused = shown(&client, Request::get(&issuer)).await.unwrap_err();
    assert!(matches!(refused, CallError::Transport { .. }), "{refused:?}");
    // At another host there is no issuer.
    let elsewhere = format!("https://localhost:{}/realms/shop", impostor.port);
    let refused = shown(&client, Request::get(elsewhere)).await.unwrap_err();
    assert!(matches!(refused, CallError::NotACallee { .. }), "{refused:?}");
}

#[tokio::test]
async fn an_issuer_is_found_by_its_name_with_what_is_mounted_for_it() {
    let (shop, login) = (Domain::new("shop"), Domain::new("login"));
    let (url, other) = ("https://keycloak.login.svc:8443/realms/shop", "https://other.login.svc");
    let front = shop.service("front").talks_to("keycloak", url, &login).talks_to("other", other, &login);
    let front = front.known_to("keycloak", "shop-front\n", "not-for-logs\n").pod();
    let workload = front.workload();
    let keycloak = workload.issuer("keycloak").unwrap();
    let credentials = keycloak.credentials.as_ref().unwrap();
    assert_eq!((&*keycloak.url, &*credentials.id, &**credentials.secret), (url, "shop-front", "not-for-logs"));
    assert!(!format!("{keycloak:?}").contains("not-for-logs"), "{keycloak:?}");
    assert_eq!(workload.issuer("other").unwrap().credentials, None);
    assert_eq!(workload.issuer("unheard-of"), None);
}

#[tokio::test]
async fn a_service_asks_for_a_token_by_its_secret_or_as_the_client_that_its_certificate_proves() {
    let (shop, login) = (Domain::new("shop"), Domain::new("login"));
    let gateway = Server::start(shop.service("gateway").called_by("front").pod()).await;
    let keycloak = Server::answering(login.service("keycloak").open().pod(), issuer).await;
    let issuer = format!("https://127.0.0.1:{}/realms/shop", keycloak.port);
    let url = format!("https://localhost:{}/items", gateway.port);
    let front = || shop.service("front").calls("gateway", Some(&issuer)).talks_to("keycloak", &issuer, &login);
    let asked = "audience=gateway.shop.svc&grant_type=client_credentials";
    let by_secret = format!("Bearer Basic c2hvcC1mcm9udDpub3QtZm9yLWxvZ3M= {asked}");
    let by_certificate = format!("Bearer nothing {asked}&client_id=spiffe%3A%2F%2Fshop%2Fns%2Fshop%2Fsa%2Ffront");
    let with_secret = front().known_to("keycloak", "shop-front", "not-for-logs").pod();
    for (pod, expected) in [(with_secret, by_secret), (front().pod(), by_certificate)] {
        assert_eq!(shown(&pod.workload().client(), Request::get(&url)).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_token_of_a_user_is_sent_where_one_of_its_issuer_is_demanded_and_nowhere_else() {
    let (shop, login) = (Domain::new("shop"), Domain::new("login"));
    let gateway = Server::start(shop.service("gateway").called_by("front").pod()).await;
    // Nobody is there who could be asked for another one.
    let (issuer, other) = ("https://127.0.0.1:1/realms/shop", "https://127.0.0.1:1/realms/other");
    let url = format!("https://localhost:{}/items", gateway.port);
    for (demanded, expected) in [(Some(issuer), Some("Bearer of-alice")), (None, Some("nothing")), (Some(other), None)]
    {
        let front = shop.service("front").calls("gateway", demanded);
        let front = front.talks_to("keycloak", issuer, &login).talks_to("other", other, &login).pod();
        let token = IssuerToken { issuer: issuer.to_owned(), token: Zeroizing::new("of-alice".to_owned()) };
        let debug = format!("{token:?}");
        assert!(debug.contains(issuer) && !debug.contains("of-alice"), "{debug}");
        let answered = shown(&front.workload().client(), Request::get(&url).extension(token)).await;
        match (answered, expected) {
            (Ok(shown), Some(expected)) => assert_eq!(shown, expected, "{demanded:?}"),
            // It would not be alice's request any more.
            (Err(CallError::OtherIssuer { .. }), None) => {}
            (answered, _) => panic!("{demanded:?}: {answered:?}"),
        }
    }
}
