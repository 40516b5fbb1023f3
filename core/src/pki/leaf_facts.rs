//! What is remembered of a stored leaf: all that later decisions need, and no key.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;

use super::SecretData;
use super::authority::{CLOCK_TOLERANCE, CaGeneration, CaGenerations, Phase};
use super::certificate::Certificate;
use super::key::{KeyError, PrivateKey};
use super::keystore::{KEYSTORE, TRUSTSTORE, keystores_sha256};
use super::pem::{self, PemError};
use super::serial::SerialNumber;
use super::sha256;
use super::spiffe::SpiffeId;
use super::tls_secret::{CA_CRT, TLS_CRT, TLS_KEY};
use super::usages::Usages;
use super::verify;
use crate::api::CertificateAlgorithm;

/// The facts of a Secret `<identity>-tls` whose leaf and key belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFacts {
    /// Its one URI name, if that is a SPIFFE ID of the form that Ringfence gives.
    pub spiffe_id: Option<SpiffeId>,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// DNS names.
    pub dns_names: BTreeSet<String>,
    /// IP addresses.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// Whether it has names of yet other kinds, which Ringfence never writes.
    pub other_names: bool,
    /// What it may be used for, or `None` if Ringfence writes no such usages.
    pub usages: Option<Usages>,
    /// Algorithm of its key, or `None` if it is not one that Ringfence offers.
    pub algorithm: Option<CertificateAlgorithm>,
    /// First second in which it is valid.
    pub not_before: Timestamp,
    /// Last second in which it is valid.
    pub not_after: Timestamp,
    /// Its serial number.
    pub serial: SerialNumber,
    /// The key identifier of the authority that signed it.
    pub authority_key_id: Option<Vec<u8>>,
    /// SHA-256 of the issuer's name in DER.
    pub issuer_sha256: [u8; 32],
    /// SHA-256 of the SubjectPublicKeyInfo in DER.
    pub public_key_sha256: [u8; 32],
    /// SHA-256 of the DER of the certificates after the leaf, one after the other.
    pub chain_sha256: [u8; 32],
    /// SHA-256 of `ca.crt`, or `None` if it is not there.
    pub ca_sha256: Option<[u8; 32]>,
    /// SHA-256 over `keystore.p12` and `truststore.p12`, or `None` if neither is there.
    pub keystores_sha256: Option<[u8; 32]>,
    /// Data keys that Ringfence does not write.
    pub extra_keys: BTreeSet<String>,
    /// Whether `tls.crt` and `tls.key` have the very octets that Ringfence would write for their content.
    pub canonical: bool,
}

/// A Secret `<identity>-tls` that holds no leaf with its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsSecretFault {
    /// A data key is not there.
    #[error("the data key {key} is missing")]
    Missing {
        /// The data key.
        key: &'static str,
    },
    /// `tls.crt` does not parse.
    #[error("the data key {TLS_CRT} is malformed")]
    Certificate(#[source] PemError),
    /// `tls.key` does not parse.
    #[error("the data key {TLS_KEY} is malformed")]
    Key(#[source] KeyError),
    /// `tls.key` is not the key of the first certificate of `tls.crt`.
    #[error("the data key {TLS_KEY} does not belong to the first certificate in {TLS_CRT}")]
    KeyMismatch,
}

impl LeafFacts {
    /// Reads the Secret's `data`.
    ///
    /// # Errors
    /// [`TlsSecretFault`] if it holds no leaf with its key.
    pub fn of_secret(data: &SecretData) -> Result<Self, TlsSecretFault> {
        let TlsSecret { leaf, chain, key } = read_tls_secret(data)?;
        let text: String = std::iter::once(&leaf).chain(&chain).map(Certificate::to_pem).collect();
        let names = Names::of(&leaf);
        Ok(Self {
            spiffe_id: verify::spiffe_id(&leaf),
            common_name: common_name(&leaf),
            dns_names: names.dns_names,
            ip_addresses: names.ip_addresses,
            other_names: names.other_names,
            usages: Usages::of_certificate(&leaf),
            algorithm: leaf.key_algorithm(),
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            serial: leaf.serial(),
            authority_key_id: leaf.authority_key_id(),
            issuer_sha256: sha256(&[leaf.issuer_der()]),
            public_key_sha256: sha256(&[leaf.spki_der()]),
            chain_sha256: chain_sha256(&chain),
            ca_sha256: data.get(CA_CRT).map(|text| sha256(&[text])),
            keystores_sha256: keystores_sha256(data),
            extra_keys: data
                .keys()
                .filter(|key| ![TLS_CRT, TLS_KEY, CA_CRT, KEYSTORE, TRUSTSTORE].contains(key))
                .map(str::to_owned)
                .collect(),
            canonical: data.get(TLS_CRT) == Some(text.as_bytes())
                && data.get(TLS_KEY) == Some(key.to_pkcs8_pem().as_bytes()),
        })
    }

    /// When it was issued: certificates begin a little earlier, for verifiers whose clock is behind.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.not_before.checked_add(CLOCK_TOLERANCE).unwrap_or(self.not_before)
    }

    /// The generation that signed the leaf, by its name and key identifier; not a retired one. Where a key has several
    /// certificates, the active one is preferred.
    #[must_use]
    pub fn issuer<'a>(&self, generations: &'a CaGenerations) -> Option<&'a CaGeneration> {
        generations
            .issuing_cas()
            .filter(|generation| {
                self.authority_key_id.as_deref() == Some(generation.subject_key_id())
                    && self.issuer_sha256 == *generation.subject_sha256()
            })
            .max_by_key(|generation| generation.phase() == Phase::Active)
    }
}

