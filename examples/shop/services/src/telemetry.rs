//! Where a service tells what it does: lines of JSON on standard error and, if there is a collector, traces.

use anyhow::{Context, Result};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Sends what is still to be sent when it ends.
#[derive(Debug)]
pub(crate) struct Telemetry(SdkTracerProvider);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Starts to log what a filter lets through and to trace. Without a collector, spans still have ids, which are logged and passed on.
///
/// # Errors
/// When the filter or the collector's URL can't be read.
pub(crate) fn start(service: &'static str, filter: &str, otlp_endpoint: Option<&str>) -> Result<Telemetry> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter:?} is not a filter"))?;
    let provider = SdkTracerProvider::builder().with_resource(
        Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.namespace", "shop"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build(),
    );
    let provider = match otlp_endpoint.filter(|endpoint| !endpoint.is_empty()) {
        Some(endpoint) => {
            let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
            let wrong = || format!("--otlp-endpoint {endpoint:?} is not a URL such as http://collector:4317");
            provider.with_batch_exporter(exporter.with_context(wrong)?).build()
        }
        None => provider.build(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json();
    let lines = lines.flatten_event(true).with_span_list(false).with_filter(filter);
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    let traces = traces.with_location(false).with_threads(false).with_tracked_inactivity(false).with_target(false);
    let traces = traces.with_filter(Targets::new().with_target("shop", Level::INFO));
    tracing_subscriber::registry().with(lines).with(traces).init();
    Ok(Telemetry(provider))
}
