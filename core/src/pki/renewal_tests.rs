//! Every reason for a new leaf or a rewritten Secret, their order, and the moment of renewal.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::api::CertificateAlgorithm;
use crate::pki::testing::{generations, intermediate, key, leaf_profile, now, root, serial};
use crate::pki::{CaGeneration, SecretData, Usages, issue_leaf, tls_secret_data};

const UID: &str = "0b5c7f0e-6a3e-4b52-9d5f-0c7a9a3f5a11";

fn secret(profile: &LeafProfile, authority: &CaGeneration) -> SecretData {
    let leaf = issue_leaf(profile, authority, &key(profile.algorithm), &serial(), now()).unwrap();
    tls_secret_data(&leaf, &generations([authority.clone()]))
}

fn facts(profile: &LeafProfile, authority: &CaGeneration) -> LeafFacts {
    LeafFacts::of_secret(&secret(profile, authority)).unwrap()
}

fn after(seconds: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

#[test]
fn a_fresh_leaf_stays() {
    let issuing = intermediate("storefront", &root("shop-root"));
    let facts = facts(&leaf_profile(), &issuing);
    let all = generations([issuing]);
    assert_eq!(why_reissue(Some(Ok(&facts)), &leaf_profile(), &all, UID, now()), None);
    assert_eq!(why_rewrite(&facts, &all), None);
}

#[test]
fn each_fault_of_the_secret_has_its_reason() {
    let all = generations([root("storefront")]);
    let why = |stored| why_reissue(stored, &leaf_profile(), &all, UID, now());
    let pem = crate::pki::PemError::Truncated;
    let cases = [
        (TlsSecretFault::Missing { key: "tls.key" }, ReissueReason::Missing),
        (TlsSecretFault::Certificate(pem), ReissueReason::Malformed),
        (TlsSecretFault::Key(crate::pki::KeyError::NoKey), ReissueReason::Malformed),
        (TlsSecretFault::KeyMismatch, ReissueReason::KeyMismatch),
    ];
    for (fault, reason) in &cases {
        assert_eq!(why(Some(Err(fault))), Some(*reason), "{fault}");
    }
    assert_eq!(why(None), Some(ReissueReason::Missing));
}

#[test]
fn each_difference_from_the_profile_has_its_reason() {
    let authority = root("storefront");
    let facts = facts(&leaf_profile(), &authority);
    let all = generations([authority]);
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    let identified = |id: &str| LeafProfile { spiffe_id: id.parse().unwrap(), ..leaf_profile() };
    let named = |list: &[&str]| LeafProfile { dns_names: names(list), ..leaf_profile() };
    let lasting = |hours| LeafProfile { duration: SignedDuration::from_hours(hours), ..leaf_profile() };
    let cases = [
        (identified("spiffe://storefront/ns/shop/sa/cart"), ReissueReason::WrongIdentity),
        (identified("spiffe://else/ns/shop/sa/order"), ReissueReason::WrongIdentity),
        (named(&["order.shop.svc"]), ReissueReason::NamesChanged),
        (named(&["*.order.shop.svc", "order.shop.svc", "z.shop.svc"]), ReissueReason::NamesChanged),
        (LeafProfile { ip_addresses: BTreeSet::new(), ..leaf_profile() }, ReissueReason::NamesChanged),
        (LeafProfile { common_name: None, ..leaf_profile() }, ReissueReason::NamesChanged),
        (LeafProfile { algorithm: CertificateAlgorithm::EcdsaP384, ..leaf_profile() }, ReissueReason::AlgorithmChanged),
        (
            LeafProfile { usages: Usages { server_auth: true, client_auth: false }, ..leaf_profile() },
            ReissueReason::UsagesChanged,
        ),
        (lasting(25), ReissueReason::DurationChanged),
        (lasting(12), ReissueReason::DurationChanged),
    ];
    for (profile, reason) in cases {
        assert_eq!(why_reissue(Some(Ok(&facts)), &profile, &all, UID, now()), Some(reason), "{profile:?}");
    }
    let other_usages = LeafFacts { usages: None, ..facts.clone() };
    let why = why_reissue(Some(Ok(&other_usages)), &leaf_profile(), &all, UID, now());
    assert_eq!(why, Some(ReissueReason::UsagesChanged), "more than was ever given, or nothing");
    let other_names = LeafFacts { other_names: true, ..facts };
    let why = why_reissue(Some(Ok(&other_names)), &leaf_profile(), &all, UID, now());
    assert_eq!(why, Some(ReissueReason::NamesChanged));
}

#[test]
fn each_fate_of_the_issuer_has_its_reason() {
    let old = root("storefront");
    let facts = facts(&leaf_profile(), &old);
    let why = |list: Vec<CaGeneration>| why_reissue(Some(Ok(&facts)), &leaf_profile(), &generations(list), UID, now());
    let new = root("storefront");
    assert_eq!(why(vec![old.clone(), new.clone().with_phase(Phase::Distributed)]), None);
    let superseded = Some(ReissueReason::IssuerSuperseded);
    assert_eq!(why(vec![old.clone().with_phase(Phase::Reissued), new.clone()]), superseded);
    let not_trusted = Some(ReissueReason::IssuerNotTrusted);
    assert_eq!(why(vec![old.with_phase(Phase::Retired), new.clone()]), not_trusted);
    assert_eq!(why(vec![new]), not_trusted);
    assert_eq!(why(vec![]), not_trusted);
}

#[test]
fn time_alone_brings_three_reasons() {
    let authority = root("storefront");
    let facts = facts(&leaf_profile(), &authority);
    let all = generations([authority]);
    let why = |at| why_reissue(Some(Ok(&facts)), &leaf_profile(), &all, UID, at);
    let due = next_renewal(&facts, &all, UID).unwrap();
    assert_eq!(due, renewal_time(facts.not_before, facts.not_after, UID));
    let second_before = |time: Timestamp| time.checked_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(why(second_before(due)), None);
    assert_eq!(why(due), Some(ReissueReason::RenewalDue));
    assert_eq!(why(facts.not_after), Some(ReissueReason::RenewalDue));
    assert_eq!(why(after(24 * 3600 + 1)), Some(ReissueReason::Expired));
    assert_eq!(why(facts.not_before), None);
    assert_eq!(why(second_before(facts.not_before)), Some(ReissueReason::NotYetValid));
}

/// Otherwise a leaf that its authority cuts short would be renewed again and again, ever faster.
#[test]
fn a_leaf_that_ends_with_its_authority_is_renewed_only_under_a_later_one() {
    let old = root("storefront");
    let profile = LeafProfile { duration: SignedDuration::from_hours(24 * 366), ..leaf_profile() };
    let facts = facts(&profile, &old);
    assert_eq!(facts.not_after, old.not_after());
    let late = old.not_after().checked_sub(SignedDuration::from_hours(1)).unwrap();
    let why = |all: &_| why_reissue(Some(Ok(&facts)), &profile, all, UID, late);
    let alone = generations([old.clone()]);
    assert_eq!((why(&alone), next_renewal(&facts, &alone, UID)), (None, None));
    let mut longer = crate::pki::testing::authority_profile("storefront", CertificateAlgorithm::EcdsaP256);
    longer.duration = SignedDuration::from_hours(24 * 500);
    let new = crate::pki::new_root(&longer, key(longer.algorithm), &serial(), now()).unwrap();
    let both = generations([old.with_phase(Phase::Reissued), new.with_phase(Phase::Active)]);
    assert_eq!(why(&both), Some(ReissueReason::IssuerSuperseded));
    assert!(next_renewal(&facts, &both, UID).unwrap() < late);
}

/// Facts that object to everything, mended one by one in the order of the chain.
#[test]
fn the_first_objection_gives_the_reason() {
    let (authority, profile) = (root("storefront"), leaf_profile());
    let right = facts(&profile, &authority);
    let all = generations([root("storefront"), authority.with_phase(Phase::Reissued)]);
    let late = after(20 * 3600);
    let wrong = LeafFacts {
        spiffe_id: None,
        issuer_sha256: [0; 32],
        dns_names: BTreeSet::new(),
        algorithm: None,
        not_before: after(0),
        not_after: after(1),
        ..right.clone()
    };
    type Mend = fn(&mut LeafFacts, &LeafFacts);
    let steps: [(ReissueReason, Mend); 6] = [
        (ReissueReason::WrongIdentity, |facts, right| facts.spiffe_id = right.spiffe_id.clone()),
        (ReissueReason::Expired, |facts, _| facts.not_after = after(21 * 3600)),
        (ReissueReason::IssuerNotTrusted, |facts, right| facts.issuer_sha256 = right.issuer_sha256),
        (ReissueReason::NamesChanged, |facts, right| facts.dns_names = right.dns_names.clone()),
        (ReissueReason::AlgorithmChanged, |facts, right| facts.algorithm = right.algorithm),
        (ReissueReason::IssuerSuperseded, |_, _| {}),
    ];
    let mut facts = wrong;
    let mut reasons = Vec::new();
    for (reason, mend) in steps {
        assert_eq!(why_reissue(Some(Ok(&facts)), &profile, &all, UID, late), Some(reason));
        mend(&mut facts, &right);
        reasons.push(reason);
    }
    let active = generations(all.into_iter().skip(1).map(|generation| generation.with_phase(Phase::Active)));
    let why = |facts: &LeafFacts| why_reissue(Some(Ok(facts)), &profile, &active, UID, late);
    assert_eq!(why(&facts), Some(ReissueReason::DurationChanged));
    assert_eq!(why(&right), Some(ReissueReason::RenewalDue));
    let can_wait: Vec<_> = reasons.into_iter().filter(|reason| reason.can_wait()).collect();
    assert_eq!(can_wait, [ReissueReason::AlgorithmChanged, ReissueReason::IssuerSuperseded]);
}

#[test]
fn each_outdated_surrounding_has_its_reason() {
    let parent = root("shop-root");
    let issuing = intermediate("storefront", &parent);
    let all = generations([issuing.clone()]);
    let whole = secret(&leaf_profile(), &issuing);
    let text = |key: &str| String::from_utf8(whole.get(key).unwrap().to_vec()).unwrap();
    let why = |key: &str, text: String| {
        let mut data = whole.clone();
        data.put(key, text);
        why_rewrite(&LeafFacts::of_secret(&data).unwrap(), &all)
    };
    let (crt, ca, pem) = (text("tls.crt"), text("ca.crt"), text("tls.key"));
    let leaf_alone = crt.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    assert_eq!(why("tls.crt", crt.clone()), None);
    assert_eq!(why("tls.crt", leaf_alone), Some(RewriteReason::ChainOutdated));
    assert_eq!(why("tls.crt", crt.clone() + &ca), Some(RewriteReason::ChainOutdated));
    assert_eq!(why("ca.crt", ca.clone() + &crt), Some(RewriteReason::RootsOutdated));
    assert_eq!(why("ca.crt", String::new()), Some(RewriteReason::RootsOutdated));
    assert_eq!(why("keystore.jks", String::new()), Some(RewriteReason::ExtraKeys));
    assert_eq!(why("tls.crt", format!("note\n{crt}")), Some(RewriteReason::EncodingChanged));
    assert_eq!(why("tls.key", pem.replace('\n', "\r\n")), Some(RewriteReason::EncodingChanged));

    let facts = LeafFacts::of_secret(&whole).unwrap();
    let grown = generations([issuing, root("storefront").with_phase(Phase::Prepared)]);
    assert_eq!(why_rewrite(&facts, &grown), Some(RewriteReason::RootsOutdated), "a new generation is distributed");
}

#[test]
fn renewal_is_spread_over_a_tenth_of_the_life() {
    let (start, life) = (now(), 1_000_000_i64);
    let end = after(life);
    let offsets: Vec<i64> =
        (0..500).map(|uid| renewal_time(start, end, &format!("uid-{uid}")).as_second() - start.as_second()).collect();
    let tenths = |from: i64| offsets.iter().filter(|offset| (from..from + 10_000).contains(*offset)).count();
    for from in (616_667..716_667).step_by(10_000) {
        assert!((20..=80).contains(&tenths(from)), "{} of 500 within a tenth of the window", tenths(from));
    }
}

proptest! {
    #[test]
    fn renewal_lies_within_the_window_and_depends_on_nothing_else(
        start in 0_i64..4_000_000_000,
        life in 0_i64..400_000_000,
        uid in "[0-9a-f-]{0,36}",
    ) {
        let (not_before, not_after) =
            (Timestamp::from_second(start).unwrap(), Timestamp::from_second(start + life).unwrap());
        let time = renewal_time(not_before, not_after, &uid);
        let share = (time.as_second() - start) as f64;
        let life = life as f64;
        prop_assert!(share >= (life * (2.0 / 3.0 - 0.05)).floor() - 1.0 && share <= life * (2.0 / 3.0 + 0.05) + 1.0);
        prop_assert_eq!(renewal_time(not_before, not_after, &uid), time);
    }
}