/// What [`LeafFacts`] are taken from.
pub(crate) struct TlsSecret {
    pub(crate) leaf: Certificate,
    pub(crate) chain: Vec<Certificate>,
    pub(crate) key: PrivateKey,
}

/// Parses the Secret's `data`; the key is that of the leaf.
pub(crate) fn read_tls_secret(data: &SecretData) -> Result<TlsSecret, TlsSecretFault> {
    let read = |key| data.get(key).ok_or(TlsSecretFault::Missing { key });
    let mut chain = pem::certificates(read(TLS_CRT)?).map_err(TlsSecretFault::Certificate)?;
    let leaf = chain.remove(0);
    let key = PrivateKey::from_pem(read(TLS_KEY)?).map_err(TlsSecretFault::Key)?;
    if leaf.public_key_bits() != key.public_key_bits() {
        return Err(TlsSecretFault::KeyMismatch);
    }
    Ok(TlsSecret { leaf, chain, key })
}

/// SHA-256 over the DER of the certificates, one after the other.
pub(crate) fn chain_sha256<'a>(chain: impl IntoIterator<Item = &'a Certificate>) -> [u8; 32] {
    let ders: Vec<&[u8]> = chain.into_iter().map(Certificate::der).collect();
    sha256(&ders)
}

/// The names of a leaf beside its subject.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) uris: Vec<String>,
    pub(crate) dns_names: BTreeSet<String>,
    pub(crate) ip_addresses: BTreeSet<IpAddr>,
    pub(crate) other_names: bool,
}

