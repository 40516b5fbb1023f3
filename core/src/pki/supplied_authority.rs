//! Authorities that the platform team supplies (bring your own), in a Secret of the shape `kubernetes.io/tls`: `tls.crt`
//! with the authority's certificate and those above it, `tls.key`, and `ca.crt` with the root unless `tls.crt` ends in it.
//!
//! Nothing is believed that can be tried: a leaf is signed and verified before the authority is accepted.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::SecretData;
use super::authority::{AssemblyError, CaGeneration, CaSource, Phase, issuer};
use super::authority_profile::exhausted_path_length;
use super::certificate::Certificate;
use super::key::{KeyError, PrivateKey};
use super::leaf::{self, LeafProfile};
use super::pem::{self, PemError};
use super::serial::SerialNumber;
use super::spiffe::{SpiffeId, TrustDomainName};
use super::usages::Usages;
use super::verify::{self, PeerUsage};

/// A supplied authority that is refused. The last accepted generation stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedCa {
    /// `tls.crt` is not there.
    #[error("the Secret has no data key {CERTIFICATE}")]
    MissingCertificate,
    /// `tls.key` is not there.
    #[error("the Secret has no data key {PRIVATE_KEY}")]
    MissingKey,
    /// A data key with certificates does not parse, for instance because it is cut off.
    #[error("the Secret's data key {key} is malformed")]
    MalformedCertificate {
        /// The data key.
        key: &'static str,
        /// What is wrong with it.
        source: PemError,
    },
    /// `tls.key` does not parse.
    #[error("the Secret's data key {PRIVATE_KEY} is malformed")]
    MalformedKey(#[source] KeyError),
    /// `tls.key` is of an algorithm that Ringfence does not sign with, or needs a password.
    #[error("the Secret's data key {PRIVATE_KEY} cannot be used")]
    UnsupportedKey(#[source] KeyError),
    /// `tls.key` is not the key of the first certificate of `tls.crt`.
    #[error("the Secret's data key {PRIVATE_KEY} does not belong to the first certificate in {CERTIFICATE}")]
    KeyMismatch,
    /// The certificate's basic constraints do not say that it is an authority.
    #[error("{subject:?} is not a certificate authority: its basic constraints do not say CA")]
    NotACertificateAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate's key usage is absent or does not include keyCertSign (RFC 5280, section 4.2.1.3).
    #[error("{subject:?} may not sign certificates: its key usage does not include keyCertSign")]
    MissingKeyUsage {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate, or one above it, is not valid yet.
    #[error("{subject:?} is not valid before {not_before}")]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// Its first valid second.
        not_before: Timestamp,
    },
    /// The certificate, or one above it, is not valid any more.
    #[error("{subject:?} expired at {not_after}")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// Its last valid second.
        not_after: Timestamp,
    },
    /// The issuer of what it signs would not be its subject, octet for octet: an attribute stands there twice, several
    /// share one relative distinguished name, a string is of a rare type, or the subject is empty.
    #[error("the subject {subject:?} cannot be reproduced as an issuer; use plain, distinct attributes")]
    UnsupportedSubject {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificates do not lead up to a root.
    #[error("{subject:?} does not chain to a root in {ROOTS} or {CERTIFICATE}")]
    BrokenChain {
        /// The certificate's subject.
        subject: String,
    },
    /// A path length constraint allows no authority below, or the path is too long.
    #[error("the path length constraint of {subject:?}, or of one above, forbids the certificate authority below it")]
    PathLengthExhausted {
        /// The certificate's subject.
        subject: String,
    },
    /// An extended key usage forbids serverAuth or clientAuth to what is below.
    #[error("the extended key usage of {subject:?}, or of one above, does not include serverAuth and clientAuth")]
    MissingExtendedKeyUsage {
        /// The certificate's subject.
        subject: String,
    },
    /// Name constraints above forbid a name.
    #[error("the name constraints of {subject:?}, or of one above, forbid a name of what it signs")]
    NamesNotPermitted {
        /// The certificate's subject.
        subject: String,
    },
    /// A leaf that it signed does not verify, for another reason.
    #[error("a leaf signed by {subject:?} does not verify: {detail}")]
    ProbeRejected {
        /// The certificate's subject.
        subject: String,
        /// What the verifier or the signer says.
        detail: String,
    },
}

impl RefusedCa {
    /// The reason for conditions, events and metrics: CamelCase and stable.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MissingCertificate => "MissingCertificate",
            Self::MissingKey => "MissingKey",
            Self::MalformedCertificate { .. } | Self::MalformedKey(_) => "Malformed",
            Self::UnsupportedKey(_) => "UnsupportedKey",
            Self::KeyMismatch => "KeyMismatch",
            Self::NotACertificateAuthority { .. } => "NotACertificateAuthority",
            Self::MissingKeyUsage { .. } => "MissingKeyUsage",
            Self::NotYetValid { .. } => "NotYetValid",
            Self::Expired { .. } => "Expired",
            Self::UnsupportedSubject { .. } => "UnsupportedSubject",
            Self::BrokenChain { .. } => "BrokenChain",
            Self::PathLengthExhausted { .. } => "PathLengthExhausted",
            Self::MissingExtendedKeyUsage { .. } => "MissingExtendedKeyUsage",
            Self::NamesNotPermitted { .. } => "NamesNotPermitted",
            Self::ProbeRejected { .. } => "ProbeRejected",
        }
    }
}

