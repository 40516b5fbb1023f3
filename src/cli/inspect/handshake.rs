//! A TLS handshake that takes whatever certificate it is shown, so that it can be looked at. Nothing is sent over the
//! connection.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ringfence_core::pki::Certificate;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use serde::Serialize;

/// How the connection went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Handshake {
    /// The address that was reached.
    address: String,
    /// The name that was asked for (SNI).
    pub(super) server_name: String,
    /// `TLSv1_3` or `TLSv1_2`; absent if the server hung up before that was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<String>,
    /// Whether the server asked for a certificate of the client.
    pub(super) asks_for_client_certificate: bool,
}

/// How long it may take to reach the server, and each of its answers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Shakes hands; gives the chain as it was shown.
pub(super) fn shake_hands(host: &str, port: u16, server_name: Option<&str>) -> Result<(Handshake, Vec<Certificate>)> {
    let asked_for = server_name.unwrap_or(host);
    let name = ServerName::try_from(asked_for.to_owned())
        .map_err(|_| anyhow!("{asked_for:?} is neither a DNS name nor an IP address: name another --servername"))?;
    let mut stream = connect(host, port)?;
    let address = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let (seen, asked) = (Arc::new(Seen::new()), Arc::new(Asked::default()));
    let config = ClientConfig::builder_with_provider(Arc::clone(&seen.provider))
        .with_safe_default_protocol_versions()
        .context("TLS can't be set up")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(Arc::clone(&asked) as Arc<dyn ResolvesClientCert>);
    let mut connection = ClientConnection::new(Arc::new(config), name).context("TLS can't be begun")?;
    let mut ended = Ok(());
    while connection.is_handshaking() && ended.is_ok() {
        ended = connection.complete_io(&mut stream).map(drop);
    }
    connection.send_close_notify();
    // The chain is all that counts: a server may well refuse who shows no certificate.
    let _ = connection.write_tls(&mut stream);
    let chain = seen.chain();
    match (chain.is_empty(), ended) {
        (true, Err(error)) => {
            Err(anyhow!("{host}:{port} showed no certificate: {error}; see whether TLS is spoken there"))
        }
        (true, Ok(())) => Err(anyhow!("{host}:{port} showed no certificate")),
        (false, _) => {
            let chain = chain.into_iter().map(|der| Certificate::from_der(der.as_ref()));
            let chain = chain.collect::<Result<_, _>>();
            let chain = chain.with_context(|| format!("{host}:{port} showed something that is no certificate"))?;
            let handshake = Handshake {
                address,
                server_name: asked_for.to_owned(),
                protocol: connection.protocol_version().map(|version| format!("{version:?}")),
                asks_for_client_certificate: asked.was(),
            };
            Ok((handshake, chain))
        }
    }
}

fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let addresses = (host, port).to_socket_addrs().with_context(|| format!("{host} has no address"))?;
    let mut last = anyhow!("{host} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT)).context("the connection can't be set up")?;
                stream.set_write_timeout(Some(TIMEOUT)).context("the connection can't be set up")?;
                return Ok(stream);
            }
            Err(error) => {
                last = anyhow!(
                    "{host}:{port} can't be reached at {address}: {error}; a fence drops what was not granted, so \
                     look from where it may be reached"
                );
            }
        }
    }
    Err(last)
}

/// Takes any chain, and keeps it. That the server has the key is checked all the same.
#[derive(Debug)]
struct Seen {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Seen {
    fn new() -> Self {
        Self { provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()), chain: Mutex::default() }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = std::iter::once(end_entity).chain(intermediates).cloned().map(CertificateDer::into_owned);
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = presented.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Has no certificate, and notes that one was asked for.
#[derive(Debug, Default)]
struct Asked(std::sync::atomic::AtomicBool);

impl Asked {
    fn was(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}
