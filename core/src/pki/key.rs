//! Private keys, and where new ones come from.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as HasPublicKey, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{Error as PkiPemError, PemObject};
use zeroize::Zeroizing;

use super::certificate::rsa_algorithm;
use super::pem;
use super::serial::SerialNumber;
use crate::api::CertificateAlgorithm;

/// What the core cannot make by itself: keys and serial numbers. The operator draws them from the system, tests from
/// wherever they like.
pub trait Entropy: Send + Sync {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::NotGenerated`] if the cryptographic library fails to make one.
    fn private_key(&self, algorithm: CertificateAlgorithm) -> Result<PrivateKey, KeyError>;

    /// A new serial number; see [`SerialNumber::from_random`].
    fn serial(&self) -> SerialNumber;
}

/// A private key of one of the algorithms that Ringfence offers. Cloning shares it. Its memory is wiped when the last
/// clone goes, and `Debug` shows the algorithm only.
#[derive(Clone)]
pub struct PrivateKey(Arc<Inner>);

/// A key that cannot be read or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A `BEGIN` line has no matching `END` line.
    #[error("the private key is cut off: its END line is missing")]
    Truncated,
    /// No section with a private key (PKCS#8, SEC 1 or PKCS#1) is there.
    #[error("the text holds no private key as PEM")]
    NoKey,
    /// The key needs a password.
    #[error("the private key is encrypted; supply it without a password")]
    Encrypted,
    /// The PEM or the DER in it is not well formed, or the key contradicts itself.
    #[error("the private key is malformed")]
    Malformed,
    /// A well-formed key of an algorithm, curve or size that Ringfence does not offer.
    #[error("the private key is not ECDSA over P-256 or P-384, Ed25519, or RSA with 2048, 3072 or 4096 bits")]
    Unsupported,
    /// The cryptographic library failed to make a key.
    #[error("no private key could be generated")]
    NotGenerated,
}

impl PrivateKey {
    /// Parses the first private key of a PEM text: `PRIVATE KEY` (PKCS#8, RFC 5958, version 1 or 2), `EC PRIVATE KEY`
    /// (SEC 1, RFC 5915) or `RSA PRIVATE KEY` (PKCS#1, RFC 8017).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        match PrivateKeyDer::from_pem_slice(text) {
            Ok(der) => Self::from_der(&der),
            Err(PkiPemError::NoItemsFound) if contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
                Err(KeyError::Encrypted)
            }
            Err(PkiPemError::NoItemsFound) => Err(KeyError::NoKey),
            Err(PkiPemError::MissingSectionEnd { .. }) => Err(KeyError::Truncated),
            Err(_) => Err(KeyError::Malformed),
        }
    }

    /// Parses a private key from PKCS#8 in DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let rejected = match Ed25519KeyPair::from_pkcs8(der) {
            Ok(pair) => return Self::new(KeyPair::Ed25519(pair)),
            Err(rejected) => rejected,
        };
        for (curve, algorithm) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve, der) {
                return Self::new(KeyPair::Ecdsa(pair, algorithm));
            }
        }
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            return Self::new(KeyPair::Rsa(pair));
        }
        Err(why_rejected(rejected))
    }

    /// The key as one PEM section `PRIVATE KEY`: PKCS#8 version 1 (RFC 5208), which every TLS stack reads.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::encode_secret("PRIVATE KEY", &self.0.pkcs8)
    }

    /// The key as PKCS#8 version 1 in DER.
    pub(crate) fn pkcs8_der(&self) -> &[u8] {
        &self.0.pkcs8
    }

    /// The public key as SubjectPublicKeyInfo in DER (RFC 5280, section 4.1.2.7).
    #[must_use]
    pub fn public_key_spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> CertificateAlgorithm {
        self.0.algorithm
    }

    /// The public key as it stands in the BIT STRING of a SubjectPublicKeyInfo.
    pub(crate) fn public_key_bits(&self) -> &[u8] {
        match &self.0.pair {
            KeyPair::Ecdsa(pair, _) => pair.public_key().as_ref(),
            KeyPair::Ed25519(pair) => pair.public_key().as_ref(),
            KeyPair::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// The private scalar of an EC key or the seed of an Ed25519 key, big-endian and of full length: the member `d`
    /// of a JWK (RFC 7518, section 6.2.2; RFC 8037, section 2). `None` for RSA.
    pub(crate) fn private_scalar(&self) -> Option<Zeroizing<Vec<u8>>> {
        match &self.0.pair {
            KeyPair::Ecdsa(pair, _) => {
                let scalar: Result<EcPrivateKeyBin<'_>, Unspecified> = pair.private_key().as_be_bytes();
                scalar.ok().map(|scalar| Zeroizing::new(scalar.as_ref().to_vec()))
            }
            KeyPair::Ed25519(pair) => {
                let seed: Curve25519SeedBin<'_> = pair.seed().ok()?.as_be_bytes().ok()?;
                Some(Zeroizing::new(seed.as_ref().to_vec()))
            }
            KeyPair::Rsa(_) => None,
        }
    }

    fn from_der(der: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        match der {
            PrivateKeyDer::Pkcs8(der) => Self::from_pkcs8_der(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(der) => Self::from_sec1_der(der.secret_sec1_der()),
            PrivateKeyDer::Pkcs1(der) => {
                let pair = RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(why_rejected)?;
                Self::new(KeyPair::Rsa(pair))
            }
            _ => Err(KeyError::Unsupported),
        }
    }

    fn from_sec1_der(der: &[u8]) -> Result<Self, KeyError> {
        for (curve, algorithm) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, der) {
                return Self::new(KeyPair::Ecdsa(pair, algorithm));
            }
        }
        // The library does not tell a broken key from one of another curve here.
        Err(KeyError::Unsupported)
    }

    fn new(pair: KeyPair) -> Result<Self, KeyError> {
        let algorithm = match &pair {
            KeyPair::Ecdsa(_, algorithm) => *algorithm,
            KeyPair::Ed25519(_) => CertificateAlgorithm::Ed25519,
            KeyPair::Rsa(pair) => rsa_algorithm(pair.public_modulus_len()).ok_or(KeyError::Unsupported)?,
        };
        let pkcs8 = pair.pkcs8_v1().map_err(|Unspecified| KeyError::Malformed)?;
        let spki = pair.spki().map_err(|Unspecified| KeyError::Malformed)?;
        Ok(Self(Arc::new(Inner { pair, algorithm, pkcs8, spki })))
    }
}

/// Signs certificates: with the hash that fits the curve, and SHA-256 for RSA (RFC 5758, RFC 8410, RFC 4055).
impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match &self.0.pair {
            KeyPair::Ecdsa(pair, _) => pair.sign(&SystemRandom::new(), message).map(|s| s.as_ref().to_vec()),
            KeyPair::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()),
            KeyPair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|Unspecified| rcgen::Error::RingUnspecified)
    }
}

impl rcgen::PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.public_key_bits()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.0.algorithm {
            CertificateAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            CertificateAlgorithm::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            CertificateAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
            CertificateAlgorithm::Rsa2048 | CertificateAlgorithm::Rsa3072 | CertificateAlgorithm::Rsa4096 => {
                &rcgen::PKCS_RSA_SHA256
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, redacted)", self.0.algorithm)
    }
}

struct Inner {
    pair: KeyPair,
    algorithm: CertificateAlgorithm,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
}

/// A key as the cryptographic library holds it; the library wipes its memory.
enum KeyPair {
    Ecdsa(EcdsaKeyPair, CertificateAlgorithm),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl KeyPair {
    fn pkcs8_v1(&self) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        Ok(Zeroizing::new(match self {
            Self::Ecdsa(pair, _) => pair.to_pkcs8v1()?.as_ref().to_vec(),
            Self::Ed25519(pair) => pair.to_pkcs8v1()?.as_ref().to_vec(),
            Self::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                der.as_ref().to_vec()
            }
        }))
    }

    fn spki(&self) -> Result<Vec<u8>, Unspecified> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ecdsa(pair, _) => pair.public_key().as_der()?,
            Self::Ed25519(pair) => pair.public_key().as_der()?,
            Self::Rsa(pair) => pair.public_key().as_der()?,
        };
        Ok(der.as_ref().to_vec())
    }
}

/// Tells a key that is not one from a key that is merely of another kind.
fn why_rejected(rejected: KeyRejected) -> KeyError {
    match rejected.description_() {
        "WrongAlgorithm" | "TooSmall" | "TooLarge" => KeyError::Unsupported,
        _ => KeyError::Malformed,
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

const CURVES: [(&aws_lc_rs::signature::EcdsaSigningAlgorithm, CertificateAlgorithm); 2] = [
    (&ECDSA_P256_SHA256_ASN1_SIGNING, CertificateAlgorithm::EcdsaP256),
    (&ECDSA_P384_SHA384_ASN1_SIGNING, CertificateAlgorithm::EcdsaP384),
];

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::Pkcs8V2Der;
    use rcgen::PublicKeyData;

    use super::*;
    use crate::pki::testing::{ALGORITHMS, OpenSsl, key};

    #[test]
    fn every_algorithm_survives_pem_and_openssl_agrees_on_it() {
        for algorithm in ALGORITHMS {
            let key = key(algorithm);
            assert_eq!(key.algorithm(), algorithm);
            let pem = key.to_pkcs8_pem();
            let again = PrivateKey::from_pem(pem.as_bytes()).unwrap();
            assert_eq!((again.algorithm(), again.to_pkcs8_pem()), (algorithm, pem.clone()), "{algorithm:?}");

            let openssl = OpenSsl::new();
            openssl.file("key", pem.as_bytes()).run("pkey -in key -check -noout").unwrap();
            openssl.run("pkey -in key -pubout -outform DER -out spki").unwrap();
            assert_eq!(openssl.read("spki"), key.public_key_spki(), "{algorithm:?}");
            assert_eq!(key.subject_public_key_info(), key.public_key_spki(), "{algorithm:?}: in certificates");
            assert_eq!(pkcs8_version(&pem), "00", "{algorithm:?}");
        }
    }

    #[test]
    fn a_version_2_key_comes_out_as_version_1() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let version_2: Pkcs8V2Der<'_> = pair.as_der().unwrap();
        let pem = pem::encode("PRIVATE KEY", version_2.as_ref());
        assert_eq!(pkcs8_version(&pem), "01", "the test's key");
        let key = PrivateKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(pkcs8_version(&key.to_pkcs8_pem()), "00");
        assert_eq!(key.public_key_bits(), pair.public_key().as_ref());
    }

    #[test]
    fn the_older_forms_of_keys_are_read() {
        let cases = [
            ("ecparam -name prime256v1 -genkey -out key", "EC PRIVATE KEY", CertificateAlgorithm::EcdsaP256),
            ("ecparam -name secp384r1 -genkey -noout -out key", "EC PRIVATE KEY", CertificateAlgorithm::EcdsaP384),
            ("genrsa -traditional -out key 2048", "RSA PRIVATE KEY", CertificateAlgorithm::Rsa2048),
        ];
        for (command, label, algorithm) in cases {
            let openssl = OpenSsl::new();
            openssl.run(command).unwrap();
            let text = openssl.read("key");
            assert!(contains(&text, label.as_bytes()), "{command}");
            assert_eq!(PrivateKey::from_pem(&text).unwrap().algorithm(), algorithm, "{command}");
        }
    }

    #[test]
    fn what_is_no_key_of_ours_is_refused() {
        let made_by = |command: &str| {
            let openssl = OpenSsl::new();
            openssl.run(command).unwrap();
            String::from_utf8(openssl.read("key")).unwrap()
        };
        let pem = key(CertificateAlgorithm::EcdsaP256).to_pkcs8_pem();
        let garbage = pem::encode("PRIVATE KEY", b"garbage");
        let mut der = key(CertificateAlgorithm::EcdsaP256).0.pkcs8.to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        let cases = [
            ("nothing", String::new(), KeyError::NoKey),
            ("a certificate", pem::encode("CERTIFICATE", b"x"), KeyError::NoKey),
            ("cut off", pem[..100].to_owned(), KeyError::Truncated),
            ("not base64", pem.replacen('M', "*", 1), KeyError::Malformed),
            ("garbage", garbage.clone(), KeyError::Malformed),
            ("garbage of SEC 1", garbage.replace("PRIVATE", "EC PRIVATE"), KeyError::Unsupported),
            ("garbage of PKCS#1", garbage.replace("PRIVATE", "RSA PRIVATE"), KeyError::Malformed),
            ("public and private part differ", pem::encode("PRIVATE KEY", &der), KeyError::Malformed),
            ("encrypted", made_by("genpkey -algorithm ed25519 -aes256 -pass pass:x -out key"), KeyError::Encrypted),
            (
                "P-521",
                made_by("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key"),
                KeyError::Unsupported,
            ),
            ("X25519", made_by("genpkey -algorithm x25519 -out key"), KeyError::Unsupported),
            ("RSA 1024", made_by("genrsa -out key 1024"), KeyError::Unsupported),
            ("RSA 1024 as PKCS#1", made_by("genrsa -traditional -out key 1024"), KeyError::Unsupported),
            ("RSA 2304", made_by("genrsa -out key 2304"), KeyError::Unsupported),
        ];
        for (name, text, error) in cases {
            assert_eq!(PrivateKey::from_pem(text.as_bytes()).map(|key| key.algorithm()), Err(error), "{name}");
        }
    }

    #[test]
    fn debug_shows_the_algorithm_only() {
        assert_eq!(format!("{:?}", key(CertificateAlgorithm::Ed25519)), "PrivateKey(Ed25519, redacted)");
    }

    /// The first INTEGER of the PrivateKeyInfo, as openssl reads it.
    fn pkcs8_version(pem: &str) -> String {
        let openssl = OpenSsl::new();
        let structure = openssl.file("key", pem).run("asn1parse -in key").unwrap();
        let version = structure.lines().find(|line| line.contains("INTEGER")).unwrap();
        version.rsplit(':').next().unwrap().to_owned()
    }
}
