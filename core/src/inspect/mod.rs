//! What is in a certificate, a Secret or a ConfigMap, as a report for people and scripts, and why a peer would refuse it.
//! A report is made of public facts only: private keys are read to be compared, and go no further.

mod authorities;
mod chain;
mod facts;
mod file;
mod refusal;
mod signing_key;
mod trust;

use jiff::Timestamp;
use serde::Serialize;

pub use authorities::{AuthoritiesReport, GenerationReport};
pub use chain::{Bundle, ChainReport, IssuingAuthority, Question, inspect_chain};
pub use facts::CertificateFacts;
pub use file::inspect_file;
pub use refusal::{Refusal, RefusalReason};
pub use signing_key::{InspectedKey, SigningKeyReport};
pub use trust::{AccessEdge, AccessSummary, BundleReport, Direction, KeySetReport, PublicKey, TrustReport};

use crate::pki::SecretData;

/// What was found in one place. `kind` says which of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Report {
    /// A certificate with what is presented after it.
    Certificate(ChainReport),
    /// A key with which a service signs its own tokens.
    SigningKey(SigningKeyReport),
    /// Trusted certificates, and no leaf.
    Bundle(BundleReport),
    /// The generations of a trust domain's certificate authority.
    Authorities(AuthoritiesReport),
    /// Bundles, key sets and `access.json`.
    Trust(TrustReport),
}

impl Report {
    /// Why a peer, or the service itself, could not use what is there. Empty: nothing stands against it.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        match self {
            Self::Certificate(report) => &report.refusals,
            Self::SigningKey(report) => &report.refusals,
            Self::Bundle(report) => &report.refusals,
            Self::Authorities(report) => &report.refusals,
            Self::Trust(report) => &report.refusals,
        }
    }
}

/// Looks at the data of a Secret, by what it holds: a certificate, a signing key, or a certificate authority. `None` if it
/// holds none of them.
#[must_use]
pub fn inspect_secret(data: &SecretData, question: &Question<'_>) -> Option<Report> {
    let has = |key: &str| data.get(key).is_some();
    if has(crate::pki::TLS_CRT) {
        Some(Report::Certificate(chain::inspect_tls_secret(data, question)))
    } else if has(crate::jwt::PRIVATE) {
        Some(Report::SigningKey(signing_key::inspect_signing_key(data)))
    } else if has(crate::pki::AUTHORITY_INDEX) {
        Some(Report::Authorities(authorities::inspect_authorities(data, question.now)))
    } else {
        None
    }
}

/// Looks at the data of a ConfigMap with bundles, key sets or `access.json`. `None` if it holds none of them.
#[must_use]
pub fn inspect_config_map<'a>(data: impl IntoIterator<Item = (&'a str, &'a str)>, now: Timestamp) -> Option<Report> {
    trust::inspect_trust(data, now).map(Report::Trust)
}
