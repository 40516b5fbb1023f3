//! Calling those whom `access.json` names.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::{SignedDuration, Timestamp};
use ringfence_core::access::{AccessCallee, AccessToken};
use ringfence_core::api::Signer;
use ringfence_core::jwt::ServiceToken;
use ringfence_core::pki::PeerUsage;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use tower::{BoxError, Service};
use zeroize::Zeroizing;

use crate::issuer::{IssuerError, Tokens, Wanted};
use crate::material::Material;
use crate::verifier::{Anchors, verify};
use crate::workload::{Shown, Workload};

/// How long a token is good that is signed for one call, unless less is demanded.
const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_secs(60);
/// How long a connection stays open on which nothing is asked.
const IDLE: Duration = Duration::from_secs(30);
/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Extension of a request: on whose behalf it is made. Becomes the claim `obo` of a token that the service signs itself.
#[derive(Clone, Debug)]
pub struct OnBehalfOf(pub Value);

/// Extension of a request: the token by which the request at hand came in. Where the callee demands a token of an issuer, it is
/// exchanged for one that is meant for the callee (RFC 8693). `Debug` does not show it.
#[derive(Clone)]
pub struct SubjectToken(pub Zeroizing<String>);

/// Extension of a request: a token of an issuer that the service has already, of a user who logged in through it. Where the
/// callee demands a token of that issuer, it is sent as it is, and the issuer is not asked for one. To a callee that demands
/// no issuer's, it is not sent. Where one of another issuer is demanded the request is not made: it would not be the user's
/// any more. `Debug` does not show the token.
#[derive(Clone)]
pub struct IssuerToken {
    /// The issuer's identifier (`iss`), as [`TokenIssuer::url`](crate::TokenIssuer::url) has it.
    pub issuer: String,
    /// The token.
    pub token: Zeroizing<String>,
}

/// Calls others by the names that `access.json` has for them, such as `https://inventory.storefront.svc/items`. It verifies
/// that the server is whom the name stands for, shows the own certificate, and adds the token that the callee demands.
///
/// A token issuer is called by the host of its URL, for what a service has to say to one itself, such as a login
/// ([`Workload::issuer`]). It is verified by its roots, and is shown the own certificate if it asks for one; nothing is added
/// to the request. Endpoints on another host than the issuer's, or that of its introspection, are not reached.
///
/// It is a [`tower::Service`], so that the clients that tonic generates work on top of it.
#[derive(Clone, Debug)]
pub struct Client {
    workload: Workload,
}

/// A call that could not be made. What the callee answers is no error, whatever its status.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// `access.json` names nobody by that name, and no issuer: there is no AccessPolicy, or it is not delivered yet.
    #[error("{host} is none of those whom this service may call")]
    NotACallee {
        /// The name.
        host: String,
    },
    /// The callee demands a token that the service signs, and there is no key.
    #[error("{host} demands a token that this service signs, and its signing key is not mounted")]
    NoSigningKey {
        /// The callee.
        host: String,
    },
    /// The token could not be signed.
    #[error("no token could be signed")]
    Signing(#[source] BoxError),
    /// The user's token is of an issuer whose tokens the callee does not take ([`IssuerToken`]).
    #[error("{host} takes no tokens of {issuer}, of which the user's is")]
    OtherIssuer {
        /// The callee.
        host: String,
        /// The token's issuer.
        issuer: String,
    },
    /// The issuer did not give a token for the callee.
    #[error("no token for {host} could be had")]
    Issuer {
        /// The callee.
        host: String,
        /// Why.
        source: IssuerError,
    },
    /// The connection failed, or the callee is not whom its name stands for.
    #[error("{host} could not be called")]
    Transport {
        /// The callee.
        host: String,
        /// Why.
        source: legacy::Error,
    },
}

pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;
type Http = legacy::Client<HttpsConnector<HttpConnector>, RequestBody>;

impl Client {
    pub(crate) fn new(workload: Workload) -> Self {
        Self { workload }
    }

