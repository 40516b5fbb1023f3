//! Who is at the other end of a connection: its address and, if it showed one, its certificate.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use ringfence_core::pki::{Certificate, PeerUsage, SpiffeId, spiffe_id};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::graph::Snapshot;

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: IpAddr,
    /// What it showed in the handshake.
    pub(super) certificate: Option<PeerCertificate>,
}

/// A certificate that the other end has the key of.
#[derive(Debug)]
pub(super) struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    not_after: Timestamp,
    /// Who it says it is.
    pub(super) spiffe_id: SpiffeId,
    /// SHA-256 of the DER, base64url (RFC 8705, section 3.1).
    pub(super) thumbprint: String,
    /// The snapshot by which it was verified last; 0 for none.
    verified_by: AtomicU64,
}

impl PeerCertificate {
    /// Takes the chain of a handshake. `verified_by` is the snapshot that was there before it; none if the session was
    /// resumed, since then nothing was verified.
    pub(super) fn new(chain: &[CertificateDer<'_>], verified_by: Option<u64>) -> Option<Self> {
        let leaf = Certificate::from_der(chain.first()?.as_ref()).ok()?;
        Some(Self {
            not_after: leaf.not_after(),
            spiffe_id: spiffe_id(&leaf)?,
            thumbprint: leaf.thumbprint(),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            verified_by: AtomicU64::new(verified_by.unwrap_or_default()),
        })
    }

    /// Whether it verifies by this snapshot: a connection may be older than what is known now. Costs nothing while nothing
    /// has changed.
    pub(super) fn verifies(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        if now > self.not_after {
            return false;
        }
        if self.verified_by.load(Ordering::Relaxed) == snapshot.epoch {
            return true;
        }
        let (leaf, intermediates) = self.chain.split_first().expect("it was made of at least one");
        let time =
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
        let verified = verify(snapshot, leaf, intermediates, time).is_ok();
        if verified {
            self.verified_by.store(snapshot.epoch, Ordering::Relaxed);
        }
        verified
    }
}

/// A chain must end at the CAs of the trust domain that the leaf's SPIFFE ID names, as the ID's own namespace has them.
fn verify(
    snapshot: &Snapshot,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    let certificate = Certificate::from_der(leaf.as_ref()).map_err(|_| CertificateError::BadEncoding)?;
    let id = spiffe_id(&certificate).ok_or(CertificateError::ApplicationVerificationFailure)?;
    let anchors = snapshot.anchors(&id).ok_or(CertificateError::UnknownIssuer)?;
    Ok(anchors.verify(leaf, intermediates, now, PeerUsage::Client).map_err(|error| match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::CrlExpired { .. } => CertificateError::UnknownRevocationStatus,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    })?)
}

/// Verifies the certificates of clients that show one: nobody has to, but who does is not taken for someone without.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        false
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
        verify(&self.snapshot.load(), end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
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
