//! The key with which a service signs its own tokens.

use serde::Serialize;
use zeroize::Zeroizing;

use super::jwk::{JwkParameters, PublicJwk, base64url};
use crate::api::{CertificateAlgorithm, SigningAlgorithm};
use crate::pki::PrivateKey;

/// A private key together with the one algorithm that it is used with. `Debug` shows the public part only.
#[derive(Clone, Debug)]
pub struct SigningKey {
    key: PrivateKey,
    public: PublicJwk,
}

/// A key that does not fit the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token-signing key for {algorithm:?} must be {expected:?}, this one is {found:?}")]
pub struct SigningKeyError {
    /// The algorithm that it was meant for.
    pub algorithm: SigningAlgorithm,
    /// What a key for it is.
    pub expected: CertificateAlgorithm,
    /// What the key is.
    pub found: CertificateAlgorithm,
}

/// The kind of key that an algorithm takes; RSA keys have 2048 bits.
#[must_use]
pub fn key_algorithm(algorithm: SigningAlgorithm) -> CertificateAlgorithm {
    match algorithm {
        SigningAlgorithm::ES256 => CertificateAlgorithm::EcdsaP256,
        SigningAlgorithm::ES384 => CertificateAlgorithm::EcdsaP384,
        SigningAlgorithm::EdDSA => CertificateAlgorithm::Ed25519,
        SigningAlgorithm::RS256 | SigningAlgorithm::PS256 => CertificateAlgorithm::Rsa2048,
    }
}

impl SigningKey {
    /// Binds a key to an algorithm.
    ///
    /// # Errors
    /// [`SigningKeyError`] if the key is not what [`key_algorithm`] says.
    pub fn new(key: PrivateKey, algorithm: SigningAlgorithm) -> Result<Self, SigningKeyError> {
        let (expected, found) = (key_algorithm(algorithm), key.algorithm());
        if expected != found {
            return Err(SigningKeyError { algorithm, expected, found });
        }
        let public = PublicJwk::new(JwkParameters::of(&key), algorithm);
        Ok(Self { key, public })
    }

    /// The key's id: its thumbprint (RFC 7638) with SHA-256, in base64url.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// The algorithm that it signs with.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.public.alg
    }

    /// What verifiers get.
    #[must_use]
    pub fn public_jwk(&self) -> &PublicJwk {
        &self.public
    }

    /// The key as PEM, PKCS#8 version 1.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        self.key.to_pkcs8_pem()
    }

    /// The key as PKCS#8 version 1 in DER.
    pub(crate) fn pkcs8_der(&self) -> &[u8] {
        self.key.pkcs8_der()
    }

    /// The private JWK as JSON, or `None` for RSA.
    pub(crate) fn private_jwk(&self) -> Option<Zeroizing<Vec<u8>>> {
        let d = Zeroizing::new(base64url(&self.key.private_scalar()?));
        // Room for the largest one, so that the text never moves and leaves a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(1024));
        serde_json::to_writer(&mut *text, &PrivateJwk { public: &self.public, d: &d })
            .expect("a JWK of strings always serializes");
        Some(text)
    }
}

#[derive(Serialize)]
struct PrivateJwk<'a> {
    #[serde(flatten)]
    public: &'a PublicJwk,
    d: &'a str,
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    };
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::jwt::testing::{SIGNING_ALGORITHMS, signing_key};
    use crate::pki::testing::{ALGORITHMS, key};

    #[test]
    fn a_key_fits_its_algorithm_or_is_refused() {
        for algorithm in SIGNING_ALGORITHMS {
            for kind in ALGORITHMS {
                let made = SigningKey::new(key(kind), algorithm);
                assert_eq!(made.is_ok(), kind == key_algorithm(algorithm), "{algorithm:?} with {kind:?}");
            }
        }
        let error = SigningKey::new(key(CertificateAlgorithm::Rsa3072), SigningAlgorithm::PS256).unwrap_err();
        assert_eq!(error.to_string(), "a token-signing key for PS256 must be Rsa2048, this one is Rsa3072");
    }

    /// The library checks that the private part is that of the public one.
    #[test]
    fn the_private_jwk_holds_the_private_key() {
        for algorithm in SIGNING_ALGORITHMS {
            let signing_key = signing_key(algorithm);
            let Some(text) = signing_key.private_jwk() else {
                assert!(matches!(algorithm, SigningAlgorithm::RS256 | SigningAlgorithm::PS256));
                continue;
            };
            let jwk: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let octets = |member: &str| URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
            let (d, x) = (octets("d"), octets("x"));
            let point = || [&[4][..], &x, &octets("y")].concat();
            match algorithm {
                SigningAlgorithm::ES256 => {
                    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_ASN1_SIGNING, &d, &point())
                        .unwrap();
                }
                SigningAlgorithm::ES384 => {
                    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P384_SHA384_ASN1_SIGNING, &d, &point())
                        .unwrap();
                }
                _ => {
                    Ed25519KeyPair::from_seed_and_public_key(&d, &x).unwrap();
                }
            }
            assert_eq!(jwk["kid"], signing_key.kid());
            let mut public = jwk.clone();
            public.as_object_mut().unwrap().remove("d");
            assert_eq!(public, serde_json::to_value(signing_key.public_jwk()).unwrap(), "all but d is public");
            assert!(text.capacity() == 1024, "the text never moved");
        }
    }

    #[test]
    fn debug_shows_the_public_part_only() {
        for algorithm in SIGNING_ALGORITHMS {
            let signing_key = signing_key(algorithm);
            let text = format!("{signing_key:?}");
            let pem = signing_key.to_pkcs8_pem();
            assert!(text.contains("redacted") && text.contains(signing_key.kid()));
            assert!(!text.contains(pem.lines().nth(1).unwrap()), "{text}");
            if let Some(jwk) = signing_key.private_jwk() {
                let jwk: serde_json::Value = serde_json::from_slice(&jwk).unwrap();
                assert!(!text.contains(jwk["d"].as_str().unwrap()), "{text}");
            }
        }
    }
}
