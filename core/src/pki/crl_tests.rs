//! Revocation lists, as two other implementations read them.

use webpki::{CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder};

use super::*;
use crate::api::CertificateAlgorithm;
use crate::pki::testing::{
    ALGORITHMS, OpenSsl, generations, intermediate, key, leaf_profile, now, pem_of, root, root_with,
    root_without_crl_sign, serial,
};
use crate::pki::{Certificate, IssuedLeaf, issue_leaf, roots_bundle};

const LIFE: SignedDuration = SignedDuration::from_hours(8 * 24);

fn after(hours: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(hours)).unwrap()
}

fn leaf(authority: &CaGeneration) -> IssuedLeaf {
    let profile = leaf_profile();
    issue_leaf(&profile, authority, &key(profile.algorithm), &serial(), now()).unwrap()
}

/// The entry for a certificate, revoked a minute ago.
fn entry(authority: &CaGeneration, certificate: &Certificate) -> (String, Revoked) {
    let revoked_at = now().checked_sub(SignedDuration::from_secs(60)).unwrap();
    let (serial, not_after) = (certificate.serial(), certificate.not_after());
    (authority.id().to_owned(), Revoked { serial, revoked_at, not_after, cause: RevocationCause::Suspended })
}

fn revise_at(all: &CaGenerations, revoke: &[(String, Revoked)], now: Timestamp) -> Option<CaGenerations> {
    all.with_revoked(revoke, LIFE, now).unwrap()
}

fn list(all: &CaGenerations) -> &RevocationList {
    all.signing().unwrap().revocation_list().unwrap()
}

/// What openssl says of a leaf, with the lists of all above it.
fn openssl(leaf: &IssuedLeaf, all: &[&CaGenerations], at: Timestamp) -> Result<String, String> {
    let openssl = OpenSsl::new();
    openssl.file("roots", roots_bundle(all[0]));
    openssl.file("lists", all.iter().map(|generations| generations.lists_pem()).collect::<String>());
    openssl.file("chain", pem_of(leaf.presented_chain()) + &roots_bundle(all[0]));
    openssl.file("leaf", leaf.certificate().to_pem());
    let at = at.as_second();
    openssl.run(&format!(
        "verify -x509_strict -crl_check_all -attime {at} -CAfile roots -untrusted chain -CRLfile lists leaf"
    ))
}

/// What webpki says of it.
fn webpki(leaf: &IssuedLeaf, all: &[&CaGenerations], at: Timestamp) -> Result<(), webpki::Error> {
    let lists: Vec<CertRevocationList<'_>> = all
        .iter()
        .flat_map(|generations| generations.issuing_cas())
        .filter_map(|generation| pem::section(LABEL, generation.revocation_list()?.pem().as_bytes()))
        .map(|der| OwnedCertRevocationList::from_der(&der).unwrap().into())
        .collect();
    let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
    let options = RevocationOptionsBuilder::new(&lists).unwrap();
    let options = options.with_expiration_policy(webpki::ExpirationPolicy::Enforce).build();
    let roots = all[0].roots().into_iter().map(Certificate::as_pki_type).collect::<Vec<_>>();
    let anchors: Vec<_> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap()).collect();
    let chain: Vec<_> = leaf.presented_chain().iter().map(Certificate::as_pki_type).collect();
    let der = leaf.certificate().as_pki_type();
    let seconds = std::time::Duration::from_secs(at.as_second().try_into().unwrap());
    let end_entity = EndEntityCert::try_from(&der).unwrap();
    let verified = end_entity.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &chain,
        rustls_pki_types::UnixTime::since_unix_epoch(seconds),
        KeyUsage::server_auth(),
        Some(options),
        None,
    );
    verified.map(drop)
}

#[test]
fn a_revoked_leaf_is_refused_and_every_other_one_passes() {
    for algorithm in ALGORITHMS {
        let authority = root_with("storefront", algorithm);
        let (revoked, other) = (leaf(&authority), leaf(&authority));
        let all = revise_at(&generations([authority.clone()]), &[], now()).unwrap();
        assert!(openssl(&revoked, &[&all], now()).is_ok(), "{algorithm:?}");
        assert_eq!(webpki(&revoked, &[&all], now()), Ok(()), "{algorithm:?}");
        let all = revise_at(&all, &[entry(&authority, revoked.certificate())], now()).unwrap();
        let said = openssl(&revoked, &[&all], now()).unwrap_err();
        assert!(said.contains("certificate revoked"), "{said}");
        assert_eq!(webpki(&revoked, &[&all], now()), Err(webpki::Error::CertRevoked), "{algorithm:?}");
        openssl(&other, &[&all], now()).unwrap();
        assert_eq!(webpki(&other, &[&all], now()), Ok(()), "{algorithm:?}");
    }
}

