//! What is said to the issuer at which customers log in. The words are those of OAuth 2.0, from the crate `oauth2`; the way there
//! is the workload library's, which knows the issuer by its certificate.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, ErrorResponseType, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl, Scope, StandardErrorResponse, StandardRevocableToken,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use ringfence_workload::{TokenIssuer, Workload};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::id_token::IdToken;
use crate::peer::exchange;

/// How long the issuer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How long its metadata are taken for what they were.
const METADATA_LIFE: Duration = Duration::from_secs(600);
/// An access token is renewed when this is left of its life.
const MARGIN: Duration = Duration::from_secs(10);
/// The life of an access token whose issuer does not say how long it is good.
const UNTOLD_LIFE: Duration = Duration::from_secs(60);
/// The longest life that an access token is taken to have, whatever its issuer says.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// The issuer.
pub(super) struct Issuer {
    workload: Workload,
    way: Way,
    /// In the TrustDomain.
    name: String,
    redirect: RedirectUrl,
    scopes: Vec<Scope>,
    metadata: Mutex<Option<(Metadata, Instant)>>,
}

/// A login that begins: where to send the browser, and what is to be known when it comes back.
pub(super) struct Begun {
    pub(super) url: String,
    /// The issuer's URL.
    pub(super) issuer: String,
    /// Whether the issuer says who it is when it sends the browser back (RFC 9207).
    pub(super) is_named_in_answer: bool,
    pub(super) state: Zeroizing<String>,
    pub(super) verifier: Zeroizing<String>,
}

/// Who logged in, and the tokens for it.
pub(super) struct LoggedIn {
    /// The URL of the issuer that says so.
    pub(super) issuer: String,
    pub(super) name: Option<String>,
    pub(super) tokens: Tokens,
}

/// Tokens of a session. They have no `Debug`, so that nobody prints them by chance.
pub(super) struct Tokens {
    pub(super) access: Zeroizing<String>,
    /// When to renew them, a little before the access token is over.
    pub(super) renew_at: Instant,
    /// When the access token is over.
    pub(super) ends_at: Instant,
    pub(super) refresh: Option<Zeroizing<String>>,
}

/// The issuer did not do what it was asked for. No code, token or secret is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0} is no issuer that this service talks to: list it in tokenIssuers of its ServiceIdentity")]
    NotListed(String),
    #[error("no client-id and client-secret for {0} are mounted: they come by clientAuthentication.secretRef")]
    NoCredentials(String),
    #[error("{0} is the name of another issuer now")]
    Another(String),
    #[error("its metadata can't be used: {0}")]
    Metadata(&'static str),
    #[error("it does not answer: {0}")]
    Silent(String),
    #[error("what it answered can't be read")]
    Unreadable,
    #[error("it refuses: {0}")]
    Refused(String),
    #[error(transparent)]
    IdToken(#[from] super::id_token::Misfit),
}

impl Fault {
    /// Whether what was shown to the issuer, a code or a refresh token, is good for nothing (RFC 6749, section 5.2). All else may
    /// be otherwise the next time.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(code) if code == "invalid_grant")
    }
}

#[derive(Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: AuthUrl,
    token_endpoint: TokenUrl,
    revocation_endpoint: Option<RevocationUrl>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether all endpoints are reached by TLS.
    fn is_https(&self) -> bool {
        let revocation = self.revocation_endpoint.as_ref().map(RevocationUrl::url);
        let mut endpoints =
            [self.authorization_endpoint.url(), self.token_endpoint.url()].into_iter().chain(revocation);
        endpoints.all(|endpoint| endpoint.scheme() == "https")
    }
}

/// The crate's client, with an ID token among its answers.
type OAuth = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointSet,
>;

/// Why there was no answer, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Silence(String);

impl Issuer {
    /// An issuer by its name in the TrustDomain. It sends browsers back to `redirect`.
    pub(super) fn new(workload: Workload, name: String, redirect: RedirectUrl, scope: &str) -> Self {
        let scopes = scope.split_ascii_whitespace().map(|scope| Scope::new(scope.to_owned())).collect();
        let way = Way(workload.client());
        Self { workload, way, name, redirect, scopes, metadata: Mutex::default() }
    }

    /// Begins a login: authorization code (RFC 6749, section 4.1) with PKCE (RFC 7636).
    pub(super) async fn begin(&self) -> Result<Begun, Fault> {
        let listed = self.listed()?;
        let (client, metadata) = self.client(&listed).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let request = client.authorize_url(CsrfToken::new_random).add_scopes(self.scopes.iter().cloned());
        let (url, state) = request.set_pkce_challenge(challenge).url();
        Ok(Begun {
            url: url.into(),
            issuer: listed.url,
            is_named_in_answer: metadata.authorization_response_iss_parameter_supported,
            state: Zeroizing::new(state.into_secret()),
            verifier: Zeroizing::new(verifier.into_secret()),
        })
    }

    /// Takes the tokens for a code of the issuer with this URL.
    pub(super) async fn exchange(&self, issuer: &str, code: String, verifier: &str) -> Result<LoggedIn, Fault> {
        let (client, _) = self.client(&self.still(issuer)?).await?;
        let verifier = PkceCodeVerifier::new(verifier.to_owned());
        let asked = Instant::now();
        let request = client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        let answer = request.request_async(&self.way).await.map_err(told)?;
        let name = answer.extra_fields().name(issuer, client.client_id(), Timestamp::now())?;
        Ok(LoggedIn { issuer: issuer.to_owned(), name, tokens: Tokens::of(&answer, asked) })
    }

