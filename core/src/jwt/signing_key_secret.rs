//! The Secret `<identity>-signing-key`: the key with which a service signs its own tokens.
//!
//! | data key | holds |
//! |---|---|
//! | `private.pem` | PEM: the private key, PKCS#8 version 1 |
//! | `jwk.json` | the private JWK; for EC and OKP keys only |
//! | `kid` | the key's id (RFC 7638) |
//! | `next.private.pem`, `next.kid` | during a rollover: the key that comes next, already in all key sets |

use super::signing_key::SigningKey;
use crate::api::{CertificateAlgorithm, SigningAlgorithm};
use crate::pki::{KeyError, PrivateKey, SecretData};

/// A Secret `<identity>-signing-key` that holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyFault {
    /// `private.pem` is not there.
    #[error("the data key {PRIVATE} is missing")]
    Missing,
    /// `private.pem` does not parse.
    #[error("the data key {PRIVATE} is malformed")]
    Malformed(#[source] KeyError),
    /// `private.pem` is a key that no token is signed with.
    #[error("the data key {PRIVATE} holds a {found:?} key, with which no token is signed")]
    Unsuitable {
        /// What the key is.
        found: CertificateAlgorithm,
    },
}

/// The Secret's `data`.
#[must_use]
pub fn signing_key_secret_data(current: &SigningKey, next: Option<&SigningKey>) -> SecretData {
    let mut data = SecretData::default();
    data.put(PRIVATE, current.to_pkcs8_pem().as_bytes());
    data.put(KID, current.kid());
    if let Some(jwk) = current.private_jwk() {
        data.put(JWK, &*jwk);
    }
    if let Some(next) = next {
        data.put(NEXT_PRIVATE, next.to_pkcs8_pem().as_bytes());
        data.put(NEXT_KID, next.kid());
    }
    data
}

/// The Secret's `data` with the keys as they are, and everything around them put back: for
/// [`why_rewrite`](super::why_rewrite). A next key that does not parse is dropped.
///
/// # Errors
/// [`SigningKeyFault`] if there is no key to be kept.
pub fn rewrite_signing_key_secret(data: &SecretData) -> Result<SecretData, SigningKeyFault> {
    let keys = StoredKeys::read(data)?;
    Ok(signing_key_secret_data(&keys.current, keys.next.as_ref()))
}

/// The keys in the Secret. The algorithm of an RSA key is not stored; RS256 stands for both, and shows in nothing that
/// the Secret holds.
pub(crate) struct StoredKeys {
    pub(crate) current: SigningKey,
    pub(crate) next: Option<SigningKey>,
}

impl StoredKeys {
    pub(crate) fn read(data: &SecretData) -> Result<Self, SigningKeyFault> {
        let text = data.get(PRIVATE).ok_or(SigningKeyFault::Missing)?;
        let next = data.get(NEXT_PRIVATE).and_then(|text| signing_key(text).ok());
        Ok(Self { current: signing_key(text)?, next })
    }
}

fn signing_key(text: &[u8]) -> Result<SigningKey, SigningKeyFault> {
    let key = PrivateKey::from_pem(text).map_err(SigningKeyFault::Malformed)?;
    let algorithm = match key.algorithm() {
        CertificateAlgorithm::EcdsaP256 => SigningAlgorithm::ES256,
        CertificateAlgorithm::EcdsaP384 => SigningAlgorithm::ES384,
        CertificateAlgorithm::Ed25519 => SigningAlgorithm::EdDSA,
        CertificateAlgorithm::Rsa2048 | CertificateAlgorithm::Rsa3072 | CertificateAlgorithm::Rsa4096 => {
            SigningAlgorithm::RS256
        }
    };
    SigningKey::new(key, algorithm).map_err(|error| SigningKeyFault::Unsuitable { found: error.found })
}

pub(crate) const PRIVATE: &str = "private.pem";
pub(crate) const JWK: &str = "jwk.json";
pub(crate) const KID: &str = "kid";
pub(crate) const NEXT_PRIVATE: &str = "next.private.pem";
pub(crate) const NEXT_KID: &str = "next.kid";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::testing::{SIGNING_ALGORITHMS, signing_key};

    #[test]
    fn the_secret_holds_what_each_algorithm_has() {
        for algorithm in SIGNING_ALGORITHMS {
            let (current, next) = (signing_key(algorithm), signing_key(algorithm));
            let is_rsa = matches!(algorithm, SigningAlgorithm::RS256 | SigningAlgorithm::PS256);
            let data = signing_key_secret_data(&current, None);
            let expected: &[&str] = if is_rsa { &[KID, PRIVATE] } else { &[JWK, KID, PRIVATE] };
            assert_eq!(data.keys().collect::<Vec<_>>(), expected, "{algorithm:?}");
            assert_eq!(data.get(KID), Some(current.kid().as_bytes()));
            assert_eq!(data.get(PRIVATE), Some(current.to_pkcs8_pem().as_bytes()));

            let rollover = signing_key_secret_data(&current, Some(&next));
            assert_eq!(rollover.keys().count(), expected.len() + 2);
            assert_eq!(rollover.get(NEXT_KID), Some(next.kid().as_bytes()));
            assert_eq!(rollover.get(NEXT_PRIVATE), Some(next.to_pkcs8_pem().as_bytes()));
            assert!(data.keys().all(|key| data.get(key) == rollover.get(key)), "the current key stays as it is");
        }
    }

    #[test]
    fn a_rewrite_keeps_the_keys_and_puts_back_the_rest() {
        for algorithm in SIGNING_ALGORITHMS {
            let (current, next) = (signing_key(algorithm), signing_key(algorithm));
            let whole = signing_key_secret_data(&current, Some(&next));
            let mut damaged = whole.clone();
            damaged.put(KID, "another");
            damaged.put(NEXT_KID, "another");
            damaged.put(PRIVATE, format!("note\n{}", *current.to_pkcs8_pem()));
            damaged.put("extra", "x");
            assert_eq!(rewrite_signing_key_secret(&damaged), Ok(whole), "{algorithm:?}");
            damaged.put(NEXT_PRIVATE, "no key");
            assert_eq!(rewrite_signing_key_secret(&damaged), Ok(signing_key_secret_data(&current, None)));
        }
    }
}
