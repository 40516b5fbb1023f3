//! Trust domains that share a root, and what is issued in them.

use std::collections::BTreeSet;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use ringfence::controller::SystemEntropy;
use ringfence_core::api::CertificateAlgorithm;
use ringfence_core::pki::{
    AuthorityProfile, CaGeneration, CaGenerations, Entropy, IssuedLeaf, LeafProfile, Phase, RevocationCause, Revoked,
    SecretData, Usages, issue_leaf, issuing_bundle, new_intermediate, new_root, tls_secret_data,
};

/// A trust domain.
#[derive(Clone)]
pub struct Domain(CaGenerations);

impl Domain {
    /// One with a root of its own.
    pub fn root(name: &str) -> Self {
        let (profile, key) = authority(name);
        Self::of(new_root(&profile, key, &SystemEntropy.serial(), now()).unwrap())
    }

    /// One below another's root.
    pub fn below(name: &str, root: &Self) -> Self {
        let (profile, key) = authority(name);
        Self::of(new_intermediate(&profile, root.0.signing().unwrap(), key, &SystemEntropy.serial(), now()).unwrap())
    }

    fn of(generation: CaGeneration) -> Self {
        Self(CaGenerations::new(vec![generation.with_phase(Phase::Active)]).unwrap())
    }

    /// Issues a certificate for an ID, be it of this domain or not.
    pub fn issue(&self, id: &str) -> IssuedLeaf {
        let profile = LeafProfile {
            spiffe_id: id.parse().unwrap(),
            common_name: None,
            dns_names: BTreeSet::from(["localhost".to_owned()]),
            ip_addresses: BTreeSet::new(),
            usages: Usages::BOTH,
            algorithm: CertificateAlgorithm::EcdsaP256,
            duration: SignedDuration::from_hours(1),
        };
        let key = SystemEntropy.private_key(profile.algorithm).unwrap();
        issue_leaf(&profile, self.0.signing().unwrap(), &key, &SystemEntropy.serial(), now()).unwrap()
    }

    /// The Secret `<identity>-tls`.
    pub fn secret(&self, leaf: &IssuedLeaf) -> SecretData {
        tls_secret_data(leaf, &self.0)
    }

    /// Revokes a certificate that it issued.
    pub fn revoke(&mut self, leaf: &IssuedLeaf) {
        let certificate = leaf.certificate();
        let revoked = Revoked {
            serial: certificate.serial(),
            revoked_at: now(),
            not_after: certificate.not_after(),
            cause: RevocationCause::Compromised,
        };
        let generation = self.0.signing().unwrap().id().to_owned();
        let life = SignedDuration::from_hours(48);
        self.0 = self.0.with_revoked(&[(generation, revoked)], life, now()).unwrap().unwrap();
    }

    /// Its issuing CAs, PEM.
    pub fn bundle(&self) -> String {
        issuing_bundle(&self.0)
    }

    /// Its revocation lists, PEM.
    pub fn lists(&self) -> String {
        self.0.lists_pem()
    }
}

fn authority(name: &str) -> (AuthorityProfile, ringfence_core::pki::PrivateKey) {
    let profile = AuthorityProfile {
        trust_domain: name.parse().unwrap(),
        algorithm: CertificateAlgorithm::EcdsaP256,
        duration: SignedDuration::from_hours(240),
    };
    let key = SystemEntropy.private_key(profile.algorithm).unwrap();
    (profile, key)
}

/// The time, in whole seconds.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::try_from(SystemTime::now()).unwrap().as_second()).unwrap()
}
