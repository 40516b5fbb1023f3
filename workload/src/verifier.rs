//! Who is at the other end of a connection, by the certificate that it shows.
//!
//! A chain must end at the CAs of the trust domain that the leaf's SPIFFE ID names. A chain to a root that several trust
//! domains share proves only the root.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use ringfence_core::pki::{Certificate, PeerAnchors, PeerUsage, SpiffeId, spiffe_id};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

/// Whose CAs count, at one moment.
pub trait Anchors: Send + Sync + 'static {
    /// The CAs of the trust domain that an ID names, if it is one that counts.
    fn anchors(&self, id: &SpiffeId) -> Option<&PeerAnchors>;

    /// Another number whenever the CAs, or who is revoked, may be others; never 0.
    fn epoch(&self) -> u64;
}

/// The certificate of a peer that has its key.
#[derive(Debug)]
pub struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    not_after: Timestamp,
    spiffe_id: SpiffeId,
    thumbprint: String,
    /// The epoch by which it was verified last; 0 for none.
    verified_by: AtomicU64,
}

impl PeerCertificate {
    /// Takes the chain of a handshake. `verified_by` is the epoch of what was known before it; none if the session was
    /// resumed, since then nothing was verified.
    #[must_use]
    pub fn new(chain: &[CertificateDer<'_>], verified_by: Option<u64>) -> Option<Self> {
        let leaf = Certificate::from_der(chain.first()?.as_ref()).ok()?;
        Some(Self {
            not_after: leaf.not_after(),
            spiffe_id: spiffe_id(&leaf)?,
            thumbprint: leaf.thumbprint(),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            verified_by: AtomicU64::new(verified_by.unwrap_or_default()),
        })
    }

    /// Who the peer is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// SHA-256 of the certificate's DER, base64url (RFC 8705, section 3.1).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether it verifies by what is known now: a connection may be older than that. Costs nothing while nothing has
    /// changed.
    pub fn verifies(&self, anchors: &impl Anchors, now: Timestamp) -> bool {
        if now > self.not_after {
            return false;
        }
        if self.verified_by.load(Ordering::Relaxed) == anchors.epoch() {
            return true;
        }
        let (leaf, intermediates) = self.chain.split_first().expect("it was made of at least one");
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let verified = verify(anchors, leaf, intermediates, time, PeerUsage::Client).is_ok();
        if verified {
            self.verified_by.store(anchors.epoch(), Ordering::Relaxed);
        }
        verified
    }
}

/// Verifies a chain with the CAs of the trust domain that its leaf's SPIFFE ID names.
pub(crate) fn verify(
    anchors: &impl Anchors,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: PeerUsage,
) -> Result<SpiffeId, Error> {
    let certificate = Certificate::from_der(leaf.as_ref()).map_err(|_| CertificateError::BadEncoding)?;
    let id = spiffe_id(&certificate).ok_or(CertificateError::ApplicationVerificationFailure)?;
    let anchors = anchors.anchors(&id).ok_or(CertificateError::UnknownIssuer)?;
    anchors.verify(leaf, intermediates, now, usage).map_err(|error| match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::CrlExpired { .. } => CertificateError::UnknownRevocationStatus,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    })?;
    Ok(id)
}

/// Which clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Required,
    Optional,
    Never,
}

/// Verifies the certificates of clients. Whom it asks, and whose CAs count, is what is known when the handshake begins.
pub struct ClientCertificates<A> {
    anchors: Arc<ArcSwap<A>>,
    provider: Arc<CryptoProvider>,
    ask: fn(&A, u16) -> Ask,
    port: u16,
}

impl<A: Anchors> ClientCertificates<A> {
    /// Asks every client, and lets those through that have none: nobody has to show one, but who does is not taken for
    /// someone without.
    #[must_use]
    pub fn optional(anchors: Arc<ArcSwap<A>>, provider: Arc<CryptoProvider>) -> Self {
        Self { anchors, provider, ask: |_, _| Ask::Optional, port: 0 }
    }

    /// Asks whom `ask` says, for a port.
    pub(crate) fn of_port(
        anchors: Arc<ArcSwap<A>>,
        provider: Arc<CryptoProvider>,
        ask: fn(&A, u16) -> Ask,
        port: u16,
    ) -> Self {
        Self { anchors, provider, ask, port }
    }

    fn ask(&self) -> Ask {
        (self.ask)(&self.anchors.load(), self.port)
    }
}

impl<A> fmt::Debug for ClientCertificates<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificates").field("port", &self.port).finish_non_exhaustive()
    }
}

impl<A: Anchors> ClientCertVerifier for ClientCertificates<A> {
    fn offer_client_auth(&self) -> bool {
        self.ask() != Ask::Never
    }

    fn client_auth_mandatory(&self) -> bool {
        self.ask() == Ask::Required
    }

    /// None: which CAs count changes while connections are made, and clients have one certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        verify(&**self.anchors.load(), end_entity, intermediates, now, PeerUsage::Client)
            .map(|_| ClientCertVerified::assertion())
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
