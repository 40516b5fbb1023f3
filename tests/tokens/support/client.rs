//! HTTPS clients of the token service.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ringfence_core::pki::Certificate;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Installation, Member, Replica, now};

type Http = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts one installation, and may show a certificate.
#[derive(Clone)]
pub struct Client {
    http: Http,
    tls: ClientConfig,
    address: SocketAddr,
}

/// One connection, which stays open.
pub struct Connection(TlsStream<TcpStream>);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null if it is not JSON.
    pub json: Value,
}

impl Answer {
    /// The access token of a positive answer.
    pub fn token(&self) -> &str {
        self.json["access_token"].as_str().unwrap_or_else(|| panic!("no token: {self:?}"))
    }

    /// Status and OAuth error code of a negative one.
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.json["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")))
    }
}

impl Client {
    /// One that shows no certificate.
    pub fn anonymous(installation: &Installation, replica: &Replica) -> Self {
        Self::new(installation.roots(), replica.address, None)
    }

    /// One that shows a member's certificate.
    pub fn of(installation: &Installation, replica: &Replica, member: &Member) -> Self {
        Self::new(installation.roots(), replica.address, Some((&member.chain(), &member.key())))
    }

    fn new(roots: &str, address: SocketAddr, certificate: Option<(&str, &str)>) -> Self {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            store.add(root.unwrap()).unwrap();
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(store);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        Self::with(config, address)
    }

    fn with(tls: ClientConfig, address: SocketAddr) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_only().enable_http1().build();
        Self { http: legacy::Client::builder(TokioExecutor::new()).build(connector), tls, address }
    }

    /// Asks for a document.
    pub async fn get(&self, path: &str) -> Answer {
        let request = Request::get(self.url(path)).body(Full::default()).unwrap();
        self.send(request).await.unwrap()
    }

    /// Posts a form.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.try_post(path, form).await.unwrap()
    }

    /// Posts a form; an error if there is no answer, for instance because the handshake fails.
    pub async fn try_post(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer, legacy::Error> {
        self.send(self.request(path).body(encoded(form)).unwrap()).await
    }

    /// Posts a form with an `Authorization` header.
    pub async fn post_as(&self, path: &str, authorization: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.request(path).header("authorization", authorization);
        self.send(request.body(encoded(form)).unwrap()).await.unwrap()
    }

    /// The beginning of a request that posts a form.
    pub fn request(&self, path: &str) -> http::request::Builder {
        Request::post(self.url(path)).header("content-type", "application/x-www-form-urlencoded")
    }

    /// Sends any request.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, legacy::Error> {
        let (head, body) = self.http.request(request).await?.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status: StatusCode::as_u16(&head.status), headers: head.headers, json })
    }

    /// Asks for a token in the client's own name, with whatever proves who it is.
    pub async fn client_credentials(&self, audience: &str, more: &[(&str, &str)]) -> Answer {
        let form = [&[("grant_type", "client_credentials"), ("audience", audience)], more].concat();
        self.post("/token", &form).await
    }

    /// Asks for a token; nothing if there is no answer.
    pub async fn try_client_credentials(&self, audience: &str) -> Option<Answer> {
        self.try_post("/token", &[("grant_type", "client_credentials"), ("audience", audience)]).await.ok()
    }

    /// The same client, without the connections that it has.
    pub fn fresh(&self) -> Self {
        Self::with(self.tls.clone(), self.address)
    }

    /// A connection on which anything can be sent.
    pub async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(std::sync::Arc::new(self.tls.clone()));
        Connection(connector.connect(name, stream).await.unwrap())
    }

    /// The certificate that the server shows, PEM.
    pub async fn certificate(&self) -> String {
        let Connection(stream) = self.connect().await;
        let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
        Certificate::from_der(shown.to_vec()).unwrap().to_pem()
    }

    /// A URL of the replica.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }
}

impl Connection {
    /// Status of the answer to a request for a token.
    pub async fn client_credentials(&mut self, audience: &str) -> u16 {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "client_credentials"), ("audience", audience)])
            .finish();
        let head = format!(
            "POST /token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        self.flush().await.unwrap();
        let mut answer = Vec::new();
        let length = |head: &str| {
            let line =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            line.unwrap_or(0)
        };
        loop {
            answer.push(self.read_u8().await.unwrap());
            if answer.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8(answer).unwrap();
                let mut body = vec![0; length(&head)];
                self.read_exact(&mut body).await.unwrap();
                return head.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
    }
}

impl Deref for Connection {
    type Target = TlsStream<TcpStream>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

fn encoded(form: &[(&str, &str)]) -> Full<Bytes> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    Full::new(body.into())
}

impl Member {
    /// An assertion by which the member proves itself to the token service (RFC 7523).
    pub fn assertion(&self, installation: &Installation) -> String {
        self.sign("JWT", &self.assertion_claims(installation))
    }

    /// What such an assertion says: no two the same.
    pub fn assertion_claims(&self, installation: &Installation) -> Value {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (id, now) = (self.id(), now().as_second());
        let jti = format!("{now}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let audience = format!("{}/token", installation.issuer);
        json!({"iss": id, "sub": id, "aud": audience, "iat": now, "exp": now + 60, "jti": jti})
    }
}
