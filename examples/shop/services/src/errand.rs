//! What goes with a call through all services: the trace, the correlation id, and on whose behalf it is made.

use http::{HeaderMap, HeaderName};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::HeaderInjector;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::behalf::{self, OnBehalfOf};
use crate::correlation::{self, CorrelationId};

/// The header by which a customer names an order, so that it is placed once however often it is sent.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a service does for a request, at other services.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) correlation: CorrelationId,
    pub(crate) customer: OnBehalfOf,
}

impl Errand {
    /// What is sent with a call to tie it to this request.
    pub(crate) fn headers(&self, span: &Span) -> HeaderMap {
        headers(&self.correlation, span)
    }

    /// The same with the customer, for callees that are called with a certificate.
    pub(crate) fn headers_with_customer(&self, span: &Span) -> HeaderMap {
        let mut headers = self.headers(span);
        headers.extend(self.customer.header().map(|value| (HeaderName::from_static(behalf::HEADER), value)));
        headers
    }
}

/// The span of one call.
pub(crate) fn span(callee: &str, what: &str) -> Span {
    info_span!("call", otel.kind = "client", otel.name = format!("{callee} {what}"), callee)
}

/// What ties a call to a request, whoever it is made for.
pub(crate) fn headers(correlation: &CorrelationId, span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(&mut headers));
    headers.insert(HeaderName::from_static(correlation::HEADER), correlation.header());
    headers
}
