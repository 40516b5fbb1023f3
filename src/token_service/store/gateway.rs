//! Requests to etcd's JSON gateway, to whichever of its members answers.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::StoreError;
use crate::controller::{chain, random};

/// How long a member may take for an answer. Then the next one is asked; one whose leader has gone says nothing at all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a whole operation may take: long enough for a cluster of three to elect a leader in place of one that was
/// killed, which takes it one to two seconds.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Pauses before each further round over all endpoints. Where all of them refuse at once, this is what it takes to say so.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// Requests under way at the same time, each of which has a connection of its own. The others wait for their turn.
const MOST_REQUESTS: usize = 64;

/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest answer that is read, in bytes: ours are a few hundred.
const LONGEST_ANSWER: usize = 65_536;

/// gRPC's code for what is not there.
const NOT_FOUND: i64 = 5;

/// By what TLS is spoken with the store, in PEM.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Certificates of which one must have signed the members', be it a root or not.
    pub authorities: &'a [u8],
    /// Our certificate, and those between it and the authority that the members know.
    pub certificate: &'a [u8],
    pub key: &'a [u8],
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// One operation on the store: for how long it may still ask, and what failed so far.
#[derive(Debug)]
pub(super) struct Call {
    deadline: Instant,
    failed: u32,
}

impl Call {
    pub(super) fn starting(now: Instant) -> Self {
        Self { deadline: now + OPERATION_TIMEOUT, failed: 0 }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Requests that others made for this operation failed.
    pub(super) fn count_failed(&mut self, requests: u32) {
        self.failed += requests;
    }

    /// Requests that got no answer worth the name.
    pub(super) fn failed_requests(&self) -> u32 {
        self.failed
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Etcd says that something the request names is not there.
    NotFound,
    Other(StoreError),
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::NotFound => Self::Unavailable("a lease that it gave is gone, twice".to_owned()),
            Failed::Other(error) => error,
        }
    }
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(super) struct Gateway {
    /// Scheme and authority, without a slash at the end.
    endpoints: Vec<String>,
    /// The one that answered last.
    preferred: AtomicUsize,
    client: ArcSwapOption<Http>,
    turns: Semaphore,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// Bytes as the gateway takes and gives them.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

impl Gateway {
    pub(super) fn new(endpoints: &[String]) -> Result<Self, StoreError> {
        let endpoints: Vec<_> = endpoints.iter().map(|endpoint| read_endpoint(endpoint)).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(StoreError::NoEndpoint);
        }
        // Not all replicas begin with the same one.
        let preferred = AtomicUsize::new(usize::from(u8::from_be_bytes(random())) % endpoints.len());
        Ok(Self { endpoints, preferred, client: ArcSwapOption::empty(), turns: Semaphore::new(MOST_REQUESTS) })
    }

    pub(super) fn set_credentials(&self, credentials: &Credentials<'_>) -> Result<(), StoreError> {
        let tls = tls(credentials).map_err(StoreError::Credentials)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(IDLE_TIMEOUT));
        http.set_connect_timeout(Some(REQUEST_TIMEOUT));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MOST_REQUESTS)
            .build(connector);
        // The connections of the one before go with it, as soon as the requests on them are answered.
        self.client.store(Some(client.into()));
        Ok(())
    }

    /// Asks one endpoint after the other, the one that answered last first, until one answers or the time is over.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &Value,
        call: &mut Call,
    ) -> Result<A, Failed> {
        let client = self.client.load_full().ok_or(Failed::Other(StoreError::NoCredentials))?;
        let question = Bytes::from(question.to_string());
        // What each said last.
        let mut said: Vec<Option<Failure>> = self.endpoints.iter().map(|_| None).collect();
        let Ok(turn) = timeout_at(call.deadline, self.turns.acquire()).await else {
            return Err(Failed::Other(StoreError::Unavailable(format!(
                "{MOST_REQUESTS} requests are waiting for answers"
            ))));
        };
        let first = self.preferred.load(Ordering::Relaxed);
        for pause in [None].into_iter().chain(PAUSES.map(Some)) {
            let left = call.deadline.saturating_duration_since(Instant::now());
            sleep(pause.unwrap_or_default().min(left)).await;
            for index in (0..self.endpoints.len()).map(|offset| (first + offset) % self.endpoints.len()) {
                let limit = REQUEST_TIMEOUT.min(call.deadline.saturating_duration_since(Instant::now()));
                if limit.is_zero() {
                    break;
                }
                match timeout(limit, request(&client, &self.endpoints[index], path, question.clone())).await {
                    Ok(Ok(answer)) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Ok(Err(Failure::Refused { code: NOT_FOUND, .. })) => return Err(Failed::NotFound),
                    Ok(Err(failure)) => said[index] = Some(failure),
                    Err(_) => said[index] = Some(Failure::Silent(limit)),
                }
                call.failed += 1;
            }
        }
        drop(turn);
        let tell = |(endpoint, failure): (&String, Option<Failure>)| Some(format!("{endpoint} {}", failure?));
        let told: Vec<String> = self.endpoints.iter().zip(said).filter_map(tell).collect();
        Err(Failed::Other(StoreError::Unavailable(told.join("; "))))
    }
}

