//! Every way in which a supplied authority is accepted or refused.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyUsagePurpose, NameConstraints,
};
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::*;
use crate::api::CertificateAlgorithm;
use crate::pki::authority::certificate_params;
use crate::pki::testing::{OpenSsl, key, leaf_profile, now, pem_of, serial, trust_domain};
use crate::pki::{LeafFacts, issue_leaf};
use crate::plan::with_adopted;

/// An authority made without Ringfence's own functions.
struct Authority {
    certificate: Certificate,
    key: PrivateKey,
}

fn authority(name: &str, issuer: Option<&Authority>, change: impl FnOnce(&mut CertificateParams)) -> Authority {
    authority_with(key(CertificateAlgorithm::EcdsaP256), name, issuer, change)
}

fn authority_with(
    key: PrivateKey,
    name: &str,
    issuer: Option<&Authority>,
    change: impl FnOnce(&mut CertificateParams),
) -> Authority {
    let end = now().checked_add(SignedDuration::from_hours(1000)).unwrap();
    let mut params = certificate_params(&serial(), now(), end).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    let signed = match issuer {
        None => params.self_signed(&key),
        Some(issuer) => {
            let issuer = Issuer::from_ca_cert_der(&issuer.certificate.as_pki_type(), &issuer.key).unwrap();
            params.signed_by(&key, &issuer)
        }
    };
    Authority { certificate: Certificate::from_der(signed.unwrap().der().to_vec()).unwrap(), key }
}

fn plain(_: &mut CertificateParams) {}

fn secret(certificates: &[&Authority], roots: &[&Authority]) -> SecretData {
    let mut data = SecretData::default();
    data.put(CERTIFICATE, pem_of(certificates.iter().map(|authority| &authority.certificate)));
    data.put(PRIVATE_KEY, certificates[0].key.to_pkcs8_pem().as_bytes());
    if !roots.is_empty() {
        data.put(ROOTS, pem_of(roots.iter().map(|authority| &authority.certificate)));
    }
    data
}

fn adopt(data: &SecretData) -> Result<CaGeneration, RefusedCa> {
    adopt_secret(data, &trust_domain("storefront"), now())
}

fn reason(data: &SecretData) -> &'static str {
    adopt(data).unwrap_err().reason()
}

#[test]
fn authorities_are_accepted_however_their_chain_is_supplied() {
    let root = authority("root", None, plain);
    let middle = authority("middle", Some(&root), plain);
    let issuing = authority("issuing", Some(&middle), plain);
    let stranger = authority("stranger", None, plain);
    let cases: [(&str, SecretData, Vec<&Authority>); 8] = [
        ("a root alone", secret(&[&root], &[]), vec![&root]),
        ("a root twice", secret(&[&root], &[&root]), vec![&root]),
        ("root in ca.crt", secret(&[&issuing, &middle], &[&root]), vec![&issuing, &middle, &root]),
        ("root in tls.crt", secret(&[&issuing, &middle, &root], &[]), vec![&issuing, &middle, &root]),
        ("root in both", secret(&[&issuing, &middle, &root], &[&root]), vec![&issuing, &middle, &root]),
        ("in another order", secret(&[&issuing, &root, &middle], &[]), vec![&issuing, &middle, &root]),
        ("all above in ca.crt", secret(&[&issuing], &[&root, &middle]), vec![&issuing, &middle, &root]),
        ("with others", secret(&[&issuing, &stranger, &middle], &[&stranger, &root]), vec![&issuing, &middle, &root]),
    ];
    for (name, data, path) in cases {
        let generation = adopt(&data).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        let expected: Vec<_> = path.iter().map(|authority| &authority.certificate).collect();
        assert_eq!(generation.path(), expected, "{name}");
        assert_eq!((generation.phase(), generation.source()), (Phase::Prepared, CaSource::Secret));
        assert!(generation.can_sign_crls());
        let leaf = issue_leaf(&leaf_profile(), &generation, &key(CertificateAlgorithm::EcdsaP256), &serial(), now());
        assert_eq!(leaf.unwrap().certificate().issuer_der(), path[0].certificate.subject_der(), "{name}");
    }
}

