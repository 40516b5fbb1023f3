//! What is to be reconciled: each unit once, however often it was touched, and never twice at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use ringfence_core::world::Unit;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::pause;

/// Longest pause after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How long the status of a policy waits for the identities that it is about, at most.
const POLICY_PATIENCE: Duration = Duration::from_secs(2);

/// The queue. Its size is bounded by the number of objects in the world.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Touched, with when.
    ready: BTreeMap<Unit, Instant>,
    /// Touched while in work.
    again: BTreeSet<Unit>,
    /// In work, with when it was touched.
    in_work: BTreeMap<Unit, Instant>,
    /// To be tried again.
    later: BTreeMap<Unit, Instant>,
    /// To be looked at when the clock on the wall says so: renewals.
    due: BTreeMap<Unit, Timestamp>,
    failures: BTreeMap<Unit, u32>,
}

/// How a reconciliation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left to do until something changes.
    Done,
    /// To be looked at again after this time.
    After(Duration),
    /// To be looked at when the clock on the wall shows this time, however it gets there: machines sleep, and clocks are
    /// put right.
    At(Timestamp),
    /// It failed: again after a pause that grows.
    Failed,
}

impl Ended {
    /// A word for it, the same in metrics and traces.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done | Self::At(_) => "done",
            Self::After(_) => "later",
            Self::Failed => "failed",
        }
    }
}

