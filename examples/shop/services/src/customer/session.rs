//! A customer's connections and access token.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Readiness, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::Mutex;
use tower::Service;

use super::Access;
use crate::correlation;
use crate::errand::IDEMPOTENCY_KEY;
use crate::hop::Hops;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer that is read, in bytes.
const LONGEST: usize = 1 << 20;

pub(super) struct Session {
    access: Access,
    client: Client<HttpsConnector<HttpConnector<Names>>, Full<Bytes>>,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    until: Instant,
    /// Gets the next one, where the issuer gave one.
    refresh: Option<String>,
}

/// What the gateway answered.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) correlation: String,
    pub(super) hops: Hops,
    pub(super) content: Value,
}

impl Answered {
    /// A refusal, with the gateway's words.
    pub(super) fn in_words(&self) -> String {
        let told = self.content["error"].as_str().unwrap_or_default();
        format!("{} {told}", self.status.as_u16())
    }
}

impl Session {
    pub(super) fn new(access: Access, names: BTreeMap<String, IpAddr>) -> Result<Self> {
        let tls = crate::tls::trusting(Some(&access.roots))?.with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(Names(Arc::new(names)));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
        // What was not sent, because the connection had been closed, is sent once more; nothing else is.
        let mut client = Client::builder(TokioExecutor::new());
        if access.new_connections {
            client.pool_max_idle_per_host(0);
        }
        Ok(Self { client: client.build(connector), access, token: Mutex::default() })
    }

    /// The access token; a new one when a third of its time is left.
    pub(super) async fn token(&self) -> Result<String> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.until) {
            return Ok(token.text.clone());
        }
        let refresh = kept.take().and_then(|token| token.refresh);
        let next = match refresh {
            // It may be over, or taken back: then everything begins anew.
            Some(refresh) => self.refresh(&refresh).await.ok(),
            None => None,
        };
        let token = match next {
            Some(token) => token,
            None => self.first().await?,
        };
        Ok(kept.insert(token).text.clone())
    }

    /// The token after the first one.
    pub(super) async fn refreshed(&self) -> Result<String> {
        let refresh = self.first().await?.refresh.context("the issuer gave no refresh token")?;
        Ok(self.refresh(&refresh).await?.text)
    }

    /// RFC 6749, section 4.4, or section 4.3 for somebody with a password.
    async fn first(&self) -> Result<Token> {
        let Access { audience, scope, username, password_file, .. } = &self.access;
        let mut form = vec![("audience", audience.clone())];
        form.extend(Some(("scope", scope.clone())).filter(|(_, scope)| !scope.is_empty()));
        match (username, password_file) {
            (Some(username), Some(file)) => form.extend([
                ("grant_type", "password".to_owned()),
                ("username", username.clone()),
                ("password", read(file)?),
            ]),
            _ => form.push(("grant_type", "client_credentials".to_owned())),
        }
        self.grant(&form).await
    }

    /// RFC 6749, section 6.
    async fn refresh(&self, token: &str) -> Result<Token> {
        self.grant(&[("grant_type", "refresh_token".to_owned()), ("refresh_token", token.to_owned())]).await
    }

    async fn grant(&self, form: &[(&str, String)]) -> Result<Token> {
        let Access { client_id, client_secret_file, .. } = &self.access;
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let secret = read(client_secret_file)?;
        let credentials = BASE64_STANDARD.encode(format!("{}:{}", encode(client_id), encode(&secret)));
        let request = Request::post(self.access.token_endpoint.clone())
            .header(AUTHORIZATION, format!("Basic {credentials}"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()))?;
        let asked = Instant::now();
        let (status, _, content) = self.send(request).await.context("the issuer gives no token")?;
        let (Some(token), true) = (content["access_token"].as_str(), status.is_success()) else {
            bail!(
                "the issuer gives no token: {} {} {}",
                status.as_u16(),
                content["error"],
                content["error_description"]
            );
        };
        let life = Duration::from_secs(content["expires_in"].as_u64().unwrap_or(60));
        let refresh = content["refresh_token"].as_str().map(str::to_owned);
        Ok(Token { text: token.to_owned(), until: asked + life * 2 / 3, refresh })
    }

    /// Asks the gateway.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        content: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Answered> {
        let token = self.token().await?;
        let gateway = self.access.gateway.to_string();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", gateway.trim_end_matches('/')))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let body = content.map(Value::to_string).unwrap_or_default();
        let (status, headers, content) =
            self.send(request.body(body.into())?).await.context("the gateway does not answer")?;
        let correlation = headers.get(correlation::HEADER).and_then(|value| value.to_str().ok());
        let correlation = correlation.unwrap_or("(none)").to_owned();
        Ok(Answered { status, correlation, hops: Hops::of_response(&headers), content })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Value)> {
        let exchange = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
            let content = serde_json::from_slice(&body);
            Ok((head.status, head.headers, content.unwrap_or_else(|_| String::from_utf8_lossy(&body).into())))
        };
        tokio::time::timeout(PATIENCE, exchange).await.with_context(|| format!("nothing came in {PATIENCE:?}"))?
    }
}

/// A secret in a file.
fn read(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    Ok(text.trim().to_owned())
}

/// Names that are known here, and all others from the system.
#[derive(Clone)]
struct Names(Arc<BTreeMap<String, IpAddr>>);

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Readiness<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let known = self.0.get(name.as_str()).map(|address| SocketAddr::new(*address, 0));
        Box::pin(async move {
            let addresses = match known {
                Some(address) => vec![address],
                None => tokio::net::lookup_host((name.as_str(), 0)).await?.collect(),
            };
            Ok(addresses.into_iter())
        })
    }
}
