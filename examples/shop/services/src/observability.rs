//! `/livez` and `/readyz` for the kubelet, `/metrics` for Prometheus: plain HTTP, on ports of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::text::encode;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the service can take requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        if self.0.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
        }
    }
}

/// Serves the probes.
///
/// # Errors
/// When the address can't be bound.
pub(crate) async fn serve_probes(address: SocketAddr, readiness: Readiness, stop: CancellationToken) -> Result<()> {
    let ready = move || std::future::ready(readiness.answer());
    let router = Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready));
    serve(address, router, stop).await
}

/// Serves the counters.
///
/// # Errors
/// When the address can't be bound.
pub(crate) async fn serve_metrics(address: SocketAddr, metrics: Arc<Metrics>, stop: CancellationToken) -> Result<()> {
    let text = move || {
        let mut text = String::new();
        let written = encode(&mut text, &metrics.registry);
        async move { written.map(|()| ([(CONTENT_TYPE, OPENMETRICS)], text)).map_err(|error| error.to_string()) }
    };
    serve(address, Router::new().route("/metrics", get(text)), stop).await
}

async fn serve(address: SocketAddr, router: Router, stop: CancellationToken) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}
