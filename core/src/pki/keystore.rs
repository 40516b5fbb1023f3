//! The keystores `keystore.p12` and `truststore.p12` (PKCS#12, RFC 7292) in the Secret of a certificate: what goes into
//! them, and how it is known that what is there was made of it.
//!
//! Whoever writes a keystore draws salts, so that two of the same content differ. They are therefore not compared but
//! recorded, in an annotation of the Secret: a MAC (HMAC-SHA-256) over the content, the password and the octets that were
//! written. Its key comes from the key of the CA that issued the leaf, which leaves no trace of it in the record: nobody
//! else can make such a record, nor find the password by trying, as a plain hash would let everybody who reads the Secret.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::SecretData;
use super::authority::CaGeneration;
use super::certificate::Certificate;
use super::leaf_facts::{LeafFacts, TlsSecretFault, read_tls_secret};
use super::pem;
use super::sha256;
use super::tls_secret::CA_CRT;

pub(crate) const KEYSTORE: &str = "keystore.p12";
pub(crate) const TRUSTSTORE: &str = "truststore.p12";

/// Fewest characters of a password: with fewer, Java's `keytool` creates none.
const SHORTEST: usize = 6;
/// Most characters of a password.
const LONGEST: usize = 128;

/// The password of keystores. `Debug` does not show it, and its memory is wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct KeystorePassword(Zeroizing<String>);

/// What can't be a password of keystores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// There is no such data key.
    #[error("does not exist")]
    NoKey,
    /// Nothing is in it.
    #[error("is empty")]
    Empty,
    /// A line break is in it, mostly at the end.
    #[error("has a line break in it, as echo and editors put one at the end")]
    LineBreak,
    /// Programs do not agree on how other characters are encoded.
    #[error("has characters other than printable ASCII")]
    NotAscii,
    /// It is too short or too long.
    #[error("does not have {SHORTEST} to {LONGEST} characters")]
    Length,
}

impl KeystorePassword {
    /// The octets of a Secret as a password.
    ///
    /// # Errors
    /// [`PasswordFault`].
    pub fn parse(octets: Option<&[u8]>) -> Result<Self, PasswordFault> {
        let octets = octets.ok_or(PasswordFault::NoKey)?;
        if octets.is_empty() {
            return Err(PasswordFault::Empty);
        }
        if octets.iter().any(|octet| matches!(octet, b'\n' | b'\r')) {
            return Err(PasswordFault::LineBreak);
        }
        let text = std::str::from_utf8(octets).map_err(|_| PasswordFault::NotAscii)?;
        if !text.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
            return Err(PasswordFault::NotAscii);
        }
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            return Err(PasswordFault::Length);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The password, for whoever writes keystores.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeystorePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeystorePassword(redacted)")
    }
}

/// What goes into the keystores.
pub struct KeystoreContent {
    /// The private key: PKCS#8 version 1 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// The leaf and its intermediates, in DER.
    pub chain: Vec<Vec<u8>>,
    /// The roots, in DER.
    pub roots: Vec<Vec<u8>>,
}

impl KeystoreContent {
    /// What the `data` of a certificate's Secret says.
    ///
    /// # Errors
    /// [`TlsSecretFault`] if there is no leaf with its key.
    pub fn of(data: &SecretData) -> Result<Self, TlsSecretFault> {
        let parts = read_tls_secret(data)?;
        let roots = data.get(CA_CRT).ok_or(TlsSecretFault::Missing { key: CA_CRT })?;
        let roots = pem::certificates(roots).map_err(TlsSecretFault::Certificate)?;
        let der = |certificate: &Certificate| certificate.der().to_vec();
        Ok(Self {
            key: Zeroizing::new(parts.key.pkcs8_der().to_vec()),
            chain: std::iter::once(&parts.leaf).chain(&parts.chain).map(der).collect(),
            roots: roots.iter().map(der).collect(),
        })
    }
}

impl SecretData {
    /// Puts keystores beside the certificate.
    pub fn put_keystores(&mut self, keystore: impl AsRef<[u8]>, truststore: impl AsRef<[u8]>) {
        self.put(KEYSTORE, keystore);
        self.put(TRUSTSTORE, truststore);
    }

    /// Puts there what keystores another version of the Secret has.
    pub fn keep_keystores(&mut self, of: &Self) {
        for name in [KEYSTORE, TRUSTSTORE] {
            if let Some(octets) = of.get(name) {
                self.put(name, octets);
            }
        }
    }
}

/// SHA-256 over both keystores, or `None` if neither is there.
pub(crate) fn keystores_sha256(data: &SecretData) -> Option<[u8; 32]> {
    let (keystore, truststore) = (data.get(KEYSTORE), data.get(TRUSTSTORE));
    let each = [keystore, truststore].map(|octets| octets.map(|octets| sha256(&[octets])));
    let marks = each.map(|hash| u8::from(hash.is_some()));
    let [keystore, truststore] = each.map(Option::unwrap_or_default);
    (marks != [0, 0]).then(|| sha256(&[&marks, &keystore, &truststore]))
}

/// The record of keystores that were written for a leaf: hexadecimal. `authority` is the generation that issued the leaf,
/// and `facts` are those of the Secret with its keystores.
#[must_use]
pub fn keystore_record(authority: &CaGeneration, facts: &LeafFacts, password: &KeystorePassword) -> String {
    let own = hmac::Key::new(hmac::HMAC_SHA256, authority.key().pkcs8_der());
    let derived = hmac::sign(&own, b"ringfence.dev keystore record, version 1");
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()));
    // All of fixed length but the password, which comes last.
    for part in [
        facts.keystores_sha256.unwrap_or_default(),
        facts.public_key_sha256,
        sha256(&[facts.serial.to_string().as_bytes()]),
        facts.chain_sha256,
        facts.ca_sha256.unwrap_or_default(),
    ] {
        mac.update(&part);
    }
    mac.update(password.expose().as_bytes());
    mac.sign().as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
#[path = "keystore_tests.rs"]
mod tests;
