//! Where the program tells what it does: lines on standard error and, if asked, traces to a collector.

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use http::Uri;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing::{Level, Subscriber, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::LogFormat;
use crate::controller::chain;

/// How long a collector may take for one batch of spans.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer of a collector that is read, in bytes; it says little more than which spans it did not take.
const LONGEST_ANSWER: usize = 65_536;

/// What was started; spans that are still to be sent are sent when it ends.
#[derive(Debug)]
pub(super) struct Log(Option<SdkTracerProvider>);

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(SdkTracerProvider::shutdown) {
            warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Starts to log what a filter lets through, and to send traces to an OTLP endpoint. A verb that answers people has lines
/// for people.
///
/// # Errors
/// When the filter or the endpoint can't be read. That can be logged all the same.
pub(super) fn start(format: LogFormat, for_people: bool, filter: &str, otlp_endpoint: Option<&str>) -> Result<Log> {
    let endpoint = otlp_endpoint.filter(|endpoint| !endpoint.is_empty());
    let read = || Ok((read(filter)?, endpoint.map(provider).transpose()?));
    let (filter, provider, wrong) = match read() {
        Ok((filter, provider)) => (filter, provider, None),
        Err(error) => (EnvFilter::new("error"), None, Some(error)),
    };
    let traces = provider.as_ref().map(traces);
    Registry::default().with(lines(format, for_people).with_filter(filter)).with(traces).init();
    wrong.map_or(Ok(Log(provider)), Err)
}

fn read(text: &str) -> Result<EnvFilter> {
    let filter = EnvFilter::try_new(text).with_context(|| format!("--log {text:?} is not a filter"))?;
    // The client complains of each failed attempt; what we say of it is a sentence, and said once.
    Ok(if text.contains("kube") { filter } else { filter.add_directive("kube=off".parse()?) })
}

/// Lines on standard error.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(
    format: LogFormat,
    for_people: bool,
) -> Box<dyn Layer<S> + Send + Sync> {
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Auto if !terminal && !for_people => lines.json().boxed(),
        _ if for_people => lines.with_ansi(terminal).with_target(false).without_time().boxed(),
        LogFormat::Auto | LogFormat::Human => lines.with_ansi(terminal).with_target(false).boxed(),
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
    let exporter = SpanExporter::builder().with_http().with_endpoint(url);
    let exporter = match uri.scheme_str() {
        Some("http") => exporter.with_http_client(Sender::new(HttpConnector::new())?),
        Some("https") => exporter.with_http_client(Sender::new(tls()?)?),
        _ => bail!(wrong()),
    };
    let exporter = exporter.build().with_context(wrong)?;
    let resource = Resource::builder()
        .with_service_name("ringfence")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

fn tls() -> Result<HttpsConnector<HttpConnector>> {
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .context("the system has no root certificates: set SSL_CERT_FILE to a file with those of the collector")?;
    Ok(connector.https_only().enable_http1().build())
}

/// Sends requests from the thread that gathers spans, which belongs to no runtime.
struct Sender<C> {
    client: Client<C, Full<Bytes>>,
    runtime: Runtime,
    /// Whether the last ones were taken.
    taken: AtomicBool,
}

impl<C> fmt::Debug for Sender<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<C: Connect + Clone> Sender<C> {
    fn new(connector: C) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            runtime,
            taken: AtomicBool::new(true),
        })
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Sender<C> {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = async {
            let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(TIMEOUT, answer).await?
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> HttpClient for Sender<C> {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.runtime.block_on(self.send(request));
        let taken = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
        // Once for each outage: it may last, and what it costs is traces.
        if self.taken.swap(taken, Ordering::Relaxed) != taken {
            match &answer {
                Ok(_) if taken => info!("the collector takes traces again"),
                Ok(answer) => warn!(status = answer.status().as_u16(), "the collector does not take traces"),
                Err(error) => warn!(error = chain(error.as_ref()), "traces can't be sent"),
            }
        }
        answer
    }
}
