//! What only this service counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of logins and sessions.
#[derive(Clone, Default)]
pub(super) struct Metrics {
    pub(super) logins: Family<Ended, Counter>,
    pub(super) refreshes: Family<Ended, Counter>,
    pub(super) sessions: Gauge,
}

/// How something ended: `Done`, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) outcome: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("logins", "logins by outcome", metrics.logins.clone());
        registry.register("refreshes", "access tokens that were to be renewed, by outcome", metrics.refreshes.clone());
        registry.register("sessions", "sessions that are open", metrics.sessions.clone());
        metrics
    }
}
