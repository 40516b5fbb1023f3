//! How many workloads are rolled at a time, so that a rollover that touches hundreds of identities does not restart
//! everything at once, and a change that new pods can't start with stops after a few.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use ringfence_core::api::{LabelSelector, Workload};
use ringfence_core::world::NamespacedName;

/// So many workloads at a time, in the whole cluster.
const AT_ONCE: usize = 10;

/// So many of them in one namespace, so that one tenant doesn't keep all others waiting.
const OF_ONE_NAMESPACE: usize = 3;

/// So long pods may take to be replaced, each one after the other: as long as Kubernetes waits for a Deployment to get on.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// A turn of which nothing was heard for so long is over: its identity is gone, or has something else to do first.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(2);

/// A workload, in the namespace of the identity that names it.
pub(super) type Target = (NamespacedName, Workload);

/// The turns that are taken, and those who wait for one. They can be lost with the process: who leads then finds out what
/// is under way.
#[derive(Debug, Default)]
pub(super) struct Rollouts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    turns: BTreeMap<Target, Turn>,
    /// Identities, those first whose workloads have been behind for longest.
    waiting: BTreeSet<(Timestamp, NamespacedName)>,
}

/// A workload that is looked at or rolled.
#[derive(Clone, Debug)]
struct Turn {
    hash: String,
    /// Its pods. Nothing as long as it is not known.
    selector: Option<LabelSelector>,
    /// How many of them were to be replaced, and since when it is that few.
    left: usize,
    since: Timestamp,
    /// When it was last looked at.
    seen: Timestamp,
}

/// What becomes of a workload that has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Pods are being replaced.
    Rolling,
    /// None was replaced for long.
    Stalled,
}

impl Turn {
    fn progress(&self, now: Timestamp) -> Progress {
        if now.duration_since(self.since) < PATIENCE { Progress::Rolling } else { Progress::Stalled }
    }

    /// One that is through, or has stalled, takes nobody's place.
    fn counts(&self, now: Timestamp) -> bool {
        self.left > 0 && self.progress(now) == Progress::Rolling
    }
}

impl State {
    fn next(&mut self) -> Option<NamespacedName> {
        let taken = |namespace: &str| {
            let near = self.turns.iter().filter(|((identity, _), _)| identity.namespace == namespace);
            near.filter(|(_, turn)| turn.left > 0).count()
        };
        let has_room = |(_, identity): &&(_, NamespacedName)| taken(&identity.namespace) < OF_ONE_NAMESPACE;
        let next = self.waiting.iter().find(has_room).cloned()?;
        self.waiting.remove(&next);
        Some(next.1)
    }
}

impl Rollouts {
    /// Whether a workload was found to have nothing from before this, a moment ago.
    pub(super) fn is_through(&self, target: &Target, hash: &str) -> bool {
        self.lock().turns.get(target).is_some_and(|turn| turn.hash == hash && turn.left == 0)
    }

    /// Pods of a workload that is being rolled for this.
    pub(super) fn selector(&self, target: &Target, hash: &str) -> Option<LabelSelector> {
        self.lock().turns.get(target).filter(|turn| turn.hash == hash)?.selector.clone()
    }

    /// Takes a turn for a workload. Without one, its identity is told when another one ends and there may be room; `since` says how long it has been behind.
    pub(super) fn enter(&self, target: &Target, hash: &str, since: Timestamp, now: Timestamp) -> bool {
        let mut state = self.lock();
        state.turns.retain(|_, turn| now.duration_since(turn.seen) < FORGOTTEN);
        let others = || state.turns.iter().filter(|(other, turn)| *other != target && turn.counts(now));
        let near = others().filter(|(other, _)| other.0.namespace == target.0.namespace).count();
        if others().count() >= AT_ONCE || near >= OF_ONE_NAMESPACE {
            state.waiting.insert((since, target.0.clone()));
            return false;
        }
        let turn = Turn { hash: hash.to_owned(), selector: None, left: usize::MAX, since: now, seen: now };
        state.turns.insert(target.clone(), turn);
        true
    }

    /// Notes how many pods of a workload with a turn are to be replaced.
    pub(super) fn note(&self, target: &Target, selector: &LabelSelector, left: usize, now: Timestamp) -> Progress {
        let mut state = self.lock();
        let Some(turn) = state.turns.get_mut(target) else { return Progress::Rolling };
        turn.selector = Some(selector.clone());
        turn.seen = now;
        if left < turn.left {
            (turn.left, turn.since) = (left, now);
        }
        turn.progress(now)
    }

    /// Ends a turn, as no pod from before is left; returns the identity that has waited for it, if one has.
    pub(super) fn finish(&self, target: &Target) -> Option<NamespacedName> {
        let mut state = self.lock();
        state.turns.entry(target.clone()).and_modify(|turn| turn.left = 0);
        state.next()
    }

