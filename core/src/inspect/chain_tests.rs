//! What a peer would object to, one thing at a time.

use jiff::SignedDuration;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};

use super::*;
use crate::inspect::{Report, inspect_file, inspect_secret};
use crate::pki::testing::{
    generations, intermediate, key, leaf_profile, leaf_that_outlives, now, pem_of, root, serial,
};
use crate::pki::{CaGeneration, IssuedLeaf, issue_leaf, issuing_bundle, roots_bundle, tls_secret_data};

const ID: &str = "spiffe://storefront/ns/shop/sa/order";

fn question(bundle: Option<&Bundle>) -> Question<'_> {
    Question { now: now(), usage: None, server_name: None, bundle, identity_uid: None }
}

fn issue(authority: &CaGeneration) -> IssuedLeaf {
    let profile = leaf_profile();
    issue_leaf(&profile, authority, &key(profile.algorithm), &serial(), now()).unwrap()
}

fn chain(authority: &CaGeneration) -> Vec<Certificate> {
    let leaf = issue(authority);
    std::iter::once(leaf.certificate()).chain(leaf.presented_chain()).cloned().collect()
}

fn bundle_of(text: &str) -> Bundle {
    Bundle::from_pem("the bundle", text.as_bytes()).unwrap()
}

fn reasons(report: &ChainReport) -> Vec<RefusalReason> {
    report.refusals.iter().map(|refusal| refusal.reason).collect()
}