/// Why one request to one member came to nothing: what follows its name.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("gives no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("can't be asked: {0}")]
    Transport(String),
    #[error("refuses with {status}: {message:?}")]
    Refused { status: StatusCode, code: i64, message: String },
    #[error("answers what is no answer of etcd: {0}")]
    Malformed(serde_json::Error),
}

async fn request<A: DeserializeOwned>(
    client: &Http,
    endpoint: &str,
    path: &str,
    question: Bytes,
) -> Result<A, Failure> {
    let request = Request::post(format!("{endpoint}{path}")).header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(question)).map_err(|error| Failure::Transport(chain(&error)))?;
    // Boxed: a request's future is large, and is part of that of every request to the token service.
    let answer = client.request(request).boxed().await.map_err(|error| Failure::Transport(chain(&error)))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| Failure::Transport(chain(error.as_ref())))?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(Failure::Malformed);
    }
    let Refusal { code, message } = serde_json::from_slice(&body).unwrap_or_default();
    // As long as a sentence; who else may be at that address is not known.
    Err(Failure::Refused { status, code, message: message.chars().take(200).collect() })
}

/// What etcd says when it does not do what it was asked.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: i64,
    message: String,
}

/// Takes `https://host:port` and nothing after it.
fn read_endpoint(endpoint: &str) -> Result<String, StoreError> {
    let wrong = || StoreError::Endpoint(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
    let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    if uri.scheme_str() != Some("https") || !bare {
        return Err(wrong());
    }
    Ok(format!("https://{authority}"))
}

fn tls(credentials: &Credentials<'_>) -> Result<ClientConfig, String> {
    let certificates = |pem, what| {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let read = read.map_err(|error| format!("{what} can't be read: {error}"))?;
        if read.is_empty() { Err(format!("there is no certificate in {what}")) } else { Ok(read) }
    };
    let mut authorities = RootCertStore::empty();
    for authority in certificates(credentials.authorities, "the authorities")? {
        authorities.add(authority).map_err(|error| format!("one of the authorities can't be read: {error}"))?;
    }
    let certificate = certificates(credentials.certificate, "the certificate")?;
    // Its error says nothing of what is in the key.
    let key = PrivateKeyDer::from_pem_slice(credentials.key).map_err(|_| "there is no private key that can be read")?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(authorities)
        .with_client_auth_cert(certificate, key)
        .map_err(|error| format!("certificate and key don't belong together: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_https_address_and_nothing_else() {
        for good in ["https://etcd-0.etcd.storage.svc:2379", "https://10.0.0.1:2379/", "https://[fd00::1]:2379"] {
            assert_eq!(read_endpoint(good).unwrap(), good.trim_end_matches('/'));
        }
        for bad in ["", "etcd:2379", "http://etcd:2379", "https://etcd:2379/v3", "https://me:it@etcd", "https://e?x"] {
            assert!(read_endpoint(bad).is_err(), "{bad}");
        }
    }
}
