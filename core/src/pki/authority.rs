//! Certificate authorities of a trust domain, in generations: each rollover adds one and, at its end, retires one.

use std::cmp::min;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, Issuer, KeyIdMethod, PublicKeyData};
use serde::{Deserialize, Serialize};
use x509_parser::oid_registry::Oid;

use super::certificate::{Certificate, CertificateError};
use super::crl::{RevocationList, Revoked};
use super::key::PrivateKey;
use super::serial::SerialNumber;
use super::sha256;

/// How far a generation has come in its life. Bundles carry every generation that is not retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Generated and stored; bundles begin to carry it.
    Prepared,
    /// In every bundle that needs it, long enough to have reached the pods.
    Distributed,
    /// Signs the new leaves. At most one generation of a trust domain does.
    Active,
    /// A later generation is active: leaves move over to that one, and until nothing valid hangs on this one any more,
    /// bundles keep it.
    Reissued,
    /// In no bundle any more: nothing that it signed is trusted.
    Retired,
}

/// Where a generation comes from: the alternatives of the field `certificateAuthority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CaSource {
    /// A root that Ringfence made for this trust domain.
    SelfSigned,
    /// Supplied by the platform team.
    Secret,
    /// An intermediate under the authority of another trust domain.
    Parent,
}

/// One certificate authority of a trust domain, with its key and its way up to a root.
#[derive(Clone, Debug)]
pub struct CaGeneration {
    id: String,
    phase: Phase,
    source: CaSource,
    certificate: Certificate,
    chain: Vec<Certificate>,
    root: Certificate,
    key: PrivateKey,
    subject_key_id: Vec<u8>,
    subject_sha256: [u8; 32],
    revoked: Vec<Revoked>,
    revocation_list: Option<RevocationList>,
}

/// All generations of a trust domain, oldest first; at most one of them is active, and no two share an id.
#[derive(Clone, Debug, Default)]
pub struct CaGenerations(Vec<CaGeneration>);

/// Generations that do not make sense together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerationsError {
    /// Two generations have the same id.
    #[error("the certificate authority generation {id} is there twice")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// Two generations are active.
    #[error("the certificate authority generations {first} and {second} are both active")]
    SeveralActive {
        /// The older one's id.
        first: String,
        /// The newer one's id.
        second: String,
    },
}

/// Certificates and a key that do not make a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AssemblyError {
    /// The key is not the one in the certificate.
    KeyMismatch,
    /// The certificates do not lead, each to the next, up to a root.
    BrokenChain,
}

impl CaGeneration {
    /// Puts a generation together from its certificate, those above it in order, the root last, and its key.
    pub(crate) fn assemble(
        path: Vec<Certificate>,
        key: PrivateKey,
        phase: Phase,
        source: CaSource,
    ) -> Result<Self, AssemblyError> {
        let leads_up = path.windows(2).all(|pair| pair[0].issuer_der() == pair[1].subject_der());
        let mut path = path.into_iter();
        let certificate = path.next().ok_or(AssemblyError::BrokenChain)?;
        let mut chain: Vec<_> = path.collect();
        let root = chain.pop().unwrap_or_else(|| certificate.clone());
        if !leads_up || !root.is_self_issued() {
            return Err(AssemblyError::BrokenChain);
        }
        if certificate.public_key_bits() != key.public_key_bits() {
            return Err(AssemblyError::KeyMismatch);
        }
        let id = generation_id(&certificate.serial(), certificate.spki_der());
        let subject_key_id = certificate.subject_key_id().unwrap_or_else(|| key_identifier(&key));
        let subject_sha256 = sha256(&[certificate.subject_der()]);
        let (revoked, revocation_list) = (Vec::new(), None);
        Ok(Self {
            id,
            phase,
            source,
            certificate,
            chain,
            root,
            key,
            subject_key_id,
            subject_sha256,
            revoked,
            revocation_list,
        })
    }

    /// The first eight hexadecimal digits of SHA-256 over serial number and SubjectPublicKeyInfo: short, stable, and
    /// another one when the same key gets another certificate.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How far it has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The same generation in another phase.
    #[must_use]
    pub fn with_phase(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    /// The same generation with another record of what is revoked, and the list that says so.
    pub(crate) fn with_revocations(self, revoked: Vec<Revoked>, revocation_list: Option<RevocationList>) -> Self {
        Self { revoked, revocation_list, ..self }
    }

    /// What it has issued and is revoked, the first one first.
    #[must_use]
    pub fn revoked(&self) -> &[Revoked] {
        &self.revoked
    }

    /// Whether a certificate that it issued is revoked.
    #[must_use]
    pub fn is_revoked(&self, serial: &SerialNumber) -> bool {
        self.revoked.iter().any(|entry| entry.serial == *serial)
    }

    /// The list that says what is revoked, if it has been signed and can be read.
    #[must_use]
    pub fn revocation_list(&self) -> Option<&RevocationList> {
        self.revocation_list.as_ref()
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> CaSource {
        self.source
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The intermediates above it, nearest first, without the root. Empty for a root and right below one.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The root that it leads up to; its own certificate if it is a root.
    #[must_use]
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// Whether it is a root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.certificate == self.root
    }

    /// First second in which its certificate is valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.certificate.not_before()
    }

    /// Last second in which its certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.certificate.not_after()
    }

