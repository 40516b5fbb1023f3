//! Keys and serial numbers for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    AuthorityProfile, CaGeneration, CaGenerations, Entropy, KeyError, LeafProfile, Phase, PrivateKey, SerialNumber,
    TrustDomainName, Usages, new_intermediate, new_root,
};
use crate::api::CertificateAlgorithm;

pub(crate) const ALGORITHMS: [CertificateAlgorithm; 6] = [
    CertificateAlgorithm::EcdsaP256,
    CertificateAlgorithm::EcdsaP384,
    CertificateAlgorithm::Ed25519,
    CertificateAlgorithm::Rsa2048,
    CertificateAlgorithm::Rsa3072,
    CertificateAlgorithm::Rsa4096,
];

/// Fresh keys and serial numbers from aws-lc-rs.
pub(crate) struct TestEntropy;

impl Entropy for TestEntropy {
    fn private_key(&self, algorithm: CertificateAlgorithm) -> Result<PrivateKey, KeyError> {
        let rsa = |size| -> Pkcs8V1Der<'static> { RsaKeyPair::generate(size).unwrap().as_der().unwrap() };
        match algorithm {
            CertificateAlgorithm::EcdsaP256 => PrivateKey::from_pkcs8_der(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap().to_pkcs8v1().unwrap().as_ref(),
            ),
            CertificateAlgorithm::EcdsaP384 => PrivateKey::from_pkcs8_der(
                EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap().to_pkcs8v1().unwrap().as_ref(),
            ),
            CertificateAlgorithm::Ed25519 => {
                PrivateKey::from_pkcs8_der(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref())
            }
            CertificateAlgorithm::Rsa2048 => PrivateKey::from_pkcs8_der(rsa(KeySize::Rsa2048).as_ref()),
            CertificateAlgorithm::Rsa3072 => PrivateKey::from_pkcs8_der(rsa(KeySize::Rsa3072).as_ref()),
            CertificateAlgorithm::Rsa4096 => PrivateKey::from_pkcs8_der(rsa(KeySize::Rsa4096).as_ref()),
        }
    }

    fn serial(&self) -> SerialNumber {
        let mut bits = [0; 16];
        aws_lc_rs::rand::fill(&mut bits).unwrap();
        SerialNumber::from_random(bits)
    }
}

/// A fresh key; of RSA, whose generation is slow, the same one each time.
pub(crate) fn key(algorithm: CertificateAlgorithm) -> PrivateKey {
    static RSA: LazyLock<Mutex<BTreeMap<String, PrivateKey>>> = LazyLock::new(Mutex::default);
    match algorithm {
        CertificateAlgorithm::EcdsaP256 | CertificateAlgorithm::EcdsaP384 | CertificateAlgorithm::Ed25519 => {
            TestEntropy.private_key(algorithm).unwrap()
        }
        _ => {
            let mut keys = RSA.lock().unwrap();
            keys.entry(format!("{algorithm:?}")).or_insert_with(|| TestEntropy.private_key(algorithm).unwrap()).clone()
        }
    }
}

pub(crate) fn serial() -> SerialNumber {
    TestEntropy.serial()
}

/// A moment for tests: no test looks at the clock.
pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn trust_domain(name: &str) -> TrustDomainName {
    name.parse().unwrap()
}

pub(crate) fn authority_profile(name: &str, algorithm: CertificateAlgorithm) -> AuthorityProfile {
    AuthorityProfile { trust_domain: trust_domain(name), algorithm, duration: SignedDuration::from_hours(24 * 365) }
}

/// An active root.
pub(crate) fn root(name: &str) -> CaGeneration {
    root_with(name, CertificateAlgorithm::EcdsaP256)
}

pub(crate) fn root_with(name: &str, algorithm: CertificateAlgorithm) -> CaGeneration {
    let generation = new_root(&authority_profile(name, algorithm), key(algorithm), &serial(), now()).unwrap();
    generation.with_phase(Phase::Active)
}

/// An active root as a user may bring it, that may sign certificates and no lists.
pub(crate) fn root_without_crl_sign(name: &str) -> CaGeneration {
    let key = key(CertificateAlgorithm::EcdsaP256);
    let end = now().checked_add(SignedDuration::from_hours(24 * 365)).unwrap();
    let mut params = super::authority::certificate_params(&serial(), now(), end).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let certificate = super::Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap();
    CaGeneration::assemble(vec![certificate], key, Phase::Active, super::CaSource::Secret).unwrap()
}

/// An active intermediate.
pub(crate) fn intermediate(name: &str, parent: &CaGeneration) -> CaGeneration {
    let algorithm = CertificateAlgorithm::EcdsaP256;
    let profile = authority_profile(name, algorithm);
    new_intermediate(&profile, parent, key(algorithm), &serial(), now()).unwrap().with_phase(Phase::Active)
}

pub(crate) fn generations(list: impl IntoIterator<Item = CaGeneration>) -> CaGenerations {
    CaGenerations::new(list.into_iter().collect()).unwrap()
}

pub(crate) fn leaf_profile() -> LeafProfile {
    LeafProfile {
        spiffe_id: "spiffe://storefront/ns/shop/sa/order".parse().unwrap(),
        common_name: Some("order".to_owned()),
        dns_names: BTreeSet::from(["order.shop.svc".to_owned(), "*.order.shop.svc".to_owned()]),
        ip_addresses: BTreeSet::from(["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()]),
        usages: Usages::BOTH,
        algorithm: CertificateAlgorithm::EcdsaP256,
        duration: SignedDuration::from_hours(24),
    }
}

/// The `openssl` program as a second implementation, in a directory of its own.
pub(crate) struct OpenSsl(tempfile::TempDir);

impl OpenSsl {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Puts a file into its directory.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.0.path().join(name), content).unwrap();
        self
    }

    /// Runs a command line, split at spaces, in its directory: standard output, or standard error if it fails.
    pub(crate) fn run(&self, arguments: &str) -> Result<String, String> {
        let output = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.0.path())
            .output()
            .expect("the program openssl is installed");
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stdout) + &text(output.stderr)) }
    }

    /// Reads a file that a command wrote.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }
}

/// PEM text of certificates.
pub(crate) fn pem_of<'a>(certificates: impl IntoIterator<Item = &'a super::Certificate>) -> String {
    certificates.into_iter().map(super::Certificate::to_pem).collect()
}

/// A leaf that ends a day after its authority: what Ringfence never issues.
pub(crate) fn leaf_that_outlives(authority: &CaGeneration) -> String {
    let end = authority.not_after().checked_add(SignedDuration::from_hours(24)).unwrap();
    let params = super::leaf::params(&leaf_profile(), &serial(), now(), end).unwrap();
    authority.sign(&params, &key(CertificateAlgorithm::EcdsaP256)).unwrap().to_pem()
}
