//! What all six services have in common: flags, start, and the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use clap::Args;
use ringfence_workload::{Decision, Mounts, Workload};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::{self, Metrics};
use crate::observability::{Readiness, serve_metrics, serve_probes};
use crate::observe::{Observer, observe};
use crate::telemetry::{self, Telemetry};

/// The port in `access.json`.
const PORT: u16 = 8443;
/// Longest request body, in bytes.
const LONGEST_REQUEST: usize = 65_536;
/// For how long after the signal to stop requests still come in: until all nodes know that the pod is going.
const FAREWELL: Duration = Duration::from_secs(3);

/// Flags of every service.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder with what Ringfence delivers: `tls`, `trust` and, for a service that signs, `signing-key`; for one that has a
    /// secret at an issuer, `issuers/<name>`.
    #[arg(long, default_value = "/var/run/ringfence")]
    files: PathBuf,
    /// Address of the service. Who may call it is what `access.json` says of port 8443.
    #[arg(long, default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Address of `/livez` and `/readyz`.
    #[arg(long, default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,
    /// Address of `/metrics`.
    #[arg(long, default_value = "0.0.0.0:9090")]
    metrics_address: SocketAddr,
    /// Where traces go, as OTLP over gRPC, e.g. `http://collector.monitoring.svc:4317`. Without it there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// What is logged: a level, or a filter such as `info,ringfence_workload=debug`.
    #[arg(long, default_value = "info")]
    log: String,
}

/// A service that was started and does not serve yet.
pub(crate) struct Service {
    pub(crate) workload: Workload,
    /// What all services count. One may register what only it counts.
    pub(crate) metrics: Metrics,
    options: Options,
    /// Sends the last spans when the service ends.
    _telemetry: Telemetry,
}

impl Service {
    /// Reads what was delivered, and follows it from then on.
    ///
    /// # Errors
    /// When it can't be read: the kubelet starts the container again.
    pub(crate) fn start(name: &'static str, options: Options) -> Result<Self> {
        let telemetry = telemetry::start(name, &options.log, options.otlp_endpoint.as_deref())?;
        let metrics = Metrics::default();
        let workload = Workload::open(Mounts::below(&options.files))
            .with_context(|| format!("what Ringfence delivers to {name} can't be used"))?;
        info!(spiffe_id = %workload.spiffe_id(), "started");
        Ok(Self { workload, metrics, options, _telemetry: telemetry })
    }

    /// Serves until told to stop, and then finishes what is in work.
    ///
    /// # Errors
    /// When an address can't be bound.
    pub(crate) async fn serve(self, router: Router) -> Result<()> {
        let Self { workload, metrics, options, _telemetry } = self;
        let metrics = Arc::new(metrics);
        let observer = Observer { spiffe_id: workload.spiffe_id().to_string(), metrics: metrics.clone() };
        let router = observed(router, observer);
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| format!("can't listen on {}", options.listen))?;
        let (readiness, told, stop) = (Readiness::default(), CancellationToken::new(), CancellationToken::new());
        readiness.set(true);
        let serving = async {
            let server = workload.server(PORT).on_decision(count(metrics.clone()));
            server.serve(listener, router, told.clone()).await;
            stop.cancel();
            Ok(())
        };
        tokio::try_join!(
            serving,
            serve_probes(options.health_address, readiness.clone(), stop.clone()),
            serve_metrics(options.metrics_address, metrics.clone(), stop.clone()),
            told_to_stop(readiness, told.clone()),
            follow_reloads(&workload, &metrics, stop.clone()),
        )?;
        info!("stopped");
        Ok(())
    }
}

/// A service's routes, with what happens to every request of every service.
pub(crate) fn observed(router: Router, observer: Observer) -> Router {
    router.layer(DefaultBodyLimit::max(LONGEST_REQUEST)).layer(from_fn_with_state(Arc::new(observer), observe))
}

/// Counts who was let through and who was not, and logs the latter.
fn count(metrics: Arc<Metrics>) -> impl Fn(&Decision<'_>) + Send + Sync {
    move |decision| {
        let outcome = match &decision.outcome {
            Ok(_) => "Allowed",
            Err(refusal) => {
                warn!(path = decision.path, reason = refusal.reason(), "refused: {refusal}");
                refusal.reason()
            }
        };
        metrics.decisions.get_or_create(&metrics::Decision { outcome }).inc();
    }
}

/// Counts and logs what is delivered anew.
async fn follow_reloads(workload: &Workload, metrics: &Metrics, stop: CancellationToken) -> Result<()> {
    let mut reloads = workload.reloads();
    loop {
        let changed = tokio::select! {
            changed = reloads.changed() => changed.is_ok(),
            () = stop.cancelled() => false,
        };
        if !changed {
            return Ok(());
        }
        let reload = reloads.borrow_and_update().clone();
        let outcome = match &reload.fault {
            None => {
                info!(generation = reload.generation, "new files are in force");
                "Done"
            }
            Some(fault) => {
                warn!(fault, "new files can't be used; the last good ones stay in force");
                "Failed"
            }
        };
        metrics.reloads.get_or_create(&metrics::Reload { outcome }).inc();
        metrics.generation.set(i64::try_from(reload.generation).unwrap_or(i64::MAX));
    }
}

/// Waits for SIGTERM or Ctrl-C; then the pod is not ready any more, and a little later nothing new is taken.
async fn told_to_stop(readiness: Readiness, told: CancellationToken) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {
            readiness.set(false);
            info!("told to stop: what is in work is finished");
            tokio::time::sleep(FAREWELL).await;
        }
        _ = interrupt.recv() => {}
    }
    told.cancel();
    Ok(())
}
