//! The server's certificate, as its Secret has it now.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ringfence_core::pki::SecretData;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What the handshakes show. Replacing it takes effect with the next one; connections that are there go on.
#[derive(Default)]
pub(super) struct ServerCertificate(ArcSwapOption<CertifiedKey>);

/// A Secret of which no certificate can be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateFault {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its tls.crt holds no certificate that can be read")]
    Certificate,
    // What a parser says of a key might show some of it.
    #[error("its tls.key holds no private key that can be read")]
    Key,
    #[error("its tls.key does not belong to its tls.crt")]
    Mismatch,
}

impl ServerCertificate {
    /// Shows what a Secret (`kubernetes.io/tls`) holds from now on.
    ///
    /// # Errors
    /// [`CertificateFault`]; what was shown before is shown still.
    pub(super) fn replace(&self, data: &SecretData, provider: &CryptoProvider) -> Result<(), CertificateFault> {
        let file = |key| data.get(key).ok_or(CertificateFault::Missing(key));
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(file("tls.crt")?).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(CertificateFault::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(file("tls.key")?).map_err(|_| CertificateFault::Key)?;
        let key = provider.key_provider.load_private_key(key).map_err(|_| CertificateFault::Key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| CertificateFault::Mismatch)?;
        self.0.store(Some(Arc::new(certified)));
        Ok(())
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.0.load().is_some()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("is_there", &self.is_there()).finish_non_exhaustive()
    }
}
