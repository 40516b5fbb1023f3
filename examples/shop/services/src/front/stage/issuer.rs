//! An issuer that speaks as Keycloak does, and is strict: codes and refresh tokens are good once, by the client that they were
//! given to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::{CLIENT, Domain, PUBLIC, Server};

/// Where it has the realm.
const REALM: &str = "/realms/shop";

pub(in crate::front) struct Keycloak {
    pub(in crate::front) url: String,
    book: Arc<Mutex<Book>>,
    revocation: Arc<Notify>,
    _server: Server,
}

/// What it knows, and how it is disposed.
#[derive(Default)]
pub(in crate::front) struct Book {
    /// Code → challenge.
    codes: BTreeMap<String, String>,
    /// Refresh tokens that are good.
    refresh: BTreeSet<String>,
    given: u64,
    /// Everything that was given out or shown, and that nobody else is to know.
    pub(in crate::front) secrets: Vec<String>,
    pub(in crate::front) revoked: Vec<String>,
    /// How long access tokens are good, in seconds, for the next ones.
    pub(in crate::front) lives: Vec<u64>,
    /// What it answers at the token endpoint in place of tokens.
    pub(in crate::front) refuses: Option<(StatusCode, &'static str)>,
    /// What its metadata say otherwise.
    pub(in crate::front) metadata: BTreeMap<&'static str, Value>,
    /// What its ID tokens have in `aud`, if not the client.
    pub(in crate::front) audience: Option<&'static str>,
}

type Form = BTreeMap<String, String>;

#[derive(Clone)]
struct Realm {
    url: String,
    book: Arc<Mutex<Book>>,
    revocation: Arc<Notify>,
}

impl Keycloak {
    pub(super) async fn start(login: &Domain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}{REALM}", listener.local_addr().unwrap().port());
        let realm = Realm { url: url.clone(), book: Arc::default(), revocation: Arc::default() };
        let (book, revocation) = (realm.book.clone(), realm.revocation.clone());
        let endpoints = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/token", post(token))
            .route("/revoke", post(revoke))
            .with_state(realm);
        let pod = login.service("keycloak").open().pod();
        let server = Server::start(listener, pod, Router::new().nest(REALM, endpoints)).await;
        Self { url, book, revocation, _server: server }
    }

    /// A customer logs in where a browser was sent to; where the browser is sent back.
    pub(in crate::front) fn log_in(&self, sent_to: &str) -> String {
        let asked = query(sent_to);
        assert!(sent_to.starts_with(&format!("{}/auth?", self.url)), "{sent_to}");
        let expected = [
            ("response_type", "code"),
            ("client_id", CLIENT.0),
            ("scope", "openid customer"),
            ("code_challenge_method", "S256"),
            ("redirect_uri", &format!("{PUBLIC}/callback")),
        ];
        for (name, value) in expected {
            assert_eq!(asked[name], value, "{name}");
        }
        let mut book = self.book();
        let code = book.give("code");
        book.codes.insert(code.clone(), asked["code_challenge"].clone());
        book.secrets.push(asked["state"].clone());
        let back = [("state", &asked["state"]), ("code", &code), ("iss", &self.url)];
        format!("/callback?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(back).finish())
    }

    /// Waits until a refresh token is given back, if none was since this was asked last.
    pub(in crate::front) async fn revocation(&self) {
        let waiting = tokio::time::timeout(Duration::from_secs(60), self.revocation.notified());
        waiting.await.expect("a refresh token is given back");
    }

    pub(in crate::front) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }
}

impl Book {
    /// Something that is secret.
    fn give(&mut self, what: &str) -> String {
        self.given += 1;
        let secret = format!("{what}-{}", self.given);
        self.secrets.push(secret.clone());
        secret
    }
}

/// What stands in a URL.
pub(in crate::front) fn query(url: &str) -> Form {
    let url: Uri = url.parse().unwrap();
    form_urlencoded::parse(url.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

async fn metadata(State(realm): State<Realm>) -> Json<Value> {
    let at = |path: &str| format!("{}/{path}", realm.url);
    let mut metadata = json!({
        "issuer": realm.url,
        "authorization_endpoint": at("auth"),
        "token_endpoint": at("token"),
        "revocation_endpoint": at("revoke"),
        "authorization_response_iss_parameter_supported": true,
    });
    for (name, value) in &realm.book.lock().unwrap().metadata {
        metadata[*name] = value.clone();
    }
    Json(metadata)
}

/// The id and the secret of the client, as they are sent (RFC 7617).
pub(in crate::front) fn basic() -> String {
    BASE64_STANDARD.encode(format!("{}:{}", CLIENT.0, CLIENT.1))
}

fn is_the_client(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|shown| *shown == format!("Basic {}", basic()))
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({"error": code, "error_description": "in Keycloak's words"}))).into_response()
}

async fn token(State(realm): State<Realm>, headers: HeaderMap, body: String) -> Response {
    let form: Form = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let mut book = realm.book.lock().unwrap();
    if let Some((status, code)) = book.refuses {
        return refused(status, code);
    }
    if !is_the_client(&headers) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let is_good = match form["grant_type"].as_str() {
        "authorization_code" => {
            let verifier = &form["code_verifier"];
            book.secrets.push(verifier.clone());
            let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
            let is_back = form["redirect_uri"] == format!("{PUBLIC}/callback");
            book.codes.remove(&form["code"]) == Some(challenge) && is_back
        }
        "refresh_token" => book.refresh.remove(&form["refresh_token"]),
        other => panic!("{other} is asked for"),
    };
    if !is_good {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant");
    }
    let life = if book.lives.is_empty() { 300 } else { book.lives.remove(0) };
    let (access, refresh) = (book.give("access"), book.give("refresh"));
    book.refresh.insert(refresh.clone());
    let claims = json!({
        "iss": realm.url, "aud": book.audience.unwrap_or(CLIENT.0), "exp": Timestamp::now().as_second() + 60,
        "sub": "f3a1", "preferred_username": "alice",
    });
    let id_token = format!("e30.{}.unsigned", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
    book.secrets.push(id_token.clone());
    Json(json!({
        "access_token": access, "token_type": "Bearer", "expires_in": life, "refresh_token": refresh, "id_token": id_token,
    }))
    .into_response()
}

async fn revoke(State(realm): State<Realm>, headers: HeaderMap, body: String) -> StatusCode {
    let form: Form = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    if !is_the_client(&headers) {
        return StatusCode::UNAUTHORIZED;
    }
    let mut book = realm.book.lock().unwrap();
    book.refresh.remove(&form["token"]);
    book.revoked.push(form["token"].clone());
    realm.revocation.notify_one();
    StatusCode::OK
}
