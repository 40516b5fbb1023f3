//! Client ids and secrets that issuers gave out, in the Secret of the operator's namespace that a TrustDomain names, and in
//! the Secrets that they are copied to.

use std::collections::BTreeMap;
use std::fmt;

use crate::pki::{SecretData, sha256};
use crate::world::NamespacedName;

/// Data key of the client id.
const CLIENT_ID: &str = "client-id";
/// Data key of the client's secret.
const CLIENT_SECRET: &str = "client-secret";
/// Longest of both, in bytes.
const LONGEST: usize = 4096;

/// Stands for credentials: the same for the same. It says nothing about them, and `Debug` does not show it, since a secret
/// that is easy to guess could be guessed from it.
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(redacted)")
    }
}

/// Why a Secret holds no credentials for an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsFault {
    /// A data key is not there.
    #[error("has no data key {0}")]
    Missing(String),
    /// Something that no issuer gives out (RFC 6749, appendix A).
    #[error(
        "has something else under {0} than 1 to {LONGEST} printable ASCII characters, such as a line feed at the end"
    )]
    Invalid(String),
}

/// What is known of a Secret with credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFacts {
    /// Its version.
    pub version: String,
    shared: Result<Fingerprint, CredentialsFault>,
    own: BTreeMap<NamespacedName, Result<Fingerprint, CredentialsFault>>,
}

impl CredentialsFacts {
    /// What is known of a Secret of the operator's namespace; nothing of one that can't be meant for this.
    pub fn of(data: &SecretData, version: &str) -> Option<Self> {
        let concerned = data.keys().filter(|key| key.ends_with(CLIENT_ID) || key.ends_with(CLIENT_SECRET));
        let identities: Vec<Option<NamespacedName>> = concerned.map(owner).collect();
        if identities.is_empty() {
            return None;
        }
        let read = |identity: &NamespacedName| {
            let found = credentials_for(data, identity).map(|found| fingerprint(&found));
            (identity.clone(), found)
        };
        let own = identities.iter().flatten().map(read).collect();
        let shared = pair(data, "").map(|found| fingerprint(&found));
        Some(Self { version: version.to_owned(), shared, own })
    }

    /// What stands for the credentials of an identity.
    ///
    /// # Errors
    /// [`CredentialsFault`] if there are none.
    pub fn of_identity(&self, identity: &NamespacedName) -> Result<&Fingerprint, &CredentialsFault> {
        self.own.get(identity).unwrap_or(&self.shared).as_ref()
    }

    /// Whether both hold the same credentials.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.shared == other.shared && self.own == other.own
    }
}

/// The credentials of an identity: under `client-id` and `client-secret`, as they are delivered.
///
/// # Errors
/// [`CredentialsFault`] if there are none.
pub fn credentials_for(data: &SecretData, identity: &NamespacedName) -> Result<SecretData, CredentialsFault> {
    let own = format!("{}.{}.", identity.namespace, identity.name);
    let has_own = [CLIENT_ID, CLIENT_SECRET].iter().any(|key| data.get(&format!("{own}{key}")).is_some());
    pair(data, if has_own { &own } else { "" })
}

/// What stands for credentials as they were delivered; nothing if anything else is there too.
pub fn delivered(data: &SecretData) -> Option<Fingerprint> {
    data.keys().eq([CLIENT_ID, CLIENT_SECRET]).then(|| fingerprint(data))
}

/// The identity whose credentials are under a data key, if they are one identity's alone.
fn owner(key: &str) -> Option<NamespacedName> {
    let identity = key.strip_suffix(CLIENT_ID).or_else(|| key.strip_suffix(CLIENT_SECRET))?.strip_suffix('.')?;
    let (namespace, name) = identity.split_once('.')?;
    Some(NamespacedName::new(namespace, name))
}

fn pair(data: &SecretData, prefix: &str) -> Result<SecretData, CredentialsFault> {
    let mut found = SecretData::default();
    for part in [CLIENT_ID, CLIENT_SECRET] {
        let key = format!("{prefix}{part}");
        let Some(octets) = data.get(&key) else { return Err(CredentialsFault::Missing(key)) };
        let is_valid = (1..=LONGEST).contains(&octets.len()) && octets.iter().all(|octet| matches!(octet, 0x20..=0x7e));
        if !is_valid {
            return Err(CredentialsFault::Invalid(key));
        }
        found.put(part, octets);
    }
    Ok(found)
}

