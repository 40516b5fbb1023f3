//! What happens to every request besides its answer: it gets a correlation id and a span, is counted, logged, and told of.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use ringfence_workload::Caller;
use tracing::{Instrument, field, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::correlation::{self, CorrelationId};
use crate::hop::{Hop, Hops};
use crate::metrics::{self, Metrics};

/// Who observes.
pub(crate) struct Observer {
    pub(crate) spiffe_id: String,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) async fn observe(State(observer): State<Arc<Observer>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str);
    // A gRPC service has one route for all of its methods.
    let route = route.strip_suffix("/{*rest}").unwrap_or(route).to_owned();
    let span = info_span!(
        "serve",
        otel.kind = "server",
        otel.name = format!("{} {route}", request.method()),
        correlation_id = field::Empty,
        trace_id = field::Empty,
        outcome = field::Empty,
    );
    // There is always a layer that keeps the parent.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(request.headers())));
    let trace = span.context().span().span_context().trace_id();
    let correlation = CorrelationId::of_request(request.headers()).unwrap_or_else(|| CorrelationId::of_trace(trace));
    span.record("correlation_id", correlation.as_str()).record("trace_id", trace.to_string());
    let hop = request.extensions().get::<Caller>().map(|caller| Hop::of(&observer.spiffe_id, caller));
    request.extensions_mut().insert(correlation.clone());

    let mut response = next.run(request).instrument(span.clone()).await;

    let outcome = outcome(&response);
    span.record("outcome", &outcome);
    let caller = hop.as_ref().map(|hop| &*hop.caller);
    span.in_scope(|| info!(route, caller, outcome, "answered"));
    observer.metrics.requests.get_or_create(&metrics::Request { route, outcome }).inc();
    response.headers_mut().insert(HeaderName::from_static(correlation::HEADER), correlation.header());
    Hops::write(hop, &mut response);
    response
}

/// The status of HTTP, or that of gRPC where it is known before the body.
fn outcome(response: &Response) -> String {
    let headers = response.headers();
    let grpc = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if !grpc {
        return response.status().as_u16().to_string();
    }
    // Only failures have it among the headers; an answer is followed by it.
    let status = headers.get("grpc-status").map_or(tonic::Code::Ok, |value| tonic::Code::from_bytes(value.as_bytes()));
    format!("{status:?}")
}
