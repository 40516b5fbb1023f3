//! A parsed certificate (RFC 5280): DER that is known to be one, with the few facts that decisions need.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE, OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::serial::SerialNumber;
use super::{pem, sha256};
use crate::api::CertificateAlgorithm;
use crate::jwt::base64url;

/// One certificate in DER. Comparing and ordering are those of the DER.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certificate {
    der: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Octets that are not a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the DER of a certificate.
    #[error("not an X.509 certificate in DER")]
    NotDer,
    /// Octets follow the certificate.
    #[error("octets follow the X.509 certificate")]
    TrailingData,
    /// An extension that we read does not parse, or one stands there twice.
    #[error("an extension of the X.509 certificate is malformed")]
    Extension,
    /// The validity has a date that cannot be represented.
    #[error("the X.509 certificate's validity is out of range")]
    Validity,
}

impl Certificate {
    /// Parses a certificate.
    ///
    /// # Errors
    /// [`CertificateError`], also for octets after it and for extensions that we read and that do not parse.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, CertificateError> {
        let der = der.into();
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| CertificateError::NotDer)?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingData);
        }
        let unreadable = |extension: &X509Extension<'_>| {
            READ_EXTENSIONS.contains(&&extension.oid)
                && matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. })
        };
        if parsed.extensions_map().is_err() || parsed.iter_extensions().any(unreadable) {
            return Err(CertificateError::Extension);
        }
        let second = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| CertificateError::Validity)
        };
        let (not_before, not_after) = (second(parsed.validity().not_before)?, second(parsed.validity().not_after)?);
        Ok(Self { der, not_before, not_after })
    }

    /// The certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as one PEM section.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// SHA-256 of the DER, base64url: what tokens are bound to (RFC 8705, section 3.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        base64url(&sha256(&[&self.der]))
    }

    /// First second in which it is valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Last second in which it is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The serial number that its issuer gave it.
    #[must_use]
    pub fn serial(&self) -> SerialNumber {
        SerialNumber::from_be_bytes(self.parsed().raw_serial())
    }

    /// The subject in the text form of RFC 4514, for people.
    #[must_use]
    pub fn subject(&self) -> String {
        self.parsed().subject().to_string()
    }

    /// Whether subject and issuer are the same: a root.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject_der() == self.issuer_der()
    }

    /// The subject, as it stands in the DER.
    pub(crate) fn subject_der(&self) -> &[u8] {
        self.parsed().tbs_certificate.subject.as_raw()
    }

    /// The issuer, as it stands in the DER.
    pub(crate) fn issuer_der(&self) -> &[u8] {
        self.parsed().tbs_certificate.issuer.as_raw()
    }

    /// The SubjectPublicKeyInfo, as it stands in the DER.
    pub(crate) fn spki_der(&self) -> &[u8] {
        self.parsed().tbs_certificate.subject_pki.raw
    }

    /// The content of the SubjectPublicKeyInfo's BIT STRING.
    pub(crate) fn public_key_bits(&self) -> Vec<u8> {
        self.parsed().public_key().subject_public_key.data.to_vec()
    }

    /// The algorithm of its key, or `None` if it is not one that Ringfence offers.
    pub(crate) fn key_algorithm(&self) -> Option<CertificateAlgorithm> {
        key_algorithm(self.parsed().public_key())
    }

    /// The subject key identifier, if it has one.
    pub(crate) fn subject_key_id(&self) -> Option<Vec<u8>> {
        self.parsed().iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    }

    /// The authority key identifier's key id, if it has one.
    pub(crate) fn authority_key_id(&self) -> Option<Vec<u8>> {
        self.parsed().iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        })
    }

    /// For the modules that need more of it than the functions here tell.
    pub(crate) fn parsed(&self) -> X509Certificate<'_> {
        let (_, parsed) = X509Certificate::from_der(&self.der).expect("the DER was parsed when it came in");
        parsed
    }

    /// The form in which webpki takes certificates.
    pub(crate) fn as_pki_type(&self) -> CertificateDer<'_> {
        CertificateDer::from(self.der.as_slice())
    }
}

