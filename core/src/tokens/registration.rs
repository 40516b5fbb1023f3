//! Clients outside the cluster, as a TrustDomain's Secret registers them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::scopes::is_scope_token;
use crate::jwt::base64url;
use crate::pki::{SecretData, sha256};

/// One registered client: what its key in the Secret holds, as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Registration {
    /// SHA-256 of the client's secret, base64url without padding. The secret has 256 random bits, so that a plain hash is
    /// as good as a slow one.
    secret_sha256: Digest,
    /// Scopes that the client may ask for. Unset: none.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// Address ranges that the client calls from, e.g. `["203.0.113.7/32"]`. Unset: those of the TrustDomain.
    #[serde(default)]
    pub cidrs: BTreeSet<IpNet>,
}

/// Why a registration is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The id is not one.
    #[error("a client's id has 1 to 253 letters, digits, '-', '_' and '.'")]
    Id,
    /// The value is too long.
    #[error("the registration has {length} octets; it may have {MAX_REGISTRATION_LENGTH}")]
    Length {
        /// Its length in octets.
        length: usize,
    },
    /// The value is not a registration. The text of the value is not repeated.
    #[error("the registration is not the JSON object that `ringfence client` prints (line {line}, column {column})")]
    Json {
        /// Where reading stopped.
        line: usize,
        /// Where reading stopped.
        column: usize,
    },
    /// A scope is not one scope token (RFC 6749, section 3.3).
    #[error("the registration's scopes must each be printable ASCII without spaces, quotation marks and backslashes")]
    Scope,
}

/// A client's secret and its registration, both new.
pub struct NewRegistration {
    /// The secret, for the client alone: 43 characters.
    pub secret: Zeroizing<String>,
    /// What goes into the TrustDomain's Secret, as JSON.
    pub registration: String,
}

/// Longest registration, in octets.
const MAX_REGISTRATION_LENGTH: usize = 16 * 1024;

impl Registration {
    /// Reads the value of a client's key in the Secret.
    ///
    /// # Errors
    /// [`RegistrationError`], without the value's text.
    pub fn parse(id: &str, value: &[u8]) -> Result<Self, RegistrationError> {
        if !is_client_id(id) {
            return Err(RegistrationError::Id);
        }
        if value.len() > MAX_REGISTRATION_LENGTH {
            return Err(RegistrationError::Length { length: value.len() });
        }
        let registration: Self = serde_json::from_slice(value)
            .map_err(|error| RegistrationError::Json { line: error.line(), column: error.column() })?;
        if !registration.scopes.iter().all(|scope| is_scope_token(scope)) {
            return Err(RegistrationError::Scope);
        }
        Ok(registration)
    }

    /// Whether this is the client's secret; how long it takes does not tell how much of it is right.
    #[must_use]
    pub fn verify(&self, secret: &str) -> bool {
        verify_slices_are_equal(&sha256(&[secret.as_bytes()]), &self.secret_sha256.0).is_ok()
    }

    /// Whether the client may call from this address; `domain` are the TrustDomain's ranges, which hold as well.
    #[must_use]
    pub fn admits(&self, address: IpAddr, domain: &[IpNet]) -> bool {
        let address = address.to_canonical();
        let holds = |range: &IpNet| holds(*range, address);
        domain.iter().any(holds) && (self.cidrs.is_empty() || self.cidrs.iter().any(holds))
    }
}

impl NewRegistration {
    /// Registers a client whose secret is made of these random bits.
    ///
    /// # Panics
    /// Never: the registration is made of strings.
    #[must_use]
    pub fn new(entropy: &[u8; 32], scopes: BTreeSet<String>, cidrs: BTreeSet<IpNet>) -> Self {
        let secret = Zeroizing::new(base64url(entropy));
        let registration = Registration { secret_sha256: Digest(sha256(&[secret.as_bytes()])), scopes, cidrs };
        let registration = serde_json::to_string(&registration).expect("a registration always serializes");
        Self { secret, registration }
    }
}

/// The registrations of a Secret by client id, and what is wrong with the others.
#[must_use]
pub(super) fn registrations(data: &SecretData) -> (HashMap<String, Registration>, Vec<(String, RegistrationError)>) {
    let (mut good, mut bad) = (HashMap::new(), Vec::new());
    for id in data.keys() {
        match Registration::parse(id, data.get(id).unwrap_or_default()) {
            Ok(registration) => drop(good.insert(id.to_owned(), registration)),
            Err(error) => bad.push((id.to_owned(), error)),
        }
    }
    (good, bad)
}

/// Whether a range holds an address; one of length 0 holds those of both families.
fn holds(range: IpNet, address: IpAddr) -> bool {
    range.prefix_len() == 0 || range.contains(&address)
}

/// What can be a key of a Secret. None is a SPIFFE ID.
fn is_client_id(id: &str) -> bool {
    (1..=253).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The hash alone; a secret can't be told from it.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("scopes", &self.scopes).field("cidrs", &self.cidrs).finish_non_exhaustive()
    }
}

impl fmt::Debug for NewRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRegistration").field("registration", &self.registration).finish_non_exhaustive()
    }
}

/// A SHA-256 hash, in JSON base64url without padding.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Digest([u8; 32]);

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let octets = URL_SAFE_NO_PAD.decode(text).ok().and_then(|octets| octets.try_into().ok());
        octets.map(Self).ok_or("not a SHA-256 hash in base64url without padding")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        base64url(&digest.0)
    }
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
