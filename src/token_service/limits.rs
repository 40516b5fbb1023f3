//! How often one client may ask, and how often one address may fail to say who it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Clients or addresses that are remembered at once. Each takes some fifty bytes.
const MOST_KEYS: usize = 65_536;
/// How often it is looked at whether there are more.
const LOOK_EVERY: usize = 1024;

/// Failures that an address may make in a row.
const FAILURES: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// How fast they are forgiven.
const FORGIVEN_EVERY: Duration = Duration::from_secs(2);

/// All limits.
pub(super) struct Limits {
    clients: Buckets,
    failures: Buckets,
    /// Until when nobody at an address is listened to.
    blocked: Mutex<HashMap<u64, Instant>>,
    /// How many those are, to be read without the lock.
    blocked_count: AtomicUsize,
}

impl Limits {
    /// So many requests a second for each client, and twice as many in a moment.
    pub(super) fn new(client_rate: NonZeroU32) -> Self {
        let burst = client_rate.saturating_add(client_rate.get());
        let of_failures = Quota::with_period(FORGIVEN_EVERY).expect("the period is not zero").allow_burst(FAILURES);
        Self {
            clients: Buckets::new(Quota::per_second(client_rate).allow_burst(burst)),
            failures: Buckets::new(of_failures),
            blocked: Mutex::default(),
            blocked_count: AtomicUsize::new(0),
        }
    }

    /// A client asks.
    ///
    /// # Errors
    /// When it asks too often: how long it has to wait.
    pub(super) fn client(&self, id: &str) -> Result<(), Duration> {
        self.clients.take(self.clients.key(id))
    }

    /// Someone at an address did not prove who it is.
    pub(super) fn failed(&self, address: IpAddr) {
        let key = self.failures.key(network(address));
        if let Err(wait) = self.failures.take(key) {
            let now = Instant::now();
            let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            blocked.retain(|_, until| *until > now);
            if blocked.len() < MOST_KEYS {
                blocked.insert(key, now + wait);
            }
            self.blocked_count.store(blocked.len(), Ordering::Relaxed);
        }
    }

    /// Whether someone at an address may try to prove who it is.
    ///
    /// # Errors
    /// When there were too many failures: how long it has to wait.
    pub(super) fn may_try(&self, address: IpAddr) -> Result<(), Duration> {
        if self.blocked_count.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let key = self.failures.key(network(address));
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = blocked.get(&key).map(|until| until.saturating_duration_since(Instant::now()));
        wait.filter(|wait| !wait.is_zero()).map_or(Ok(()), Err)
    }
}

/// A bucket for each of many keys, of which those that are full again are forgotten.
struct Buckets {
    limiter: DefaultKeyedRateLimiter<u64>,
    /// Draws the keys, so that nobody can choose one that is another's.
    hasher: RandomState,
    taken: AtomicUsize,
}

impl Buckets {
    fn new(quota: Quota) -> Self {
        Self { limiter: RateLimiter::keyed(quota), hasher: RandomState::new(), taken: AtomicUsize::new(0) }
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    fn take(&self, key: u64) -> Result<(), Duration> {
        if self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) && self.limiter.len() > MOST_KEYS {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&key).map_err(|denied| denied.wait_time_from(DefaultClock::default().now()))
    }
}

/// What one customer of a network has: an IPv4 address, or the /64 of an IPv6 address.
pub(super) fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_limit_of_its_own() {
        let limits = Limits::new(NonZeroU32::new(5).unwrap());
        let asked = |client| (0..20).filter(|_| limits.client(client).is_ok()).count();
        assert_eq!((asked("a"), asked("b")), (10, 10));
        assert!(limits.client("a").unwrap_err() <= Duration::from_millis(200));
    }

    #[test]
    fn an_address_that_fails_too_often_waits_and_its_neighbour_does_not() {
        let limits = Limits::new(NonZeroU32::MIN);
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..FAILURES.get() {
            assert_eq!(limits.may_try(of("2001:db8::1")), Ok(()));
            limits.failed(of("2001:db8::1"));
        }
        limits.failed(of("2001:db8::2"));
        assert!(limits.may_try(of("2001:db8::3")).unwrap_err() <= FORGIVEN_EVERY, "of the same network");
        assert_eq!(limits.may_try(of("2001:db8:1::1")), Ok(()));
        assert_eq!(limits.may_try(of("192.0.2.1")), Ok(()));
    }
}
