//! Making certificate authorities: roots, and intermediates under the authority of another trust domain.

use std::cmp::min;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose, SanType};

use super::authority::{AssemblyError, CaGeneration, CaSource, Phase, SignError, certificate_params, generation_id};
use super::certificate::Certificate;
use super::key::PrivateKey;
use super::serial::SerialNumber;
use super::spiffe::TrustDomainName;
use crate::api::CertificateAlgorithm;

/// What an authority is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityProfile {
    /// The trust domain that it signs for.
    pub trust_domain: TrustDomainName,
    /// Algorithm of its key.
    pub algorithm: CertificateAlgorithm,
    /// How long it lives from now; an intermediate never outlives what is above it.
    pub duration: SignedDuration,
}

/// An authority that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The key is not of the profile's algorithm.
    #[error("the key for the certificate authority of {trust_domain} is {found:?}, its profile asks for {expected:?}")]
    KeyAlgorithm {
        /// Whose authority it is.
        trust_domain: TrustDomainName,
        /// What the profile says.
        expected: CertificateAlgorithm,
        /// What the key is.
        found: CertificateAlgorithm,
    },
    /// The end of its life is not after now, or cannot be represented.
    #[error("the certificate authority of {trust_domain} would have no time to live")]
    NoLifetime {
        /// Whose authority it is.
        trust_domain: TrustDomainName,
    },
    /// A path length constraint above forbids another authority below (RFC 5280, section 4.2.1.9).
    #[error("the path length constraint of {subject:?} allows no certificate authority for {trust_domain} below it")]
    PathLengthExhausted {
        /// Whose authority it is.
        trust_domain: TrustDomainName,
        /// Subject of the certificate that forbids it.
        subject: String,
    },
    /// The certificate could not be written or signed.
    #[error("the certificate of the certificate authority of {trust_domain} could not be signed")]
    Sign {
        /// Whose authority it is.
        trust_domain: TrustDomainName,
        /// What went wrong.
        source: SignError,
    },
}

/// Makes a self-signed root, in phase `Prepared`. It has no path length constraint.
///
/// # Errors
/// [`AuthorityError`].
pub fn new_root(
    profile: &AuthorityProfile,
    key: PrivateKey,
    serial: &SerialNumber,
    now: Timestamp,
) -> Result<CaGeneration, AuthorityError> {
    let not_after = end_of_life(profile, now, Timestamp::MAX)?;
    let certificate = params(profile, &key, "root", serial, now, not_after)
        .and_then(|params| params.self_signed(&key))
        .map_err(SignError::from)
        .and_then(|signed| Ok(Certificate::from_der(signed.der().to_vec())?));
    finish(profile, certificate, &[], key, CaSource::SelfSigned)
}

/// Makes an intermediate under another authority, in phase `Prepared`.
///
/// It has no path length constraint: a trust domain may become a parent later, and a constraint could only be lifted by
/// a rollover. Nor would one protect anything, for who holds an authority's key can sign a leaf for every name anyway.
/// How deep trust domains may hang below each other is checked where the parent is named.
///
/// # Errors
/// [`AuthorityError`], also if a (supplied) authority above constrains the path length.
pub fn new_intermediate(
    profile: &AuthorityProfile,
    parent: &CaGeneration,
    key: PrivateKey,
    serial: &SerialNumber,
    now: Timestamp,
) -> Result<CaGeneration, AuthorityError> {
    let above = parent.path();
    if let Some(subject) = exhausted_path_length(&above) {
        return Err(AuthorityError::PathLengthExhausted { trust_domain: profile.trust_domain.clone(), subject });
    }
    let not_after = end_of_life(profile, now, parent.path_not_after())?;
    let certificate = params(profile, &key, "intermediate", serial, now, not_after)
        .map_err(SignError::from)
        .and_then(|params| parent.sign(&params, &key));
    finish(profile, certificate, &above, key, CaSource::Parent)
}

fn end_of_life(profile: &AuthorityProfile, now: Timestamp, latest: Timestamp) -> Result<Timestamp, AuthorityError> {
    now.checked_add(profile.duration)
        .ok()
        .map(|end| min(end, latest))
        .filter(|end| end.as_second() > now.as_second())
        .ok_or_else(|| AuthorityError::NoLifetime { trust_domain: profile.trust_domain.clone() })
}

/// The subject of the first of these certificates, each the issuer of the one before, whose path length constraint
/// allows no authority below the first.
pub(crate) fn exhausted_path_length(above: &[&Certificate]) -> Option<String> {
    let limit = |certificate: &Certificate| {
        let constraints = certificate.parsed().basic_constraints().ok().flatten()?.value.path_len_constraint?;
        usize::try_from(constraints).ok()
    };
    above
        .iter()
        .enumerate()
        .find(|(authorities_between, certificate)| limit(certificate).is_some_and(|l| l <= *authorities_between))
        .map(|(_, certificate)| certificate.subject())
}

