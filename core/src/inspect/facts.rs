//! The facts of one certificate.

use jiff::Timestamp;
use serde::Serialize;

use crate::pki::{Certificate, generation_id};

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// The subject (RFC 4514).
    pub subject: String,
    /// The issuer (RFC 4514).
    pub issuer: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// The key's algorithm as TrustDomains name it, e.g. `ECDSA-P256`; for others the object identifier.
    pub key_algorithm: String,
    /// First second in which it is valid, RFC 3339.
    pub not_before: Timestamp,
    /// Last second in which it is valid, RFC 3339.
    pub not_after: Timestamp,
    /// Identifier of the CA generation, as in the Secret `<TrustDomain>-ca`; absent for a leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
}

impl CertificateFacts {
    /// Takes them from a certificate.
    #[must_use]
    pub fn of(certificate: &Certificate) -> Self {
        let parsed = certificate.parsed();
        let algorithm = certificate.key_algorithm().and_then(|algorithm| {
            serde_json::to_value(algorithm).ok().and_then(|name| name.as_str().map(str::to_owned))
        });
        Self {
            subject: certificate.subject(),
            issuer: parsed.issuer().to_string(),
            serial: certificate.serial().to_string(),
            key_algorithm: algorithm.unwrap_or_else(|| parsed.public_key().algorithm.algorithm.to_id_string()),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            generation: parsed.is_ca().then(|| generation_of(certificate)),
        }
    }
}

/// Identifier of the CA generation whose certificate this is.
pub(super) fn generation_of(authority: &Certificate) -> String {
    generation_id(&authority.serial(), authority.spki_der())
}