/// Reads a supplied authority and tries it. The generation is in phase `Prepared`. Certificates that its path does not
/// need are left out of it. An authority without cRLSign is accepted: see [`CaGeneration::can_sign_crls`].
///
/// # Errors
/// [`RefusedCa`].
pub fn adopt_secret(
    data: &SecretData,
    trust_domain: &TrustDomainName,
    now: Timestamp,
) -> Result<CaGeneration, RefusedCa> {
    let supplied = parse(data)?;
    let authority = &supplied.certificates[0];
    if authority.public_key_bits() != supplied.key.public_key_bits() {
        return Err(RefusedCa::KeyMismatch);
    }
    check_usage(authority)?;
    check_validity(authority, now)?;

    let path = find_path(&supplied, trust_domain, now)?;
    check_path(&path, now)?;
    let subject = authority.subject();
    let generation = CaGeneration::assemble(path, supplied.key.clone(), Phase::Prepared, CaSource::Secret)
        .map_err(|(AssemblyError::KeyMismatch | AssemblyError::BrokenChain)| RefusedCa::BrokenChain { subject })?;
    probe(&generation, &probe_profile(trust_domain), now)?;
    Ok(generation)
}

/// Signs a leaf with the names of a profile and verifies it against the generation's root, as server and as client:
/// whether the constraints of the authority, and of those above it, allow them. The leaf is thrown away; for want of
/// another one it is made for the authority's own key.
///
/// # Errors
/// [`RefusedCa`].
pub fn probe(authority: &CaGeneration, profile: &LeafProfile, now: Timestamp) -> Result<(), RefusedCa> {
    let certificate = authority.certificate();
    let leaf = sign_probe(certificate, authority.key(), profile, now)?;
    let intermediates = authority.presented_chain();
    for usage in [PeerUsage::Server, PeerUsage::Client] {
        verify::verify_path(&leaf, &intermediates, &[authority.root()], now, usage)
            .map_err(|error| refuse(certificate, &intermediates, now, &error))?;
    }
    Ok(())
}

struct Supplied {
    /// The authority's certificate first; never empty.
    certificates: Vec<Certificate>,
    key: PrivateKey,
    roots: Option<Vec<Certificate>>,
}

fn parse(data: &SecretData) -> Result<Supplied, RefusedCa> {
    let certificates = |key: &'static str, text: &[u8]| {
        pem::certificates(text).map_err(|source| RefusedCa::MalformedCertificate { key, source })
    };
    let tls_crt = data.get(CERTIFICATE).ok_or(RefusedCa::MissingCertificate)?;
    let tls_key = data.get(PRIVATE_KEY).ok_or(RefusedCa::MissingKey)?;
    Ok(Supplied {
        certificates: certificates(CERTIFICATE, tls_crt)?,
        key: PrivateKey::from_pem(tls_key).map_err(|error| match error {
            KeyError::Unsupported | KeyError::Encrypted => RefusedCa::UnsupportedKey(error),
            _ => RefusedCa::MalformedKey(error),
        })?,
        roots: data.get(ROOTS).map(|text| certificates(ROOTS, text)).transpose()?,
    })
}

/// The way from the authority up to a root, both included, among certificates in whatever order: that of a leaf which
/// the authority signs, without the leaf.
fn find_path(
    supplied: &Supplied,
    trust_domain: &TrustDomainName,
    now: Timestamp,
) -> Result<Vec<Certificate>, RefusedCa> {
    let authority = &supplied.certificates[0];
    let leaf = sign_probe(authority, &supplied.key, &probe_profile(trust_domain), now)?;
    let where_roots_are = supplied.roots.as_ref().unwrap_or(&supplied.certificates);
    let roots: Vec<_> = where_roots_are.iter().filter(|certificate| certificate.is_self_issued()).collect();
    let others: Vec<_> = supplied.certificates.iter().chain(supplied.roots.iter().flatten()).collect();
    let verified = verify::verify_path(&leaf, &others, &roots, now, PeerUsage::Server)
        .map_err(|error| refuse(authority, &others, now, &error))?;
    let mut path = verified.intermediates;
    path.push(verified.anchor);
    if path.first() == Some(authority) {
        Ok(path)
    } else {
        Err(RefusedCa::BrokenChain { subject: authority.subject() })
    }
}

