//! The Secret `<TrustDomain name>-ca`: all generations of a trust domain's authority, with their keys.
//!
//! | data key | holds |
//! |---|---|
//! | `generations.json` | a list, oldest first, of `{id, phase, source, notBefore, notAfter, revoked}`; times as RFC 3339; `revoked`, which may be missing, of `{serial, revokedAt, notAfter, cause}` |
//! | `<id>.crt` | PEM: the authority's certificate, those above it in order, the root last |
//! | `<id>.key` | PEM: its private key, PKCS#8 version 1 |
//! | `<id>.crl` | PEM: its revocation list, once it has signed one |

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SecretData;
use super::authority::{AssemblyError, CaGeneration, CaGenerations, CaSource, GenerationsError, Phase};
use super::crl::{self, RevocationList, Revoked};
use super::key::{KeyError, PrivateKey};
use super::pem::{self, PemError};

/// A Secret that does not hold what [`CaGenerations::to_secret_data`] writes. Nothing of it is used then: a half-read
/// authority could distrust leaves that are fine, or sign with the wrong key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritySecretError {
    /// A data key is not there.
    #[error("the data key {key} is missing")]
    Missing {
        /// The data key.
        key: String,
    },
    /// A data key belongs to no generation.
    #[error("the data key {key} belongs to no generation of the certificate authority")]
    Unknown {
        /// The data key.
        key: String,
    },
    /// The list of generations does not parse.
    #[error("the data key {INDEX} is not a list of certificate authority generations: {detail}")]
    Index {
        /// What the JSON parser says.
        detail: String,
    },
    /// Certificates do not parse.
    #[error("the data key {key} does not hold certificates")]
    Certificates {
        /// The data key.
        key: String,
        /// What is wrong with the text.
        source: PemError,
    },
    /// The certificates do not lead, each to the next, up to a root.
    #[error("the certificates in the data key {key} do not lead up to a root")]
    BrokenChain {
        /// The data key.
        key: String,
    },
    /// A private key does not parse.
    #[error("the data key {key} does not hold a private key")]
    Key {
        /// The data key.
        key: String,
        /// What is wrong with the text.
        source: KeyError,
    },
    /// A private key is not the one of its generation's certificate.
    #[error("the private key in the data key {key} does not belong to its certificate")]
    KeyMismatch {
        /// The data key.
        key: String,
    },
    /// The list and a certificate contradict each other.
    #[error("the data key {INDEX} and the certificate in {key} disagree about {field}")]
    Disagreement {
        /// The certificate's data key.
        key: String,
        /// The field of the list: `id`, `notBefore` or `notAfter`.
        field: &'static str,
    },
    /// The generations do not make sense together.
    #[error(transparent)]
    Generations(#[from] GenerationsError),
}

impl CaGenerations {
    /// Reads the Secret's `data`.
    ///
    /// # Errors
    /// [`AuthoritySecretError`], which names the data key: for whatever is missing, cut off, contradictory or not ours.
    pub fn from_secret_data(data: &SecretData) -> Result<Self, AuthoritySecretError> {
        let index: Vec<Entry> = serde_json::from_slice(read(data, INDEX)?)
            .map_err(|error| AuthoritySecretError::Index { detail: error.to_string() })?;
        let known: BTreeSet<String> = index
            .iter()
            .flat_map(|entry| [certificate_key(&entry.id), private_key_key(&entry.id), list_key(&entry.id)])
            .chain([INDEX.to_owned()])
            .collect();
        if let Some(key) = data.keys().find(|key| !known.contains(*key)) {
            return Err(AuthoritySecretError::Unknown { key: key.to_owned() });
        }
        let generations: Result<Vec<_>, _> = index.iter().map(|entry| read_generation(data, entry)).collect();
        Ok(Self::new(generations?)?)
    }

