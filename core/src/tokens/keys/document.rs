//! Key generations as the token service's Secret holds them: each has an id `<id>`, and of it `<id>.private.pem` (PKCS#8),
//! `<id>.sealing.key` (32 octets) and `<id>.json` (how far it has come).

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::SigningAlgorithm;
use crate::jwt::{PublicJwk, SigningKey};
use crate::pki::{PrivateKey, SecretData, sha256};

/// All generations of the token service's keys.
#[derive(Clone, Debug, Default)]
pub struct Generations {
    pub(super) generations: Vec<Generation>,
    /// How many can't be read.
    pub(super) unreadable: usize,
}

/// One generation: a key that signs, and one that seals. `Debug` shows the public part only.
#[derive(Clone)]
pub struct Generation {
    id: GenerationId,
    signing: SigningKey,
    sealing: Zeroizing<[u8; 32]>,
    /// How far it has come.
    pub phase: GenerationPhase,
}

/// The first octets of the hash of a generation's `kid`.
pub(super) type GenerationId = [u8; 8];

/// How far a generation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all_fields = "camelCase")]
pub enum GenerationPhase {
    /// Not seen in the published key set yet.
    New,
    /// In the published key set, and not used.
    Next {
        /// Since when.
        published_at: Timestamp,
    },
    /// Signs and seals.
    Active {
        /// Since when.
        active_from: Timestamp,
    },
    /// Only verifies and opens.
    Retired {
        /// After this moment nothing was signed or sealed with it.
        last_used: Timestamp,
    },
}

/// Keys for a new generation, made of the system's randomness.
pub struct NewKeys {
    /// An ECDSA key over P-256.
    pub signing: PrivateKey,
    /// A key for AES-256-GCM.
    pub sealing: Zeroizing<[u8; 32]>,
}

/// Why the Secret is not taken. None of its content is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerationsError {
    /// The form is of another version.
    #[error(
        "the keys in the Secret have version {found}; this token service knows version {VERSION}: run the release that wrote them"
    )]
    Version {
        /// Its version.
        found: u64,
    },
    /// A new key is not what was asked for.
    #[error("the new key is not ECDSA over P-256")]
    WrongKey,
}

const VERSION: u64 = 1;
const PRIVATE: &str = ".private.pem";
const SEALING: &str = ".sealing.key";
const RECORD: &str = ".json";
/// Most generations that are read.
const MAX_GENERATIONS: usize = 64;

/// What `<id>.json` holds.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u64,
    #[serde(flatten)]
    phase: GenerationPhase,
}

impl Generations {
    /// Reads the Secret; a Secret that is not there holds none.
    ///
    /// # Errors
    /// [`GenerationsError::Version`]. What is damaged is left out, so that a plan replaces it.
    pub fn read(data: &SecretData) -> Result<Self, GenerationsError> {
        let ids: BTreeSet<&str> = data.keys().filter_map(|key| key.split_once('.')).map(|(id, _)| id).collect();
        let mut read = Self::default();
        for id in ids {
            match Generation::read(data, id)? {
                Some(generation) if read.generations.len() < MAX_GENERATIONS => read.generations.push(generation),
                _ => read.unreadable += 1,
            }
        }
        Ok(read)
    }

    /// What the Secret is to hold.
    ///
    /// # Panics
    /// Never: a record is made of words and times.
    #[must_use]
    pub fn secret_data(&self) -> SecretData {
        let mut data = SecretData::default();
        for generation in &self.generations {
            let id = generation.name();
            let record = Record { version: VERSION, phase: generation.phase };
            data.put(format!("{id}{PRIVATE}"), generation.signing.to_pkcs8_pem().as_bytes());
            data.put(format!("{id}{SEALING}"), *generation.sealing);
            data.put(format!("{id}{RECORD}"), serde_json::to_vec(&record).expect("a record always serializes"));
        }
        data
    }

    /// The generations.
    pub fn iter(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter()
    }

    /// The published key set: a JWK Set (RFC 7517) with the public keys of all generations, the same octets whenever these
    /// are the same.
    ///
    /// # Panics
    /// Never: a key set is made of strings.
    #[must_use]
    pub fn jwks(&self) -> String {
        #[derive(Serialize)]
        struct KeySet<'a> {
            keys: Vec<&'a PublicJwk>,
        }
        let mut keys: Vec<_> = self.generations.iter().map(|generation| generation.signing.public_jwk()).collect();
        keys.sort_by_key(|key| &key.kid);
        serde_json::to_string(&KeySet { keys }).expect("a key set of strings always serializes")
    }
}

impl Generation {
    /// Makes a generation of new keys.
    ///
    /// # Errors
    /// [`GenerationsError::WrongKey`].
    pub(super) fn new(keys: NewKeys, phase: GenerationPhase) -> Result<Self, GenerationsError> {
        Self::of(keys.signing, keys.sealing, phase).ok_or(GenerationsError::WrongKey)
    }

    /// The id of its public key.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.signing.kid()
    }

    pub(super) fn id(&self) -> GenerationId {
        self.id
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    pub(super) fn sealing(&self) -> &[u8; 32] {
        &self.sealing
    }

    fn of(signing: PrivateKey, sealing: Zeroizing<[u8; 32]>, phase: GenerationPhase) -> Option<Self> {
        let signing = SigningKey::new(signing, SigningAlgorithm::ES256).ok()?;
        let mut id = GenerationId::default();
        id.copy_from_slice(&sha256(&[signing.kid().as_bytes()])[..8]);
        Some(Self { id, signing, sealing, phase })
    }

    pub(super) fn name(&self) -> String {
        self.id.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    fn read(data: &SecretData, id: &str) -> Result<Option<Self>, GenerationsError> {
        let Some(record) = data.get(&format!("{id}{RECORD}")) else { return Ok(None) };
        if let Ok(Versioned { version }) = serde_json::from_slice(record)
            && version != VERSION
        {
            return Err(GenerationsError::Version { found: version });
        }
        let Ok(Record { phase, .. }) = serde_json::from_slice(record) else { return Ok(None) };
        let signing = data.get(&format!("{id}{PRIVATE}")).and_then(|pem| PrivateKey::from_pem(pem).ok());
        let sealing = data.get(&format!("{id}{SEALING}")).and_then(|octets| octets.try_into().ok()).map(Zeroizing::new);
        let generation = signing.zip(sealing).and_then(|(signing, sealing)| Self::of(signing, sealing, phase));
        Ok(generation.filter(|generation| generation.name() == id))
    }
}

/// All that can be read of any version.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").field("kid", &self.kid()).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKeys(redacted)")
    }
}
