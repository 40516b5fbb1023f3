//! What a leaf says, by x509-parser, openssl and webpki.

use proptest::prelude::*;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::*;
use crate::pki::testing::{
    ALGORITHMS, OpenSsl, generations, intermediate, key, leaf_profile, now, pem_of, root, root_with, serial,
};
use crate::pki::{LeafFacts, PeerUsage, tls_secret_data, verify_leaf};

#[test]
fn a_leaf_says_exactly_this() {
    let (authority, profile, serial) = (root("storefront"), leaf_profile(), serial());
    let key = key(profile.algorithm);
    let leaf = issue_leaf(&profile, &authority, &key, &serial, now()).unwrap();
    let certificate = leaf.certificate();
    assert_eq!(certificate.serial(), serial);
    assert_eq!(certificate.not_before().to_string(), "2026-03-01T11:59:00Z");
    assert_eq!(certificate.not_after().to_string(), "2026-03-02T12:00:00Z");
    assert_eq!(certificate.subject(), "CN=order");
    assert_eq!(certificate.issuer_der(), authority.certificate().subject_der());
    assert_eq!(certificate.authority_key_id().as_deref(), Some(authority.subject_key_id()));
    let subject_key_id = &crate::pki::sha256(&[key.public_key_spki()])[..20];
    assert_eq!(certificate.subject_key_id().as_deref(), Some(subject_key_id));
    let parsed = certificate.parsed();
    assert_eq!(parsed.extensions().len(), 6, "in particular no CRL distribution point");
    for extension in parsed.iter_extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => assert!(extension.critical && !constraints.ca),
            ParsedExtension::KeyUsage(usage) => {
                assert!(extension.critical);
                assert_eq!(usage.flags, 1, "digitalSignature alone");
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(usage.server_auth && usage.client_auth && !usage.any && usage.other.is_empty());
            }
            ParsedExtension::SubjectAlternativeName(names) => assert_eq!(
                names.general_names,
                [
                    GeneralName::URI("spiffe://storefront/ns/shop/sa/order"),
                    GeneralName::DNSName("*.order.shop.svc"),
                    GeneralName::DNSName("order.shop.svc"),
                    GeneralName::IPAddress(&[10, 0, 0, 7]),
                    GeneralName::IPAddress(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
                ]
            ),
            ParsedExtension::SubjectKeyIdentifier(_) | ParsedExtension::AuthorityKeyIdentifier(_) => {}
            other => panic!("unexpected extension {other:?}"),
        }
    }
}

#[test]
fn without_a_common_name_the_subject_is_empty_and_the_names_critical() {
    let profile = LeafProfile { common_name: None, ..leaf_profile() };
    let leaf = issue_leaf(&profile, &root("storefront"), &key(profile.algorithm), &serial(), now()).unwrap();
    let parsed = leaf.certificate().parsed();
    assert_eq!(parsed.subject().iter_attributes().count(), 0);
    assert!(parsed.subject_alternative_name().unwrap().unwrap().critical, "RFC 5280, section 4.1.2.6");
}

#[test]
fn openssl_verifies_leaves_of_every_algorithm_under_every_authority_strictly() {
    let at = now().as_second();
    for authority in ALGORITHMS.map(|algorithm| root_with("storefront", algorithm)) {
        for algorithm in ALGORITHMS {
            let profile = LeafProfile { algorithm, ..leaf_profile() };
            let leaf = issue_leaf(&profile, &authority, &key(algorithm), &serial(), now()).unwrap();
            let openssl = OpenSsl::new();
            openssl
                .file("root", authority.certificate().to_pem())
                .file("leaf", leaf.certificate().to_pem())
                .file("key", leaf.key().to_pkcs8_pem().as_bytes());
            for purpose in ["sslserver", "sslclient"] {
                let names = "-verify_hostname order.shop.svc -verify_ip fd00::7";
                let command = format!("verify -x509_strict -purpose {purpose} {names} -attime {at} -CAfile root leaf");
                openssl.run(&command).unwrap();
            }
            let of_certificate = openssl.run("x509 -in leaf -noout -pubkey").unwrap();
            assert_eq!(of_certificate, openssl.run("pkey -in key -pubout").unwrap());
        }
    }
}

#[test]
fn openssl_verifies_through_intermediates_and_anchored_at_one() {
    let issuing = intermediate("storefront", &intermediate("middle", &root("shop-root")));
    let profile = leaf_profile();
    let leaf = issue_leaf(&profile, &issuing, &key(profile.algorithm), &serial(), now()).unwrap();
    assert_eq!(leaf.presented_chain().len(), 2);
    let openssl = OpenSsl::new();
    openssl
        .file("leaf", leaf.certificate().to_pem())
        .file("chain", pem_of(leaf.presented_chain()))
        .file("root", issuing.root().to_pem())
        .file("issuing", issuing.certificate().to_pem());
    let at = now().as_second();
    openssl.run(&format!("verify -x509_strict -attime {at} -CAfile root -untrusted chain leaf")).unwrap();
    openssl.run(&format!("verify -partial_chain -attime {at} -CAfile issuing leaf")).unwrap();
    openssl.run(&format!("verify -attime {at} -CAfile root leaf")).expect_err("the chain is needed");
    let text = openssl.run("x509 -in leaf -noout -text").unwrap();
    assert!(text.contains("URI:spiffe://storefront/ns/shop/sa/order"), "{text}");
}