/// A leaf of an authority with these URI names and this change.
fn unusual(authority: &CaGeneration, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Vec<Certificate> {
    let mut params = CertificateParams::default();
    params.not_before = time::OffsetDateTime::from_unix_timestamp(now().as_second() - 60).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(now().as_second() + 3600).unwrap();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    change(&mut params);
    vec![authority.sign(&params, &key(crate::api::CertificateAlgorithm::EcdsaP256)).unwrap()]
}

#[test]
fn nothing_stands_against_what_ringfence_issues() {
    let issuing = intermediate("storefront", &root("shop-root"));
    let all = generations([issuing.clone()]);
    let presented = chain(&issuing);
    for (text, current) in [(issuing_bundle(&all), issuing.id()), (roots_bundle(&all), "another")] {
        let bundle = Bundle { current_generation: Some(current.to_owned()), ..bundle_of(&text) };
        let report = inspect_chain(&presented, &Question { identity_uid: Some("uid"), ..question(Some(&bundle)) });
        assert_eq!(report.refusals, []);
        let authority = report.issuing_authority.unwrap();
        assert_eq!((authority.generation.as_str(), authority.current), (issuing.id(), Some(current == issuing.id())));
        assert_eq!(report.spiffe_id.unwrap().to_string(), ID);
        assert_eq!((report.usages, report.certificates.len()), (vec!["server", "client"], 2));
        assert_eq!(report.certificates[1].generation.as_deref(), Some(issuing.id()));
        let leaf = &presented[0];
        assert_eq!(report.renewal_time, Some(renewal_time(leaf.not_before(), leaf.not_after(), "uid")));
    }
    let unverified = inspect_chain(&presented, &question(None));
    assert_eq!((unverified.refusals, unverified.verified_against, unverified.issuing_authority), (vec![], None, None));
}

#[test]
fn the_clock_is_judged_apart_from_the_chain() {
    let authority = root("storefront");
    let bundle = bundle_of(&authority.certificate().to_pem());
    let presented = chain(&authority);
    let at = |seconds| Question {
        now: now().checked_add(SignedDuration::from_secs(seconds)).unwrap(),
        ..question(Some(&bundle))
    };
    let expired = inspect_chain(&presented, &at(24 * 3600 + 1));
    assert_eq!(reasons(&expired), [RefusalReason::Expired]);
    assert_eq!(expired.issuing_authority.unwrap().generation, authority.id(), "the chain is good all the same");
    assert_eq!(reasons(&inspect_chain(&presented, &at(24 * 3600))), []);
    // The authority was not there a minute before it issued either.
    let early = inspect_chain(&presented, &at(-61));
    assert_eq!(reasons(&early), [RefusalReason::NotYetValid, RefusalReason::AuthorityExpired]);
}

#[test]
fn the_chain_must_lead_to_the_bundle() {
    let parent = root("shop-root");
    let (ours, sibling) = (intermediate("storefront", &parent), intermediate("settlement", &parent));
    let (issuing, roots) = (
        bundle_of(&issuing_bundle(&generations([ours.clone()]))),
        bundle_of(&roots_bundle(&generations([ours.clone()]))),
    );
    let theirs = inspect_chain(&chain(&sibling), &question(Some(&issuing)));
    assert_eq!(reasons(&theirs), [RefusalReason::UnknownIssuer]);
    let cut = inspect_chain(&chain(&ours)[..1], &question(Some(&roots)));
    assert_eq!(reasons(&cut), [RefusalReason::UnknownIssuer], "what lies between is not presented");
    assert_eq!(cut.verified_against.as_deref(), Some("the bundle"));

    let outlived = root("storefront");
    let forged = certificates(leaf_that_outlives(&outlived).as_bytes()).unwrap();
    let bundle = bundle_of(&outlived.certificate().to_pem());
    let late = outlived.not_after().checked_add(SignedDuration::from_secs(1)).unwrap();
    let report = inspect_chain(&forged, &Question { now: late, ..question(Some(&bundle)) });
    assert_eq!(reasons(&report), [RefusalReason::AuthorityExpired]);

    let upside_down: Vec<_> = chain(&ours).into_iter().rev().collect();
    let report = inspect_chain(&upside_down, &question(Some(&roots)));
    assert_eq!(reasons(&report), [RefusalReason::IsAuthority, RefusalReason::NoSpiffeId]);
}

#[test]
fn exactly_one_spiffe_id_is_an_identity() {
    let authority = root("storefront");
    let of = |uris: &[&str]| inspect_chain(&unusual(&authority, uris, |_| {}), &question(None));
    assert_eq!(reasons(&of(&[ID])), []);
    let cases: [(&[&str], &str); 4] = [
        (&[], "it has no URI name"),
        (&[ID, ID], "it has 2 URI names"),
        (&["https://example.org"], "\"https://example.org\" is none"),
        (&["spiffe://storefront"], "is not of the form"),
    ];
    for (uris, why) in cases {
        let report = of(uris);
        assert_eq!((reasons(&report), report.spiffe_id), (vec![RefusalReason::NoSpiffeId], None), "{uris:?}");
        assert!(report.refusals[0].message.contains(why), "{}", report.refusals[0].message);
    }
}

#[test]
fn a_usage_must_fit_the_side() {
    let authority = root("storefront");
    let bundle = bundle_of(&authority.certificate().to_pem());
    let of = |purposes: &[ExtendedKeyUsagePurpose], usage| {
        let chain = unusual(&authority, &[ID], |params| params.extended_key_usages = purposes.to_vec());
        inspect_chain(&chain, &Question { usage, ..question(Some(&bundle)) })
    };
    let (client, email) = (ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::EmailProtection);
    let wrong = vec![RefusalReason::WrongUsage];
    assert_eq!(of(&[], Some(PeerUsage::Server)).usages, ["server", "client"], "without the extension all is allowed");
    for (purposes, usage, refused, usages) in [
        (vec![client.clone()], None, vec![], vec!["client"]),
        (vec![client.clone()], Some(PeerUsage::Client), vec![], vec!["client"]),
        (vec![client], Some(PeerUsage::Server), wrong.clone(), vec!["client"]),
        (vec![email], None, wrong, vec![]),
    ] {
        let report = of(&purposes, usage);
        assert_eq!((reasons(&report), report.usages.clone()), (refused, usages), "{purposes:?} {usage:?}");
    }
}

#[test]
fn a_name_counts_only_when_it_is_demanded() {
    let presented = chain(&root("storefront"));
    let of = |name| reasons(&inspect_chain(&presented, &Question { server_name: Some(name), ..question(None) }));
    for name in ["order.shop.svc", "a.order.shop.svc", "10.0.0.7", "fd00::7"] {
        assert_eq!(of(name), [], "{name}");
    }
    for name in ["payment.shop.svc", "10.0.0.8", "a.b.order.shop.svc", "no name"] {
        assert_eq!(of(name), [RefusalReason::NameMismatch], "{name}");
    }
}

#[test]
fn the_key_must_be_the_leafs() {
    let authority = root("storefront");
    let all = generations([authority.clone()]);
    let whole = tls_secret_data(&issue(&authority), &all);
    let of = |data: &SecretData| match inspect_secret(data, &question(None)) {
        Some(Report::Certificate(report)) => reasons(&report),
        other => panic!("{other:?}"),
    };
    assert_eq!(of(&whole), []);
    let another = key(crate::api::CertificateAlgorithm::EcdsaP256).to_pkcs8_pem();
    let crt = whole.get(TLS_CRT).unwrap().to_vec();
    let cases: [(&str, &[u8], RefusalReason); 4] = [
        (TLS_KEY, another.as_bytes(), RefusalReason::KeyMismatch),
        (TLS_KEY, &crt, RefusalReason::KeyUnreadable),
        (TLS_CRT, &crt[..99], RefusalReason::Malformed),
        (TLS_CRT, b"", RefusalReason::Malformed),
    ];
    for (place, octets, reason) in cases {
        let mut data = whole.clone();
        data.put(place, octets);
        assert_eq!(of(&data), [reason], "{place}");
    }
    assert_eq!(of(&[(TLS_CRT.to_owned(), crt)].into_iter().collect()), [RefusalReason::KeyUnreadable]);
    assert_eq!(inspect_secret(&SecretData::default(), &question(None)), None);
}

#[test]
fn a_file_is_a_chain_with_or_without_its_key_or_a_bundle() {
    let authority = root("storefront");
    let whole = tls_secret_data(&issue(&authority), &generations([authority.clone()]));
    let (crt, own) = (whole.get(TLS_CRT).unwrap(), whole.get(TLS_KEY).unwrap());
    let another = key(crate::api::CertificateAlgorithm::EcdsaP256).to_pkcs8_pem();
    let of = |parts: &[&[u8]]| inspect_file(&parts.concat(), &question(None)).unwrap();
    assert_eq!(of(&[crt]).refusals(), []);
    assert_eq!(of(&[own, crt]).refusals(), []);
    assert_eq!(of(&[crt, another.as_bytes()]).refusals()[0].reason, RefusalReason::KeyMismatch);
    let text = pem_of([authority.certificate()]);
    assert!(matches!(of(&[text.as_bytes()]), Report::Bundle(bundle) if bundle.authorities.len() == 1));
    assert_eq!(inspect_file(own, &question(None)), Err(PemError::NoCertificate));
    assert_eq!(inspect_file(&crt[..99], &question(None)), Err(PemError::Truncated));
}

#[test]
fn no_report_holds_a_private_key() {
    let authority = root("storefront");
    let all = generations([authority.clone()]);
    let signing = crate::jwt::testing::signing_key(crate::api::SigningAlgorithm::ES256);
    let secrets = [
        tls_secret_data(&issue(&authority), &all),
        crate::jwt::signing_key_secret_data(&signing, Some(&signing)),
        all.to_secret_data(),
    ];
    for data in &secrets {
        let report = inspect_secret(data, &question(None)).unwrap();
        assert_eq!(report.refusals(), []);
        let printed = serde_json::to_string(&report).unwrap() + &format!("{report:?}");
        let private = data.keys().filter(|key| key.ends_with(".key") || key.ends_with("private.pem"));
        for line in private.flat_map(|key| std::str::from_utf8(data.get(key).unwrap()).unwrap().lines().skip(1)) {
            assert!(line.starts_with("-----") || !printed.contains(line), "{printed}");
        }
        if let Some(jwk) = data.get("jwk.json") {
            let jwk: serde_json::Value = serde_json::from_slice(jwk).unwrap();
            assert!(!printed.contains(jwk["d"].as_str().unwrap()), "{printed}");
        }
    }
}

#[test]
fn a_key_id_that_is_not_the_thumbprint_is_seen() {
    let signing = crate::jwt::testing::signing_key(crate::api::SigningAlgorithm::EdDSA);
    let mut data = crate::jwt::signing_key_secret_data(&signing, None);
    data.put("kid", "another");
    let Some(Report::SigningKey(report)) = inspect_secret(&data, &question(None)) else { panic!() };
    assert_eq!(report.refusals[0].reason, RefusalReason::KeyIdMismatch);
    let current = report.current.unwrap();
    assert_eq!((current.key_id.as_str(), current.algorithms), (signing.kid(), vec!["EdDSA"]));
    data.put("private.pem", "nothing");
    let report = inspect_secret(&data, &question(None)).unwrap();
    assert_eq!(report.refusals()[0].reason, RefusalReason::KeyUnreadable);
}

#[test]
fn authorities_that_cannot_sign_are_seen() {
    let authority = root("storefront");
    let data = generations([authority.clone()]).to_secret_data();
    let at = |now| inspect_secret(&data, &Question { now, ..question(None) }).unwrap();
    let Report::Authorities(report) = at(now()) else { panic!() };
    assert_eq!(report.generations[0].certificates[0].generation.as_deref(), Some(authority.id()));
    let late = authority.not_after().checked_add(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(at(late).refusals()[0].reason, RefusalReason::AuthorityExpired);
    let mut torn = data.clone();
    torn.put("extra", "x");
    assert_eq!(inspect_secret(&torn, &question(None)).unwrap().refusals()[0].reason, RefusalReason::Unreadable);
}
