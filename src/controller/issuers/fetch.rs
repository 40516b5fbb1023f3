//! One look at an issuer: its metadata, unless they are spared, and its key set.
//!
//! The platform team names the issuer, and so where the operator goes first. Where else it is sent by what it reads there, it
//! goes only if that is an address of the public internet: an issuer must not make the operator ask the cluster's own
//! services, nor services show each other tokens. Redirects are not followed, nothing is sent but the request, and of what is answered nothing but public keys
//! and URLs is taken over or told.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_ENCODING, DATE, EXPIRES, HeaderName, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use jiff::{SignedDuration, Timestamp};
use ringfence_core::api::Reason;
use ringfence_core::issuers::{
    DeclaredIssuer, HttpsUrl, Metadata, MetadataFault, freshness, is_public, metadata_urls, parse_metadata,
};
use ringfence_core::jwt::{LONGEST_KEY_SET, parse_public_jwks};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::time::timeout;
use tower::Service;

use crate::controller::error::{causes, chain};

/// How long one answer may take, from the name's resolution to the last octet.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// What was fetched of an issuer.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) jwks: Value,
    pub(super) introspection_uri: Option<String>,
    /// How long the keys hold.
    pub(super) fresh_for: SignedDuration,
}

/// Why nothing was, and whether the issuer can't be reached or answers what can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) why: String,
}

