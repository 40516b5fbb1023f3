//! How long it takes until all that follows from a new spec is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::histogram::Histogram;
use ringfence_core::world::Unit;
use tokio::time::Instant;

use super::Histograms;
use crate::controller::context::Context;
use crate::controller::trace::kind_of;

/// Upper bounds in seconds: most take a fraction of one, those after a restart wait for thousands of others.
const LATENCIES: [f64; 13] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Units whose spec is newer than what their status speaks of, with when that was first seen. There are no more of them
/// than there are objects.
pub(super) struct Rendering {
    pub(super) latency: Histograms<1>,
    since: Mutex<BTreeMap<Unit, Instant>>,
}

impl Default for Rendering {
    fn default() -> Self {
        let latency = Histograms::new_with_constructor(|| Histogram::new(LATENCIES));
        Self { latency, since: Mutex::default() }
    }
}

impl Rendering {
    pub(super) fn begun(&self, context: &Context, unit: &Unit) {
        let observed = context.world().is_observed(unit);
        if observed == Some(false) {
            let touched = context.queue.touched_at(unit).unwrap_or_else(Instant::now);
            self.lock().entry(unit.clone()).or_insert(touched);
        }
    }

    pub(super) fn settled(&self, context: &Context, unit: &Unit) {
        let observed = context.world().is_observed(unit);
        // A policy whose status waits for an identity is looked at again.
        if observed == Some(false) {
            return;
        }
        if let Some(since) = self.lock().remove(unit)
            && observed.is_some()
        {
            self.latency.get_or_create(&[("kind", kind_of(unit))]).observe(since.elapsed().as_secs_f64());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Unit, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