    /// Writes the Secret's `data`.
    #[must_use]
    pub fn to_secret_data(&self) -> SecretData {
        let index: Vec<Entry> = self.iter().map(Entry::of).collect();
        let index = serde_json::to_vec_pretty(&index).expect("strings and times always serialize");
        let mut data = SecretData::default();
        data.put(INDEX, index);
        for generation in self {
            let certificates: String = generation.path().iter().map(|certificate| certificate.to_pem()).collect();
            data.put(certificate_key(generation.id()), certificates);
            data.put(private_key_key(generation.id()), generation.key().to_pkcs8_pem().as_bytes());
            if let Some(list) = generation.revocation_list() {
                data.put(list_key(generation.id()), list.pem());
            }
        }
        data
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    id: String,
    phase: Phase,
    source: CaSource,
    not_before: Timestamp,
    not_after: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<Revoked>,
}

impl Entry {
    fn of(generation: &CaGeneration) -> Self {
        Self {
            id: generation.id().to_owned(),
            phase: generation.phase(),
            source: generation.source(),
            not_before: generation.not_before(),
            not_after: generation.not_after(),
            revoked: generation.revoked().to_vec(),
        }
    }
}

fn read_generation(data: &SecretData, entry: &Entry) -> Result<CaGeneration, AuthoritySecretError> {
    let (crt, key) = (certificate_key(&entry.id), private_key_key(&entry.id));
    let path = pem::certificates(read(data, &crt)?)
        .map_err(|source| AuthoritySecretError::Certificates { key: crt.clone(), source })?;
    let private_key = PrivateKey::from_pem(read(data, &key)?)
        .map_err(|source| AuthoritySecretError::Key { key: key.clone(), source })?;
    let generation =
        CaGeneration::assemble(path, private_key, entry.phase, entry.source).map_err(|error| match error {
            AssemblyError::KeyMismatch => AuthoritySecretError::KeyMismatch { key },
            AssemblyError::BrokenChain => AuthoritySecretError::BrokenChain { key: crt.clone() },
        })?;
    let checks = [
        ("id", generation.id() == entry.id),
        ("notBefore", generation.not_before() == entry.not_before),
        ("notAfter", generation.not_after() == entry.not_after),
    ];
    match checks.into_iter().find(|(_, agrees)| !agrees) {
        Some((field, _)) => Err(AuthoritySecretError::Disagreement { key: crt, field }),
        // A list that can't be read is signed anew: what is on it is on record.
        None => Ok(generation.with_revocations(entry.revoked.clone(), read_list(data, &entry.id))),
    }
}

fn read_list(data: &SecretData, id: &str) -> Option<RevocationList> {
    RevocationList::from_der(&pem::section(crl::LABEL, data.get(&list_key(id))?)?)
}

fn read<'a>(data: &'a SecretData, key: &str) -> Result<&'a [u8], AuthoritySecretError> {
    data.get(key).ok_or_else(|| AuthoritySecretError::Missing { key: key.to_owned() })
}

fn certificate_key(id: &str) -> String {
    format!("{id}.crt")
}

fn private_key_key(id: &str) -> String {
    format!("{id}.key")
}

fn list_key(id: &str) -> String {
    format!("{id}.crl")
}

