//! What is remembered of a stored token-signing key, without the key, and what follows from it.

use std::collections::BTreeSet;

use super::jwk::{JwkParameters, PublicJwk};
use super::signing_key::{SigningKey, key_algorithm};
use super::signing_key_secret::{
    NEXT_KID, NEXT_PRIVATE, PRIVATE, SigningKeyFault, StoredKeys, signing_key_secret_data,
};
use crate::api::{CertificateAlgorithm, SigningAlgorithm};
use crate::pki::SecretData;

/// The facts of a Secret `<identity>-signing-key` that holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyFacts {
    /// The key that signs.
    pub current: KeyFacts,
    /// During a rollover, the key that comes next.
    pub next: Option<KeyFacts>,
    /// Data keys that Ringfence does not write.
    pub extra_keys: BTreeSet<String>,
    /// Whether the data keys of a next key are there, but no key is in them.
    pub next_malformed: bool,
    /// Whether `jwk.json`, `kid` and `next.kid` say what follows from the private keys.
    pub derived_agree: bool,
    /// Whether the private keys have the very octets that Ringfence would write.
    pub canonical: bool,
}

/// The public side of one stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// What kind of key it is. The Secret does not say which of its algorithms an RSA key is used with.
    pub algorithm: CertificateAlgorithm,
    /// The public key.
    pub parameters: JwkParameters,
    /// Its id (RFC 7638).
    pub kid: String,
}

/// Why a service must get a new token-signing key at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegenerateReason {
    /// There is no Secret, or no key in it.
    Missing,
    /// The Secret's key does not parse, or is of a kind that signs no tokens.
    Malformed,
    /// The key is not the one that was recorded: someone put another one there.
    UnexpectedKey,
    /// It may be in other hands: a rotation distrusts it.
    Compromised,
    /// The key does not fit the algorithm that is asked for.
    AlgorithmChanged,
}

/// Why the Secret of a token-signing key must be written anew, with its keys as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SigningKeyRewriteReason {
    /// The next key does not parse.
    NextKeyMalformed,
    /// `jwk.json`, `kid` or `next.kid` contradict the private keys.
    DerivedKeysOutdated,
    /// The Secret has data keys that Ringfence does not write.
    ExtraKeys,
    /// A private key stands there in other octets than Ringfence's.
    EncodingChanged,
    /// It comes from a backup and is not marked as the identity's yet.
    Restored,
}

impl SigningKeyFacts {
    /// Reads the Secret's `data`.
    ///
    /// # Errors
    /// [`SigningKeyFault`] if it holds no key.
    pub fn of_secret(data: &SecretData) -> Result<Self, SigningKeyFault> {
        let keys = StoredKeys::read(data)?;
        let expected = signing_key_secret_data(&keys.current, keys.next.as_ref());
        let is_private = |key: &str| [PRIVATE, NEXT_PRIVATE].contains(&key);
        let agree = |private: bool| {
            expected.keys().filter(|key| is_private(key) == private).all(|key| data.get(key) == expected.get(key))
        };
        let is_next = |key: &str| [NEXT_PRIVATE, NEXT_KID].contains(&key);
        Ok(Self {
            current: KeyFacts::of(&keys.current),
            next: keys.next.as_ref().map(KeyFacts::of),
            extra_keys: data
                .keys()
                .filter(|key| expected.get(key).is_none() && !is_next(key))
                .map(str::to_owned)
                .collect(),
            next_malformed: keys.next.is_none() && data.keys().any(is_next),
            derived_agree: agree(false),
            canonical: agree(true),
        })
    }

    /// What verifiers get: the current key and the next one, as far as they fit the algorithm.
    #[must_use]
    pub fn public_jwks(&self, algorithm: SigningAlgorithm) -> Vec<PublicJwk> {
        [Some(&self.current), self.next.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|key| key.public_jwk(algorithm))
            .collect()
    }
}

impl KeyFacts {
    fn of(key: &SigningKey) -> Self {
        let public = key.public_jwk();
        Self { algorithm: key_algorithm(public.alg), parameters: public.parameters.clone(), kid: public.kid.clone() }
    }

    /// The public JWK for an algorithm, or `None` if the key does not fit it.
    #[must_use]
    pub fn public_jwk(&self, algorithm: SigningAlgorithm) -> Option<PublicJwk> {
        (key_algorithm(algorithm) == self.algorithm).then(|| PublicJwk::new(self.parameters.clone(), algorithm))
    }
}

