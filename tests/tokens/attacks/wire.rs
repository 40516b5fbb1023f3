//! Requests octet by octet, since what an attacker sends need not be HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use form_urlencoded::Serializer;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::Member;

/// How a client reaches a replica.
#[derive(Clone)]
pub struct Wire {
    from: Ipv4Addr,
    address: SocketAddr,
    host: String,
    tls: Arc<ClientConfig>,
}

/// A certificate with its chain, and its key, PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub chain: String,
    pub key: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Its lines, in small letters.
    pub head: String,
    pub body: Vec<u8>,
    /// Null if the body is not JSON.
    pub json: Value,
}

/// A request of HTTP/1.1, well formed unless it is made otherwise.
#[derive(Clone, Debug)]
pub struct Request {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Wire {
    /// From one of one's own addresses to a replica by the name in its certificate, which must chain to the roots (PEM);
    /// with a client certificate, or none.
    pub fn new(from: Ipv4Addr, address: SocketAddr, host: &str, roots: &str, client: Option<&Certificate>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(roots.as_bytes()).map(Result::unwrap));
        let config = ClientConfig::builder().with_root_certificates(store);
        let config = match client {
            Some(client) => {
                let chain = CertificateDer::pem_slice_iter(client.chain.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        Self { from, address, host: host.to_owned(), tls: Arc::new(config) }
    }

    /// The one answer to a request; the connection is closed after it.
    pub async fn send(&self, request: &Request) -> Answer {
        let mut answers = self.send_octets(&request.octets(&self.host)).await;
        assert_eq!(answers.len(), 1, "{answers:#?}");
        answers.remove(0)
    }

    /// All answers to some octets, until the connection is closed. None where it is closed without one.
    pub async fn send_octets(&self, octets: &[u8]) -> Vec<Answer> {
        // A server may refuse before it has read everything, and the rest can't be written then.
        let Some(mut stream) = self.connect().await else { return Vec::new() };
        let _ = stream.write_all(octets).await;
        let _ = stream.flush().await;
        let mut read = Vec::new();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
        assert!(closed.is_ok(), "the connection stays open: {}", String::from_utf8_lossy(&read));
        answers(&read)
    }

    /// All answers to octets that may not be a whole request, or have too much behind it: when nothing more comes, nothing
    /// more is sent.
    pub async fn send_unfinished(&self, octets: &[u8]) -> Vec<Answer> {
        let Some(mut stream) = self.connect().await else { return Vec::new() };
        let _ = stream.write_all(octets).await;
        let _ = stream.flush().await;
        let mut read = Vec::new();
        if timeout(SILENCE, stream.read_to_end(&mut read)).await.is_err() {
            let _ = stream.shutdown().await;
            let closed = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
            assert!(closed.is_ok(), "the connection stays open: {}", String::from_utf8_lossy(octets));
        }
        answers(&read)
    }

    /// A connection; none if it is refused.
    pub async fn connect(&self) -> Option<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((self.from, 0))).unwrap();
        let stream = socket.connect(self.address).await.ok()?;
        let name = ServerName::try_from(self.host.clone()).unwrap();
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.ok()
    }

    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Certificate {
    /// A member's own.
    pub fn of(member: &Member) -> Self {
        Self { chain: member.chain(), key: member.key() }
    }
}

impl Request {
    pub fn get(path: &str) -> Self {
        Self { line: format!("GET {path} HTTP/1.1"), headers: Vec::new(), body: Vec::new() }
    }

    /// A POST of a form.
    pub fn form<K: AsRef<str>, V: AsRef<str>>(path: &str, form: impl IntoIterator<Item = (K, V)>) -> Self {
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        Self::post(path, "application/x-www-form-urlencoded", body)
    }

    pub fn post(path: &str, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = vec![format!("content-type: {media_type}"), format!("content-length: {}", body.len())];
        Self { line: format!("POST {path} HTTP/1.1"), headers, body }
    }

    /// With one more line in its head.
    #[must_use]
    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    /// Without the header of a name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|line| !line.starts_with(&format!("{name}:")));
        self
    }

    /// What goes over the wire; the server is asked to close the connection after it.
    pub fn octets(&self, host: &str) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("{}\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n", self.line);
        [head.as_bytes(), &self.body].concat()
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The token that it gives.
    pub fn token(&self) -> String {
        self.json["access_token"].as_str().unwrap_or_else(|| panic!("no token: {self:?}")).to_owned()
    }

    /// Status and word of RFC 6749 by which it refuses.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.error())
    }

    /// The word alone.
    pub fn error(&self) -> &str {
        assert!((400..600).contains(&self.status), "not refused: {} {}", self.status, self.text());
        self.json["error"].as_str().unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// Splits what was read into answers.
fn answers(mut read: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = read.windows(4).position(|octets| octets == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let body = &read[end + 4..];
        let (body, rest) = body.split_at(body.len().min(length.unwrap_or(0)));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let json = serde_json::from_slice(body).unwrap_or_default();
        answers.push(Answer { status: status.unwrap(), head, body: body.to_vec(), json });
        read = rest;
    }
    assert!(read.is_empty(), "not an answer: {}", String::from_utf8_lossy(read));
    answers
}

const PATIENCE: Duration = Duration::from_secs(30);
/// For how long nothing comes from a replica that waits for more.
const SILENCE: Duration = Duration::from_millis(300);