#[test]
fn other_certificates_above_the_same_authority_take_the_place_of_the_old_ones() {
    let (root, other_root) = (authority("root", None, plain), authority("other root", None, plain));
    let middle = authority("middle", Some(&root), plain);
    let issuing = authority("issuing", Some(&middle), plain);
    let crossed = authority_with(middle.key.clone(), "middle", Some(&other_root), plain);

    let first = adopt(&secret(&[&issuing, &middle], &[&root])).unwrap();
    let generations = with_adopted(None, first.clone()).unwrap().unwrap();
    assert!(with_adopted(Some(&generations), first).unwrap().is_none(), "nothing changed");
    let second = adopt(&secret(&[&issuing, &crossed], &[&other_root])).unwrap();
    let generations = with_adopted(Some(&generations), second).unwrap().unwrap();
    let above = generations.signing().unwrap().path();
    assert_eq!(above, [&issuing.certificate, &crossed.certificate, &other_root.certificate]);
    assert_eq!(generations.roots(), [&other_root.certificate]);
}

#[test]
fn certificates_that_chain_to_no_root_are_refused() {
    let root = authority("root", None, plain);
    let middle = authority("middle", Some(&root), plain);
    let issuing = authority("issuing", Some(&middle), plain);
    let namesake = authority("root", None, plain);
    let not_an_authority = authority("middle", Some(&root), |params| params.is_ca = IsCa::ExplicitNoCa);
    let below_it = authority("issuing", Some(&not_an_authority), plain);
    let cases = [
        ("nothing above", secret(&[&issuing], &[])),
        ("no root", secret(&[&issuing, &middle], &[])),
        ("no intermediate", secret(&[&issuing], &[&root])),
        ("an intermediate for a root", secret(&[&issuing], &[&middle])),
        ("another root of the same name", secret(&[&issuing, &middle], &[&namesake])),
        ("a root that is not the one in ca.crt", secret(&[&root], &[&namesake])),
        ("something else than an authority above", secret(&[&below_it, &not_an_authority], &[&root])),
    ];
    for (name, data) in cases {
        assert_eq!(reason(&data), "BrokenChain", "{name}");
    }
}

