//! Keystores in PKCS#12 (RFC 7292), as Java 8u301, OpenSSL 3 and whatever is newer read them: PBES2 with AES-256-CBC and
//! HMAC-SHA-256, and a MAC by HMAC-SHA-256.

use ringfence_core::pki::{KeystoreContent, KeystorePassword};

/// `keystore.p12` and `truststore.p12`.
pub(super) struct Keystores {
    pub(super) keystore: Vec<u8>,
    pub(super) truststore: Vec<u8>,
}

/// Keystores that could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeystoreError {
    #[cfg(feature = "pkcs12")]
    #[error(transparent)]
    Pkcs12(#[from] p12_keystore::error::Error),
    #[cfg(not(feature = "pkcs12"))]
    #[error("this build of the operator has no keystores")]
    Unavailable,
}

/// Whether this build can write keystores.
pub(super) const AVAILABLE: bool = cfg!(feature = "pkcs12");

/// Writes both keystores. The key's alias is `alias`; those of the roots are `ca`, `ca-2` and so on. Deriving keys from the
/// password takes some milliseconds, by intent.
#[cfg(feature = "pkcs12")]
pub(super) fn write(
    content: &KeystoreContent,
    password: &KeystorePassword,
    alias: &str,
) -> Result<Keystores, KeystoreError> {
    use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};

    let (mut keystore, mut truststore) = (KeyStore::new(), KeyStore::new());
    let chain = content.chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    let chain = PrivateKeyChain::new(alias, PrivateKey::from_der(&content.key)?, chain);
    keystore.add_entry(alias, KeyStoreEntry::PrivateKeyChain(chain));
    for (position, root) in (1..).zip(&content.roots) {
        let alias = if position == 1 { "ca".to_owned() } else { format!("ca-{position}") };
        truststore.add_entry(&alias, KeyStoreEntry::Certificate(Certificate::from_der(root)?));
    }
    // The writer's defaults are the algorithms above.
    Ok(Keystores {
        keystore: keystore.writer(password.expose()).write()?,
        truststore: truststore.writer(password.expose()).write()?,
    })
}

#[cfg(not(feature = "pkcs12"))]
pub(super) fn write(_: &KeystoreContent, _: &KeystorePassword, _: &str) -> Result<Keystores, KeystoreError> {
    Err(KeystoreError::Unavailable)
}