impl Names {
    pub(crate) fn of(leaf: &Certificate) -> Self {
        let mut names = Self::default();
        let parsed = leaf.parsed();
        let Ok(Some(extension)) = parsed.subject_alternative_name() else { return names };
        for name in &extension.value.general_names {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => {
                    names.dns_names.insert((*name).to_owned());
                }
                GeneralName::IPAddress(octets) => match ip_address(octets) {
                    Some(address) => {
                        names.ip_addresses.insert(address);
                    }
                    None => names.other_names = true,
                },
                _ => names.other_names = true,
            }
        }
        names
    }
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn common_name(leaf: &Certificate) -> Option<String> {
    let parsed = leaf.parsed();
    parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::pki::testing::{
        authority_profile, generations, intermediate, key, leaf_profile, now, root, root_with, serial,
    };
    use crate::pki::{CaSource, CertificateError, issue_leaf, new_root, tls_secret_data};

    fn secret(authority: &CaGeneration) -> SecretData {
        let profile = leaf_profile();
        let leaf = issue_leaf(&profile, authority, &key(profile.algorithm), &serial(), now()).unwrap();
        tls_secret_data(&leaf, &generations([authority.clone()]))
    }

    #[test]
    fn facts_are_those_of_the_secret() {
        let parent = root("shop-root");
        let issuing = intermediate("storefront", &parent);
        let data = secret(&issuing);
        let facts = LeafFacts::of_secret(&data).unwrap();
        let TlsSecret { leaf, key, .. } = read_tls_secret(&data).unwrap();
        assert_eq!((&facts.serial, facts.not_after), (&leaf.serial(), leaf.not_after()));
        assert_eq!(facts.public_key_sha256, sha256(&[key.public_key_spki()]));
        assert_eq!(facts.chain_sha256, sha256(&[issuing.certificate().der()]));
        assert_eq!(facts.ca_sha256, Some(sha256(&[parent.certificate().to_pem().as_bytes()])));
        assert!(facts.canonical && facts.extra_keys.is_empty());
        assert_eq!(
            facts.issuer(&generations([parent, issuing.clone()].map(retire_all_but(&issuing)))).unwrap().id(),
            issuing.id()
        );
    }

    /// A certificate of the same subject and key with another serial number.
    fn twin(authority: &CaGeneration) -> Certificate {
        let mut params = crate::pki::authority::certificate_params(&serial(), now(), authority.not_after()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        for attribute in authority.certificate().parsed().subject().iter_attributes() {
            let oid: Vec<u64> = attribute.attr_type().iter().unwrap().collect();
            params.distinguished_name.push(rcgen::DnType::from_oid(&oid), attribute.as_str().unwrap());
        }
        let twin = params.self_signed(authority.key()).unwrap();
        Certificate::from_der(twin.der().to_vec()).unwrap()
    }

    fn retire_all_but(kept: &CaGeneration) -> impl Fn(CaGeneration) -> CaGeneration {
        move |generation| {
            let phase = if generation.id() == kept.id() { Phase::Active } else { Phase::Reissued };
            generation.with_phase(phase)
        }
    }

    #[test]
    fn the_issuer_is_found_by_name_and_key_and_never_among_the_retired() {
        let authority = root("storefront");
        let facts = LeafFacts::of_secret(&secret(&authority)).unwrap();
        let found = |list: Vec<CaGeneration>| facts.issuer(&generations(list)).map(|found| found.id().to_owned());
        let id = Some(authority.id().to_owned());
        assert_eq!(found(vec![authority.clone()]), id);
        assert_eq!(found(vec![authority.clone().with_phase(Phase::Prepared)]), id);
        assert_eq!(found(vec![authority.clone().with_phase(Phase::Retired)]), None);
        assert_eq!(
            found(vec![
                root("storefront"),
                root_with("else", CertificateAlgorithm::Ed25519).with_phase(Phase::Reissued)
            ]),
            None
        );
        // The same key and name with another certificate, as after a renewal.
        let issued_by = |phase, other_phase| {
            let again =
                CaGeneration::assemble(vec![twin(&authority)], authority.key().clone(), other_phase, CaSource::Secret);
            found(vec![authority.clone().with_phase(phase), again.unwrap()])
        };
        assert_eq!(issued_by(Phase::Active, Phase::Reissued), id);
        assert_ne!(issued_by(Phase::Reissued, Phase::Active), id);
        // The same key under another name, as after a change of subject.
        let renamed = new_root(
            &authority_profile("renamed", authority.key().algorithm()),
            authority.key().clone(),
            &serial(),
            now(),
        );
        assert_eq!(found(vec![renamed.unwrap()]), None);
    }

    #[test]
    fn what_holds_no_leaf_with_its_key_is_a_fault() {
        let authority = root("storefront");
        let whole = secret(&authority);
        let (crt, pem) = (whole.get(TLS_CRT).unwrap(), whole.get(TLS_KEY).unwrap());
        let garbage = pem::encode("CERTIFICATE", b"x");
        let not_der = PemError::Certificate { position: 1, source: CertificateError::NotDer };
        let another = key(CertificateAlgorithm::EcdsaP256).to_pkcs8_pem();
        let cases: [(&str, &str, &[u8], TlsSecretFault); 6] = [
            ("cut", TLS_CRT, &crt[..99], TlsSecretFault::Certificate(PemError::Truncated)),
            ("empty", TLS_CRT, b"", TlsSecretFault::Certificate(PemError::NoCertificate)),
            ("garbage", TLS_CRT, garbage.as_bytes(), TlsSecretFault::Certificate(not_der)),
            ("key cut", TLS_KEY, &pem[..99], TlsSecretFault::Key(KeyError::Truncated)),
            ("no key", TLS_KEY, crt, TlsSecretFault::Key(KeyError::NoKey)),
            ("another's key", TLS_KEY, another.as_bytes(), TlsSecretFault::KeyMismatch),
        ];
        for (name, data_key, octets, fault) in cases {
            let mut data = whole.clone();
            data.put(data_key, octets);
            assert_eq!(LeafFacts::of_secret(&data), Err(fault), "{name}");
        }
        let only_crt: SecretData = [(TLS_CRT.to_owned(), crt.to_vec())].into_iter().collect();
        assert_eq!(LeafFacts::of_secret(&only_crt), Err(TlsSecretFault::Missing { key: TLS_KEY }));
        assert_eq!(LeafFacts::of_secret(&SecretData::default()), Err(TlsSecretFault::Missing { key: TLS_CRT }));
    }

    #[test]
    fn names_that_ringfence_never_writes_are_seen() {
        let authority = root("storefront");
        let end = now().checked_add(SignedDuration::from_hours(1)).unwrap();
        let facts_with = |name: rcgen::SanType| {
            let mut params = crate::pki::leaf::params(&leaf_profile(), &serial(), now(), end).unwrap();
            params.subject_alt_names.push(name);
            let key = key(CertificateAlgorithm::EcdsaP256);
            let mut data = SecretData::default();
            data.put(TLS_CRT, authority.sign(&params, &key).unwrap().to_pem());
            data.put(TLS_KEY, key.to_pkcs8_pem().as_bytes());
            LeafFacts::of_secret(&data).unwrap()
        };
        let second = facts_with(rcgen::SanType::URI("spiffe://storefront/ns/shop/sa/payment".try_into().unwrap()));
        assert_eq!((second.spiffe_id, second.other_names), (None, false), "two URIs are no identity");
        let email = facts_with(rcgen::SanType::Rfc822Name("a@b".try_into().unwrap()));
        assert_eq!((email.spiffe_id, email.other_names), (Some(leaf_profile().spiffe_id), true));
        assert_eq!(email.ca_sha256, None);
    }

    #[test]
    fn facts_hold_no_key() {
        let data = secret(&root("storefront"));
        let text = format!("{:?}", LeafFacts::of_secret(&data).unwrap());
        let pem = String::from_utf8(data.get(TLS_KEY).unwrap().to_vec()).unwrap();
        assert!(!text.contains("PRIVATE") && !text.contains(pem.lines().nth(1).unwrap()));
    }
}
