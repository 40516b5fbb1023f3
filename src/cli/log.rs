//! Where the program tells what it does: lines on standard error and, if asked, traces to a collector.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::LogFormat;

/// How long a collector may take for one batch of spans.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was started; spans that are still to be sent are sent when it ends.
#[derive(Debug)]
pub(super) struct Log(Option<SdkTracerProvider>);

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Starts to log what a filter lets through, and to send traces to an OTLP endpoint.
///
/// # Errors
/// When the filter or the endpoint can't be read. That can be logged all the same.
pub(super) fn start(format: LogFormat, filter: &str, otlp_endpoint: Option<&str>) -> Result<Log> {
    let endpoint = otlp_endpoint.filter(|endpoint| !endpoint.is_empty());
    let read = || Ok((read(filter)?, endpoint.map(provider).transpose()?));
    let (filter, provider, wrong) = match read() {
        Ok((filter, provider)) => (filter, provider, None),
        Err(error) => (EnvFilter::new("error"), None, Some(error)),
    };
    let traces = provider.as_ref().map(traces);
    Registry::default().with(lines(format).with_filter(filter)).with(traces).init();
    wrong.map_or(Ok(Log(provider)), Err)
}

fn read(filter: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| format!("--log {filter:?} is not a filter"))
}

/// Lines on standard error.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Auto if terminal => lines.with_ansi(true).with_target(false).boxed(),
        LogFormat::Human => lines.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Auto | LogFormat::Json => lines.json().boxed(),
    }
}

/// Turns our own spans, and what is logged inside them, into traces.
fn traces<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S> {
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("ringfence"));
    let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_target(false);
    layer.with_filter(Targets::new().with_target("ringfence", Level::DEBUG))
}

/// Sends spans in batches, by OTLP over HTTP with protobuf; what a slow collector can't take in time is dropped.
fn provider(endpoint: &str) -> Result<SdkTracerProvider> {
    let wrong = || format!("--otlp-endpoint {endpoint:?} is not a URL such as http://collector:4318");
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let uri: Uri = url.parse().with_context(wrong)?;
    anyhow::ensure!(matches!(uri.scheme_str(), Some("http" | "https")), wrong());
    let sender = Sender::new().context("no client for traces can be made")?;
    let exporter = SpanExporter::builder().with_http().with_http_client(sender).with_endpoint(url).build();
    let exporter = exporter.with_context(wrong)?;
    let resource = Resource::builder()
        .with_service_name("ringfence")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// Sends requests from the thread that gathers spans, which belongs to no runtime.
#[derive(Debug)]
struct Sender<C> {
    client: C,
    runtime: Runtime,
}

impl Sender<()> {
    fn new() -> Result<Sender<impl HttpClient>> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .context("the system's root certificates can't be read")?
            .https_or_http()
            .enable_http1()
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Sender { client: HyperClient::new(connector, TIMEOUT, None), runtime })
    }
}

#[async_trait]
impl<C: HttpClient> HttpClient for Sender<C> {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.runtime.block_on(self.client.send_bytes(request))
    }
}
