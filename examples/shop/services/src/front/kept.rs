//! What is kept for browsers: no more of it than there is room for, and nothing for longer than it may be.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;

use super::ticket::{Stub, Ticket};

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most things at once. Where there is no room for another one, that goes which was not asked for the longest.
    pub(super) most: usize,
    /// How long something is kept that nobody asks for.
    pub(super) idle: Duration,
    /// How long something is kept, whoever asks for it.
    pub(super) life: Duration,
}

/// Things, each behind a ticket.
pub(super) struct Kept<T> {
    limits: Limits,
    things: Mutex<HashMap<Stub, Entry<T>>>,
    /// How many there are.
    count: Gauge,
}

struct Entry<T> {
    thing: T,
    since: Instant,
    asked: Instant,
}

impl<T: Clone> Kept<T> {
    pub(super) fn new(limits: Limits, count: Gauge) -> Self {
        Self { limits, things: Mutex::default(), count }
    }

    /// Keeps something; whoever has the ticket has it.
    pub(super) fn put(&self, thing: T, now: Instant) -> Ticket {
        let ticket = Ticket::draw();
        let mut things = self.good(now);
        if things.len() >= self.limits.most {
            let stalest = things.iter().min_by_key(|(_, entry)| entry.asked).map(|(stub, _)| *stub);
            stalest.and_then(|stub| things.remove(&stub));
        }
        things.insert(ticket.stub(), Entry { thing, since: now, asked: now });
        self.tell(&things);
        ticket
    }

    /// What a ticket is for.
    pub(super) fn get(&self, ticket: &Ticket, now: Instant) -> Option<T> {
        let mut things = self.lock();
        let entry = things.get_mut(&ticket.stub()).filter(|entry| self.limits.admit(entry, now))?;
        entry.asked = now;
        Some(entry.thing.clone())
    }

    /// What a ticket with this stub is for, for the last time.
    pub(super) fn take(&self, stub: Stub, now: Instant) -> Option<T> {
        let mut things = self.lock();
        let entry = things.remove(&stub).filter(|entry| self.limits.admit(entry, now));
        self.tell(&things);
        entry.map(|entry| entry.thing)
    }

    /// Lets go of what may not be kept any longer.
    pub(super) fn sweep(&self, now: Instant) {
        let things = self.good(now);
        self.tell(&things);
    }

    fn good(&self, now: Instant) -> MutexGuard<'_, HashMap<Stub, Entry<T>>> {
        let mut things = self.lock();
        things.retain(|_, entry| self.limits.admit(entry, now));
        things
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Stub, Entry<T>>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, things: &HashMap<Stub, Entry<T>>) {
        self.count.set(i64::try_from(things.len()).unwrap_or(i64::MAX));
    }
}

impl Limits {
    fn admit<T>(&self, entry: &Entry<T>, now: Instant) -> bool {
        now.saturating_duration_since(entry.since) < self.life && now.saturating_duration_since(entry.asked) < self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn kept() -> (Kept<&'static str>, Gauge) {
        let count = Gauge::default();
        (Kept::new(Limits { most: 2, idle: 30 * MINUTE, life: 60 * MINUTE }, count.clone()), count)
    }

    #[test]
    fn where_there_is_no_room_that_goes_which_was_not_asked_for_the_longest() {
        let ((kept, count), begun) = (kept(), Instant::now());
        let alice = kept.put("alice", begun);
        let bob = kept.put("bob", begun + MINUTE);
        assert_eq!(kept.get(&alice, begun + 2 * MINUTE), Some("alice"));
        let carol = kept.put("carol", begun + 3 * MINUTE);
        let now = begun + 4 * MINUTE;
        assert_eq!([&alice, &bob, &carol].map(|ticket| kept.get(ticket, now)), [Some("alice"), None, Some("carol")]);
        assert_eq!(count.get(), 2);
    }

    #[test]
    fn what_nobody_asks_for_is_let_go_and_everything_is_in_the_end() {
        let ((kept, count), begun) = (kept(), Instant::now());
        let idle = kept.put("idle", begun);
        let busy = kept.put("busy", begun);
        for minutes in [20, 40, 59] {
            assert_eq!(kept.get(&busy, begun + minutes * MINUTE), Some("busy"), "after {minutes} minutes");
        }
        assert_eq!(kept.get(&idle, begun + 30 * MINUTE), None);
        assert_eq!(kept.get(&busy, begun + 60 * MINUTE), None);
        kept.sweep(begun + 60 * MINUTE);
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn what_is_taken_is_gone() {
        let ((kept, count), now) = (kept(), Instant::now());
        let once = kept.put("once", now).stub();
        assert_eq!((kept.take(once, now), kept.take(once, now), count.get()), (Some("once"), None, 0));
        let late = kept.put("late", now).stub();
        assert_eq!(kept.take(late, now + 30 * MINUTE), None);
        assert_eq!(kept.get(&Ticket::draw(), now), None);
    }
}
