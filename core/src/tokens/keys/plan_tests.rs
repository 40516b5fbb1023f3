use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pki::SecretData;
use crate::tokens::testing::{new_keys, now};

const SETTINGS: KeySettings = KeySettings {
    publish_before: SignedDuration::from_mins(10),
    rotation_period: SignedDuration::from_hours(24),
    keep: SignedDuration::from_mins(70),
};

fn kids(generations: &Generations) -> BTreeSet<String> {
    generations.iter().map(|generation| generation.kid().to_owned()).collect()
}

fn active(generations: &Generations) -> String {
    let active: Vec<_> = generations.iter().filter(|generation| generation.is_active()).collect();
    assert_eq!(active.len(), 1, "exactly one is active: {generations:?}");
    active[0].kid().to_owned()
}

fn planned(now: Timestamp, stored: &Generations, published: &BTreeSet<String>) -> KeyPlan {
    plan(now, stored, published, &SETTINGS, new_keys).unwrap()
}

/// The words for what a plan changes.
fn words(plan: &KeyPlan) -> Vec<&'static str> {
    let words = plan.changes.iter().map(|change| match change {
        KeyChange::Made { .. } => "made",
        KeyChange::Published { .. } => "published",
        KeyChange::Activated { .. } => "activated",
        KeyChange::Retired { .. } => "retired",
        KeyChange::Removed { .. } => "removed",
        KeyChange::Discarded { .. } => "discarded",
    });
    words.collect()
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

#[test]
fn a_generation_is_published_used_retired_and_removed() {
    let start = planned(now(), &Generations::default(), &[].into());
    assert_eq!(words(&start), ["made", "made"], "the first, and the next");
    let first = active(&start.generations);

    let unpublished = planned(after(now(), minutes(60)), &start.generations, &[].into());
    assert_eq!(words(&unpublished), [""; 0], "nothing is written while nothing changes");
    assert_eq!(unpublished.next, after(now(), minutes(70)));

    let published = planned(after(now(), minutes(60)), &start.generations, &kids(&start.generations));
    assert_eq!(words(&published), ["published"]);
    assert_eq!(published.next, after(now(), minutes(24 * 60)));
    assert_eq!(active(&published.generations), first);

    let all = kids(&published.generations);
    let before = planned(after(now(), minutes(24 * 60 - 1)), &published.generations, &all);
    assert_eq!((words(&before), before.next), (vec![], published.next));

    let rotated = planned(published.next, &published.generations, &all);
    assert_eq!(words(&rotated), ["retired", "activated", "made"]);
    assert_ne!(active(&rotated.generations), first);
    assert_eq!(rotated.next, after(published.next, minutes(70)));
    assert!(rotated.generations.jwks().contains(&first));

    let removed = planned(rotated.next, &rotated.generations, &kids(&rotated.generations));
    assert_eq!(words(&removed), ["published", "removed"]);
    assert!(!removed.generations.jwks().contains(&first));
    assert_eq!(active(&removed.generations), active(&rotated.generations));
}

#[test]
fn a_key_that_was_published_late_is_used_late() {
    let start = planned(now(), &Generations::default(), &[].into());
    let due = after(now(), SETTINGS.rotation_period);
    let late = planned(due, &start.generations, &kids(&start.generations));
    assert_eq!(words(&late), ["published"]);
    assert_eq!(late.next, after(due, minutes(10)));
    assert_eq!(words(&planned(late.next, &late.generations, &[].into())), ["retired", "activated", "made"]);
}

#[test]
fn a_clock_that_goes_back_keeps_no_key_for_ever() {
    let start = planned(now(), &Generations::default(), &[].into());
    let all = kids(&start.generations);
    let published = planned(now(), &start.generations, &all).generations;

    let back = after(now(), -minutes(60 * 24 * 365));
    let noticed = planned(back, &published, &all);
    assert_eq!(words(&noticed), ["published"], "the waiting begins again");
    assert_eq!(noticed.next, after(back, minutes(10)));
    let rotated = planned(noticed.next, &noticed.generations, &all);
    assert_eq!(words(&rotated), ["retired", "activated", "made"]);
    let first = active(&published);
    assert!(kids(&rotated.generations).contains(&first), "tokens of before are still verified");
    let seconds_back = planned(after(now(), -minutes(1)), &rotated.generations, &all);
    assert!(!words(&seconds_back).contains(&"activated"), "clocks of replicas differ");
}

