//! Leaves: the certificates of service identities.

use std::cmp::min;
use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, IsCa, KeyUsagePurpose, SanType};
use rustls_pki_types::DnsName;

use super::authority::{CaGeneration, SignError, certificate_params};
use super::certificate::Certificate;
use super::key::PrivateKey;
use super::serial::SerialNumber;
use super::spiffe::SpiffeId;
use super::usages::Usages;
use crate::api::CertificateAlgorithm;

/// What a leaf is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafProfile {
    /// Its one URI name.
    pub spiffe_id: SpiffeId,
    /// The subject's common name, at most 64 characters: the identity's name, for people and old tools.
    pub common_name: Option<String>,
    /// DNS names; the first label may be `*`.
    pub dns_names: BTreeSet<String>,
    /// IP addresses.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// What it may be used for.
    pub usages: Usages,
    /// Algorithm of its key.
    pub algorithm: CertificateAlgorithm,
    /// How long it lives from its issue, in whole seconds; it never outlives its authority.
    pub duration: SignedDuration,
}

/// A leaf with its key and what its holder presents after it.
#[derive(Clone, Debug)]
pub struct IssuedLeaf {
    certificate: Certificate,
    key: PrivateKey,
    presented_chain: Vec<Certificate>,
}

/// A leaf that cannot be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The key is not of the profile's algorithm.
    #[error("the key for {spiffe_id} is {found:?}, its profile asks for {expected:?}")]
    KeyAlgorithm {
        /// Whose leaf it is.
        spiffe_id: Box<SpiffeId>,
        /// What the profile says.
        expected: CertificateAlgorithm,
        /// What the key is.
        found: CertificateAlgorithm,
    },
    /// The common name is too long (RFC 5280, appendix A.1).
    #[error("the common name of {spiffe_id} has more than 64 characters")]
    CommonName {
        /// Whose leaf it is.
        spiffe_id: Box<SpiffeId>,
    },
    /// A DNS name is not one.
    #[error("{dns_name:?} is not a DNS name that the certificate of {spiffe_id} can carry")]
    DnsName {
        /// Whose leaf it is.
        spiffe_id: Box<SpiffeId>,
        /// The name.
        dns_name: String,
    },
    /// The authority, or one above it, has expired, or the duration is not positive.
    #[error("the certificate of {spiffe_id} would have no time to live under the certificate authority {authority}")]
    NoLifetime {
        /// Whose leaf it is.
        spiffe_id: Box<SpiffeId>,
        /// The authority's id.
        authority: String,
    },
    /// The certificate could not be written or signed.
    #[error("the certificate of {spiffe_id} could not be signed")]
    Sign {
        /// Whose leaf it is.
        spiffe_id: Box<SpiffeId>,
        /// What went wrong.
        source: SignError,
    },
}

/// Issues a leaf (RFC 5280; X509-SVID): valid from 60 seconds ago until the profile's duration from now is over, but no
/// longer than its authority and all above; digitalSignature and the profile's usages; not an authority; key
/// identifiers of both sides; no CRL distribution point.
///
/// # Errors
/// [`IssueError`].
pub fn issue_leaf(
    profile: &LeafProfile,
    authority: &CaGeneration,
    key: &PrivateKey,
    serial: &SerialNumber,
    now: Timestamp,
) -> Result<IssuedLeaf, IssueError> {
    let spiffe_id = || Box::new(profile.spiffe_id.clone());
    if key.algorithm() != profile.algorithm {
        let (expected, found) = (profile.algorithm, key.algorithm());
        return Err(IssueError::KeyAlgorithm { spiffe_id: spiffe_id(), expected, found });
    }
    if profile.common_name.as_ref().is_some_and(|name| name.chars().count() > 64) {
        return Err(IssueError::CommonName { spiffe_id: spiffe_id() });
    }
    if let Some(name) = profile.dns_names.iter().find(|name| !is_dns_name(name)) {
        return Err(IssueError::DnsName { spiffe_id: spiffe_id(), dns_name: name.clone() });
    }
    let not_after = leaf_not_after(profile.duration, authority, now)
        .filter(|end| *end > whole_seconds(now))
        .ok_or_else(|| IssueError::NoLifetime { spiffe_id: spiffe_id(), authority: authority.id().to_owned() })?;
    let certificate = params(profile, serial, now, not_after)
        .map_err(SignError::from)
        .and_then(|params| authority.sign(&params, key))
        .map_err(|source| IssueError::Sign { spiffe_id: spiffe_id(), source })?;
    Ok(IssuedLeaf {
        certificate,
        key: key.clone(),
        presented_chain: authority.presented_chain().into_iter().cloned().collect(),
    })
}

impl IssuedLeaf {
    /// The leaf.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The intermediates that its holder presents after it, nearest first.
    #[must_use]
    pub fn presented_chain(&self) -> &[Certificate] {
        &self.presented_chain
    }
}

/// When a leaf ends that this authority issues now, or `None` if that is beyond all dates.
pub(crate) fn leaf_not_after(
    duration: SignedDuration,
    authority: &CaGeneration,
    issued_at: Timestamp,
) -> Option<Timestamp> {
    let end = whole_seconds(issued_at).checked_add(SignedDuration::from_secs(duration.as_secs())).ok()?;
    Some(min(end, authority.path_not_after()))
}

/// Certificates count whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

pub(crate) fn params(
    profile: &LeafProfile,
    serial: &SerialNumber,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = certificate_params(serial, now, not_after)?;
    if let Some(name) = &profile.common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names.push(SanType::URI(profile.spiffe_id.to_string().try_into()?));
    for name in &profile.dns_names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.extend(profile.ip_addresses.iter().copied().map(SanType::IpAddress));
    // ExplicitNoCa, because rcgen writes no subject key identifier without basic constraints.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = profile.usages.purposes();
    Ok(params)
}

fn is_dns_name(name: &str) -> bool {
    DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;
