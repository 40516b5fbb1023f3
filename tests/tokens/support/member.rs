//! A trust domain and its members, as the operator would issue them.

use std::collections::BTreeSet;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ringfence::controller::SystemEntropy;
use ringfence_core::api::{CertificateAlgorithm, SigningAlgorithm};
use ringfence_core::jwt::SigningKey;
use ringfence_core::pki::{
    AuthorityProfile, CaGeneration, CaGenerations, Certificate, Entropy, IssuedLeaf, LeafProfile, Phase,
    RevocationCause, Revoked, SpiffeId, Usages, issue_leaf, issuing_bundle, new_root,
};
use ringfence_core::tokens::DirectoryIdentity;
use serde_json::Value;

/// The time, in whole seconds.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::try_from(SystemTime::now()).unwrap().as_second()).unwrap()
}

/// A trust domain with a root of its own.
#[derive(Clone)]
pub struct Domain {
    /// Its SPIFFE trust-domain name.
    pub name: String,
    authorities: CaGenerations,
}

impl Domain {
    /// Makes one.
    pub fn new(name: &str) -> Self {
        let profile = AuthorityProfile {
            trust_domain: name.parse().unwrap(),
            algorithm: CertificateAlgorithm::EcdsaP256,
            duration: SignedDuration::from_hours(240),
        };
        let key = SystemEntropy.private_key(profile.algorithm).unwrap();
        let root = new_root(&profile, key, &SystemEntropy.serial(), now()).unwrap().with_phase(Phase::Active);
        Self { name: name.to_owned(), authorities: CaGenerations::new(vec![root]).unwrap() }
    }

    fn signing(&self) -> &CaGeneration {
        self.authorities.signing().unwrap()
    }

    /// Its issuing CAs, PEM.
    pub fn bundle(&self) -> String {
        issuing_bundle(&self.authorities)
    }

    /// Its revocation lists, PEM.
    pub fn revocation_lists(&self) -> String {
        self.authorities.lists_pem()
    }

    /// Puts a member's certificate on the list.
    pub fn revoke(&mut self, member: &Member) {
        let certificate = member.leaf.certificate();
        let revoked = Revoked {
            serial: certificate.serial(),
            revoked_at: now(),
            not_after: certificate.not_after(),
            cause: RevocationCause::Compromised,
        };
        let generation = self.signing().id().to_owned();
        let life = SignedDuration::from_hours(48);
        self.authorities = self.authorities.with_revoked(&[(generation, revoked)], life, now()).unwrap().unwrap();
    }

    /// A member: its certificate, and a key of its own to sign with.
    pub fn member(&self, namespace: &str, service_account: &str) -> Member {
        self.member_since(namespace, service_account, now())
    }

    /// A member whose certificate was issued at some time, for one hour.
    pub fn member_since(&self, namespace: &str, service_account: &str, issued: Timestamp) -> Member {
        let profile = LeafProfile {
            spiffe_id: SpiffeId::new(self.name.parse().unwrap(), namespace, service_account).unwrap(),
            common_name: Some(service_account.to_owned()),
            dns_names: BTreeSet::from([format!("{service_account}.{namespace}.svc")]),
            ip_addresses: BTreeSet::new(),
            usages: Usages::BOTH,
            algorithm: CertificateAlgorithm::EcdsaP256,
            duration: SignedDuration::from_hours(1),
        };
        let key = SystemEntropy.private_key(profile.algorithm).unwrap();
        let leaf = issue_leaf(&profile, self.signing(), &key, &SystemEntropy.serial(), issued).unwrap();
        let signing = SystemEntropy.private_key(CertificateAlgorithm::EcdsaP256).unwrap();
        let signing_key = SigningKey::new(signing, SigningAlgorithm::ES256).unwrap();
        Member { spiffe_id: profile.spiffe_id, leaf, signing_key }
    }
}

/// A service.
#[derive(Clone)]
pub struct Member {
    /// Its name.
    pub spiffe_id: SpiffeId,
    leaf: IssuedLeaf,
    /// What it signs with.
    pub signing_key: SigningKey,
}

impl Member {
    /// Its SPIFFE ID.
    pub fn id(&self) -> String {
        self.spiffe_id.to_string()
    }

    /// Its certificate and those above it, PEM.
    pub fn chain(&self) -> String {
        std::iter::once(self.leaf.certificate()).chain(self.leaf.presented_chain()).map(Certificate::to_pem).collect()
    }

    /// Its certificate's key, PEM.
    pub fn key(&self) -> String {
        self.leaf.key().to_pkcs8_pem().to_string()
    }

    /// The thumbprint of its certificate, as a token that is bound to it has it.
    pub fn thumbprint(&self) -> String {
        self.leaf.certificate().thumbprint()
    }

    /// The one audience that it has in these stories: the name of its Service.
    pub fn audience(&self) -> String {
        format!("https://{}.{}.svc", self.spiffe_id.service_account(), self.spiffe_id.namespace())
    }

    /// As the operator describes it: a client of the token service.
    pub fn described(&self) -> DirectoryIdentity {
        DirectoryIdentity {
            name: self.spiffe_id.service_account().to_owned(),
            service_account: self.spiffe_id.service_account().to_owned(),
            spiffe_id: self.id(),
            audiences: BTreeSet::from([self.id(), self.audience()]),
            client: true,
            keys: vec![self.signing_key.public_jwk().clone()],
        }
    }

    /// Signs claims, with a header of this type.
    pub fn sign(&self, typ: &str, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.signing_key.to_pkcs8_pem().as_bytes()).unwrap();
        let header = Header {
            typ: Some(typ.to_owned()),
            kid: Some(self.signing_key.kid().to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, claims, &key).unwrap()
    }
}