#[test]
fn what_is_stored_is_read_back() {
    let start = planned(now(), &Generations::default(), &[].into());
    let mut generations = planned(now(), &start.generations, &kids(&start.generations)).generations;
    let last_used = now();
    let old = Generation::new(new_keys(), GenerationPhase::Retired { last_used }).unwrap();
    generations.generations.push(old);
    generations.generations.push(Generation::new(new_keys(), GenerationPhase::New).unwrap());
    let read = Generations::read(&generations.secret_data()).unwrap();
    assert_eq!((read.iter().count(), read.unreadable), (4, 0));
    let phases = |generations: &Generations| -> BTreeMap<String, _> {
        generations.iter().map(|generation| (generation.kid().to_owned(), generation.phase)).collect()
    };
    assert_eq!(phases(&read), phases(&generations));
    assert_eq!(read.secret_data(), generations.secret_data());
    assert_eq!(read.jwks(), generations.jwks());
    assert_eq!(read.secret_data().keys().count(), 12);
}

/// The Secret with one of its keys changed or gone.
fn damaged(generations: &Generations, key: &str, octets: Option<&[u8]>) -> SecretData {
    let data = generations.secret_data();
    assert!(data.get(key).is_some(), "{key}");
    let octets = |name: &str| if name == key { octets.map(<[u8]>::to_vec) } else { data.get(name).map(<[u8]>::to_vec) };
    data.keys().filter_map(|name| Some((name.to_owned(), octets(name)?))).collect()
}

#[test]
fn a_damaged_generation_is_replaced_and_the_others_stay() {
    let start = planned(now(), &Generations::default(), &[].into());
    let all = kids(&start.generations);
    let good = planned(now(), &start.generations, &all).generations;
    let (lost, next) =
        (active(&good), good.iter().find(|generation| !generation.is_active()).unwrap().kid().to_owned());
    let id = good.iter().find(|generation| generation.is_active()).unwrap().name();
    let other = good.iter().find(|generation| !generation.is_active()).unwrap();
    let pem_of_another = other.signing().to_pkcs8_pem();
    for (key, octets) in [
        (".private.pem", None),
        (".private.pem", Some(&b"no key"[..])),
        (".private.pem", Some(pem_of_another.as_bytes())),
        (".sealing.key", None),
        (".sealing.key", Some(b"short")),
        (".json", None),
        (".json", Some(b"{")),
        (".json", Some(br#"{"version": 1, "phase": "Unheard"}"#)),
        (".json", Some(br#"{"version": 1, "phase": "Active"}"#)),
    ] {
        let read = Generations::read(&damaged(&good, &format!("{id}{key}"), octets)).unwrap();
        assert_eq!((read.iter().count(), read.unreadable), (1, 1), "{key}");
        let repaired = planned(now(), &read, &all);
        assert_eq!(words(&repaired), ["discarded", "activated", "made"], "{key}");
        assert_eq!(active(&repaired.generations), next, "the published one goes before a new one");
        assert!(!kids(&repaired.generations).contains(&lost));
        assert_eq!(words(&planned(now(), &repaired.generations, &all)), [""; 0], "once");
    }
}

#[test]
fn keys_of_another_version_are_not_touched() {
    let good = planned(now(), &Generations::default(), &[].into()).generations;
    let id = good.iter().next().unwrap().name();
    let data = damaged(&good, &format!("{id}.json"), Some(br#"{"version": 2, "phase": "Unheard"}"#));
    assert_eq!(Generations::read(&data).unwrap_err(), GenerationsError::Version { found: 2 });
}

#[test]
fn an_empty_or_foreign_secret_is_a_start() {
    let foreign: SecretData = [("tls.crt".to_owned(), b"x".to_vec()), ("x".to_owned(), vec![])].into_iter().collect();
    for data in [SecretData::default(), foreign] {
        let read = Generations::read(&data).unwrap();
        let start = planned(now(), &read, &[].into());
        assert_eq!(start.generations.iter().count(), 2);
        assert_eq!(
            planned(now(), &Generations::read(&start.generations.secret_data()).unwrap(), &[].into()).changes,
            []
        );
    }
}

#[test]
fn of_two_active_ones_the_later_stays() {
    let generation = |minutes_ago| {
        let active_from = after(now(), -minutes(minutes_ago));
        Generation::new(new_keys(), GenerationPhase::Active { active_from }).unwrap()
    };
    let generations = Generations { generations: vec![generation(5), generation(3), generation(9)], unreadable: 0 };
    let later = generations.generations[1].kid().to_owned();
    let repaired = planned(now(), &generations, &[].into());
    assert_eq!(active(&repaired.generations), later);
    assert_eq!(words(&repaired), ["retired", "retired", "made"]);
}

proptest! {
    #[test]
    fn arbitrary_octets_in_the_secret_are_no_generation(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
        let good = planned(now(), &Generations::default(), &[].into()).generations;
        let id = good.iter().next().unwrap().name();
        for key in [".json", ".private.pem"] {
            if let Ok(read) = Generations::read(&damaged(&good, &format!("{id}{key}"), Some(&octets))) {
                prop_assert_eq!((read.iter().count(), read.unreadable), (1, 1));
            }
        }
    }
}
