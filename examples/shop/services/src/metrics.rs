//! What a service counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All counters of a service.
pub(crate) struct Metrics {
    pub(crate) requests: Family<Request, Counter>,
    pub(crate) decisions: Family<Decision, Counter>,
    pub(crate) reloads: Family<Reload, Counter>,
    pub(crate) generation: Gauge,
    pub(crate) registry: Registry,
}

/// A request that was let through, by what it was for and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    pub(crate) route: String,
    pub(crate) outcome: String,
}

/// Whether a request was let through, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Decision {
    pub(crate) outcome: &'static str,
}

/// Whether files that were delivered anew could be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reload {
    pub(crate) outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("shop");
        let (requests, decisions, reloads) = (Family::default(), Family::default(), Family::default());
        let generation = Gauge::default();
        registry.register("requests", "requests that were let through, by route and outcome", requests.clone());
        registry.register("decisions", "requests by whether they were let through, or why not", decisions.clone());
        registry.register("reloads", "files that were delivered anew, by whether they could be read", reloads.clone());
        registry.register("files_generation", "which set of delivered files is in force", generation.clone());
        Self { requests, decisions, reloads, generation, registry }
    }
}