/// What webpki does not look at where the anchor is concerned; other TLS stacks do.
fn check_path(path: &[Certificate], now: Timestamp) -> Result<(), RefusedCa> {
    for certificate in path {
        check_validity(certificate, now)?;
        check_extended_key_usage(certificate)?;
    }
    let above: Vec<&Certificate> = path.iter().skip(1).collect();
    exhausted_path_length(&above).map_or(Ok(()), |subject| Err(RefusedCa::PathLengthExhausted { subject }))
}

fn check_usage(authority: &Certificate) -> Result<(), RefusedCa> {
    let parsed = authority.parsed();
    if !parsed.is_ca() {
        return Err(RefusedCa::NotACertificateAuthority { subject: authority.subject() });
    }
    match parsed.key_usage() {
        Ok(Some(usage)) if usage.value.key_cert_sign() => Ok(()),
        _ => Err(RefusedCa::MissingKeyUsage { subject: authority.subject() }),
    }
}

fn check_validity(certificate: &Certificate, now: Timestamp) -> Result<(), RefusedCa> {
    if now < certificate.not_before() {
        return Err(RefusedCa::NotYetValid { subject: certificate.subject(), not_before: certificate.not_before() });
    }
    if now > certificate.not_after() {
        return Err(RefusedCa::Expired { subject: certificate.subject(), not_after: certificate.not_after() });
    }
    Ok(())
}

fn check_extended_key_usage(certificate: &Certificate) -> Result<(), RefusedCa> {
    match certificate.parsed().extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.any || (usage.value.server_auth && usage.value.client_auth) => Ok(()),
        _ => Err(RefusedCa::MissingExtendedKeyUsage { subject: certificate.subject() }),
    }
}

fn sign_probe(
    authority: &Certificate,
    key: &PrivateKey,
    profile: &LeafProfile,
    now: Timestamp,
) -> Result<Certificate, RefusedCa> {
    let issuer = issuer(authority, key).map_err(|_| RefusedCa::UnsupportedSubject { subject: authority.subject() })?;
    let rejected = |detail: String| RefusedCa::ProbeRejected { subject: authority.subject(), detail };
    let leaf = leaf::params(profile, &SerialNumber::from_be_bytes(&[1]), now, authority.not_after())
        .and_then(|params| params.signed_by(key, &issuer))
        .map_err(|error| rejected(error.to_string()))?;
    let leaf = Certificate::from_der(leaf.der().to_vec()).map_err(|error| rejected(error.to_string()))?;
    if leaf.issuer_der() != authority.subject_der() || authority.parsed().subject().iter_attributes().next().is_none() {
        return Err(RefusedCa::UnsupportedSubject { subject: authority.subject() });
    }
    Ok(leaf)
}

/// Says what the verifier found in terms of the certificates that were supplied.
fn refuse(authority: &Certificate, above: &[&Certificate], now: Timestamp, error: &webpki::Error) -> RefusedCa {
    let subject = authority.subject();
    match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => above
            .iter()
            .find_map(|certificate| check_validity(certificate, now).err())
            .unwrap_or(RefusedCa::BrokenChain { subject }),
        webpki::Error::UnknownIssuer
        | webpki::Error::InvalidSignatureForPublicKey
        | webpki::Error::EndEntityUsedAsCa => RefusedCa::BrokenChain { subject },
        webpki::Error::PathLenConstraintViolated | webpki::Error::MaximumPathDepthExceeded => {
            RefusedCa::PathLengthExhausted { subject }
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => RefusedCa::MissingExtendedKeyUsage { subject },
        webpki::Error::NameConstraintViolation => RefusedCa::NamesNotPermitted { subject },
        other => RefusedCa::ProbeRejected { subject, detail: other.to_string() },
    }
}

/// The least that every leaf of the trust domain has: a SPIFFE ID.
fn probe_profile(trust_domain: &TrustDomainName) -> LeafProfile {
    LeafProfile {
        spiffe_id: SpiffeId::new(trust_domain.clone(), "probe", "probe").expect("both are DNS labels"),
        common_name: None,
        dns_names: BTreeSet::new(),
        ip_addresses: BTreeSet::new(),
        usages: Usages::BOTH,
        algorithm: crate::api::CertificateAlgorithm::default(),
        duration: SignedDuration::ZERO,
    }
}

const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";
const ROOTS: &str = "ca.crt";

#[cfg(test)]
#[path = "supplied_authority_tests.rs"]
mod tests;