impl Queue {
    /// Adds units.
    pub(super) fn add(&self, units: impl IntoIterator<Item = Unit>) {
        let mut state = self.lock();
        let now = Instant::now();
        for unit in units {
            if state.in_work.contains_key(&unit) {
                state.again.insert(unit);
            } else {
                state.later.remove(&unit);
                state.ready.entry(unit).or_insert(now);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The next unit; it is in work until [`Queue::finish`].
    pub(super) async fn next(&self) -> Unit {
        loop {
            let changed = self.changed.notified();
            let mut wake_at = None;
            if let Some(unit) = self.take(&mut wake_at) {
                return unit;
            }
            match wake_at {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }

    /// Whether a unit has been touched and is not through yet.
    pub(super) fn is_pending(&self, unit: &Unit) -> bool {
        let state = self.lock();
        state.ready.contains_key(unit) || state.in_work.contains_key(unit)
    }

    /// When a unit that is in work was touched.
    pub(super) fn touched_at(&self, unit: &Unit) -> Option<Instant> {
        self.lock().in_work.get(unit).copied()
    }

    /// How many units are to be looked at, are in work, and are to be tried again later.
    pub(super) fn depth(&self) -> [(&'static str, usize); 3] {
        let state = self.lock();
        [("ready", state.ready.len()), ("in_work", state.in_work.len()), ("later", state.later.len())]
    }

    /// Whether a unit in work was touched again meanwhile.
    pub(super) fn comes_again(&self, unit: &Unit) -> bool {
        self.lock().again.contains(unit)
    }

    /// Adds the units whose time has come.
    pub(super) fn wake(&self, now: Timestamp) {
        let mut state = self.lock();
        let (due, later) = std::mem::take(&mut state.due).into_iter().partition(|(_, time)| *time <= now);
        state.due = later;
        drop(state);
        let due: BTreeMap<Unit, Timestamp> = due;
        if !due.is_empty() {
            self.add(due.into_keys());
        }
    }

    /// Ends the work on a unit; says whether nothing is left to do about it.
    pub(super) fn finish(&self, unit: &Unit, ended: Ended) -> bool {
        let mut state = self.lock();
        state.in_work.remove(unit);
        let pause = match ended {
            Ended::Done | Ended::After(_) | Ended::At(_) => {
                state.failures.remove(unit);
                match ended {
                    Ended::At(time) => drop(state.due.insert(unit.clone(), time)),
                    _ => drop(state.due.remove(unit)),
                }
                if let Ended::After(pause) = ended { Some(pause) } else { None }
            }
            Ended::Failed => {
                let failures = state.failures.entry(unit.clone()).or_default();
                *failures += 1;
                Some(pause(unit, *failures, LONGEST_BACKOFF))
            }
        };
        let again = state.again.remove(unit);
        let settled = pause.is_none() && !again;
        if again && ended != Ended::Failed {
            state.ready.insert(unit.clone(), Instant::now());
        } else if let Some(pause) = pause {
            state.later.insert(unit.clone(), Instant::now() + pause);
        }
        drop(state);
        self.changed.notify_waiters();
        settled
    }

    fn take(&self, wake_at: &mut Option<Instant>) -> Option<Unit> {
        let mut state = self.lock();
        let now = Instant::now();
        let due: Vec<Unit> = state.later.iter().filter(|(_, at)| **at <= now).map(|(unit, _)| unit.clone()).collect();
        for unit in due {
            state.later.remove(&unit);
            state.ready.insert(unit, now);
        }
        let is_policy = |unit: &Unit| matches!(unit, Unit::Policy(_));
        let busy = state.in_work.keys().any(|unit| !is_policy(unit));
        let unit = match state.ready.iter().find(|(unit, _)| !is_policy(unit)) {
            Some((unit, _)) => Some(unit.clone()),
            // A policy has no outputs of its own: its status waits for those of its identities.
            None => {
                let mut policies = state.ready.iter();
                let patient = policies.clone().map(|(_, touched)| *touched + POLICY_PATIENCE).min();
                let found = policies.find(|(_, touched)| !busy || **touched + POLICY_PATIENCE <= now);
                *wake_at = patient;
                found.map(|(unit, _)| unit.clone())
            }
        };
        if let Some(unit) = &unit {
            let touched = state.ready.remove(unit).unwrap_or(now);
            state.in_work.insert(unit.clone(), touched);
        }
        *wake_at = state.later.values().copied().chain(*wake_at).min();
        unit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_core::world::NamespacedName;

    fn identity(name: &str) -> Unit {
        Unit::Identity(NamespacedName::new("ns", name))
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_touched_while_in_work_comes_again_after_it() {
        let queue = Queue::default();
        queue.add([identity("a")]);
        let unit = queue.next().await;
        queue.add([identity("a")]);
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err(), "not while it is in work");
        queue.finish(&unit, Ended::Done);
        assert_eq!(queue.next().await, identity("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_to_do_about_a_unit_that_is_done_and_was_not_touched_meanwhile() {
        let queue = Queue::default();
        let later = Ended::After(Duration::from_secs(1));
        for (ended, touched, settled) in [
            (Ended::Done, false, true),
            (Ended::At(Timestamp::UNIX_EPOCH), false, true),
            (Ended::Done, true, false),
            (later, false, false),
            (Ended::Failed, false, false),
        ] {
            queue.add([identity("a")]);
            let unit = queue.next().await;
            assert_eq!(queue.depth(), [("ready", 0), ("in_work", 1), ("later", 0)]);
            queue.add(touched.then(|| unit.clone()));
            assert_eq!(queue.finish(&unit, ended), settled, "{ended:?}, touched: {touched}");
        }
        assert_eq!(queue.depth(), [("ready", 0), ("in_work", 0), ("later", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_counts_is_that_of_the_first_touch() {
        let queue = Queue::default();
        let touched = Instant::now();
        queue.add([identity("a")]);
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.add([identity("a")]);
        assert_eq!(queue.touched_at(&identity("a")), None, "it is not in work");
        let unit = queue.next().await;
        assert_eq!(queue.touched_at(&unit), Some(touched));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_after_failures_grow_to_a_minute_and_end_with_success() {
        let queue = Queue::default();
        queue.add([identity("a")]);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let unit = queue.next().await;
            queue.finish(&unit, Ended::Failed);
            let start = Instant::now();
            let unit = queue.next().await;
            pauses.push(start.elapsed());
            queue.add([unit.clone()]);
            queue.finish(&unit, Ended::Failed);
        }
        assert!(pauses.windows(2).all(|pair| pair[1] * 2 > pair[0]), "{pauses:?}");
        assert!(*pauses.last().unwrap() <= Duration::from_secs(75), "{pauses:?}");
        let unit = queue.next().await;
        queue.finish(&unit, Ended::Done);
        assert!(tokio::time::timeout(Duration::from_secs(600), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_waits_for_identities_but_not_for_ever() {
        let queue = Queue::default();
        let policy = Unit::Policy(NamespacedName::new("ns", "p"));
        queue.add([policy.clone(), identity("a")]);
        assert_eq!(queue.next().await, identity("a"));
        let start = Instant::now();
        assert_eq!(queue.next().await, policy);
        assert_eq!(start.elapsed().as_secs(), POLICY_PATIENCE.as_secs());
    }
}