/// The algorithm of a public key, or `None` if it is not one that Ringfence offers.
pub(crate) fn key_algorithm(spki: &SubjectPublicKeyInfo<'_>) -> Option<CertificateAlgorithm> {
    let algorithm = &spki.algorithm.algorithm;
    if *algorithm == OID_SIG_ED25519 {
        return Some(CertificateAlgorithm::Ed25519);
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
        return match curve {
            curve if curve == OID_EC_P256 => Some(CertificateAlgorithm::EcdsaP256),
            curve if curve == OID_NIST_EC_P384 => Some(CertificateAlgorithm::EcdsaP384),
            _ => None,
        };
    }
    if *algorithm == OID_PKCS1_RSAENCRYPTION
        && let Ok(PublicKey::RSA(key)) = spki.parsed()
    {
        return rsa_algorithm(without_leading_zeros(key.modulus).len());
    }
    None
}

/// The algorithm for an RSA modulus of so many octets.
pub(crate) fn rsa_algorithm(modulus_octets: usize) -> Option<CertificateAlgorithm> {
    match modulus_octets {
        256 => Some(CertificateAlgorithm::Rsa2048),
        384 => Some(CertificateAlgorithm::Rsa3072),
        512 => Some(CertificateAlgorithm::Rsa4096),
        _ => None,
    }
}

/// The magnitude of a DER INTEGER that is not negative.
pub(crate) fn without_leading_zeros(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|&&octet| octet == 0).count();
    &integer[zeros..]
}

/// Subject and validity; the rest is for tools that print certificates.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("serial", &self.serial())
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The extensions that decisions are made of.
const READ_EXTENSIONS: [&Oid<'_>; 7] = [
    &OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    &OID_X509_EXT_BASIC_CONSTRAINTS,
    &OID_X509_EXT_EXTENDED_KEY_USAGE,
    &OID_X509_EXT_KEY_USAGE,
    &OID_X509_EXT_NAME_CONSTRAINTS,
    &OID_X509_EXT_SUBJECT_ALT_NAME,
    &OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
];

#[cfg(test)]
mod tests {
    use rcgen::CustomExtension;

    use super::*;
    use crate::pki::authority::certificate_params;
    use crate::pki::testing::{key, now, serial};

    #[test]
    fn only_extensions_that_are_read_must_parse() {
        let with = |oids: &[&[u64]]| {
            let mut params = certificate_params(&serial(), now(), now()).unwrap();
            params.use_authority_key_identifier_extension = false;
            params.custom_extensions =
                oids.iter().map(|oid| CustomExtension::from_oid_content(oid, b"\x04\x01x".to_vec())).collect();
            let certificate = params.self_signed(&key(CertificateAlgorithm::Ed25519)).unwrap();
            Certificate::from_der(certificate.der().to_vec()).map(|_| ())
        };
        let (basic_constraints, policies, unknown): (&[u64], &[u64], &[u64]) =
            (&[2, 5, 29, 19], &[2, 5, 29, 32], &[1, 2, 3, 4]);
        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&[basic_constraints]), Err(CertificateError::Extension));
        assert_eq!(with(&[policies, unknown]), Ok(()));
        assert_eq!(with(&[unknown, unknown]), Err(CertificateError::Extension), "twice");
    }

    #[test]
    fn only_the_algorithms_on_offer_have_a_name() {
        use crate::pki::testing::OpenSsl;
        let commands = [
            ("ec -pkeyopt ec_paramgen_curve:P-521", None),
            ("ec -pkeyopt ec_paramgen_curve:secp256k1", None),
            ("ed448", None),
            ("rsa:1024", None),
            ("rsa:2048", Some(CertificateAlgorithm::Rsa2048)),
            ("ec -pkeyopt ec_paramgen_curve:P-384", Some(CertificateAlgorithm::EcdsaP384)),
        ];
        for (algorithm, expected) in commands {
            let openssl = OpenSsl::new();
            openssl.run(&format!("req -x509 -newkey {algorithm} -nodes -out crt -keyout key -subj /CN=x")).unwrap();
            let certificates = pem::certificates(&openssl.read("crt")).unwrap();
            assert_eq!(certificates[0].key_algorithm(), expected, "{algorithm}");
        }
    }
}
