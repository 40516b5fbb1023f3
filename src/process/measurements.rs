//! `/metrics`, in the OpenMetrics text format.

use std::fmt;
use std::net::SocketAddr;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Names and values of labels, all of them words of the program.
pub(crate) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What Prometheus is told that the text is.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves what a registry holds until told to stop.
///
/// # Errors
/// When the address can't be bound.
pub(crate) async fn serve<M>(address: SocketAddr, measured: M, stop: CancellationToken) -> std::io::Result<()>
where
    M: AsRef<Registry> + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind(address).await?;
    info!(address = %listener.local_addr()?, "measurements are served at /metrics");
    let metrics = move || {
        let text = text(measured.as_ref());
        async move { text.map(|text| ([(CONTENT_TYPE, OPENMETRICS)], text)).map_err(|error| error.to_string()) }
    };
    let router = Router::new().route("/metrics", get(metrics));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Everything, as Prometheus reads it.
///
/// # Errors
/// None but those of writing to a string.
fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}