    /// Calls a service.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn request<B>(&self, request: Request<B>) -> Result<Response<Incoming>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let material = self.workload.material();
        let (mut head, body) = request.into_parts();
        let host = head.uri.host().unwrap_or_default().to_ascii_lowercase();
        // One way in is enough, the one that asks for least before the others.
        let mut ways: Vec<&AccessCallee> = material.callees(&host).map(|(_, callee)| callee).collect();
        ways.sort_by_key(|callee| callee.proof.token.as_ref().map(|token| token.signer == Signer::Issuer));
        let mut refused = CallError::NotACallee { host: host.clone() };
        let mut ready = ways.is_empty() && material.issuer_at(&host).is_some();
        for callee in ways {
            match self.token(&material, callee, &host, &head.extensions).await {
                Ok(token) => {
                    if let Some(token) = token {
                        head.headers.insert(AUTHORIZATION, bearer(&token)?);
                    }
                    ready = true;
                    break;
                }
                Err(error) => refused = error,
            }
        }
        if !ready {
            return Err(refused);
        }
        let request = Request::from_parts(head, body.map_err(Into::into).boxed_unsync());
        let answer = self.workload.pools().http().request(request).await;
        answer.map_err(|source| CallError::Transport { host, source })
    }

    /// The token that a callee demands.
    async fn token(
        &self,
        material: &Material,
        callee: &AccessCallee,
        host: &str,
        extensions: &http::Extensions,
    ) -> Result<Option<Zeroizing<String>>, CallError> {
        let Some(demanded) = &callee.proof.token else { return Ok(None) };
        if demanded.signer == Signer::Caller {
            return self.signed(material, demanded, host, extensions).map(Some);
        }
        if let Some(had) = extensions.get::<IssuerToken>() {
            if demanded.issuer.as_ref() != Some(&had.issuer) {
                return Err(CallError::OtherIssuer { host: host.to_owned(), issuer: had.issuer.clone() });
            }
            return Ok(Some(had.token.clone()));
        }
        let wanted = Wanted {
            issuer: demanded.issuer.as_deref().unwrap_or_default(),
            audience: audience(demanded, host),
            scopes: &demanded.scopes,
            subject: extensions.get::<SubjectToken>().map(|token| token.0.as_str()),
        };
        let token = self.workload.token(&wanted).await;
        token.map(Some).map_err(|source| CallError::Issuer { host: host.to_owned(), source })
    }

    fn signed(
        &self,
        material: &Material,
        demanded: &AccessToken,
        host: &str,
        extensions: &http::Extensions,
    ) -> Result<Zeroizing<String>, CallError> {
        let signer = material.signer.as_ref().ok_or_else(|| CallError::NoSigningKey { host: host.to_owned() })?;
        let longest = demanded.max_lifetime_seconds.and_then(|seconds| i64::try_from(seconds).ok());
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|error| CallError::Signing(error.to_string().into()))?;
        let token = ServiceToken {
            caller: &material.spiffe_id,
            audience: audience(demanded, host),
            lifetime: longest.map_or(TOKEN_LIFETIME, |longest| TOKEN_LIFETIME.min(SignedDuration::from_secs(longest))),
            id: &URL_SAFE_NO_PAD.encode(id),
            on_behalf_of: extensions.get::<OnBehalfOf>().map(|obo| &obo.0),
        };
        let signed = signer.sign(&token, Timestamp::now()).map_err(|error| CallError::Signing(error.into()))?;
        Ok(Zeroizing::new(signed))
    }
}

impl<B> Service<Request<B>> for Client
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.request(request).await })
    }
}

impl fmt::Debug for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectToken(redacted)")
    }
}

impl fmt::Debug for IssuerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerToken").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The audience that a token is made for: the name that is called, if the callee takes it, or else the first that it takes.
fn audience<'a>(demanded: &'a AccessToken, host: &'a str) -> &'a str {
    if demanded.audiences.contains(host) { host } else { demanded.audiences.first().map_or(host, String::as_str) }
}

fn bearer(token: &str) -> Result<HeaderValue, CallError> {
    let value = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&value).map_err(|error| CallError::Signing(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Connections that stay open, until something else is delivered than when they were made.
pub(crate) struct Pools {
    materials: Arc<ArcSwap<Material>>,
    tls: ClientConfig,
    current: ArcSwap<(u64, Http)>,
    pub(crate) tokens: Tokens,
}

impl Pools {
    pub(crate) fn new(materials: Arc<ArcSwap<Material>>, provider: Arc<CryptoProvider>) -> Self {
        let servers = Servers { materials: Arc::clone(&materials), provider: Arc::clone(&provider) };
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the library's own cryptography speaks both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers))
            .with_client_cert_resolver(Arc::new(Shown::of(Arc::clone(&materials))));
        // A session that is taken up again would be with a server that nobody looked at.
        tls.resumption = Resumption::disabled();
        let epoch = materials.load().epoch();
        let current = ArcSwap::from_pointee((epoch, http(&tls)));
        Self { materials, tls, current, tokens: Tokens::default() }
    }

    pub(crate) fn http(&self) -> Http {
        let (epoch, current) = (self.materials.load().epoch(), self.current.load());
        if current.0 == epoch {
            return current.1.clone();
        }
        let fresh = http(&self.tls);
        self.current.store(Arc::new((epoch, fresh.clone())));
        fresh
    }
}

fn http(tls: &ClientConfig) -> Http {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_only().enable_http1().enable_http2();
    let connector = connector.wrap_connector(tcp);
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).timer(TokioTimer::new());
    builder.http2_keep_alive_interval(IDLE).build(connector)
}

/// Verifies servers: a callee by the SPIFFE ID that `access.json` has for its name, an issuer by its roots, and nobody else.
struct Servers {
    materials: Arc<ArcSwap<Material>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (material, host) = (self.materials.load(), server_name.to_str());
        let mut expected = material.callees(&host).map(|(spiffe_id, _)| spiffe_id).peekable();
        if expected.peek().is_some() {
            let id = verify(&**material, end_entity, intermediates, now, PeerUsage::Server)?.to_string();
            return if expected.any(|expected| expected == id) {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(CertificateError::NotValidForName.into())
            };
        }
        let issuer = material.issuer_at(&host).and_then(|issuer| issuer.server.as_ref());
        let issuer = issuer.ok_or(CertificateError::NotValidForName)?;
        issuer.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
