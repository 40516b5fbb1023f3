//! `/livez` and `/readyz`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::process::probes;

/// So many durations of the Lease may go by without anything done about it.
const PATIENCE: u32 = 4;

/// How the operator is.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_ready: bool,
    /// What it is not ready for want of.
    waits_for: String,
    /// When something was done about the Lease last, and how soon it must be again.
    beat: Option<(Instant, Duration)>,
    /// The clock that it issues by, once it leads.
    leads_by: Option<Clock>,
}

impl Health {
    /// The first lists of these kinds are still awaited; if none are, those of the namespaces that it has rights in.
    pub(super) fn waits_for(&self, kinds: &[&str]) {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        self.state().waits_for = match kinds[..] {
            [] => "not everything in the namespaces of TrustDomains is listed yet".to_owned(),
            _ => format!("not listed yet: {}", kinds.join(", ")),
        };
    }

    /// Every watch has told all there is.
    pub(super) fn set_ready(&self) {
        self.state().is_ready = true;
    }

    /// Whether it is ready: to lead, or to take over.
    pub fn is_ready(&self) -> bool {
        self.state().is_ready
    }

    /// From now on something is done about a Lease of this duration, again and again. An attempt that fails counts: no
    /// restart brings an API server back.
    pub(super) fn expect_beats(&self, duration: Duration) {
        self.state().beat = Some((Instant::now(), duration * PATIENCE));
    }

    /// Something was done about the Lease.
    pub(super) fn beat(&self) {
        if let Some((last, _)) = &mut self.state().beat {
            *last = Instant::now();
        }
    }

    /// It leads, and issues by this clock.
    pub(super) fn leads(&self, clock: Clock) {
        self.state().leads_by = Some(clock);
    }

    /// Why the process should be restarted, if it should. One that leads by a clock that is wrong issues nothing: its end
    /// gives a replica on another node, whose clock may be right, the lead.
    pub fn complaint(&self) -> Option<String> {
        let state = self.state();
        if let Some((last, limit)) = state.beat
            && last.elapsed() > limit
        {
            return Some(format!("nothing was done about the Lease for {:?}", last.elapsed()));
        }
        state.leads_by.as_ref()?.complaint()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves `/livez` and `/readyz` until told to stop.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn serve(self, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
        let alive = self.clone();
        let ready = move || {
            let state = self.state();
            (!state.is_ready).then(|| state.waits_for.clone())
        };
        probes::serve(address, move || alive.complaint(), ready, stop).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::Timestamp;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_cares_for_is_a_complaint() {
        let health = Health::default();
        assert_eq!(health.complaint(), None, "without a Lease");
        health.expect_beats(Duration::from_secs(15));
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(59)).await;
            assert_eq!(health.complaint(), None);
            health.beat();
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(health.complaint().as_deref(), Some("nothing was done about the Lease for 61s"));
        health.beat();
        assert_eq!(health.complaint(), None);
    }

    #[tokio::test]
    async fn a_wrong_clock_is_a_complaint_of_the_one_that_leads() {
        let health = Health::default();
        let now = Arc::new(AtomicI64::new(0));
        let read = Arc::clone(&now);
        let clock = Clock::new(Arc::new(move || Timestamp::from_second(read.load(Ordering::Relaxed)).unwrap()));
        clock.observe("Thu, 01 Jan 1970 00:00:00 GMT");
        now.store(400, Ordering::Relaxed);
        assert_eq!(health.complaint(), None, "a follower issues nothing");
        health.leads(clock);
        assert_eq!(health.complaint().as_deref(), Some("the operator's clock is 6m 40s ahead of the API server's"));
        now.store(-400, Ordering::Relaxed);
        assert_eq!(health.complaint().as_deref(), Some("the operator's clock is 6m 40s behind the API server's"));
        now.store(100, Ordering::Relaxed);
        assert_eq!(health.complaint(), None);
    }
}
