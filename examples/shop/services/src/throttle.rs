//! How often one may call.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::HeaderName;
use http::header::RETRY_AFTER;

/// Buckets. Two callers may share one, so that the memory is bounded whoever calls.
const BUCKETS: u64 = 65_536;

/// A limit for each caller, whatever callers are told apart by.
pub(crate) struct Throttle {
    buckets: DefaultKeyedRateLimiter<u64>,
    /// Draws the buckets, so that nobody can choose that of another.
    hasher: RandomState,
}

impl Throttle {
    /// So many calls a second for each caller, and twice as many in a moment.
    pub(crate) fn new(rate: NonZeroU32) -> Self {
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_add(rate.get()));
        Self { buckets: RateLimiter::keyed(quota), hasher: RandomState::new() }
    }

    /// One calls.
    ///
    /// # Errors
    /// When it calls too often: how long it has to wait.
    pub(crate) fn take(&self, caller: impl Hash) -> Result<(), Duration> {
        let bucket = self.hasher.hash_one(caller) % BUCKETS;
        self.buckets.check_key(&bucket).map_err(|denied| denied.wait_time_from(DefaultClock::default().now()))
    }
}

/// The header that says how long to wait.
pub(crate) fn retry_after(wait: Duration) -> [(HeaderName, String); 1] {
    [(RETRY_AFTER, (wait.as_secs() + 1).to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_too_often_waits_and_others_do_not() {
        let throttle = Throttle::new(NonZeroU32::new(5).unwrap());
        let answered = (0..20).filter(|_| throttle.take("web").is_ok()).count();
        assert_eq!(answered, 10);
        assert!(throttle.take("web").unwrap_err() <= Duration::from_millis(200));
        // One in 65,536 shares a bucket; of four, not all do.
        assert!(["app", "partner", "till", "kiosk"].iter().any(|client| throttle.take(client).is_ok()));
    }

    #[test]
    fn however_many_clients_call_there_are_no_more_buckets() {
        let throttle = Throttle::new(NonZeroU32::MIN);
        for client in 0..200_000_u32 {
            let _ = throttle.take(client);
        }
        assert!(throttle.buckets.len() <= usize::try_from(BUCKETS).unwrap());
    }
}