#[test]
fn below_a_shared_root_the_whole_chain_is_checked() {
    let parent = root("shop-root");
    let (ours, sibling) = (intermediate("storefront", &parent), intermediate("settlement", &parent));
    let revise = |authority: &CaGeneration, revoke: &[(String, Revoked)]| {
        revise_at(&generations([authority.clone()]), revoke, now()).unwrap()
    };
    let (order, payment) = (leaf(&ours), leaf(&sibling));
    // A list of one CA says nothing about what another one issued, whatever the serial number.
    let mut foreign = entry(&ours, payment.certificate());
    let revoked = [entry(&ours, order.certificate()), foreign.clone()];
    let all = [&revise(&ours, &revoked), &revise(&sibling, &[]), &revise(&parent, &[])];
    assert!(openssl(&order, &all, now()).unwrap_err().contains("certificate revoked"));
    assert_eq!(webpki(&order, &all, now()), Err(webpki::Error::CertRevoked));
    openssl(&payment, &all, now()).unwrap();
    assert_eq!(webpki(&payment, &all, now()), Ok(()));
    let said = openssl(&payment, &all[..2], now()).unwrap_err();
    assert!(said.contains("unable to get certificate CRL"), "the root's list is part of it: {said}");
    foreign.0 = "0badc0de".to_owned();
    assert!(revise_at(all[0], &[foreign], now()).is_none(), "a generation that is not there revokes nothing");
}

#[test]
fn a_list_is_signed_anew_after_half_its_life_with_a_greater_number() {
    let all = revise_at(&generations([root("storefront")]), &[], now()).unwrap();
    let first = list(&all).clone();
    assert_eq!(first.next_update(), after(8 * 24));
    assert_eq!(all.next_list(), Some(first.renewal_time()));
    assert!(revise_at(&all, &[], now()).is_none() && revise_at(&all, &[], after(95)).is_none());
    let renewed = revise_at(&all, &[], first.renewal_time()).unwrap();
    assert!(list(&renewed).number() > first.number());
    assert!(list(&renewed).next_update() > first.next_update());
    let longer = all.with_revoked(&[], LIFE * 2, now()).unwrap().unwrap();
    assert_eq!(list(&longer).next_update(), after(16 * 24), "certificates became longer");
    assert_eq!(list(&longer).number(), first.number() + 1, "two in one second");
    // Once it is over, whoever checks believes nobody.
    assert_eq!(webpki(&leaf(all.signing().unwrap()), &[&all], after(1)), Ok(()));
    let back = all.with_revoked(&[], LIFE * 2, after(-24)).unwrap().unwrap();
    assert!(list(&back).number() > first.number(), "nor does it shrink when the clock is put back");
}

#[test]
fn an_entry_stays_until_its_certificate_ends() {
    let authority = root("storefront");
    let leaf = leaf(&authority);
    let all = generations([authority.clone()]);
    let revoke = [entry(&authority, leaf.certificate())];
    let all = revise_at(&all, &revoke, now()).unwrap();
    assert!(revise_at(&all, &revoke, now()).is_none(), "it is on the list already");
    let early = all.with_revoked(&[], LIFE * 2, after(24)).unwrap().unwrap();
    assert!(early.signing().unwrap().is_revoked(&leaf.certificate().serial()), "the last second counts");
    let renewed = revise_at(&all, &[], list(&all).renewal_time()).unwrap();
    assert!(list(&renewed).serials().is_empty() && renewed.signing().unwrap().revoked().is_empty());
    let number = list(&renewed).number();
    assert!(revise_at(&renewed, &[], list(&all).renewal_time()).is_none(), "{number}");
}

#[test]
fn the_secret_holds_the_record_and_a_list_that_is_lost_is_signed_again() {
    let authority = root("storefront");
    let leaf = leaf(&authority);
    let revoke = [entry(&authority, leaf.certificate())];
    let all = revise_at(&generations([authority.clone()]), &revoke, now()).unwrap();
    let data = all.to_secret_data();
    let read = CaGenerations::from_secret_data(&data).unwrap();
    assert_eq!((list(&read), read.signing().unwrap().revoked()), (list(&all), all.signing().unwrap().revoked()));
    assert!(revise_at(&read, &[], now()).is_none(), "reading changes nothing");
    let key = format!("{}.crl", authority.id());
    let pem = data.get(&key).unwrap().to_vec();
    for damaged in [&pem[..pem.len() / 2], b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
        let mut data = data.clone();
        data.put(&*key, damaged);
        let read = CaGenerations::from_secret_data(&data).unwrap();
        let again = revise_at(&read, &[], after(1)).unwrap();
        assert_eq!(webpki(&leaf, &[&again], now()), Err(webpki::Error::CertRevoked));
        assert!(list(&again).number() > list(&all).number());
    }
}

#[test]
fn who_is_retired_or_may_not_has_no_list() {
    let may_not = root_without_crl_sign("brought");
    let retired = root_with("storefront", CertificateAlgorithm::Ed25519).with_phase(Phase::Retired);
    let all = generations([retired.clone(), may_not.clone()]);
    let leaf = leaf(&may_not);
    assert!(revise_at(&all, &[entry(&may_not, leaf.certificate())], now()).is_none());
    assert_eq!((all.lists_pem(), all.next_list()), (String::new(), None));
}
