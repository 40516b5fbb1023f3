//! Pauses between attempts that fail.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::time::Duration;

use jiff::SignedDuration;
use kube::runtime::utils::Backoff;

/// First pause after a failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(250);
/// Longest pause of a watch.
const LONGEST_OF_WATCH: Duration = Duration::from_secs(20);

/// Grows with the failures up to a limit, and differs by a quarter from seed to seed, so that many don't come back at
/// once.
pub(super) fn pause(seed: &impl Hash, failures: u32, longest: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (seed, failures).hash(&mut hasher);
    let jitter = 0.75 + f64::from(u8::try_from(hasher.finish() & 0xff).unwrap_or(0)) / 510.0;
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(longest).mul_f64(jitter)
}

/// The last tenth of a time is spread from seed to seed, so that many that began at once do not come back at once.
pub(super) fn spread(seed: &impl Hash, time: SignedDuration) -> SignedDuration {
    let mut hasher = DefaultHasher::new();
    (seed, "spread").hash(&mut hasher);
    let part = i32::from(u8::try_from(hasher.finish() & 0xff).unwrap_or(0));
    time - time / 10 * part / 255
}

/// The pauses of one watch. They begin anew when something was seen: the mere beginning of another attempt must not count
/// as that, as it would with the pauses that kube brings.
#[derive(Debug)]
pub(crate) struct Pauses {
    seed: u64,
    failures: u32,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(()), failures: 0 }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(pause(&self.seed, self.failures, LONGEST_OF_WATCH))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_of_a_watch_grow_to_less_than_half_a_minute_and_begin_anew_when_something_was_seen() {
        let mut pauses = Pauses::default();
        let grown: Vec<_> = pauses.by_ref().take(40).collect();
        assert!(grown[0] < Duration::from_millis(400) && grown[7..].iter().all(|p| *p >= Duration::from_secs(15)));
        assert!(grown.iter().all(|pause| *pause <= Duration::from_secs(25)), "{grown:?}");
        pauses.reset();
        assert!(pauses.next().unwrap() < Duration::from_millis(400));
    }
}
