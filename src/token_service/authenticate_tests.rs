use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Request, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus, UserInfo};
use kube::client::Body;
use rcgen::{CertificateParams, KeyPair, SanType};
use ringfence_core::tokens::Directory;
use ringfence_core::world::NamespacedName;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::controller::Repeats;
use crate::token_service::correlation::Correlation;
use crate::token_service::endpoints::Endpoints;
use crate::token_service::events::Events;
use crate::token_service::graph::Snapshot;
use crate::token_service::issuers::Issuers;
use crate::token_service::limits::Limits;
use crate::token_service::metrics::Metrics;
use crate::token_service::parameters::Parameters;
use crate::token_service::peers::Peer;
use crate::token_service::reviews::Reviews;
use crate::token_service::store::{self, Store};

const ISSUER: &str = "https://sts.example";
const TILL: &str = "spiffe://bakery/ns/bakery/sa/till";

/// A token service, whose clients may ask once a second and twice in a moment, and an API server that counts what it is
/// asked and knows every token as that of a service account.
struct Bench {
    state: State,
    snapshot: Snapshot,
    reviews: Arc<AtomicUsize>,
}

fn bench(account: &'static str) -> Bench {
    let reviews = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reviews);
    let api_server = tower::service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let user = UserInfo { username: Some(account.to_owned()), ..UserInfo::default() };
        let audiences = Some(vec![ISSUER.to_owned()]);
        let status = TokenReviewStatus { authenticated: Some(true), user: Some(user), audiences, error: None };
        let review = TokenReview { status: Some(status), ..TokenReview::default() };
        async move { Ok::<_, std::convert::Infallible>(Response::new(Body::from(serde_json::to_vec(&review).unwrap()))) }
    });
    let client = kube::Client::new(api_server, "default");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let now: crate::controller::Now = Arc::new(Timestamp::now);
    let store = store::Settings {
        endpoints: vec!["https://store.example:2379".to_owned()],
        clock_skew: Duration::from_secs(1),
    };
    let metrics = Metrics::default();
    let state = State {
        endpoints: Endpoints::new(ISSUER).unwrap(),
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
        keys: ArcSwapOption::empty(),
        certificate: Arc::default(),
        issuers: Issuers::new(Arc::clone(&provider)),
        provider,
        limits: Limits::new(NonZeroU32::MIN),
        reviews: Reviews::new(client, ISSUER, metrics.clone()),
        metrics,
        store: Store::new(&store, Arc::clone(&now), Box::new(|_| ())).unwrap(),
        store_repeats: Mutex::new(Repeats::default()),
        large_bodies: Semaphore::new(1),
        events: Events::new(NamespacedName::new("sts", "token-service")).0,
        now,
    };
    let identity = |name: &str| {
        let spiffe_id = format!("spiffe://bakery/ns/bakery/sa/{name}");
        json!({
            "name": name, "serviceAccount": name, "spiffeID": spiffe_id, "audiences": [name], "client": true, "keys": [],
        })
    };
    let directory = json!({
        "version": 1, "namespace": "bakery", "identities": [identity("till"), identity("oven")], "grants": [],
        "domain": {
            "name": "bakery", "trustDomain": "bakery", "bundle": "", "revocationLists": "", "tokenFormat": "Jwt",
            "tokenLifetimeSeconds": 60, "scopes": [], "issuers": [],
        },
    });
    let mut snapshot = Snapshot::default();
    snapshot.epoch = 1;
    let directory = Directory::parse(directory.to_string().as_bytes()).unwrap();
    snapshot.graph.replace("bakery", Some(directory)).unwrap();
    Bench { state, snapshot, reviews }
}

/// A connection that shows till's certificate, which was verified by snapshot 1.
fn till() -> Peer {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(TILL.try_into().unwrap())];
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Peer { certificate: PeerCertificate::new(&[certificate.der().clone()], Some(1)), ..anonymous() }
}

fn anonymous() -> Peer {
    Peer { address: [192, 0, 2, 1].into(), certificate: None }
}

/// A service account's token for these audiences.
fn account_token(audiences: &Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": "https://kubernetes.default.svc", "aud": audiences});
    format!("{}.{}.{}", part(json!({"alg": "RS256"})), part(claims), "c2lnbmF0dXJl")
}

impl Bench {
    async fn ask(&self, peer: &Peer, token: &str) -> Result<Client, Refusal> {
        let body = format!("client_assertion_type={}&client_assertion={token}", JWT_BEARER.replace(':', "%3A"));
        let headers = HeaderMap::new();
        let asked = Asked {
            peer,
            headers: &headers,
            parameters: Parameters::parse(body.as_bytes()).unwrap(),
            snapshot: &self.snapshot,
            now: Timestamp::now(),
            correlation: Correlation::of(&headers),
        };
        authenticate(&self.state, &asked).await
    }
}

#[tokio::test]
async fn who_shows_a_certificate_pays_for_what_fails() {
    let bench = bench("system:serviceaccount:bakery:oven");
    let (till, token) = (till(), account_token(&json!([ISSUER])));
    assert_eq!(bench.ask(&till, &token).await, Err(invalid_client(DenialReason::WrongCertificate)));
    let mut limited = 0;
    for _ in 0..20 {
        limited += usize::from(matches!(bench.ask(&till, &token).await, Err(Refusal::Limited(Limit::Client, _))));
    }
    assert!(limited >= 15, "{limited}");
    assert!(bench.reviews.load(Ordering::Relaxed) <= 5, "the API server is not asked for who asks too often");
}

#[tokio::test]
async fn who_shows_a_certificate_of_the_same_service_pays_once() {
    let bench = bench("system:serviceaccount:bakery:till");
    let (till, token) = (till(), account_token(&json!([ISSUER])));
    for _ in 0..2 {
        let Ok(Client::Identity(client)) = bench.ask(&till, &token).await else { panic!("it is refused") };
        assert!(matches!(client.proof, ClientProof::Certificate { .. }));
    }
    assert!(matches!(bench.ask(&till, &token).await, Err(Refusal::Limited(Limit::Client, _))));
}

#[tokio::test]
async fn a_service_accounts_token_that_others_take_too_is_none() {
    let bench = bench("system:serviceaccount:bakery:till");
    let both = account_token(&json!([ISSUER, "https://kubernetes.default.svc"]));
    assert_eq!(bench.ask(&anonymous(), &both).await, Err(invalid_client(DenialReason::WrongAudience)));
    assert_eq!(bench.reviews.load(Ordering::Relaxed), 0);
    assert!(bench.ask(&anonymous(), &account_token(&json!([ISSUER]))).await.is_ok());
}