#[test]
fn what_is_no_authority_is_refused() {
    let end_entity = authority("leaf", None, |params| params.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(reason(&secret(&[&end_entity], &[])), "NotACertificateAuthority");
    let silent = authority("leaf", None, |params| params.is_ca = IsCa::NoCa);
    assert_eq!(reason(&secret(&[&silent], &[])), "NotACertificateAuthority");
    let cannot_sign = authority("ca", None, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert_eq!(reason(&secret(&[&cannot_sign], &[])), "MissingKeyUsage");
    let no_usage = authority("ca", None, |params| params.key_usages.clear());
    assert_eq!(reason(&secret(&[&no_usage], &[])), "MissingKeyUsage");
}

#[test]
fn an_authority_that_cannot_sign_crls_is_accepted_and_known() {
    let no_crls = authority("ca", None, |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    assert!(!adopt(&secret(&[&no_crls], &[])).unwrap().can_sign_crls());
}

#[test]
fn all_certificates_of_the_path_must_be_valid_now() {
    let date = |text: &str| time::OffsetDateTime::from_unix_timestamp(text.parse::<Timestamp>().unwrap().as_second());
    let expired = |params: &mut CertificateParams| params.not_after = date("2026-03-01T11:59:59Z").unwrap();
    let early = |params: &mut CertificateParams| params.not_before = date("2026-03-01T12:00:01Z").unwrap();
    let (old_root, young_root) = (authority("root", None, expired), authority("root", None, early));
    assert_eq!(reason(&secret(&[&old_root], &[])), "Expired");
    assert_eq!(reason(&secret(&[&young_root], &[])), "NotYetValid");
    let below = authority("ca", Some(&old_root), plain);
    assert_eq!(reason(&secret(&[&below], &[&old_root])), "Expired");
    assert!(adopt(&secret(&[&below], &[&old_root])).unwrap_err().to_string().contains("CN=root"));
    let below = authority("ca", Some(&young_root), plain);
    assert_eq!(reason(&secret(&[&below], &[&young_root])), "NotYetValid");

    let root = authority("root", None, plain);
    for (change, reason_above) in [(&expired as &dyn Fn(&mut _), "Expired"), (&early, "NotYetValid")] {
        let middle = authority("middle", Some(&root), change);
        let issuing = authority("issuing", Some(&middle), plain);
        let refused = adopt(&secret(&[&issuing, &middle], &[&root])).unwrap_err();
        assert_eq!((refused.reason(), refused.to_string().contains("CN=middle")), (reason_above, true), "{refused}");
    }
    // The last second of its life still counts.
    let last = authority("root", None, |params| params.not_after = date("2026-03-01T12:00:00Z").unwrap());
    assert!(adopt(&secret(&[&last], &[])).is_ok());
}

#[test]
fn damaged_data_is_refused_by_name() {
    let root = authority("root", None, plain);
    let whole = secret(&[&root], &[&root]);
    let with = |key: &str, octets: &[u8]| {
        let mut data = whole.clone();
        data.put(key, octets);
        data
    };
    let without = |key: &str| -> SecretData {
        whole.keys().filter(|k| *k != key).map(|k| (k.to_owned(), whole.get(k).unwrap().to_vec())).collect()
    };
    let (crt, pem) = (whole.get(CERTIFICATE).unwrap(), whole.get(PRIVATE_KEY).unwrap());
    let made_by = |command: &str| {
        let openssl = OpenSsl::new();
        openssl.run(command).unwrap();
        openssl.read("key")
    };
    let p521 = made_by("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key");
    let encrypted = made_by("genpkey -algorithm ed25519 -aes256 -pass pass:x -out key");
    let another = key(CertificateAlgorithm::EcdsaP256).to_pkcs8_pem();
    let truncated = |key| RefusedCa::MalformedCertificate { key, source: PemError::Truncated };
    let empty = RefusedCa::MalformedCertificate { key: CERTIFICATE, source: PemError::NoCertificate };
    let cases = [
        ("no tls.crt", without(CERTIFICATE), RefusedCa::MissingCertificate, "MissingCertificate"),
        ("no tls.key", without(PRIVATE_KEY), RefusedCa::MissingKey, "MissingKey"),
        ("tls.crt cut", with(CERTIFICATE, &crt[..crt.len() - 30]), truncated(CERTIFICATE), "Malformed"),
        ("ca.crt cut", with(ROOTS, &crt[..100]), truncated(ROOTS), "Malformed"),
        ("tls.key cut", with(PRIVATE_KEY, &pem[..100]), RefusedCa::MalformedKey(KeyError::Truncated), "Malformed"),
        ("tls.crt empty", with(CERTIFICATE, b""), empty, "Malformed"),
        ("no key in tls.key", with(PRIVATE_KEY, crt), RefusedCa::MalformedKey(KeyError::NoKey), "Malformed"),
        ("P-521", with(PRIVATE_KEY, &p521), RefusedCa::UnsupportedKey(KeyError::Unsupported), "UnsupportedKey"),
        ("password", with(PRIVATE_KEY, &encrypted), RefusedCa::UnsupportedKey(KeyError::Encrypted), "UnsupportedKey"),
        ("another's key", with(PRIVATE_KEY, another.as_bytes()), RefusedCa::KeyMismatch, "KeyMismatch"),
    ];
    assert!(adopt(&whole).is_ok());
    for (name, data, refused, reason) in cases {
        assert_eq!(refused.reason(), reason, "{name}");
        assert_eq!(adopt(&data).unwrap_err(), refused, "{name}");
    }
}

#[test]
fn a_subject_that_would_come_out_differently_is_refused() {
    let made_with = |subject: &str| {
        let openssl = OpenSsl::new();
        let command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -out crt -keyout key \
                       -addext keyUsage=critical,keyCertSign,cRLSign -subj";
        openssl.run(&format!("{command} {subject}")).unwrap();
        let mut data = SecretData::default();
        data.put(CERTIFICATE, openssl.read("crt"));
        data.put(PRIVATE_KEY, openssl.read("key"));
        let made_at = pem::certificates(data.get(CERTIFICATE).unwrap()).unwrap()[0].not_before();
        adopt_secret(&data, &trust_domain("storefront"), made_at)
    };
    assert!(made_with("/C=CH/O=Example/OU=Platform/CN=ca").is_ok());
    for subject in ["/O=Example/CN=ca+serialNumber=1", "/OU=One/OU=Two/CN=ca", "/DC=example/DC=com/CN=ca", "/"] {
        let refused = made_with(subject).unwrap_err();
        assert_eq!(refused.reason(), "UnsupportedSubject", "{subject}: {refused}");
    }
    let rare = authority("ca", None, |params| {
        params
            .distinguished_name
            .push(DnType::OrganizationName, DnValue::PrintableString("Example".try_into().unwrap()));
        params.distinguished_name.push(DnType::OrganizationalUnitName, DnValue::BmpString("Pl".try_into().unwrap()));
    });
    assert!(adopt(&secret(&[&rare], &[])).is_ok(), "string types are kept");
}

#[test]
fn constraints_above_count() {
    let root = authority("root", None, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = authority("ca", Some(&root), plain);
    assert!(adopt(&secret(&[&root], &[])).is_ok(), "leaves right below the constraint are fine");
    let above = authority("above", None, plain);
    let constrained =
        authority("root", Some(&above), |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let issuing = authority("issuing", Some(&constrained), plain);
    assert_eq!(reason(&secret(&[&issuing, &constrained], &[&above])), "PathLengthExhausted");
    assert_eq!(reason(&secret(&[&below], &[&root])), "PathLengthExhausted");

    let root_for_email = authority("ca", None, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    });
    assert_eq!(reason(&secret(&[&root_for_email], &[])), "MissingExtendedKeyUsage");
    let email = authority("ca", Some(&above), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    });
    assert_eq!(reason(&secret(&[&email], &[&above])), "MissingExtendedKeyUsage");
    let server_only = authority("ca", Some(&above), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(reason(&secret(&[&server_only], &[&above])), "MissingExtendedKeyUsage");
}

#[test]
fn name_constraints_are_tried_with_the_names_of_each_identity() {
    let constrained = authority("ca", None, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("shop.svc".to_owned())],
            excluded_subtrees: vec![],
        });
    });
    let generation = adopt(&secret(&[&constrained], &[])).unwrap();
    let named = |name: &str| LeafProfile {
        dns_names: BTreeSet::from([name.to_owned()]),
        ip_addresses: BTreeSet::new(),
        ..leaf_profile()
    };
    assert_eq!(probe(&generation, &named("order.shop.svc"), now()), Ok(()));
    assert_eq!(probe(&generation, &named("*.order.shop.svc"), now()), Ok(()));
    assert_eq!(probe(&generation, &named("order.else.svc"), now()).unwrap_err().reason(), "NamesNotPermitted");

    let forbids_all = authority("ca", None, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![GeneralSubtree::DirectoryName(rcgen::DistinguishedName::new())],
        });
    });
    assert_eq!(reason(&secret(&[&forbids_all], &[])), "NamesNotPermitted");
}

