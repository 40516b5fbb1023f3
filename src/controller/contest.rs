//! Outputs that someone else keeps changing. After a few corrections they are left alone for a while, so that there is
//! no war of writes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use ringfence_core::api::{ConditionType, Reason};
use ringfence_core::world::{NamespacedName, Problem};

/// Corrections of one output within this time are counted together.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// So many of them, and it is left alone until the time is over.
const LIMIT: u32 = 5;

/// An output, by kind and name.
pub(super) type Output = (&'static str, NamespacedName);

/// How often each output was put right lately, and since when that is counted.
#[derive(Debug, Default)]
pub(super) struct Contests(BTreeMap<Output, (u32, Timestamp)>);

impl Contests {
    /// Counts a correction.
    pub(super) fn corrected(&mut self, output: &Output, now: Timestamp) {
        let (count, since) = self.0.entry(output.clone()).or_insert((0, now));
        if now.duration_since(*since) >= WINDOW {
            (*count, *since) = (0, now);
        }
        *count += 1;
    }

    /// Until when an output is left alone, if it is.
    pub(super) fn until(&self, output: &Output, now: Timestamp) -> Option<Timestamp> {
        let (count, since) = self.0.get(output)?;
        let until = since.checked_add(WINDOW).ok()?;
        (*count >= LIMIT && now < until).then_some(until)
    }

    /// Forgets what was counted about outputs that are none any more.
    pub(super) fn forget<'a>(&mut self, outputs: impl IntoIterator<Item = &'a Output>) {
        for output in outputs {
            self.0.remove(output);
        }
    }
}

/// An output is being left alone.
pub(super) fn contested((kind, key): &Output, until: Timestamp) -> Problem {
    Problem {
        condition: ConditionType::Contested,
        reason: Reason::Contested,
        message: format!(
            "{kind} {key} was changed by someone else and put right {LIMIT} times within {WINDOW:#}: it is left alone until {until}; find out who with kubectl get --show-managed-fields"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_left_alone_after_five_corrections_until_ten_minutes_after_the_first() {
        let mut contests = Contests::default();
        let output = ("Secret", NamespacedName::new("ns", "order-tls"));
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        for minute in 0..4 {
            contests.corrected(&output, at(minute));
        }
        assert_eq!(contests.until(&output, at(4)), None);
        contests.corrected(&output, at(4));
        assert_eq!(contests.until(&output, at(4)), Some(at(10)));
        assert_eq!(contests.until(&output, at(10)), None);
        contests.corrected(&output, at(11));
        assert_eq!(contests.until(&output, at(11)), None, "the count begins anew");
    }

    #[test]
    fn corrections_far_apart_are_no_contest() {
        let mut contests = Contests::default();
        let output = ("Secret", NamespacedName::new("ns", "order-tls"));
        for hour in 0..20 {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour);
            contests.corrected(&output, now);
            assert_eq!(contests.until(&output, now), None);
        }
    }
}