/// The data key with the list of generations.
pub(crate) const INDEX: &str = "generations.json";

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::api::CertificateAlgorithm;
    use crate::pki::issue_leaf;
    use crate::pki::testing::{generations, intermediate, key, leaf_profile, now, root, serial};

    fn three() -> CaGenerations {
        let parent = root("shop-root");
        generations([
            root("storefront").with_phase(Phase::Retired),
            intermediate("storefront", &intermediate("middle", &parent)).with_phase(Phase::Active),
            intermediate("storefront", &parent).with_phase(Phase::Prepared),
        ])
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = three();
        let data = written.to_secret_data();
        let read = CaGenerations::from_secret_data(&data).unwrap();
        let all = |generations: &CaGenerations| -> Vec<_> {
            let facts = |g: &CaGeneration| (g.id().to_owned(), g.phase(), g.source(), g.key().to_pkcs8_pem());
            generations.iter().map(|g| (facts(g), g.path().into_iter().cloned().collect::<Vec<_>>())).collect()
        };
        assert_eq!(all(&read), all(&written));
        assert_eq!(read.to_secret_data(), data, "the same octets every time");
        assert!(
            CaGenerations::from_secret_data(&CaGenerations::default().to_secret_data()).unwrap().signing().is_none()
        );
    }

    #[test]
    fn the_list_is_readable() {
        let data = three().to_secret_data();
        let list: serde_json::Value = serde_json::from_slice(data.get(INDEX).unwrap()).unwrap();
        let second = &list[1];
        assert_eq!((&second["phase"], &second["source"]), (&"Active".into(), &"Parent".into()));
        assert_eq!(second["notBefore"], "2026-03-01T11:59:00Z");
        assert_eq!(second["notAfter"], "2027-03-01T12:00:00Z");
        assert_eq!(second.as_object().unwrap().len(), 5);
        let id = second["id"].as_str().unwrap();
        assert_eq!(data.keys().filter(|key| key.starts_with(id)).count(), 2);
        let certificates = String::from_utf8(data.get(&format!("{id}.crt")).unwrap().to_vec()).unwrap();
        assert_eq!(certificates.matches("BEGIN CERTIFICATE").count(), 3, "itself, the intermediate and the root");
    }

    #[test]
    fn every_damage_is_an_error_that_names_the_data_key() {
        let all = three();
        let ids: Vec<_> = all.iter().map(|generation| generation.id().to_owned()).collect();
        let (retired, active) = (ids[0].as_str(), ids[1].as_str());
        let (crt, key) = (certificate_key(active), private_key_key(active));
        let list = |change: &dyn Fn(&str) -> String| {
            let data = all.to_secret_data();
            change(std::str::from_utf8(data.get(INDEX).unwrap()).unwrap()).into_bytes()
        };
        let octets = |key: &str| all.to_secret_data().get(key).unwrap().to_vec();
        let half = |key: &str| octets(key)[..octets(key).len() / 2].to_vec();
        let own_certificate = all.get(active).unwrap().certificate().to_pem().into_bytes();
        let disagreement = |field| AuthoritySecretError::Disagreement { key: crt.clone(), field };
        let cases: Vec<(&str, &str, Option<Vec<u8>>, AuthoritySecretError)> = vec![
            ("no list", INDEX, None, AuthoritySecretError::Missing { key: INDEX.to_owned() }),
            ("no certificate", &crt, None, AuthoritySecretError::Missing { key: crt.clone() }),
            ("no key", &key, None, AuthoritySecretError::Missing { key: key.clone() }),
            ("more", "0.crt", Some(vec![]), AuthoritySecretError::Unknown { key: "0.crt".to_owned() }),
            (
                "certificates cut",
                &crt,
                Some(half(&crt)),
                AuthoritySecretError::Certificates { key: crt.clone(), source: PemError::Truncated },
            ),
            ("root lost", &crt, Some(own_certificate), AuthoritySecretError::BrokenChain { key: crt.clone() }),
            (
                "key cut",
                &key,
                Some(half(&key)),
                AuthoritySecretError::Key { key: key.clone(), source: KeyError::Truncated },
            ),
            (
                "another's key",
                &key,
                Some(octets(&private_key_key(retired))),
                AuthoritySecretError::KeyMismatch { key: key.clone() },
            ),
            (
                "another time",
                INDEX,
                Some(list(&|l| l.replace("2027-03-01T12:00:00Z", "2027-03-01T12:00:01Z"))),
                AuthoritySecretError::Disagreement { key: certificate_key(retired), field: "notAfter" },
            ),
            (
                "two active",
                INDEX,
                Some(list(&|l| l.replace("Prepared", "Active"))),
                GenerationsError::SeveralActive { first: ids[1].clone(), second: ids[2].clone() }.into(),
            ),
        ];
        for (name, data_key, replacement, error) in cases {
            let mut data: std::collections::BTreeMap<_, _> = all.to_secret_data().into();
            match replacement {
                Some(octets) => data.insert(data_key.to_owned(), k8s_openapi::ByteString(octets)),
                None => data.remove(data_key),
            };
            assert_eq!(CaGenerations::from_secret_data(&(&data).into()).unwrap_err(), error, "{name}");
        }

        // One generation's data under the other's id.
        let mut data = all.to_secret_data();
        data.put(&*crt, octets(&certificate_key(retired)));
        data.put(&*key, octets(&private_key_key(retired)));
        assert_eq!(CaGenerations::from_secret_data(&data).unwrap_err(), disagreement("id"));
        // A list that says more than we know, or that is cut off.
        for list in [list(&|l| l.replace("\"phase\"", "\"later\": 1, \"phase\"")), half(INDEX)] {
            let mut data = all.to_secret_data();
            data.put(INDEX, list);
            let error = CaGenerations::from_secret_data(&data).unwrap_err();
            assert!(matches!(error, AuthoritySecretError::Index { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn an_authority_with_a_damaged_certificate_never_panics(place in 0_usize..2000, mask in 1_u8..) {
            static WHOLE: LazyLock<CaGenerations> = LazyLock::new(|| generations([root("storefront")]));
            let generation = WHOLE.signing().unwrap();
            let mut der = generation.certificate().der().to_vec();
            let length = der.len();
            der[place % length] ^= mask;
            let mut data = WHOLE.to_secret_data();
            data.put(certificate_key(generation.id()), pem::encode("CERTIFICATE", &der));
            if let Ok(read) = CaGenerations::from_secret_data(&data) {
                let leaf_key = key(CertificateAlgorithm::EcdsaP256);
                let _ = issue_leaf(&leaf_profile(), read.signing().unwrap(), &leaf_key, &serial(), now());
            }
        }
    }

    #[test]
    fn data_cut_anywhere_is_never_read_as_whole() {
        let data = generations([root("storefront")]).to_secret_data();
        for key in data.keys() {
            let whole = data.get(key).unwrap();
            // The last octet is a line feed, which says nothing.
            for length in (0..whole.len() - 1).step_by(7).chain([whole.len() - 2]) {
                let mut cut = data.clone();
                cut.put(key, &whole[..length]);
                assert!(CaGenerations::from_secret_data(&cut).is_err(), "{key} cut to {length} octets");
            }
        }
    }
}
