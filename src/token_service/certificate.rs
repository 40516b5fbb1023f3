//! The server's certificate, as its Secret has it now.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ringfence_core::pki::SecretData;
use ringfence_workload::{CertificateFault, certified_key};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What the handshakes show. Replacing it takes effect with the next one; connections that are there go on.
#[derive(Default)]
pub(super) struct ServerCertificate(ArcSwapOption<CertifiedKey>);

impl ServerCertificate {
    /// Shows what a Secret (`kubernetes.io/tls`) holds from now on.
    ///
    /// # Errors
    /// [`CertificateFault`]; what was shown before is shown still.
    pub(super) fn replace(&self, data: &SecretData, provider: &CryptoProvider) -> Result<(), CertificateFault> {
        self.0.store(Some(Arc::new(certified_key(data, provider)?)));
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