#[test]
fn a_leaf_never_outlives_what_is_above_it() {
    let parent = root("shop-root");
    let issuing = intermediate("storefront", &parent);
    let profile = LeafProfile { duration: SignedDuration::from_hours(24 * 365 * 2), ..leaf_profile() };
    let leaf = |authority: &CaGeneration, now| issue_leaf(&profile, authority, &key(profile.algorithm), &serial(), now);
    assert_eq!(leaf(&issuing, now()).unwrap().certificate().not_after(), issuing.not_after());
    let last_second = parent.not_after().checked_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(leaf(&parent, last_second).unwrap().certificate().not_after(), parent.not_after());
    assert!(matches!(leaf(&parent, parent.not_after()), Err(IssueError::NoLifetime { .. })));
}

#[test]
fn profiles_that_make_no_leaf_are_refused() {
    let long = "a".repeat(65);
    let named = |name: &str| LeafProfile { dns_names: BTreeSet::from([name.to_owned()]), ..leaf_profile() };
    let cases = [
        ("the key", LeafProfile { algorithm: CertificateAlgorithm::Ed25519, ..leaf_profile() }, "asks for Ed25519"),
        ("the name", LeafProfile { common_name: Some(long.clone()), ..leaf_profile() }, "more than 64 characters"),
        ("no time", LeafProfile { duration: SignedDuration::ZERO, ..leaf_profile() }, "no time to live"),
        ("too long", LeafProfile { duration: SignedDuration::MAX, ..leaf_profile() }, "no time to live"),
        ("empty", named(""), "not a DNS name"),
        ("a space", named("a b"), "not a DNS name"),
        ("not ASCII", named("bücher.example"), "not a DNS name"),
        ("inner wildcard", named("a.*.example"), "not a DNS name"),
        ("two wildcards", named("*.*.example"), "not a DNS name"),
        ("long label", named(&format!("{long}.example")), "not a DNS name"),
        ("an address", named("10.0.0.1"), "not a DNS name"),
    ];
    for (name, profile, message) in cases {
        let key = key(CertificateAlgorithm::EcdsaP256);
        let error = issue_leaf(&profile, &root("storefront"), &key, &serial(), now()).unwrap_err();
        assert!(error.to_string().contains(message), "{name}: {error}");
    }
}

#[test]
fn debug_does_not_show_the_key() {
    let profile = leaf_profile();
    let leaf = issue_leaf(&profile, &root("storefront"), &key(profile.algorithm), &serial(), now()).unwrap();
    let (text, pem) = (format!("{leaf:?}"), leaf.key().to_pkcs8_pem());
    assert!(text.contains("redacted") && !text.contains(pem.lines().nth(1).unwrap()), "{text}");
}

prop_compose! {
    fn profiles()(
        namespace in "[a-z][a-z0-9-]{0,30}[a-z0-9]",
        service_account in "[a-z][a-z0-9-]{0,30}[a-z0-9]",
        common_name in proptest::option::of("[a-z][a-z0-9-]{0,62}"),
        dns_names in proptest::collection::btree_set("(\\*\\.)?[a-z][a-z0-9]{0,20}\\.[a-z]{2,20}\\.svc", 0..5),
        ip_addresses in proptest::collection::btree_set(any::<IpAddr>(), 0..4),
        usages in prop::sample::select(vec![
            Usages::BOTH,
            Usages { server_auth: true, client_auth: false },
            Usages { server_auth: false, client_auth: true },
        ]),
        seconds in 300_i64..100_000_000,
    ) -> LeafProfile {
        LeafProfile {
            spiffe_id: SpiffeId::new("storefront".parse().unwrap(), &namespace, &service_account).unwrap(),
            common_name,
            dns_names,
            ip_addresses,
            usages,
            algorithm: CertificateAlgorithm::EcdsaP256,
            duration: SignedDuration::from_secs(seconds),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_a_profile_says_is_read_back_from_the_leaf(profile in profiles(), later in 0_i64..10_000_000) {
        let issuing = intermediate("storefront", &root("shop-root"));
        let now = now().checked_add(SignedDuration::from_millis(later)).unwrap();
        let leaf = issue_leaf(&profile, &issuing, &key(profile.algorithm), &serial(), now).unwrap();
        let secret = tls_secret_data(&leaf, &generations([issuing.clone()]));
        let facts = LeafFacts::of_secret(&secret).unwrap();
        prop_assert_eq!(facts.spiffe_id.as_ref(), Some(&profile.spiffe_id));
        prop_assert_eq!(&facts.common_name, &profile.common_name);
        prop_assert_eq!(&facts.dns_names, &profile.dns_names);
        prop_assert_eq!(&facts.ip_addresses, &profile.ip_addresses);
        prop_assert!(!facts.other_names);
        prop_assert_eq!(facts.algorithm, Some(profile.algorithm));
        prop_assert_eq!(facts.usages, Some(profile.usages));
        prop_assert_eq!(facts.not_before.as_second(), now.as_second() - 60);
        let end = (now.as_second() + profile.duration.as_secs()).min(issuing.not_after().as_second());
        prop_assert_eq!(facts.not_after.as_second(), end);
        let (chain, anchors) = (secret.get("tls.crt").unwrap(), secret.get("ca.crt").unwrap());
        let usages = [(PeerUsage::Client, profile.usages.client_auth), (PeerUsage::Server, profile.usages.server_auth)];
        for (usage, serves) in usages {
            match verify_leaf(chain, anchors, now, usage) {
                Ok(verified) => {
                    prop_assert!(serves);
                    prop_assert_eq!(verified.spiffe_id.as_ref(), Some(&profile.spiffe_id));
                }
                Err(error) => prop_assert!(!serves, "{error}"),
            }
        }
    }
}
