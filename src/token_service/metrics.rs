//! What the token service measures, for Prometheus. No label holds the name of a client or an audience.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::endpoints::Endpoint;
use super::store::{Observation, Operation};
use crate::process::measurements::Labels;

type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// How a handshake ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handshake {
    Full,
    Resumed,
    Failed,
    TimedOut,
}

impl Handshake {
    const ALL: [Self; 4] = [Self::Full, Self::Resumed, Self::Failed, Self::TimedOut];

    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// The measurements of one token service.
#[derive(Clone)]
pub struct Metrics(Arc<Measured>);

struct Measured {
    registry: Registry,
    requests: Family<Labels<2>, Counter>,
    durations: Histograms<1>,
    tokens: Family<Labels<3>, Counter>,
    introspections: Family<Labels<1>, Counter>,
    refusals: Family<Labels<2>, Counter>,
    limited: Family<Labels<1>, Counter>,
    handshakes: Family<Labels<1>, Counter>,
    connections: Gauge,
    namespaces: Gauge,
    documents_refused: Gauge,
    registrations_refused: Gauge,
    watch_restarts: Family<Labels<1>, Counter>,
    store: Family<Labels<2>, Counter>,
    store_failures: Counter,
    store_durations: Histograms<1>,
    reviews: Family<Labels<1>, Counter>,
    keys: Gauge,
    key_changes: Family<Labels<1>, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl AsRef<Registry> for Metrics {
    fn as_ref(&self) -> &Registry {
        &self.0.registry
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ringfence");
        registry.register("build", "Which Ringfence this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let service = registry.sub_registry_with_prefix("token_service");
        let histograms = || Histograms::new_with_constructor(|| Histogram::new(DURATIONS));
        let (durations, store_durations): (Histograms<1>, Histograms<1>) = (histograms(), histograms());
        macro_rules! registered {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                service.register($name, $help, Clone::clone(&metric));
                metric
            }};
        }
        service.register("request_duration_seconds", "How long an answer took", durations.clone());
        service.register("store_duration_seconds", "How long the store took for an operation", store_durations.clone());
        let measured = Measured {
            requests: registered!("requests", "Requests, by endpoint and status of the answer"),
            tokens: registered!(
                "tokens",
                "Tokens that were issued, by grant type, form and how the client proved itself"
            ),
            introspections: registered!("introspections", "Introspections, by whether the token was active"),
            refusals: registered!("refusals", "Requests that were refused, by endpoint and reason"),
            limited: registered!("limited", "Requests that were refused because there were too many, by whose limit"),
            handshakes: registered!("handshakes", "TLS handshakes, by how they ended"),
            connections: registered!("connections", "Connections that are open"),
            namespaces: registered!("namespaces", "Namespaces whose document is in force"),
            documents_refused: registered!("documents_refused", "Namespaces whose newest document can't be read"),
            registrations_refused: registered!("registrations_refused", "Registrations of clients that can't be read"),
            watch_restarts: registered!("watch_restarts", "Watches that were interrupted and resumed"),
            store: registered!("store_operations", "Operations on the store, by whether it answered"),
            store_failures: registered!("store_request_failures", "Requests to the store without an answer"),
            reviews: registered!("token_reviews", "Service-account tokens that the API server was asked about"),
            keys: registered!("keys", "Signing keys that are published"),
            key_changes: registered!("key_changes", "Changes of the signing keys, by who made them"),
            durations,
            store_durations,
            registry,
        };
        let metrics = Self(Arc::new(measured));
        metrics.begin_at_zero();
        metrics
    }
}

impl Metrics {
    /// A rate is seen only of what was counted before: what alerts ask for begins at zero.
    fn begin_at_zero(&self) {
        for ended in Handshake::ALL {
            drop(self.0.handshakes.get_or_create(&[("outcome", ended.as_str())]));
        }
        for limit in [Limit::Client, Limit::Address] {
            drop(self.0.limited.get_or_create(&[("limit", limit.as_str())]));
        }
        for operation in [Operation::Consume, Operation::Revoke, Operation::IsRevoked] {
            for outcome in ["answered", "failed"] {
                drop(self.0.store.get_or_create(&[("operation", operation.as_str()), ("outcome", outcome)]));
            }
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self, endpoint: Endpoint, status: StatusCode, took: Duration) {
        let labels = [("endpoint", endpoint.as_str()), ("status", class_of(status))];
        self.0.requests.get_or_create(&labels).inc();
        self.0.durations.get_or_create(&[("endpoint", endpoint.as_str())]).observe(took.as_secs_f64());
    }

    /// A token was issued.
    pub(super) fn issued(&self, grant: &'static str, form: &'static str, proof: &'static str) {
        self.0.tokens.get_or_create(&[("grant", grant), ("form", form), ("proof", proof)]).inc();
    }

    /// A token was looked at.
    pub(super) fn introspected(&self, active: bool) {
        self.0.introspections.get_or_create(&[("active", if active { "true" } else { "false" })]).inc();
    }

    /// A request was refused.
    pub(super) fn refused(&self, endpoint: Endpoint, reason: &'static str) {
        self.0.refusals.get_or_create(&[("endpoint", endpoint.as_str()), ("reason", reason)]).inc();
    }

    /// A request was one too many.
    pub(super) fn limited(&self, limit: Limit) {
        self.0.limited.get_or_create(&[("limit", limit.as_str())]).inc();
    }

    /// A handshake ended.
    pub(super) fn handshake(&self, ended: Handshake) {
        self.0.handshakes.get_or_create(&[("outcome", ended.as_str())]).inc();
    }

    /// A connection is open until this goes.
    pub(super) fn connection(&self) -> Open {
        self.0.connections.inc();
        Open(self.0.connections.clone())
    }

    /// What is known of the graph.
    pub(super) fn graph(&self, namespaces: usize, documents_refused: usize, registrations_refused: usize) {
        let set = |gauge: &Gauge, count| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.0.namespaces, namespaces);
        set(&self.0.documents_refused, documents_refused);
        set(&self.0.registrations_refused, registrations_refused);
    }

    /// A watch was interrupted.
    pub(super) fn interrupted(&self, kind: &'static str) {
        self.0.watch_restarts.get_or_create(&[("kind", kind)]).inc();
    }

    /// The store was asked.
    pub(super) fn stored(&self, seen: &Observation) {
        let outcome = if seen.answered { "answered" } else { "failed" };
        self.0.store.get_or_create(&[("operation", seen.operation.as_str()), ("outcome", outcome)]).inc();
        self.0.store_failures.inc_by(seen.failed_requests.into());
        self.0
            .store_durations
            .get_or_create(&[("operation", seen.operation.as_str())])
            .observe(seen.took.as_secs_f64());
    }

    /// The API server was asked about a service-account token.
    pub(super) fn reviewed(&self, outcome: &'static str) {
        self.0.reviews.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// So many keys are published.
    pub(super) fn keys(&self, published: usize) {
        self.0.keys.set(i64::try_from(published).unwrap_or(i64::MAX));
    }

    /// The keys changed, or were to be changed.
    pub(super) fn key_change(&self, outcome: &'static str) {
        self.0.key_changes.get_or_create(&[("outcome", outcome)]).inc();
    }
}

/// Whose limit a request was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Client,
    Address,
    Connections,
}

impl Limit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Address => "address",
            Self::Connections => "connections",
        }
    }
}

/// An open connection.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn class_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Upper bounds in seconds: a token takes a tenth of a millisecond, the store milliseconds, one that is gone seconds.
const DURATIONS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
