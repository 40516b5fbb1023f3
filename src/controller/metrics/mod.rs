//! What the operator measures, for Prometheus: `/metrics`, in the OpenMetrics text format.
//!
//! Counters and histograms are kept up while work is done. Whatever follows from the world is counted when it is asked
//! for, so that nothing is hot: a scrape looks at every object once. No label holds the name of an object but one, which
//! names a few certificates that are overdue.

mod rendering;
mod world;
mod writes;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use ringfence_core::world::Unit;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::queue::Ended;
use super::trace::kind_of;
use crate::process::measurements::{self, Labels};
use rendering::Rendering;
use world::Scrape;
pub(super) use writes::Writes;

type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// What there are watches of.
const WATCHED: [&str; 13] = [
    "TrustDomain",
    "ServiceIdentity",
    "AccessPolicy",
    "Namespace",
    "Service",
    "Pod",
    "Node",
    "ServiceCIDR",
    "EndpointSlice",
    "Secret",
    "ConfigMap",
    "NetworkPolicy",
    "RoleBinding",
];

/// What can come of asking a token issuer for its keys.
const ISSUER_OUTCOMES: [&str; 4] = ["changed", "unchanged", "unreachable", "invalid"];

/// The measurements of one operator.
#[derive(Clone)]
pub struct Metrics(Arc<Measured>);

struct Measured {
    registry: Registry,
    reconciles: Family<Labels<2>, Counter>,
    durations: Histograms<1>,
    rendering: Rendering,
    writes: Writes,
    watch_restarts: Family<Labels<1>, Counter>,
    issuers_asked: Family<Labels<1>, Counter>,
    /// Where the world is, once the operator runs.
    context: Arc<OnceLock<Weak<Context>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ringfence");
        let reconciles = Family::default();
        let durations = Histograms::new_with_constructor(|| Histogram::new(DURATIONS));
        let rendering = Rendering::default();
        let writes = Writes::default();
        let watch_restarts = Family::<Labels<1>, Counter>::default();
        let issuers_asked = Family::<Labels<1>, Counter>::default();
        let context = Arc::default();
        registry.register("build", "Which Ringfence this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("reconciles", "Looks at something declared, by how they ended", reconciles.clone());
        registry.register("reconcile_duration_seconds", "How long a look took", durations.clone());
        registry.register(
            "spec_to_rendered_seconds",
            "From when a new spec was seen until everything that follows from it was written",
            rendering.latency.clone(),
        );
        registry.register("writes", "Writes to the API server, by what came of them", writes.0.clone());
        registry.register("watch_restarts", "Watches that were interrupted and resumed", watch_restarts.clone());
        registry.register(
            "issuers_asked",
            "Token issuers that were asked for their keys, by what came of it",
            issuers_asked.clone(),
        );
        registry.register_collector(Box::new(Scrape(Arc::clone(&context))));
        let metrics = Self(Arc::new(Measured {
            registry,
            reconciles,
            durations,
            rendering,
            writes,
            watch_restarts,
            issuers_asked,
            context,
        }));
        metrics.begin_at_zero();
        metrics
    }
}

impl Metrics {
    /// A rate is seen only of what was counted before: what alerts ask for begins at zero.
    fn begin_at_zero(&self) {
        for kind in ["TrustDomain", "Member", "Fence", "Directory", "ServiceIdentity", "AccessPolicy"] {
            for outcome in [Ended::Done, Ended::Failed] {
                drop(self.0.reconciles.get_or_create(&[("kind", kind), ("outcome", outcome.as_str())]));
            }
        }
        for kind in WATCHED {
            drop(self.0.watch_restarts.get_or_create(&[("kind", kind)]));
        }
        for outcome in ISSUER_OUTCOMES {
            drop(self.0.issuers_asked.get_or_create(&[("outcome", outcome)]));
        }
    }

    /// The layer that counts writes.
    pub(super) fn writes(&self) -> &Writes {
        &self.0.writes
    }

    /// Says where the world is.
    pub(super) fn look_at(&self, context: &Arc<Context>) {
        // An operator runs once.
        drop(self.0.context.set(Arc::downgrade(context)));
    }

    /// A unit is about to be looked at.
    pub(super) fn begun(&self, context: &Context, unit: &Unit) {
        self.0.rendering.begun(context, unit);
    }

    /// A unit was looked at.
    pub(super) fn reconciled(&self, unit: &Unit, took: Duration, ended: Ended) {
        let kind = kind_of(unit);
        self.0.reconciles.get_or_create(&[("kind", kind), ("outcome", ended.as_str())]).inc();
        self.0.durations.get_or_create(&[("kind", kind)]).observe(took.as_secs_f64());
    }

    /// Nothing is left to do about a unit.
    pub(super) fn settled(&self, context: &Context, unit: &Unit) {
        self.0.rendering.settled(context, unit);
    }

    /// A watch was interrupted.
    pub(super) fn interrupted(&self, kind: &'static str) {
        self.0.watch_restarts.get_or_create(&[("kind", kind)]).inc();
    }

    /// A token issuer was asked for its keys, with one of [`ISSUER_OUTCOMES`].
    pub(super) fn issuer_asked(&self, outcome: &'static str) {
        self.0.issuers_asked.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Serves `/metrics` until told to stop.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn serve(self, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
        measurements::serve(address, self, stop).await
    }
}

impl AsRef<Registry> for Metrics {
    fn as_ref(&self) -> &Registry {
        &self.0.registry
    }
}

/// Upper bounds in seconds: a look takes milliseconds, one that the API server keeps waiting takes seconds.
const DURATIONS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