/// Whether the service must get a new key, and why. `stored` is what is known of the Secret, `None` if there is none;
/// `expected_kid` is the id of the key that was recorded when it was made.
#[must_use]
pub fn why_regenerate(
    stored: Option<Result<&SigningKeyFacts, &SigningKeyFault>>,
    algorithm: SigningAlgorithm,
    expected_kid: Option<&str>,
) -> Option<RegenerateReason> {
    let facts = match stored {
        None | Some(Err(SigningKeyFault::Missing)) => return Some(RegenerateReason::Missing),
        Some(Err(SigningKeyFault::Malformed(_) | SigningKeyFault::Unsuitable { .. })) => {
            return Some(RegenerateReason::Malformed);
        }
        Some(Ok(facts)) => facts,
    };
    if expected_kid.is_some_and(|kid| kid != facts.current.kid) {
        Some(RegenerateReason::UnexpectedKey)
    } else if facts.current.algorithm != key_algorithm(algorithm) {
        Some(RegenerateReason::AlgorithmChanged)
    } else {
        None
    }
}

/// Whether the Secret must be written anew around keys that stay, and why.
#[must_use]
pub fn why_rewrite(facts: &SigningKeyFacts) -> Option<SigningKeyRewriteReason> {
    if facts.next_malformed {
        Some(SigningKeyRewriteReason::NextKeyMalformed)
    } else if !facts.derived_agree {
        Some(SigningKeyRewriteReason::DerivedKeysOutdated)
    } else if !facts.extra_keys.is_empty() {
        Some(SigningKeyRewriteReason::ExtraKeys)
    } else if !facts.canonical {
        Some(SigningKeyRewriteReason::EncodingChanged)
    } else {
        None
    }
}

impl RegenerateReason {
    /// The reason for conditions, events and metrics: CamelCase and stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Malformed => "Malformed",
            Self::UnexpectedKey => "UnexpectedKey",
            Self::Compromised => "Compromised",
            Self::AlgorithmChanged => "AlgorithmChanged",
        }
    }
}

impl SigningKeyRewriteReason {
    /// The reason for conditions, events and metrics: CamelCase and stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NextKeyMalformed => "NextKeyMalformed",
            Self::DerivedKeysOutdated => "DerivedKeysOutdated",
            Self::ExtraKeys => "ExtraKeys",
            Self::EncodingChanged => "EncodingChanged",
            Self::Restored => "Restored",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::signing_key_secret::{JWK, KID};
    use crate::jwt::testing::{SIGNING_ALGORITHMS, signing_key};
    use crate::pki::KeyError;
    use crate::pki::testing::key;

    #[test]
    fn facts_of_what_was_written_need_nothing() {
        for algorithm in SIGNING_ALGORITHMS {
            let (current, next) = (signing_key(algorithm), signing_key(algorithm));
            for next in [None, Some(&next)] {
                let facts = SigningKeyFacts::of_secret(&signing_key_secret_data(&current, next)).unwrap();
                assert_eq!((why_rewrite(&facts), &*facts.current.kid), (None, current.kid()));
                assert_eq!(why_regenerate(Some(Ok(&facts)), algorithm, Some(current.kid())), None);
                assert_eq!(why_regenerate(Some(Ok(&facts)), algorithm, None), None);
                let expected: Vec<_> = std::iter::once(&current).chain(next).map(|k| k.public_jwk().clone()).collect();
                assert_eq!(facts.public_jwks(algorithm), expected, "with the right alg, also for RSA");
            }
        }
    }

    #[test]
    fn each_reason_for_a_new_key() {
        let current = signing_key(SigningAlgorithm::ES256);
        let facts = SigningKeyFacts::of_secret(&signing_key_secret_data(&current, None)).unwrap();
        let why = |stored, algorithm, kid| why_regenerate(stored, algorithm, kid);
        assert_eq!(why(None, SigningAlgorithm::ES256, None), Some(RegenerateReason::Missing));
        let faults = [
            (SigningKeyFault::Missing, RegenerateReason::Missing),
            (SigningKeyFault::Malformed(KeyError::NoKey), RegenerateReason::Malformed),
            (SigningKeyFault::Unsuitable { found: CertificateAlgorithm::Rsa4096 }, RegenerateReason::Malformed),
        ];
        for (fault, reason) in faults {
            assert_eq!(why_regenerate(Some(Err(&fault)), SigningAlgorithm::ES256, None), Some(reason), "{fault}");
        }
        let unexpected = why_regenerate(Some(Ok(&facts)), SigningAlgorithm::ES256, Some("another"));
        assert_eq!(unexpected, Some(RegenerateReason::UnexpectedKey));
        for algorithm in [SigningAlgorithm::ES384, SigningAlgorithm::EdDSA, SigningAlgorithm::RS256] {
            let changed = why_regenerate(Some(Ok(&facts)), algorithm, Some(current.kid()));
            assert_eq!(changed, Some(RegenerateReason::AlgorithmChanged), "{algorithm:?}");
            assert_eq!(facts.public_jwks(algorithm), []);
        }
    }

