//! Talking to token issuers: asking about tokens (RFC 7662), and asking for some (RFC 6749, RFC 8693).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;
use tower::BoxError;
use zeroize::Zeroizing;

use crate::client::RequestBody;
use crate::material::{Credentials, Material};
use crate::verifier::Anchors;
use crate::workload::Workload;

/// How long an issuer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in octets.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A token is asked for anew when this is left of its life.
const MARGIN: Duration = Duration::from_secs(10);
/// Where an issuer's metadata are (RFC 8414; OpenID Connect Discovery 1.0).
const METADATA: [&str; 2] = [".well-known/openid-configuration", ".well-known/oauth-authorization-server"];

/// An issuer that did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// `access.json` does not say that the service talks to it.
    #[error("{issuer} is no issuer that this service talks to: list it in tokenIssuers of its ServiceIdentity")]
    NotListed {
        /// The issuer.
        issuer: String,
    },
    /// It can't be reached, or answers too much.
    #[error("{url} does not answer as it should")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// Why.
        source: BoxError,
    },
    /// It did not answer in time.
    #[error("{url} did not answer in {TIMEOUT:?}")]
    TooLate {
        /// What was asked.
        url: String,
    },
    /// It says no.
    #[error("{url} answered {status} {error}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// The error code (RFC 6749, section 5.2), if there is one.
        error: String,
    },
}

/// A token issuer, for a service that talks to it by itself: where customers log in, say. Requests to it go through
/// [`Client`](crate::Client), which knows by what roots it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    /// Its identifier (`iss`), below which its metadata are.
    pub url: String,
    /// By what the service proves itself there; none if no Secret of this issuer is mounted: then only its certificate speaks
    /// for it.
    pub credentials: Option<ClientCredentials>,
}

/// What an issuer knows a client by (RFC 6749, section 2.3.1). `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The client's id.
    pub id: String,
    /// Its secret.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token that is wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) scopes: &'a BTreeSet<String>,
    pub(crate) subject: Option<&'a str>,
}

/// What was had of issuers, as long as the same is delivered: as many tokens as there are callees that demand one.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<Had>);

#[derive(Default)]
struct Had {
    epoch: u64,
    endpoints: BTreeMap<String, String>,
    tokens: BTreeMap<(String, String), (Zeroizing<String>, Instant)>,
}

