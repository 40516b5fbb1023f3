//! JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037) and their thumbprints (RFC 7638).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::api::{CertificateAlgorithm, SigningAlgorithm};
use crate::pki::{PrivateKey, sha256, without_leading_zeros};

/// A public key that verifies signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicJwk {
    /// The key itself, with its type.
    #[serde(flatten)]
    pub parameters: JwkParameters,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub key_use: KeyUse,
    /// The one algorithm that the key is used with.
    pub alg: SigningAlgorithm,
    /// The key's id: its thumbprint (RFC 7638) with SHA-256, in base64url.
    pub kid: String,
}

/// What the key is for (RFC 7517, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyUse {
    /// Signatures.
    #[serde(rename = "sig")]
    Signature,
}

/// The members of a public key by its type `kty`; all values are base64url without padding, but for `crv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum JwkParameters {
    /// An elliptic-curve key (RFC 7518, section 6.2).
    EC {
        /// `P-256` or `P-384`.
        crv: String,
        /// The point's x coordinate, of the field's full length.
        x: String,
        /// The point's y coordinate, of the field's full length.
        y: String,
    },
    /// An Edwards-curve key (RFC 8037).
    OKP {
        /// `Ed25519`.
        crv: String,
        /// The public key.
        x: String,
    },
    /// An RSA key (RFC 7518, section 6.3).
    RSA {
        /// The modulus.
        n: String,
        /// The public exponent.
        e: String,
    },
}

impl JwkParameters {
    /// The public part of a private key.
    #[must_use]
    pub fn of(key: &PrivateKey) -> Self {
        let (_, spki) = SubjectPublicKeyInfo::from_der(key.public_key_spki()).expect("the library wrote this DER");
        let bits = spki.subject_public_key.data.as_ref();
        match key.algorithm() {
            CertificateAlgorithm::EcdsaP256 => Self::elliptic_curve("P-256", bits),
            CertificateAlgorithm::EcdsaP384 => Self::elliptic_curve("P-384", bits),
            CertificateAlgorithm::Ed25519 => Self::OKP { crv: "Ed25519".to_owned(), x: base64url(bits) },
            CertificateAlgorithm::Rsa2048 | CertificateAlgorithm::Rsa3072 | CertificateAlgorithm::Rsa4096 => {
                let Ok(PublicKey::RSA(public)) = spki.parsed() else {
                    unreachable!("an RSA key's SubjectPublicKeyInfo holds an RSA key")
                };
                Self::RSA {
                    n: base64url(without_leading_zeros(public.modulus)),
                    e: base64url(without_leading_zeros(public.exponent)),
                }
            }
        }
    }

    /// The thumbprint (RFC 7638) with SHA-256, in base64url: the key's `kid`.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // The required members only, in lexicographic order, without white space. No value needs escaping.
        let members = match self {
            Self::EC { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::OKP { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
            Self::RSA { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        base64url(&sha256(&[members.as_bytes()]))
    }

    /// An uncompressed point (SEC 1, section 2.3.3) is the octet 4 and both coordinates.
    fn elliptic_curve(crv: &str, point: &[u8]) -> Self {
        let coordinates = point.strip_prefix(&[4]).expect("the library writes uncompressed points");
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        Self::EC { crv: crv.to_owned(), x: base64url(x), y: base64url(y) }
    }
}

impl PublicJwk {
    pub(crate) fn new(parameters: JwkParameters, alg: SigningAlgorithm) -> Self {
        let kid = parameters.thumbprint();
        Self { parameters, key_use: KeyUse::Signature, alg, kid }
    }
}

/// base64url without padding (RFC 7515, section 2).
pub(crate) fn base64url(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::{Jwk, ThumbprintHash};

    use super::*;
    use crate::pki::testing::{ALGORITHMS, key};

    /// RFC 7638, section 3.1.
    #[test]
    fn the_thumbprint_of_the_standards_rsa_key_is_the_standards() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn\
                 jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qM\
                 QvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJz\
                 KnqDKgw";
        let key = JwkParameters::RSA { n: n.to_owned(), e: "AQAB".to_owned() };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// RFC 8037, appendices A.2 and A.3.
    #[test]
    fn the_thumbprint_of_the_standards_ed25519_key_is_the_standards() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = JwkParameters::OKP { crv: "Ed25519".to_owned(), x: x.to_owned() };
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn another_library_reads_the_members_and_computes_the_same_thumbprint() {
        for algorithm in ALGORITHMS {
            let parameters = JwkParameters::of(&key(algorithm));
            let theirs: Jwk = serde_json::from_value(serde_json::to_value(&parameters).unwrap()).unwrap();
            assert_eq!(parameters.thumbprint(), theirs.thumbprint(ThumbprintHash::SHA256).unwrap(), "{algorithm:?}");
            assert_eq!(parameters.thumbprint().len(), 43);
        }
    }

    #[test]
    fn coordinates_have_their_full_length_and_integers_no_leading_zeros() {
        let octets = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        for (algorithm, length) in [(CertificateAlgorithm::EcdsaP256, 32), (CertificateAlgorithm::EcdsaP384, 48)] {
            // One in 128 keys has a coordinate that begins with a zero octet.
            for _ in 0..200 {
                let JwkParameters::EC { x, y, .. } = JwkParameters::of(&key(algorithm)) else {
                    panic!("{algorithm:?}")
                };
                assert_eq!((octets(&x).len(), octets(&y).len()), (length, length));
            }
        }
        let JwkParameters::RSA { n, e } = JwkParameters::of(&key(CertificateAlgorithm::Rsa2048)) else { panic!() };
        assert_eq!((octets(&n).len(), octets(&e)), (256, vec![1, 0, 1]));
    }

    #[test]
    fn a_public_jwk_survives_json() {
        let jwk = PublicJwk::new(JwkParameters::of(&key(CertificateAlgorithm::EcdsaP384)), SigningAlgorithm::ES384);
        let json = serde_json::to_value(&jwk).unwrap();
        let members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(
            (&json["kty"], &json["crv"], &json["use"], &json["alg"]),
            (&"EC".into(), &"P-384".into(), &"sig".into(), &"ES384".into())
        );
        assert_eq!(serde_json::from_value::<PublicJwk>(json).unwrap(), jwk);
    }
}
