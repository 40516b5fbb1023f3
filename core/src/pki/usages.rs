//! What a certificate may be used for: its extended key usages (RFC 5280, section 4.2.1.12).

use rcgen::ExtendedKeyUsagePurpose;

use super::certificate::Certificate;
use crate::api::CertificateUsage;

/// What a leaf may be used for; at least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usages {
    /// As a server's certificate.
    pub server_auth: bool,
    /// As a client's certificate.
    pub client_auth: bool,
}

impl Usages {
    /// As either.
    pub const BOTH: Self = Self { server_auth: true, client_auth: true };

    /// These; nothing if there are none.
    #[must_use]
    pub fn of(usages: &[CertificateUsage]) -> Option<Self> {
        let has = |usage| usages.contains(&usage);
        let usages =
            Self { server_auth: has(CertificateUsage::ServerAuth), client_auth: has(CertificateUsage::ClientAuth) };
        (usages.server_auth || usages.client_auth).then_some(usages)
    }

    /// The same as a list, in the order in which certificates have them.
    #[must_use]
    pub fn to_list(self) -> Vec<CertificateUsage> {
        let server = self.server_auth.then_some(CertificateUsage::ServerAuth);
        server.into_iter().chain(self.client_auth.then_some(CertificateUsage::ClientAuth)).collect()
    }

    pub(crate) fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        let purpose = |usage| match usage {
            CertificateUsage::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            CertificateUsage::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
        };
        self.to_list().into_iter().map(purpose).collect()
    }

    /// What a certificate says, unless it says anything else too, or nothing.
    pub(crate) fn of_certificate(certificate: &Certificate) -> Option<Self> {
        let parsed = certificate.parsed();
        let usage = parsed.extended_key_usage().ok()??.value;
        let others = usage.any
            || usage.code_signing
            || usage.email_protection
            || usage.time_stamping
            || usage.ocsp_signing
            || !usage.other.is_empty();
        let usages = Self { server_auth: usage.server_auth, client_auth: usage.client_auth };
        (!others && (usages.server_auth || usages.client_auth)).then_some(usages)
    }
}
