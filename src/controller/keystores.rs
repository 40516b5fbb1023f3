//! Keystores in PKCS#12 (RFC 7292), as Java 8u301, OpenSSL 3 and whatever is newer read them: PBES2 with AES-256-CBC and
//! HMAC-SHA-256, and a MAC by HMAC-SHA-256.

use ringfence_core::api::{ConditionType, Reason};
use ringfence_core::pki::{KeystoreContent, KeystorePassword};
use ringfence_core::world::Problem;

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

/// What is said of keystores that are declared where the operator can't write them.
pub(super) fn unavailable(declared: bool) -> Option<Problem> {
    (declared && !AVAILABLE).then(|| Problem {
        condition: ConditionType::Programmed,
        reason: Reason::KeystoresUnavailable,
        message: "this build of the operator can't write keystores, and the certificate comes without: take certificate.pkcs12 out, or ask the platform team for a build with the feature pkcs12".to_owned(),
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "pkcs12"))]
    #[test]
    fn a_build_without_keystores_says_so_to_those_who_want_one() {
        assert_eq!(unavailable(true).unwrap().reason, Reason::KeystoresUnavailable);
        assert_eq!(unavailable(false), None);
    }

    #[cfg(feature = "pkcs12")]
    #[test]
    fn several_roots_have_an_alias_each_and_what_is_no_certificate_is_an_error() {
        use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
        use rcgen::{CertificateParams, KeyPair};

        assert_eq!(unavailable(true), None);
        let password = KeystorePassword::parse(Some(b"changeit")).unwrap();
        let certificate = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
            (certificate.der().to_vec(), key.serialize_der())
        };
        let (leaf, key) = certificate("order");
        let roots = [certificate("a").0, certificate("b").0];
        let content = |chain: Vec<Vec<u8>>| KeystoreContent { key: key.clone().into(), chain, roots: roots.to_vec() };
        let written = write(&content(vec![leaf]), &password, "order").unwrap();
        let read = |octets: &[u8]| KeyStore::from_pkcs12(octets, "changeit", Pkcs12ImportPolicy::Strict).unwrap();
        let aliases = |store: &KeyStore| store.entries().map(|(alias, _)| alias.clone()).collect::<Vec<_>>();
        let keystore = read(&written.keystore);
        assert_eq!(aliases(&keystore), ["order"]);
        assert_eq!(keystore.private_key_chain().unwrap().1.key().as_der(), &key[..]);
        assert_eq!(aliases(&read(&written.truststore)), ["ca", "ca-2"]);
        let error = write(&content(vec![b"garbage".to_vec()]), &password, "order").err().unwrap();
        assert!(!error.to_string().contains("changeit"));
    }
}