/// What roots and intermediates have in common. The subject is the same in structure for both, unique to the generation,
/// and keeps each attribute within the 64 characters of RFC 5280, appendix A.1, for trust-domain names of 63.
fn params(
    profile: &AuthorityProfile,
    key: &PrivateKey,
    kind: &str,
    serial: &SerialNumber,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, rcgen::Error> {
    let id = generation_id(serial, key.public_key_spki());
    let mut params = certificate_params(serial, now, not_after)?;
    params.distinguished_name.push(DnType::OrganizationName, "Ringfence");
    params.distinguished_name.push(DnType::OrganizationalUnitName, profile.trust_domain.as_str());
    params.distinguished_name.push(DnType::CommonName, format!("{kind} CA {id}"));
    // The SPIFFE ID of a signing certificate is that of its trust domain (X509-SVID, section 3.1).
    params.subject_alt_names = vec![SanType::URI(profile.trust_domain.spiffe_id().try_into()?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn finish(
    profile: &AuthorityProfile,
    certificate: Result<Certificate, SignError>,
    above: &[&Certificate],
    key: PrivateKey,
    source: CaSource,
) -> Result<CaGeneration, AuthorityError> {
    let trust_domain = || profile.trust_domain.clone();
    if key.algorithm() != profile.algorithm {
        let (expected, found) = (profile.algorithm, key.algorithm());
        return Err(AuthorityError::KeyAlgorithm { trust_domain: trust_domain(), expected, found });
    }
    let certificate = certificate.map_err(|source| AuthorityError::Sign { trust_domain: trust_domain(), source })?;
    let mut path = vec![certificate];
    path.extend(above.iter().map(|&certificate| certificate.clone()));
    CaGeneration::assemble(path, key, Phase::Prepared, source).map_err(|error| match error {
        AssemblyError::KeyMismatch | AssemblyError::BrokenChain => AuthorityError::Sign {
            trust_domain: trust_domain(),
            source: SignError::Write(rcgen::Error::CouldNotParseCertificate),
        },
    })
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::{GeneralName, ParsedExtension};

    use super::*;
    use crate::pki::testing::{
        ALGORITHMS, OpenSsl, authority_profile, intermediate, key, now, pem_of, root, root_with, serial,
    };

    #[test]
    fn a_root_says_what_a_root_must_say() {
        let serial = serial();
        let profile = authority_profile("storefront", CertificateAlgorithm::EcdsaP256);
        let root = new_root(&profile, key(profile.algorithm), &serial, now()).unwrap();
        assert_eq!((root.phase(), root.source(), root.is_root()), (Phase::Prepared, CaSource::SelfSigned, true));
        assert!(root.chain().is_empty() && root.presented_chain().is_empty());
        assert_eq!(root.root(), root.certificate());
        assert_eq!(root.not_before().to_string(), "2026-03-01T11:59:00Z");
        assert_eq!(root.not_after().to_string(), "2027-03-01T12:00:00Z");
        assert_eq!(root.certificate().serial(), serial);
        assert_eq!(root.certificate().subject(), format!("O=Ringfence, OU=storefront, CN=root CA {}", root.id()));
        assert!(root.certificate().is_self_issued() && root.can_sign_crls());
        check_extensions(&root, root.subject_key_id(), "storefront");
    }

    #[test]
    fn an_intermediate_says_what_an_intermediate_must_say() {
        let parent = root("shop-root");
        let child = intermediate("storefront", &parent);
        let grandchild = intermediate("backoffice", &child);
        assert_eq!((child.source(), child.is_root()), (CaSource::Parent, false));
        assert_eq!((child.chain(), child.root()), ([].as_slice(), parent.certificate()));
        assert_eq!((grandchild.chain(), grandchild.root()), ([child.certificate().clone()].as_slice(), parent.root()));
        let subject = grandchild.certificate().subject();
        assert_eq!(subject, format!("O=Ringfence, OU=backoffice, CN=intermediate CA {}", grandchild.id()));
        check_extensions(&child, parent.subject_key_id(), "storefront");
        check_extensions(&grandchild, child.subject_key_id(), "backoffice");
    }

    /// Exactly these extensions, and what they hold.
    fn check_extensions(generation: &CaGeneration, authority_key_id: &[u8], trust_domain: &str) {
        let certificate = generation.certificate();
        assert_eq!(certificate.authority_key_id().as_deref(), Some(authority_key_id));
        assert_eq!(certificate.subject_key_id().as_deref(), Some(generation.subject_key_id()));
        let parsed = certificate.parsed();
        assert_eq!(parsed.extensions().len(), 5);
        for extension in parsed.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    assert!(extension.critical && constraints.ca && constraints.path_len_constraint.is_none());
                }
                ParsedExtension::KeyUsage(usage) => {
                    assert!(extension.critical);
                    assert_eq!(usage.flags, 0b110_0000, "keyCertSign and cRLSign");
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    let uri = format!("spiffe://{trust_domain}");
                    assert_eq!(names.general_names, [GeneralName::URI(&uri)]);
                }
                ParsedExtension::SubjectKeyIdentifier(_) | ParsedExtension::AuthorityKeyIdentifier(_) => {}
                other => panic!("unexpected extension {other:?}"),
            }
        }
    }

    #[test]
    fn openssl_verifies_intermediates_of_every_algorithm_strictly() {
        for algorithm in ALGORITHMS {
            let parent = root_with("shop-root", algorithm);
            let child = intermediate("storefront", &parent);
            let openssl = OpenSsl::new();
            openssl.file("root", parent.certificate().to_pem()).file("child", child.certificate().to_pem());
            let at = now().as_second();
            openssl.run(&format!("verify -x509_strict -attime {at} -CAfile root child")).unwrap();
            openssl.run(&format!("verify -x509_strict -attime {at} -check_ss_sig -CAfile root root")).unwrap();
        }
    }

    #[test]
    fn names_fit_even_for_the_longest_trust_domain() {
        let name = "a".repeat(63);
        let certificate = root(&name).certificate().clone();
        let parsed = certificate.parsed();
        assert!(parsed.subject().iter_attributes().all(|attribute| attribute.as_str().unwrap().len() <= 64));
        assert!(certificate.subject().contains(&name));
    }

    #[test]
    fn an_intermediate_ends_with_the_first_above_it() {
        let short = |name: &str, hours| AuthorityProfile {
            duration: SignedDuration::from_hours(hours),
            ..authority_profile(name, CertificateAlgorithm::EcdsaP256)
        };
        let new_key = || key(CertificateAlgorithm::EcdsaP256);
        let root = new_root(&short("shop-root", 100), new_key(), &serial(), now()).unwrap();
        let child = new_intermediate(&short("a", 50), &root, new_key(), &serial(), now()).unwrap();
        let grandchild = new_intermediate(&short("b", 200), &child, new_key(), &serial(), now()).unwrap();
        assert_eq!(grandchild.not_after(), child.not_after());
        assert_eq!(grandchild.path_not_after(), child.not_after());
        let late = root.not_after();
        let error = new_intermediate(&short("c", 1), &root, new_key(), &serial(), late).unwrap_err();
        assert!(matches!(error, AuthorityError::NoLifetime { .. }), "{error}");
        let error = new_root(&short("c", 0), new_key(), &serial(), now()).unwrap_err();
        assert!(matches!(error, AuthorityError::NoLifetime { .. }), "{error}");
    }

    #[test]
    fn a_key_of_another_algorithm_is_refused() {
        let profile = authority_profile("storefront", CertificateAlgorithm::EcdsaP384);
        let error = new_root(&profile, key(CertificateAlgorithm::Ed25519), &serial(), now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the key for the certificate authority of storefront is Ed25519, its profile asks for EcdsaP384"
        );
    }

    #[test]
    fn a_path_length_constraint_above_forbids_an_intermediate() {
        let constrained = |limit: u8| {
            let new_key = key(CertificateAlgorithm::EcdsaP256);
            let profile = authority_profile("corporate", CertificateAlgorithm::EcdsaP256);
            let end = now().checked_add(profile.duration).unwrap();
            let mut params = params(&profile, &new_key, "root", &serial(), now(), end).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit));
            let root = Certificate::from_der(params.self_signed(&new_key).unwrap().der().to_vec()).unwrap();
            CaGeneration::assemble(vec![root], new_key, Phase::Active, CaSource::Secret).unwrap()
        };
        let below = |parent: &CaGeneration| {
            let profile = authority_profile("storefront", CertificateAlgorithm::EcdsaP256);
            new_intermediate(&profile, parent, key(profile.algorithm), &serial(), now())
        };
        assert!(matches!(below(&constrained(0)), Err(AuthorityError::PathLengthExhausted { .. })));
        let child = below(&constrained(1)).unwrap();
        assert!(matches!(below(&child), Err(AuthorityError::PathLengthExhausted { .. })));
        let grandchild = below(&below(&constrained(2)).unwrap()).unwrap();
        let chain = pem_of(grandchild.presented_chain());
        let openssl = OpenSsl::new();
        openssl.file("chain", chain).file("root", grandchild.root().to_pem());
        let at = now().as_second();
        openssl.run(&format!("verify -attime {at} -CAfile root -untrusted chain chain")).unwrap();
    }
}
