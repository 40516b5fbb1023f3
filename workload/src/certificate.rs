//! A certificate with its key, out of a Secret `<identity>-tls`.

use ringfence_core::pki::SecretData;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A Secret of which no certificate can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// A file is not there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// The certificates don't parse.
    #[error("its tls.crt holds no certificate that can be read")]
    Certificate,
    /// The key does not parse. What a parser says of a key might show some of it.
    #[error("its tls.key holds no private key that can be read")]
    Key,
    /// They are not of one write.
    #[error("its tls.key does not belong to its tls.crt")]
    Mismatch,
}

/// What a Secret (`kubernetes.io/tls`) holds, as handshakes show it.
///
/// # Errors
/// [`CertificateFault`].
pub fn certified_key(data: &SecretData, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateFault> {
    let file = |key| data.get(key).ok_or(CertificateFault::Missing(key));
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(file("tls.crt")?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(CertificateFault::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(file("tls.key")?).map_err(|_| CertificateFault::Key)?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| CertificateFault::Key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| CertificateFault::Mismatch)?;
    Ok(certified)
}