    /// Ends a turn in which nothing could be done; returns the same.
    pub(super) fn leave(&self, target: &Target) -> Option<NamespacedName> {
        let mut state = self.lock();
        state.turns.remove(target);
        state.next()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use ringfence_core::api::WorkloadKind;

    use super::*;

    fn target(number: usize) -> Target {
        let name = format!("service-{number:03}");
        // Four services in a namespace.
        let namespace = format!("shop-{}", number % 125);
        (NamespacedName::new(namespace, name.clone()), Workload { kind: WorkloadKind::Deployment, name })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn five_hundred_workloads_take_turns_and_all_get_theirs() {
        let rollouts = Rollouts::default();
        let (mut ready, mut rolling, mut done): (Vec<usize>, VecDeque<usize>, _) =
            ((0..500).collect(), VecDeque::new(), 0);
        let mut now = 0;
        while done < 500 {
            for number in std::mem::take(&mut ready) {
                if rollouts.enter(&target(number), "hash", at(0), at(now)) {
                    rolling.push_back(number);
                }
            }
            assert!(!rolling.is_empty() && rolling.len() <= AT_ONCE, "{} at once", rolling.len());
            now += 1;
            let through = rolling.pop_front().unwrap();
            done += 1;
            let next = rollouts.finish(&target(through));
            assert!(rollouts.is_through(&target(through), "hash") && !rollouts.is_through(&target(through), "other"));
            ready.extend(next.map(|identity| (0..500).find(|number| target(*number).0 == identity).unwrap()));
        }
        assert_eq!(rollouts.lock().waiting.len(), 0);
    }

    #[test]
    fn who_has_been_behind_for_longest_comes_first() {
        let rollouts = Rollouts::default();
        for number in 0..AT_ONCE {
            assert!(rollouts.enter(&target(number), "hash", at(0), at(100)));
        }
        for (number, since) in [(50, 30), (51, 10), (52, 20)] {
            assert!(!rollouts.enter(&target(number), "hash", at(since), at(100)));
        }
        let next: Vec<_> = (0..4).map(|number| rollouts.leave(&target(number))).collect();
        assert_eq!(next, [Some(target(51).0), Some(target(52).0), Some(target(50).0), None]);
    }

    #[test]
    fn one_namespace_leaves_room_for_others() {
        let rollouts = Rollouts::default();
        // All in one namespace.
        let near = |number: usize| target(number * 125);
        let entered = (0..4).filter(|number| rollouts.enter(&near(*number), "hash", at(0), at(1))).count();
        assert_eq!(entered, OF_ONE_NAMESPACE);
        for number in 1..=AT_ONCE - OF_ONE_NAMESPACE {
            assert!(rollouts.enter(&target(number), "hash", at(5), at(5)), "another namespace");
        }
        assert!(!rollouts.enter(&target(20), "hash", at(5), at(5)));
        // A turn of another namespace does not go to who can't take it, however long he has waited.
        assert_eq!(rollouts.finish(&target(1)), Some(target(20).0));
        assert_eq!(rollouts.finish(&near(0)), Some(near(3).0));
    }

    #[test]
    fn what_makes_no_progress_makes_room_and_what_does_may_take_its_time() {
        let rollouts = Rollouts::default();
        let selector = LabelSelector::label("app", "order");
        for number in 0..AT_ONCE {
            assert!(rollouts.enter(&target(number), "hash", at(0), at(0)));
        }
        // One goes on slowly, the others stand still.
        for minute in 0..30 {
            let now = at(minute * 60);
            let left = 100 - usize::try_from(minute).unwrap();
            assert_eq!(rollouts.note(&target(0), &selector, left, now), Progress::Rolling);
            for number in 1..AT_ONCE {
                let expected = if minute < 10 { Progress::Rolling } else { Progress::Stalled };
                assert_eq!(rollouts.note(&target(number), &selector, 3, now), expected, "minute {minute}");
            }
            let another = target(100 + usize::try_from(minute).unwrap());
            assert_eq!(rollouts.enter(&another, "hash", at(0), now), minute >= 10, "minute {minute}");
            rollouts.leave(&another);
        }
    }

    #[test]
    fn a_turn_that_nobody_looks_after_ends_by_itself() {
        let rollouts = Rollouts::default();
        for number in 0..AT_ONCE {
            assert!(rollouts.enter(&target(number), "hash", at(0), at(0)));
        }
        assert!(!rollouts.enter(&target(99), "hash", at(0), at(119)));
        assert!(rollouts.enter(&target(99), "hash", at(0), at(120)));
    }

    #[test]
    fn what_changes_again_meanwhile_begins_anew_in_the_same_turn() {
        let rollouts = Rollouts::default();
        let selector = LabelSelector::label("app", "order");
        assert!(rollouts.enter(&target(0), "old", at(0), at(0)));
        rollouts.note(&target(0), &selector, 1, at(0));
        assert_eq!(rollouts.selector(&target(0), "old"), Some(selector.clone()));
        assert_eq!(rollouts.selector(&target(0), "new"), None);
        assert!(rollouts.enter(&target(0), "new", at(10), at(10)));
        assert_eq!(rollouts.note(&target(0), &selector, 3, at(500)), Progress::Rolling);
        assert_eq!(rollouts.note(&target(0), &selector, 3, at(1099)), Progress::Rolling);
        assert_eq!(rollouts.note(&target(0), &selector, 3, at(1100)), Progress::Stalled);
    }
}
