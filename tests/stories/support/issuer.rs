//! A token issuer on this machine: HTTPS with a certificate of its own, and whatever is wanted of its answers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};
use ringfence::controller::SystemEntropy;
use ringfence_core::api::{CertificateAlgorithm, SigningAlgorithm};
use ringfence_core::jwt::SigningKey;
use ringfence_core::pki::Entropy as _;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What an issuer answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, headers and body.
    Says(u16, Vec<(&'static str, String)>, String),
    /// Nothing at all.
    Hangs,
    /// A body that never ends.
    Endless,
}

/// The issuer. It runs until it is stopped or dropped.
pub struct TestIssuer {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    certificate: String,
    state: Arc<Mutex<State>>,
    running: Option<AbortHandle>,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<String, Answer>,
    asked: BTreeMap<String, usize>,
}

impl Answer {
    /// JSON that holds for so many seconds.
    pub fn json(body: &Value, max_age: u32) -> Self {
        Self::Says(200, vec![("cache-control", format!("max-age={max_age}"))], body.to_string())
    }
}

impl TestIssuer {
    /// One that answers every path with 404 until it is told more.
    pub async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let tls = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let mut this = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: Arc::new(tls),
            certificate: certificate.pem(),
            state: Arc::default(),
            running: None,
        };
        this.resume().await;
        this
    }

    /// Listens, at the same port as before.
    pub async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (acceptor, state) = (TlsAcceptor::from(Arc::clone(&self.tls)), Arc::clone(&self.state));
        let accepting = async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(acceptor.clone(), stream, Arc::clone(&state)));
            }
        };
        self.running = Some(tokio::spawn(accepting).abort_handle());
    }

    /// Listens no more, and ends what is in work.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    /// The URL of a path, by name.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// The root to verify it by, PEM.
    pub fn certificate(&self) -> String {
        self.certificate.clone()
    }

    /// From now on a path is answered like this.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.get(path).copied().unwrap_or_default()
    }

    /// An issuer below a path, with metadata as OpenID Connect has them and this key set, which holds for a minute.
    pub fn issue(&self, path: &str, keys: &Value) -> String {
        let issuer = self.url(path);
        let metadata = json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/keys"),
            "introspection_endpoint": format!("{issuer}/introspect"),
        });
        self.answer(&format!("{path}/.well-known/openid-configuration"), Answer::json(&metadata, 60));
        self.answer(&format!("{path}/keys"), Answer::json(keys, 60));
        issuer
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A key set with new public keys of these ids.
pub fn key_set(ids: &[&str]) -> Value {
    let key = |id: &&str| {
        let key = SystemEntropy.private_key(CertificateAlgorithm::EcdsaP256).unwrap();
        let key = SigningKey::new(key, SigningAlgorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(key.public_jwk()).unwrap();
        jwk["kid"] = json!(id);
        jwk
    };
    json!({"keys": ids.iter().map(key).collect::<Vec<_>>()})
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = acceptor.accept(stream).await.ok()?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let request = String::from_utf8(request).ok()?;
    assert!(!request.to_lowercase().contains("accept-encoding"), "no coding is asked for: {request}");
    let path = request.split(' ').nth(1)?.to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        *state.asked.entry(path.clone()).or_default() += 1;
        state.answers.get(&path).cloned()
    };
    match answer.unwrap_or(Answer::Says(404, Vec::new(), String::new())) {
        Answer::Says(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Any\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.ok()?;
            stream.shutdown().await.ok()
        }
        Answer::Hangs => std::future::pending().await,
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
            loop {
                // A few octets at a time: neither too much at once nor ever an end.
                stream.write_all(b"1\r\n \r\n").await.ok()?;
                stream.flush().await.ok()?;
                tokio::task::yield_now().await;
            }
        }
    }
}