/// Whether an address is one of the cluster's own.
pub(super) type IsOwn = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Asks one issuer.
pub(super) struct Fetcher {
    issuer: DeclaredIssuer,
    tls: ClientConfig,
    is_own: IsOwn,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Fetcher {
    /// # Errors
    /// When the roots can't be used.
    pub(super) fn new(issuer: DeclaredIssuer, is_own: IsOwn) -> Result<Self, Failure> {
        let roots = match &issuer.roots {
            Some(ders) => {
                let mut roots = RootCertStore::empty();
                for der in ders {
                    roots
                        .add(der.clone().into())
                        .map_err(|error| invalid(format!("its caBundle can't be used: {error}")))?;
                }
                roots
            }
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| unreachable(format!("TLS can't be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { issuer, tls, is_own })
    }

    /// Looks once.
    pub(super) async fn fetch(&self, now: Timestamp) -> Result<Fetched, Failure> {
        let DeclaredIssuer { issuer, jwks_uri, introspection_uri, .. } = &self.issuer;
        let metadata = match (jwks_uri, introspection_uri) {
            (Some(_), Some(_)) => None,
            (Some(_), None) => self.metadata().await?,
            _ => Some(
                self.metadata()
                    .await?
                    .ok_or_else(|| invalid(format!("{issuer} has no metadata at {}", places(issuer))))?,
            ),
        };
        let (named_keys, named_introspection) =
            metadata.map_or((None, None), |metadata| (metadata.jwks_uri, metadata.introspection_uri));
        let (keys, is_declared) = match (jwks_uri, named_keys) {
            (Some(declared), _) => (declared.clone(), true),
            (None, Some(named)) => (named.clone(), named.is_same_origin(issuer)),
            (None, None) => return Err(invalid(format!("the metadata of {issuer} name no jwks_uri"))),
        };
        let answer = self.get(&keys, is_declared).await?;
        if answer.status != StatusCode::OK {
            return Err(refused(&keys, answer.status));
        }
        let text =
            std::str::from_utf8(&answer.body).map_err(|_| invalid(format!("the key set at {keys} is no text")))?;
        let jwks = parse_public_jwks(text)
            .map_err(|fault| invalid(format!("the key set at {keys} can't be used: {fault}")))?;
        if let (None, Some(named)) = (introspection_uri, &named_introspection)
            && !named.is_same_origin(issuer)
        {
            self.check_public(named).await?;
        }
        let introspection_uri = introspection_uri.clone().or(named_introspection);
        Ok(Fetched {
            jwks,
            introspection_uri: introspection_uri.map(|uri| uri.to_string()),
            fresh_for: answer.fresh_for(now),
        })
    }

    /// The issuer's metadata; nothing if there are none where they could be.
    async fn metadata(&self) -> Result<Option<Metadata>, Failure> {
        for url in metadata_urls(&self.issuer.issuer) {
            let answer = self.get(&url, true).await?;
            if answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS {
                continue;
            }
            if answer.status != StatusCode::OK {
                return Err(refused(&url, answer.status));
            }
            match parse_metadata(&answer.body, &self.issuer.issuer) {
                Ok(metadata) => return Ok(Some(metadata)),
                // Some servers answer any path with a page.
                Err(MetadataFault::NoMetadata) => {}
                Err(fault) => return Err(invalid(format!("the metadata at {url} {fault}"))),
            }
        }
        Ok(None)
    }

    /// Whether others may be told to go to a URL that the metadata name: to an address of the public internet.
    async fn check_public(&self, url: &HttpsUrl) -> Result<(), Failure> {
        let mut resolver = self.resolver(false);
        resolver.check_literal(url)?;
        let name: Name = url.host().parse().map_err(|_| invalid(format!("{url} has no host name")))?;
        let late = |_| unreachable(format!("the name in {url} is not resolved within {} s", PATIENCE.as_secs()));
        let resolved = timeout(PATIENCE, resolver.call(name)).await.map_err(late)?;
        resolved.map(|_| ()).map_err(|error| no_answer(url, error.as_ref()))
    }

    fn resolver(&self, anywhere: bool) -> Resolver {
        let is_own = Arc::clone(&self.is_own);
        Resolver(Arc::new(move |address| anywhere || (is_public(address) && !is_own(address))))
    }

    /// One request. `anywhere`: also to addresses that are not public.
    async fn get(&self, url: &HttpsUrl, anywhere: bool) -> Result<Answer, Failure> {
        let resolver = self.resolver(anywhere);
        resolver.check_literal(url)?;
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(LONGEST_HEAD)
            .build::<_, Empty<&[u8]>>(connector);
        let request = Request::get(url.uri())
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .header(USER_AGENT, concat!("ringfence/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| invalid(format!("{url} can't be asked: {error}")))?;
        let asked = async {
            let (head, body) = client.request(request).await.map_err(|error| no_answer(url, &error))?.into_parts();
            if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
                return Err(invalid(format!("{url} answers in a coding that was not asked for")));
            }
            let body = Limited::new(body, LONGEST_KEY_SET).collect().await;
            let body = body.map_err(|error| no_body(url, error.as_ref()))?.to_bytes().into();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let late = |_| unreachable(format!("{url} did not answer in full within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, asked).await.map_err(late)?
    }
}

impl Answer {
    fn fresh_for(&self, now: Timestamp) -> SignedDuration {
        let one = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        let cache_control = self.headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        freshness(&cache_control.collect::<Vec<_>>(), one(AGE), one(EXPIRES), one(DATE), now)
    }
}

/// Why a name leads nowhere that may be gone to.
#[derive(Debug, thiserror::Error)]
#[error(
    "is no address of the public internet: declare jwksUri or introspectionUri in tokenIssuers if it is the right one"
)]
struct NotPublic;

/// Names that the metadata name alone lead to public addresses alone.
#[derive(Clone)]
struct Resolver(Arc<dyn Fn(IpAddr) -> bool + Send + Sync>);

impl Resolver {
    /// Names are looked up later, and addresses never are.
    fn check_literal(&self, url: &HttpsUrl) -> Result<(), Failure> {
        if url.host().parse().is_ok_and(|address| !self.0(address)) {
            return Err(invalid(format!("{url}, which its metadata name, {NotPublic}")));
        }
        Ok(())
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (admits, resolved) = (Arc::clone(&self.0), GaiResolver::new().call(name));
        async move {
            let (admitted, others): (Vec<_>, Vec<_>) = resolved.await?.partition(|address| admits(address.ip()));
            if admitted.is_empty() && !others.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(admitted.into_iter())
        }
        .boxed()
    }
}

fn invalid(why: String) -> Failure {
    Failure { reason: Reason::IssuerInvalid, why }
}

fn unreachable(why: String) -> Failure {
    Failure { reason: Reason::IssuerUnreachable, why }
}

fn refused(url: &HttpsUrl, status: StatusCode) -> Failure {
    if status.is_redirection() {
        return invalid(format!("{url} redirects ({status}), which is not followed"));
    }
    unreachable(format!("{url} answers {status}"))
}

fn no_answer(url: &HttpsUrl, error: &(dyn StdError + 'static)) -> Failure {
    let why = format!("{url} can't be reached: {}", chain(error));
    if causes(error).any(|cause| cause.is::<NotPublic>()) { invalid(why) } else { unreachable(why) }
}

fn no_body(url: &HttpsUrl, error: &(dyn StdError + 'static)) -> Failure {
    if error.is::<LengthLimitError>() {
        return invalid(format!("{url} answers more than {LONGEST_KEY_SET} bytes"));
    }
    unreachable(format!("{url} did not answer in full: {}", chain(error)))
}

/// Where metadata were looked for.
fn places(issuer: &HttpsUrl) -> String {
    metadata_urls(issuer).iter().map(HttpsUrl::as_str).collect::<Vec<_>>().join(" and at ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_to_no_public_address_is_the_issuers_fault_and_one_that_leads_nowhere_is_not() {
        let issuer = DeclaredIssuer {
            name: "login".to_owned(),
            issuer: "https://login.example".parse().unwrap(),
            jwks_uri: None,
            introspection_uri: None,
            roots: None,
        };
        let fetcher = Fetcher::new(issuer, Arc::new(|_| false)).unwrap();
        let url: HttpsUrl = "https://localhost:1/keys".parse().unwrap();
        let reason = async |anywhere| fetcher.get(&url, anywhere).await.err().unwrap().reason;
        assert_eq!((reason(false).await, reason(true).await), (Reason::IssuerInvalid, Reason::IssuerUnreachable));
        assert_eq!(fetcher.check_public(&url).await.unwrap_err().reason, Reason::IssuerInvalid);
    }
}
