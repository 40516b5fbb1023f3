//! Opaque tokens of other issuers: the issuer is asked what they say (RFC 7662). It is asked only if the token service's own
//! identity lists it too: only then may it be reached, and are its roots and the credentials for it delivered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use k8s_openapi::api::core::v1::ConfigMap;
use ringfence_core::pki::SecretData;
use ringfence_core::tokens::{DenialReason, OAuthError};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;
use zeroize::Zeroizing;

use super::answer::Refusal;
use super::correlation::Correlation;
use crate::controller::{Repeats, chain};

/// How long an issuer may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Questions under way at once.
const MOST_QUESTIONS: usize = 64;
/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What `access.json` says of the issuers that an identity lists.
#[derive(Default, Deserialize)]
struct Access {
    #[serde(default, rename = "spiffeID")]
    spiffe_id: String,
    #[serde(default)]
    issuers: BTreeMap<String, Listed>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    #[serde(default)]
    introspection_uri: Option<String>,
    #[serde(default)]
    roots: Option<String>,
}

/// What was delivered, in parts.
#[derive(Default)]
struct Delivered {
    /// The token service's own SPIFFE ID.
    spiffe_id: String,
    /// By identifier.
    listed: BTreeMap<String, Listed>,
    /// The files beside `access.json`.
    files: BTreeMap<String, String>,
    /// The token service's own certificate.
    certificate: SecretData,
    /// By name of the issuer.
    credentials: BTreeMap<String, SecretData>,
}

/// The issuers that can be asked.
pub(super) struct Issuers {
    provider: Arc<CryptoProvider>,
    delivered: Mutex<Delivered>,
    /// By identifier.
    ready: ArcSwap<HashMap<String, Arc<Issuer>>>,
    turns: Semaphore,
    repeats: Mutex<Repeats>,
}

/// One issuer, ready to be asked.
struct Issuer {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: String,
    proof: Proof,
}

/// What proves who asks.
enum Proof {
    /// `Authorization`.
    Secret(Zeroizing<String>),
    /// The certificate, for a client of this id (RFC 8705, section 2).
    Certificate { client_id: String },
}