fn fingerprint(data: &SecretData) -> Fingerprint {
    let octets = |key| data.get(key).unwrap_or_default();
    let (id, secret) = (octets(CLIENT_ID), octets(CLIENT_SECRET));
    // Where one ends and the other begins counts.
    Fingerprint(sha256(&[&id.len().to_be_bytes(), id, secret]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, &str)]) -> SecretData {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn order() -> NamespacedName {
        NamespacedName::new("storefront", "order")
    }

    #[test]
    fn an_identitys_own_credentials_go_before_the_shared_ones() {
        let shared = secret(&[("client-id", "shop"), ("client-secret", "s1")]);
        let both = secret(&[
            ("client-id", "shop"),
            ("client-secret", "s1"),
            ("storefront.order.client-id", "order"),
            ("storefront.order.client-secret", "s2"),
        ]);
        let cart = NamespacedName::new("storefront", "cart");
        assert_eq!(credentials_for(&shared, &order()).unwrap(), shared);
        assert_eq!(credentials_for(&both, &cart).unwrap(), shared);
        let own = secret(&[("client-id", "order"), ("client-secret", "s2")]);
        assert_eq!(credentials_for(&both, &order()).unwrap(), own);

        let facts = CredentialsFacts::of(&both, "1").unwrap();
        assert_eq!(facts.of_identity(&order()).ok(), delivered(&own).as_ref());
        assert_eq!(facts.of_identity(&cart).ok(), delivered(&shared).as_ref());
        assert_ne!(delivered(&own), delivered(&shared));
        assert_eq!(delivered(&both), None, "nothing else is to be there");
        let shifted = secret(&[("client-id", "orders"), ("client-secret", "2")]);
        assert_ne!(delivered(&shifted), delivered(&own));
    }

    #[test]
    fn half_of_them_or_what_no_issuer_gives_out_is_named_by_its_key() {
        let missing = |key: &str| Err(CredentialsFault::Missing(key.to_owned()));
        let invalid = |key: &str| Err(CredentialsFault::Invalid(key.to_owned()));
        let long = "a".repeat(LONGEST + 1);
        for (entries, expected) in [
            (vec![("client-id", "a")], missing("client-secret")),
            (vec![("client-secret", "a")], missing("client-id")),
            (
                vec![("client-id", "a"), ("client-secret", "b"), ("storefront.order.client-id", "c")],
                missing("storefront.order.client-secret"),
            ),
            (vec![("client-id", "a\n"), ("client-secret", "b")], invalid("client-id")),
            (vec![("client-id", "a"), ("client-secret", "")], invalid("client-secret")),
            (vec![("client-id", "a"), ("client-secret", "pässword")], invalid("client-secret")),
            (vec![("client-id", "a"), ("client-secret", &long)], invalid("client-secret")),
        ] {
            let data = secret(&entries);
            assert_eq!(credentials_for(&data, &order()), expected, "{entries:?}");
            let facts = CredentialsFacts::of(&data, "1").unwrap();
            assert_eq!(facts.of_identity(&order()).err().cloned(), expected.err(), "{entries:?}");
        }
        assert_eq!(CredentialsFacts::of(&secret(&[("tls.key", "a")]), "1"), None);
    }

    #[test]
    fn nothing_of_them_is_shown() {
        let data = secret(&[("client-id", "shop"), ("client-secret", "hunter2")]);
        let facts = CredentialsFacts::of(&data, "1").unwrap();
        let shown = format!("{facts:?} {:?}", delivered(&data));
        assert!(!shown.contains("hunter2") && !shown.contains("shop"), "{shown}");
        let fault = credentials_for(&secret(&[("client-id", "hunter2\n"), ("client-secret", "b")]), &order());
        assert!(!fault.unwrap_err().to_string().contains("hunter2"));
    }
}
