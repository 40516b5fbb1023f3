//! A PEM file: a chain, perhaps with its key, or a bundle.

use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::Report;
use super::chain::{Question, inspect_chain, key_refusal};
use super::trust::BundleReport;
use crate::pki::{Certificate, PemError};

/// Looks at a PEM text: a leaf with what is presented after it, and perhaps its private key, or only authorities, which
/// is a bundle. Sections of other kinds are passed over.
///
/// # Errors
/// [`PemError`] if there is no certificate, or one does not parse.
pub fn inspect_file(text: &[u8], question: &Question<'_>) -> Result<Report, PemError> {
    let (mut chain, mut has_key) = (Vec::new(), false);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(PemError::from)?;
        match kind {
            SectionKind::Certificate => {
                let position = chain.len() + 1;
                let certificate = Certificate::from_der(der);
                chain.push(certificate.map_err(|source| PemError::Certificate { position, source })?);
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                has_key = true;
                drop(Zeroizing::new(der));
            }
            _ => {}
        }
    }
    if chain.is_empty() {
        return Err(PemError::NoCertificate);
    }
    if chain.iter().all(|certificate| certificate.parsed().is_ca()) {
        return Ok(Report::Bundle(BundleReport::of("", &chain, question.now)));
    }
    let mut report = inspect_chain(&chain, question);
    if has_key {
        report.refusals.extend(key_refusal(&chain, Some(text), "the private key"));
    }
    Ok(Report::Certificate(report))
}