    /// Takes new tokens for a refresh token of the issuer with this URL (RFC 6749, section 6). The issuer may give another refresh
    /// token in its place.
    pub(super) async fn refresh(&self, issuer: &str, token: &str) -> Result<Tokens, Fault> {
        let (client, _) = self.client(&self.still(issuer)?).await?;
        let asked = Instant::now();
        let token = RefreshToken::new(token.to_owned());
        let answer = client.exchange_refresh_token(&token).request_async(&self.way).await.map_err(told)?;
        let mut tokens = Tokens::of(&answer, asked);
        tokens.refresh.get_or_insert_with(|| Zeroizing::new(token.into_secret()));
        Ok(tokens)
    }

    /// Gives a refresh token back to the issuer with this URL (RFC 7009); whether that has a place for it.
    pub(super) async fn revoke(&self, issuer: &str, token: &str) -> Result<bool, Fault> {
        let (client, _) = self.client(&self.still(issuer)?).await?;
        let token = StandardRevocableToken::from(RefreshToken::new(token.to_owned()));
        let Ok(request) = client.revoke_token(token) else { return Ok(false) };
        request.request_async(&self.way).await.map_err(told)?;
        Ok(true)
    }

    /// The issuer, as it is known at this moment.
    fn listed(&self) -> Result<TokenIssuer, Fault> {
        self.workload.issuer(&self.name).ok_or_else(|| Fault::NotListed(self.name.clone()))
    }

    /// The same, if it still is the one with this URL. What one issuer gave is shown to no other.
    ///
    /// # Errors
    /// [`Fault::Another`] if it is not, [`Fault::NotListed`] if there is none at the moment.
    pub(super) fn still(&self, url: &str) -> Result<TokenIssuer, Fault> {
        let listed = self.listed()?;
        if listed.url == url { Ok(listed) } else { Err(Fault::Another(self.name.clone())) }
    }

    /// What speaks to the issuer.
    async fn client(&self, listed: &TokenIssuer) -> Result<(OAuth, Metadata), Fault> {
        let credentials = listed.credentials.as_ref().ok_or_else(|| Fault::NoCredentials(self.name.clone()))?;
        let metadata = self.metadata(&listed.url).await?;
        let client = Client::new(ClientId::new(credentials.id.clone()))
            .set_client_secret(ClientSecret::new(credentials.secret.to_string()))
            .set_auth_uri(metadata.authorization_endpoint.clone())
            .set_token_uri(metadata.token_endpoint.clone())
            .set_revocation_url_option(metadata.revocation_endpoint.clone())
            .set_redirect_uri(self.redirect.clone());
        Ok((client, metadata))
    }

    /// Where the issuer's endpoints are (OpenID Connect Discovery 1.0).
    async fn metadata(&self, issuer: &str) -> Result<Metadata, Fault> {
        let known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((known, since)) = known
            && known.issuer == issuer
            && since.elapsed() < METADATA_LIFE
        {
            return Ok(known);
        }
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let request = Request::get(url).header(ACCEPT, "application/json").body(Vec::new());
        let answer = self.way.send(request.map_err(|_| Fault::Metadata("the issuer is no URL"))?).await;
        let answer = answer.map_err(|silence| Fault::Silent(silence.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(Fault::Metadata("there are none"));
        }
        let read: Metadata =
            serde_json::from_slice(answer.body()).map_err(|_| Fault::Metadata("they lack an endpoint"))?;
        if read.issuer != issuer {
            return Err(Fault::Metadata("they are another issuer's"));
        }
        if !read.is_https() {
            return Err(Fault::Metadata("an endpoint is not at https"));
        }
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some((read.clone(), Instant::now()));
        Ok(read)
    }
}

/// The way to the issuer.
struct Way(ringfence_workload::Client);

impl Way {
    async fn send(&self, mut request: HttpRequest) -> Result<HttpResponse, Silence> {
        if let Some(secret) = request.headers_mut().get_mut(AUTHORIZATION) {
            secret.set_sensitive(true);
        }
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let answered = tokio::time::timeout(PATIENCE, exchange(&self.0, request, LONGEST_ANSWER)).await;
        let answered = answered.map_err(|_| Silence(format!("nothing came in {PATIENCE:?}")))?;
        let answer = answered.map_err(|error| Silence(format!("{error:#}")))?;
        Ok(answer.map(Into::into))
    }
}

impl<'c> AsyncHttpClient<'c> for Way {
    type Error = Silence;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Silence>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Tokens {
    fn of(answer: &StandardTokenResponse<IdToken, BasicTokenType>, asked: Instant) -> Self {
        let life = answer.expires_in().unwrap_or(UNTOLD_LIFE).min(LONGEST_LIFE);
        Self {
            access: Zeroizing::new(answer.access_token().secret().clone()),
            renew_at: asked + life.saturating_sub(MARGIN),
            ends_at: asked + life,
            refresh: answer.refresh_token().map(|token| Zeroizing::new(token.secret().clone())),
        }
    }
}

/// What the issuer said that it did not do. Of an answer that can't be read nothing is told: there may be tokens in it.
fn told<T>(error: RequestTokenError<Silence, StandardErrorResponse<T>>) -> Fault
where
    T: ErrorResponseType + fmt::Display + 'static,
{
    match error {
        RequestTokenError::ServerResponse(refusal) => Fault::Refused(refusal.error().to_string()),
        RequestTokenError::Request(silence) => Fault::Silent(silence.to_string()),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Fault::Unreadable,
    }
}