    /// The earliest end of its certificate and of all above it: nothing that it signs may live longer.
    #[must_use]
    pub fn path_not_after(&self) -> Timestamp {
        self.chain.iter().map(Certificate::not_after).fold(min(self.not_after(), self.root.not_after()), min)
    }

    /// The key identifier that what it signs carries as authority key identifier (RFC 5280, section 4.2.1.1).
    #[must_use]
    pub fn subject_key_id(&self) -> &[u8] {
        &self.subject_key_id
    }

    /// SHA-256 of its name in DER: that of the issuer's name in what it signs.
    pub(crate) fn subject_sha256(&self) -> &[u8; 32] {
        &self.subject_sha256
    }

    /// Whether its key usage includes cRLSign. If not, nothing that it signed can be revoked (`RevocationUnavailable`).
    #[must_use]
    pub fn can_sign_crls(&self) -> bool {
        match self.certificate.parsed().key_usage() {
            Ok(Some(usage)) => usage.value.crl_sign(),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// What a leaf's holder presents after the leaf: the authority's certificate and those above it, without the root.
    pub(crate) fn presented_chain(&self) -> Vec<&Certificate> {
        if self.is_root() { Vec::new() } else { std::iter::once(&self.certificate).chain(&self.chain).collect() }
    }

    /// The way up, from its own certificate to the root, both included.
    pub(crate) fn path(&self) -> Vec<&Certificate> {
        let mut path = self.presented_chain();
        path.push(&self.root);
        path
    }

    /// The private key, to be stored.
    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Signs a certificate.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        subject: &impl PublicKeyData,
    ) -> Result<Certificate, SignError> {
        let issuer = issuer(&self.certificate, &self.key)?;
        Ok(Certificate::from_der(params.signed_by(subject, &issuer)?.der().to_vec())?)
    }
}

/// A certificate that could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The certificate could not be written or signed.
    #[error(transparent)]
    Write(#[from] rcgen::Error),
    /// What was written does not parse.
    #[error(transparent)]
    Read(#[from] CertificateError),
}

impl CaGenerations {
    /// Takes the generations of a trust domain, oldest first.
    ///
    /// # Errors
    /// [`GenerationsError`] if two share an id, or two are active.
    pub fn new(generations: Vec<CaGeneration>) -> Result<Self, GenerationsError> {
        let mut active: Option<&CaGeneration> = None;
        for (place, generation) in generations.iter().enumerate() {
            if generations[..place].iter().any(|earlier| earlier.id == generation.id) {
                return Err(GenerationsError::DuplicateId { id: generation.id.clone() });
            }
            if generation.phase == Phase::Active
                && let Some(first) = active.replace(generation)
            {
                return Err(GenerationsError::SeveralActive { first: first.id.clone(), second: generation.id.clone() });
            }
        }
        Ok(Self(generations))
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, CaGeneration> {
        self.0.iter()
    }

    /// The generation with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&CaGeneration> {
        self.iter().find(|generation| generation.id == id)
    }

    /// The one that signs: the active one.
    #[must_use]
    pub fn signing(&self) -> Option<&CaGeneration> {
        self.iter().find(|generation| generation.phase == Phase::Active)
    }

    /// Those that bundles carry: all that are not retired, oldest first.
    pub fn issuing_cas(&self) -> impl Iterator<Item = &CaGeneration> {
        self.iter().filter(|generation| generation.phase != Phase::Retired)
    }

    /// The roots that leaves of this trust domain chain to, of all generations that are not retired, each once.
    #[must_use]
    pub fn roots(&self) -> Vec<&Certificate> {
        let mut roots: Vec<_> = self.issuing_cas().map(CaGeneration::root).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

impl<'a> IntoIterator for &'a CaGenerations {
    type Item = &'a CaGeneration;
    type IntoIter = std::slice::Iter<'a, CaGeneration>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for CaGenerations {
    type Item = CaGeneration;
    type IntoIter = std::vec::IntoIter<CaGeneration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The id of the generation whose certificate has this serial number and SubjectPublicKeyInfo.
pub(crate) fn generation_id(serial: &SerialNumber, spki: &[u8]) -> String {
    let digest = sha256(&[serial.as_be_bytes(), spki]);
    digest[..4].iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The key identifier that certificates get (RFC 7093, section 2, method 1): 160 bits of SHA-256 over the
/// SubjectPublicKeyInfo.
fn key_identifier(key: &PrivateKey) -> Vec<u8> {
    sha256(&[key.public_key_spki()])[..20].to_vec()
}

/// The issuing side of a certificate. rcgen panics when it writes an attribute type whose first arc is above 2, and that
/// is what x509-parser makes of a damaged one.
pub(crate) fn issuer<'a>(
    certificate: &Certificate,
    key: &'a PrivateKey,
) -> Result<Issuer<'static, &'a PrivateKey>, rcgen::Error> {
    let is_writable = |oid: &Oid<'_>| oid.iter().is_some_and(|mut arcs| arcs.next().is_some_and(|first| first <= 2));
    if !certificate.parsed().subject().iter_attributes().all(|attribute| is_writable(attribute.attr_type())) {
        return Err(rcgen::Error::CouldNotParseCertificate);
    }
    Issuer::from_ca_cert_der(&certificate.as_pki_type(), key)
}

/// What every certificate starts from. rcgen's defaults are a validity from 1975 to 4096, a common name of its own, a
/// serial number taken from the public key (the same one at every renewal) and no authority key identifier: none of
/// them stays.
pub(crate) fn certificate_params(
    serial: &SerialNumber,
    issued_at: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, rcgen::Error> {
    let not_before = issued_at.checked_sub(CLOCK_TOLERANCE).map_err(|_| rcgen::Error::Time)?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial.into());
    params.not_before = to_date_time(not_before)?;
    params.not_after = to_date_time(not_after)?;
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}

pub(crate) fn to_date_time(time: Timestamp) -> Result<time::OffsetDateTime, rcgen::Error> {
    time::OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| rcgen::Error::Time)
}

/// Certificates are valid from so long before their issue, for verifiers whose clock is behind.
pub(crate) const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{generations, intermediate, root};

    #[test]
    fn the_active_generation_signs_and_all_but_the_retired_are_trusted() {
        let list: Vec<_> = [Phase::Retired, Phase::Reissued, Phase::Active, Phase::Distributed, Phase::Prepared]
            .map(|phase| root("storefront").with_phase(phase))
            .into_iter()
            .collect();
        let ids: Vec<_> = list.iter().map(|generation| generation.id().to_owned()).collect();
        let all = generations(list);
        assert_eq!(all.signing().unwrap().id(), ids[2]);
        assert_eq!(all.issuing_cas().map(CaGeneration::id).collect::<Vec<_>>(), ids[1..]);
        assert_eq!(all.roots().len(), 4);
        assert!(!all.roots().contains(&all.get(&ids[0]).unwrap().root()));
        assert!(generations([root("a").with_phase(Phase::Distributed)]).signing().is_none());
    }

    #[test]
    fn a_shared_root_is_one_root() {
        let parent = root("shop-root");
        let all = generations([
            intermediate("storefront", &parent).with_phase(Phase::Reissued),
            intermediate("storefront", &parent),
        ]);
        assert_eq!(all.roots(), [parent.certificate()]);
    }

    #[test]
    fn two_active_generations_or_one_twice_are_refused() {
        let (a, b) = (root("storefront"), root("storefront"));
        let several_active = GenerationsError::SeveralActive { first: a.id().to_owned(), second: b.id().to_owned() };
        assert_eq!(CaGenerations::new(vec![a.clone(), b]).unwrap_err(), several_active);
        let twice = vec![a.clone().with_phase(Phase::Retired), a.clone()];
        assert_eq!(CaGenerations::new(twice).unwrap_err(), GenerationsError::DuplicateId { id: a.id().to_owned() });
    }

    #[test]
    fn certificates_that_do_not_lead_up_to_a_root_are_no_generation() {
        let (parent, stranger) = (root("shop-root"), root("stranger"));
        let child = intermediate("storefront", &parent);
        let assemble = |path: Vec<&Certificate>, key: &PrivateKey| {
            let path = path.into_iter().cloned().collect();
            CaGeneration::assemble(path, key.clone(), Phase::Active, CaSource::Parent).map(|generation| generation.id)
        };
        let (own, above) = (child.certificate(), parent.certificate());
        assert_eq!(assemble(vec![own, above], &child.key), Ok(child.id.clone()));
        assert_eq!(assemble(vec![], &child.key), Err(AssemblyError::BrokenChain));
        assert_eq!(assemble(vec![own], &child.key), Err(AssemblyError::BrokenChain));
        assert_eq!(assemble(vec![own, stranger.certificate()], &child.key), Err(AssemblyError::BrokenChain));
        assert_eq!(assemble(vec![own, above], &parent.key), Err(AssemblyError::KeyMismatch));
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let generation = root("storefront");
        let text = format!("{:?}", generations([generation.clone()]));
        let key = generation.key.to_pkcs8_pem();
        assert!(text.contains("redacted"));
        assert!(!text.contains(key.lines().nth(1).unwrap()));
        assert!(text.len() < 2000, "no octets of any kind: {text}");
    }
}