impl Tokens {
    fn with<T>(&self, epoch: u64, work: impl FnOnce(&mut Had) -> T) -> T {
        let mut had = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if had.epoch != epoch {
            *had = Had { epoch, ..Had::default() };
        }
        work(&mut had)
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl Workload {
    /// An issuer by its name in the TrustDomain, if `access.json` names it. Its credentials are those of this moment: they can
    /// be others the next time.
    pub fn issuer(&self, name: &str) -> Option<TokenIssuer> {
        let material = self.material();
        let (url, known) = material.issuer_named(name)?;
        let credentials = known.credentials.as_ref().map(|credentials| ClientCredentials {
            id: credentials.id.clone(),
            secret: Zeroizing::new(String::from_utf8_lossy(credentials.secret()).into_owned()),
        });
        Some(TokenIssuer { url: url.to_owned(), credentials })
    }

    /// What an issuer says of a token.
    pub(crate) async fn introspect(&self, issuer: &str, token: &str) -> Result<Value, IssuerError> {
        let material = self.material();
        let known = material.issuer(issuer);
        let not_listed = || IssuerError::NotListed { issuer: issuer.to_owned() };
        let known = known.ok_or_else(not_listed)?;
        let url = known.known.introspection_uri.as_deref().ok_or_else(not_listed)?;
        self.post(url, known.credentials.as_ref(), &[("token", token)]).await
    }

    /// A token for a callee: one that was had before, if it is not on somebody's behalf.
    pub(crate) async fn token(&self, wanted: &Wanted<'_>) -> Result<Zeroizing<String>, IssuerError> {
        let material = self.material();
        let (epoch, tokens) = (material.epoch(), &self.pools().tokens);
        let key = (wanted.issuer.to_owned(), wanted.audience.to_owned());
        if wanted.subject.is_none() {
            let had = tokens.with(epoch, |had| had.tokens.get(&key).cloned());
            if let Some((token, _)) = had.filter(|(_, until)| *until > Instant::now()) {
                return Ok(token);
            }
        }
        let scope: Vec<&str> = wanted.scopes.iter().map(String::as_str).collect();
        let scope = scope.join(" ");
        let mut form = vec![("audience", wanted.audience)];
        if !scope.is_empty() {
            form.push(("scope", scope.as_str()));
        }
        match wanted.subject {
            None => form.push(("grant_type", "client_credentials")),
            Some(subject) => form.extend([
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", subject),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ]),
        }
        let endpoint = self.token_endpoint(&material, wanted.issuer).await?;
        let credentials = material.issuer(wanted.issuer).and_then(|issuer| issuer.credentials.as_ref());
        let asked = Instant::now();
        let answer = self.post(&endpoint, credentials, &form).await?;
        let issued: Issued = serde_json::from_value(answer)
            .map_err(|error| IssuerError::NoAnswer { url: endpoint.clone(), source: error.into() })?;
        let token = Zeroizing::new(issued.access_token);
        let life = Duration::from_secs(issued.expires_in).saturating_sub(MARGIN);
        if wanted.subject.is_none()
            && let Some(until) = asked.checked_add(life)
        {
            tokens.with(epoch, |had| had.tokens.insert(key, (token.clone(), until)));
        }
        Ok(token)
    }

    async fn token_endpoint(&self, material: &Material, issuer: &str) -> Result<String, IssuerError> {
        let tokens = &self.pools().tokens;
        if let Some(endpoint) = tokens.with(material.epoch(), |had| had.endpoints.get(issuer).cloned()) {
            return Ok(endpoint);
        }
        let mut failed = IssuerError::NotListed { issuer: issuer.to_owned() };
        for path in METADATA {
            let url = format!("{}/{path}", issuer.trim_end_matches('/'));
            let request = Request::get(&url).header(ACCEPT, "application/json");
            match self.ask(&url, request, Empty::new().map_err(Into::into).boxed_unsync()).await {
                Ok(answer) => {
                    let metadata: Metadata = serde_json::from_value(answer)
                        .map_err(|error| IssuerError::NoAnswer { url: url.clone(), source: error.into() })?;
                    if metadata.issuer != issuer {
                        return Err(IssuerError::NoAnswer { url, source: "it is another issuer's".into() });
                    }
                    let endpoint = metadata.token_endpoint;
                    tokens.with(material.epoch(), |had| had.endpoints.insert(issuer.to_owned(), endpoint.clone()));
                    return Ok(endpoint);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn post(
        &self,
        url: &str,
        credentials: Option<&Credentials>,
        form: &[(&str, &str)],
    ) -> Result<Value, IssuerError> {
        // Without a secret the certificate proves the client (RFC 8705, section 2).
        let client = credentials.is_none().then(|| ("client_id", self.spiffe_id().to_string()));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).extend_pairs(client).finish();
        let mut request = Request::post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        if let Some(credentials) = credentials {
            request = request.header(AUTHORIZATION, basic(credentials));
        }
        self.ask(url, request, Full::from(body).map_err(Into::into).boxed_unsync()).await
    }

    async fn ask(&self, url: &str, request: http::request::Builder, body: RequestBody) -> Result<Value, IssuerError> {
        let no_answer = |source| IssuerError::NoAnswer { url: url.to_owned(), source };
        let request = request.body(body).map_err(|error| no_answer(error.into()))?;
        let answered = async {
            let answer = self.pools().http().request(request).await.map_err(BoxError::from)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await?;
            Ok((status, body.to_bytes()))
        };
        let answered = timeout(TIMEOUT, answered).await.map_err(|_| IssuerError::TooLate { url: url.to_owned() })?;
        let (status, body): (StatusCode, Bytes) = answered.map_err(no_answer)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| no_answer(error.into()));
        }
        let error = serde_json::from_slice::<Value>(&body).ok();
        let error = error.and_then(|answer| answer["error"].as_str().map(str::to_owned)).unwrap_or_default();
        Err(IssuerError::Refused { url: url.to_owned(), status, error })
    }
}

/// RFC 6749, section 2.3.1.
fn basic(credentials: &Credentials) -> HeaderValue {
    let encoded = |octets: &[u8]| form_urlencoded::byte_serialize(octets).collect::<String>();
    let secret = Zeroizing::new(encoded(credentials.secret()));
    let pair = Zeroizing::new(format!("{}:{}", encoded(credentials.id.as_bytes()), *secret));
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = value.expect("Base64 is visible ASCII");
    value.set_sensitive(true);
    value
}
