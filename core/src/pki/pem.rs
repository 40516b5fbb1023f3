//! PEM (RFC 7468): the text form of certificates and keys. Decoding is strict: what is cut off or of another kind is
//! an error, not an omission.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::{Error as PkiPemError, PemObject, SectionKind};
use zeroize::Zeroizing;

use super::certificate::{Certificate, CertificateError};

/// Text that was expected to hold certificates or keys as PEM, and does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A `BEGIN` line has no matching `END` line.
    #[error("the PEM text is cut off: an END line is missing")]
    Truncated,
    /// A boundary line or the base64 between two of them is not well formed.
    #[error("the PEM text is not well formed")]
    NotWellFormed,
    /// A section has another label than `CERTIFICATE`.
    #[error("the PEM text holds something else than certificates")]
    NotACertificate,
    /// No `CERTIFICATE` section at all.
    #[error("the PEM text holds no certificate")]
    NoCertificate,
    /// A section is not a certificate in DER.
    #[error("certificate {position} of the PEM text does not parse")]
    Certificate {
        /// Place of the certificate in the text, from 1.
        position: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
}

/// All certificates of a text, in its order; at least one.
///
/// # Errors
/// [`PemError`], also if a section of another kind stands between them.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<Certificate>, PemError> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section?;
        if kind != SectionKind::Certificate {
            return Err(PemError::NotACertificate);
        }
        let position = found.len() + 1;
        found.push(Certificate::from_der(der).map_err(|source| PemError::Certificate { position, source })?);
    }
    if found.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(found)
}

/// The DER of a text that is one PEM section with this label, as [`encode`] writes it.
pub(crate) fn section(label: &str, text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let body = text.strip_prefix(&format!("-----BEGIN {label}-----\n"))?;
    let body = body.strip_suffix(&format!("-----END {label}-----\n"))?;
    STANDARD.decode(body.replace('\n', "")).ok()
}

/// Writes DER as one PEM section: base64 in lines of 64 characters, each ended by a line feed.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    std::mem::take(&mut *encode_secret(label, der))
}

/// Like [`encode`], for private keys: no copy of the text is left in memory.
pub(crate) fn encode_secret(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // The exact size, so that the text never moves and leaves a copy behind.
    let lines = body.len().div_ceil(LINE);
    let mut text = Zeroizing::new(String::with_capacity(2 * (label.len() + 17) + body.len() + lines));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

impl From<PkiPemError> for PemError {
    fn from(error: PkiPemError) -> Self {
        match error {
            PkiPemError::MissingSectionEnd { .. } => Self::Truncated,
            _ => Self::NotWellFormed,
        }
    }
}

/// Characters of base64 in a line (RFC 7468, section 2).
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{OpenSsl, key, root};

    #[test]
    fn openssl_writes_the_same_text() {
        let certificate = root("storefront").certificate().clone();
        let openssl = OpenSsl::new();
        openssl.file("der", certificate.der());
        assert_eq!(openssl.run("x509 -inform DER -in der").unwrap(), certificate.to_pem());
        for algorithm in crate::pki::testing::ALGORITHMS {
            let pem = key(algorithm).to_pkcs8_pem();
            openssl.file("key", pem.as_bytes());
            assert_eq!(openssl.run("pkey -in key").unwrap(), *pem, "{algorithm:?}");
        }
    }

    #[test]
    fn certificates_come_back_in_their_order() {
        let (a, b) = (root("a").certificate().clone(), root("b").certificate().clone());
        let text = format!("a comment\n{}\r\n{}", b.to_pem().replace('\n', "\r\n"), a.to_pem());
        assert_eq!(certificates(text.as_bytes()), Ok(vec![b, a]));
    }

    #[test]
    fn what_is_cut_off_or_of_another_kind_is_refused() {
        let certificate = root("a").certificate().clone();
        let pem = certificate.to_pem();
        let trailing = encode("CERTIFICATE", &[certificate.der(), b"x"].concat());
        let at = |position, source| PemError::Certificate { position, source };
        let cases = [
            ("empty", String::new(), PemError::NoCertificate),
            ("no PEM", "hello".to_owned(), PemError::NoCertificate),
            ("END line missing", pem[..200].to_owned(), PemError::Truncated),
            ("END line cut", pem[..pem.len() - 8].to_owned(), PemError::Truncated),
            ("second one cut", format!("{pem}{}", &pem[..200]), PemError::Truncated),
            ("BEGIN line cut", format!("{pem}-----BEGIN CERT"), PemError::NotWellFormed),
            ("not base64", pem.replacen('M', "*", 1), PemError::NotWellFormed),
            ("a key between", format!("{pem}{}{pem}", encode("PRIVATE KEY", b"x")), PemError::NotACertificate),
            ("not DER", encode("CERTIFICATE", b"x"), at(1, CertificateError::NotDer)),
            ("DER cut", encode("CERTIFICATE", &certificate.der()[..300]), at(1, CertificateError::NotDer)),
            ("DER and more", format!("{pem}{trailing}"), at(2, CertificateError::TrailingData)),
        ];
        for (name, text, error) in cases {
            assert_eq!(certificates(text.as_bytes()), Err(error), "{name}");
        }
    }
}
