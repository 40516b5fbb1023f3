//! Keys and serial numbers from the system's random number generator: what the pure core takes as arguments.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RsaKeyPair,
};
use ringfence_core::api::CertificateAlgorithm;
use ringfence_core::pki::{Entropy, KeyError, PrivateKey, SerialNumber};

/// Draws from the system. RSA keys take long (4096 bits: seconds): call it where blocking is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn private_key(&self, algorithm: CertificateAlgorithm) -> Result<PrivateKey, KeyError> {
        let generated = match algorithm {
            CertificateAlgorithm::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            CertificateAlgorithm::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            CertificateAlgorithm::Ed25519 => ed25519(),
            CertificateAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            CertificateAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            CertificateAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
        };
        generated.map_err(|Unspecified| KeyError::NotGenerated)?
    }

    fn serial(&self) -> SerialNumber {
        SerialNumber::from_random(random())
    }
}

/// So many octets that nobody can guess.
pub(crate) fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut octets = [0; LENGTH];
    rand::fill(&mut octets).expect("the system has a random number generator");
    octets
}

/// What is generated and what reading it back says; the documents in between are wiped when they go.
type Generated = Result<Result<PrivateKey, KeyError>, Unspecified>;

fn ecdsa(curve: &'static EcdsaSigningAlgorithm) -> Generated {
    Ok(PrivateKey::from_pkcs8_der(EcdsaKeyPair::generate(curve)?.to_pkcs8v1()?.as_ref()))
}

fn ed25519() -> Generated {
    Ok(PrivateKey::from_pkcs8_der(Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref()))
}

fn rsa(size: KeySize) -> Generated {
    let document: Pkcs8V1Der<'static> = RsaKeyPair::generate(size)?.as_der()?;
    Ok(PrivateKey::from_pkcs8_der(document.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_the_algorithm_asked_for_and_no_two_are_the_same() {
        let algorithms = [
            CertificateAlgorithm::EcdsaP256,
            CertificateAlgorithm::EcdsaP384,
            CertificateAlgorithm::Ed25519,
            CertificateAlgorithm::Rsa2048,
            CertificateAlgorithm::Rsa3072,
            CertificateAlgorithm::Rsa4096,
        ];
        for algorithm in algorithms {
            let [one, other] = [(); 2].map(|()| SystemEntropy.private_key(algorithm).unwrap());
            assert_eq!((one.algorithm(), other.algorithm()), (algorithm, algorithm));
            assert_ne!(one.public_key_spki(), other.public_key_spki(), "{algorithm:?}");
        }
    }

    #[test]
    fn serial_numbers_are_long_and_no_two_are_the_same() {
        let mut serials: Vec<_> = (0..1000).map(|_| SystemEntropy.serial()).collect();
        assert!(serials.iter().all(|serial| (12..=16).contains(&serial.as_be_bytes().len())));
        serials.sort_unstable();
        serials.dedup();
        assert_eq!(serials.len(), 1000);
    }
}
