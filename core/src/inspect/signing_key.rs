//! A key with which a service signs its own tokens: its public side.

use serde::Serialize;

use super::chain::because;
use super::refusal::{Refusal, RefusalReason};
use crate::api::CertificateAlgorithm;
use crate::jwt::{JwkParameters, KID, KeyFacts, SigningKeyFacts};
use crate::pki::SecretData;

/// The keys in a Secret `<identity>-signing-key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyReport {
    /// The key that signs; absent if it can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<InspectedKey>,
    /// During a rollover, the key that comes next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<InspectedKey>,
    /// Why tokens that are signed with it would not verify. Empty: nothing stands against it.
    pub refusals: Vec<Refusal>,
}

/// The public side of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectedKey {
    /// The key id (`kid`): its thumbprint (RFC 7638) with SHA-256, in base64url.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// What tokens it signs (`alg`): one, or for an RSA key two, between which its identity decides.
    pub algorithms: Vec<&'static str>,
    /// The public key as a JWK.
    pub public_key: JwkParameters,
}

impl InspectedKey {
    fn of(key: &KeyFacts) -> Self {
        let algorithms = match key.algorithm {
            CertificateAlgorithm::EcdsaP256 => vec!["ES256"],
            CertificateAlgorithm::EcdsaP384 => vec!["ES384"],
            CertificateAlgorithm::Ed25519 => vec!["EdDSA"],
            CertificateAlgorithm::Rsa2048 | CertificateAlgorithm::Rsa3072 | CertificateAlgorithm::Rsa4096 => {
                vec!["RS256", "PS256"]
            }
        };
        Self { key_id: key.kid.clone(), algorithms, public_key: key.parameters.clone() }
    }
}

pub(super) fn inspect_signing_key(data: &SecretData) -> SigningKeyReport {
    let facts = match SigningKeyFacts::of_secret(data) {
        Ok(facts) => facts,
        Err(fault) => {
            let refusal = RefusalReason::KeyUnreadable
                .because(format!("{}; delete the Secret so that Ringfence generates a new key", because(&fault)));
            return SigningKeyReport { current: None, next: None, refusals: vec![refusal] };
        }
    };
    let stored = data.get(KID).map(String::from_utf8_lossy);
    let mismatch = (stored.as_deref() != Some(&facts.current.kid)).then(|| {
        RefusalReason::KeyIdMismatch.because(format!(
            "{KID} says {:?} and the key's thumbprint is {}: verifiers look for the thumbprint",
            stored.as_deref().unwrap_or("nothing"),
            facts.current.kid
        ))
    });
    SigningKeyReport {
        current: Some(InspectedKey::of(&facts.current)),
        next: facts.next.as_ref().map(InspectedKey::of),
        refusals: mismatch.into_iter().collect(),
    }
}