impl Issuers {
    /// None yet.
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            delivered: Mutex::default(),
            ready: ArcSwap::default(),
            turns: Semaphore::new(MOST_QUESTIONS),
            repeats: Mutex::default(),
        }
    }

    /// Takes the ConfigMap `<identity>-trust`; none when it is gone. Returns the names of the issuers that are listed now.
    pub(super) fn trust(&self, config_map: Option<&ConfigMap>) -> BTreeSet<String> {
        let files = config_map.and_then(|object| object.data.clone()).unwrap_or_default();
        let access = files.get("access.json").map(|text| serde_json::from_str::<Access>(text));
        let access = access.transpose().unwrap_or_else(|error| {
            warn!(%error, "access.json can't be read: no other issuer can be asked about tokens");
            None
        });
        let Access { spiffe_id, issuers: listed } = access.unwrap_or_default();
        let names = listed.values().map(|issuer| issuer.name.clone()).collect();
        self.change(|delivered| {
            delivered.spiffe_id = spiffe_id;
            delivered.listed = listed;
            delivered.files = files;
        });
        names
    }

    /// Takes the credentials for an issuer, by its name; none when they are gone.
    pub(super) fn credentials(&self, name: &str, data: Option<SecretData>) {
        self.change(|delivered| match data {
            Some(data) => drop(delivered.credentials.insert(name.to_owned(), data)),
            None => drop(delivered.credentials.remove(name)),
        });
    }

    /// Takes the token service's own certificate.
    pub(super) fn certificate(&self, data: &SecretData) {
        self.change(|delivered| delivered.certificate = data.clone());
    }

    fn change(&self, change: impl FnOnce(&mut Delivered)) {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut delivered);
        let mut ready = HashMap::new();
        for (identifier, listed) in &delivered.listed {
            let Some(uri) = &listed.introspection_uri else { continue };
            match self.issuer(&delivered, listed, uri) {
                Ok(issuer) => drop(ready.insert(identifier.clone(), Arc::new(issuer))),
                Err(fault) => warn!(issuer = identifier, fault, "an issuer can't be asked about its tokens"),
            }
        }
        self.ready.store(Arc::new(ready));
    }

    fn issuer(&self, delivered: &Delivered, listed: &Listed, uri: &str) -> Result<Issuer, String> {
        let pem = match &listed.roots {
            Some(file) => Some(delivered.files.get(file).ok_or_else(|| format!("the file {file} is not there"))?),
            None => None,
        };
        let roots = match pem {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(pem.as_bytes())? {
                    roots.add(root).map_err(|error| format!("a root can't be used: {error}"))?;
                }
                roots
            }
        };
        let tls = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let credentials = delivered.credentials.get(&listed.name);
        let (tls, proof) = if let Some(credentials) = credentials {
            (tls.with_no_client_auth(), Proof::Secret(authorization(credentials)?))
        } else {
            let file = |name| delivered.certificate.get(name).unwrap_or_default();
            let key = PrivateKeyDer::from_pem_slice(file("tls.key")).map_err(|_| "there is no certificate yet")?;
            let chain = certificates(file("tls.crt"))?;
            let tls = tls.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?;
            (tls, Proof::Certificate { client_id: delivered.spiffe_id.clone() })
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Issuer { http, uri: uri.to_owned(), proof })
    }

    /// Whether an issuer can be asked.
    pub(super) fn can_ask(&self, identifier: &str) -> bool {
        self.ready.load().contains_key(identifier)
    }

    /// What an issuer says of a token.
    ///
    /// # Errors
    /// `temporarily_unavailable` without an answer that can be read.
    pub(super) async fn introspect(
        &self,
        identifier: &str,
        token: &str,
        correlation: Correlation<'_>,
    ) -> Result<Value, Refusal> {
        let unavailable = Refusal::new(OAuthError::TemporarilyUnavailable, DenialReason::IssuerUnavailable);
        let issuer = self.ready.load().get(identifier).cloned().ok_or(unavailable)?;
        let asked = async {
            let _turn = self.turns.acquire().await;
            issuer.ask(token, correlation.onward()).await
        };
        // Boxed: it is large, and part of every request's future.
        let said = match Box::pin(timeout(TIMEOUT, asked)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => "it gives no answer in time".to_owned(),
        };
        if self.repeats.lock().unwrap_or_else(PoisonError::into_inner).is_news(&said) {
            warn!(issuer = identifier, error = said, "an issuer can't be asked about its tokens");
        }
        Err(unavailable)
    }
}

impl Issuer {
    async fn ask(&self, token: &str, headers: HeaderMap) -> Result<Value, String> {
        let (authorization, client) = match &self.proof {
            Proof::Secret(authorization) => (Some(authorization.as_str()), None),
            Proof::Certificate { client_id } => (None, Some(("client_id", client_id))),
        };
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("token", token), ("token_type_hint", "access_token")])
            .extend_pairs(client)
            .finish();
        let mut request = Request::post(&self.uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut request =
            request.body(Full::from(form)).map_err(|_| "its introspection endpoint is no URL".to_owned())?;
        request.headers_mut().extend(headers);
        let answer = self.http.request(request).await.map_err(|error| chain(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| chain(error.as_ref()))?.to_bytes();
        if status != StatusCode::OK {
            return Err(format!("it answers {status}"));
        }
        // What a parser says of it might show some of it.
        serde_json::from_slice(&body).map_err(|_| "it answers what is not JSON".to_owned())
    }
}

/// `Authorization: Basic`, with id and secret encoded as in a form (RFC 6749, section 2.3.1).
fn authorization(credentials: &SecretData) -> Result<Zeroizing<String>, String> {
    let text = |key: &str| {
        let text = credentials.get(key).and_then(|octets| std::str::from_utf8(octets).ok());
        let text = text.ok_or_else(|| format!("the Secret with the credentials has no {key}"))?;
        Ok::<_, String>(Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()))
    };
    let pair = Zeroizing::new(format!("{}:{}", *text("client-id")?, *text("client-secret")?));
    Ok(Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes())))))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|read| !read.is_empty()).ok_or_else(|| "there is no certificate that can be read".to_owned())
}