#[test]
fn authorities_made_by_openssl_are_accepted() {
    for algorithm in ["rsa:3072", "ec -pkeyopt ec_paramgen_curve:P-384", "ed25519"] {
        let openssl = OpenSsl::new();
        let command = format!(
            "req -x509 -newkey {algorithm} -nodes -days 9 -out crt -keyout key -subj /C=CH/O=Example/CN=ca \
             -addext keyUsage=critical,keyCertSign,cRLSign"
        );
        openssl.run(&command).unwrap();
        let mut data = SecretData::default();
        data.put(CERTIFICATE, openssl.read("crt"));
        data.put(PRIVATE_KEY, openssl.read("key"));
        let made_at = pem::certificates(data.get(CERTIFICATE).unwrap()).unwrap()[0].not_before();
        let generation = adopt_secret(&data, &trust_domain("storefront"), made_at).unwrap();
        let leaf_key = key(CertificateAlgorithm::EcdsaP256);
        let leaf = issue_leaf(&leaf_profile(), &generation, &leaf_key, &serial(), made_at).unwrap();
        openssl.file("leaf", leaf.certificate().to_pem());
        openssl.run("verify -x509_strict -CAfile crt leaf").unwrap();
    }
}

proptest! {
    /// A root's own signature covers nothing that anybody checks, so some damage goes unseen; but none does harm.
    #[test]
    fn damaged_octets_never_panic(place in 0_usize..2000, mask in 1_u8..) {
        static WHOLE: std::sync::LazyLock<SecretData> = std::sync::LazyLock::new(|| {
            let root = authority("root", None, plain);
            secret(&[&authority("ca", Some(&root), plain)], &[&root])
        });
        for (key, label) in [(CERTIFICATE, "CERTIFICATE"), (ROOTS, "CERTIFICATE"), (PRIVATE_KEY, "PRIVATE KEY")] {
            let (_, mut der) = <(SectionKind, Vec<u8>)>::from_pem_slice(WHOLE.get(key).unwrap()).unwrap();
            let length = der.len();
            der[place % length] ^= mask;
            let mut data = WHOLE.clone();
            data.put(key, pem::encode(label, &der));
            let _ = LeafFacts::of_secret(&data);
            match adopt(&data) {
                Err(refused) => prop_assert!(!refused.to_string().is_empty()),
                Ok(generation) => {
                    let leaf_key = crate::pki::testing::key(CertificateAlgorithm::EcdsaP256);
                    prop_assert!(issue_leaf(&leaf_profile(), &generation, &leaf_key, &serial(), now()).is_ok());
                }
            }
        }
    }
}
