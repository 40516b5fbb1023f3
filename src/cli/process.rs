//! What the verbs that run on have in common: their flags, and how they are told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jiff::SignedDuration;
use ringfence_core::pki::is_dns_label;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Where a process says how it is.
#[derive(Debug, Args)]
pub(super) struct Observation {
    /// Address of `/livez` and `/readyz`.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub(super) health_address: SocketAddr,
    /// Address of `/metrics`, for Prometheus; `off` for none.
    #[arg(long, default_value = "0.0.0.0:9090", value_parser = metrics_address)]
    pub(super) metrics_address: MetricsAddress,
    /// Where traces go, as OTLP over HTTP: a URL to which `/v1/traces` is added, e.g. `http://collector:4318`. Without it
    /// there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(super) otlp_endpoint: Option<String>,
}

/// Where measurements are served, if they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetricsAddress(pub(super) Option<SocketAddr>);

fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    if text == "off" {
        return Ok(MetricsAddress(None));
    }
    let address = text.parse().map_err(|_| "expected an address with a port, such as 0.0.0.0:9090, or off".to_owned());
    address.map(|address| MetricsAddress(Some(address)))
}

/// The name of a namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let wrong = || "a namespace's name has lower-case letters, digits and '-', and at most 63 of them".to_owned();
    is_dns_label(text).then(|| text.to_owned()).ok_or_else(wrong)
}

/// A duration, e.g. `15s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|error| format!("{error}; write it like 15s or 1m"))?;
    Duration::try_from(duration).map_err(|_| "a duration is not negative".to_owned())
}

/// Cancels when the process is told to stop: by SIGTERM, or by Ctrl-C.
pub(super) async fn told_to_stop(stop: CancellationToken) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    info!("told to stop: what is in work is finished");
    stop.cancel();
    Ok(())
}