    /// The key is the same for both; only the key set changes.
    #[test]
    fn an_rsa_key_serves_either_of_its_algorithms() {
        let current = signing_key(SigningAlgorithm::RS256);
        let facts = SigningKeyFacts::of_secret(&signing_key_secret_data(&current, None)).unwrap();
        assert_eq!(why_regenerate(Some(Ok(&facts)), SigningAlgorithm::PS256, Some(current.kid())), None);
        assert_eq!(facts.public_jwks(SigningAlgorithm::PS256)[0].alg, SigningAlgorithm::PS256);
    }

    #[test]
    fn a_secret_without_a_key_for_tokens_is_a_fault() {
        let with = |text: &str| [(PRIVATE.to_owned(), text.as_bytes().to_vec())].into_iter().collect::<SecretData>();
        let rsa4096 = key(CertificateAlgorithm::Rsa4096).to_pkcs8_pem();
        let cases = [
            (SecretData::default(), SigningKeyFault::Missing),
            (with(""), SigningKeyFault::Malformed(KeyError::NoKey)),
            (with(&rsa4096[..999]), SigningKeyFault::Malformed(KeyError::Truncated)),
            (with(&rsa4096), SigningKeyFault::Unsuitable { found: CertificateAlgorithm::Rsa4096 }),
        ];
        for (data, fault) in cases {
            assert_eq!(SigningKeyFacts::of_secret(&data), Err(fault));
        }
    }

    #[test]
    fn each_reason_for_a_rewrite() {
        let (current, next) = (signing_key(SigningAlgorithm::ES256), signing_key(SigningAlgorithm::ES256));
        let (alone, rollover) =
            (signing_key_secret_data(&current, None), signing_key_secret_data(&current, Some(&next)));
        let pem = current.to_pkcs8_pem();
        let other_jwk = signing_key_secret_data(&next, None).get(JWK).unwrap().to_vec();
        let other_pem = next.to_pkcs8_pem();
        let cases: [(&SecretData, &str, &[u8], SigningKeyRewriteReason); 8] = [
            (&alone, KID, b"another", SigningKeyRewriteReason::DerivedKeysOutdated),
            (&alone, JWK, &other_jwk, SigningKeyRewriteReason::DerivedKeysOutdated),
            (&alone, PRIVATE, other_pem.as_bytes(), SigningKeyRewriteReason::DerivedKeysOutdated),
            (&rollover, NEXT_KID, b"another", SigningKeyRewriteReason::DerivedKeysOutdated),
            (&rollover, NEXT_PRIVATE, b"x", SigningKeyRewriteReason::NextKeyMalformed),
            (&alone, NEXT_KID, b"x", SigningKeyRewriteReason::NextKeyMalformed),
            (&alone, "public.pem", b"x", SigningKeyRewriteReason::ExtraKeys),
            (&alone, PRIVATE, &[pem.as_bytes(), b"\n"].concat(), SigningKeyRewriteReason::EncodingChanged),
        ];
        for (whole, data_key, octets, reason) in cases {
            let mut data = whole.clone();
            data.put(data_key, octets);
            let facts = SigningKeyFacts::of_secret(&data).unwrap();
            assert_eq!(why_rewrite(&facts), Some(reason), "{data_key}");
            assert_eq!(facts.extra_keys.is_empty(), reason != SigningKeyRewriteReason::ExtraKeys, "{data_key}");
            let rewritten = crate::jwt::rewrite_signing_key_secret(&data).unwrap();
            assert_eq!(why_rewrite(&SigningKeyFacts::of_secret(&rewritten).unwrap()), None, "{data_key}: mended");
        }
    }

    /// RSA private keys are never written as JWK: one beside them is someone else's.
    #[test]
    fn a_jwk_beside_an_rsa_key_is_extra() {
        let mut data = signing_key_secret_data(&signing_key(SigningAlgorithm::PS256), None);
        data.put(JWK, "{}");
        let facts = SigningKeyFacts::of_secret(&data).unwrap();
        assert_eq!(facts.extra_keys, BTreeSet::from([JWK.to_owned()]));
        assert_eq!(why_rewrite(&facts), Some(SigningKeyRewriteReason::ExtraKeys));
    }
}
