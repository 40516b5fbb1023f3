//! Requests: which endpoint, how large, and what is written down about them.

use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use jiff::Timestamp;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use ringfence_core::tokens::{Client, DenialReason};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::answer::{self, Answer, Refusal};
use super::audit::Correlation;
use super::authenticate::authenticate;
use super::endpoints::Endpoint;
use super::graph::Snapshot;
use super::parameters::{Malformed, Parameters};
use super::peers::Peer;
use super::state::State;
use super::{audit, introspect, revoke, token};

/// Largest body of a request, in octets.
const LARGEST_BODY: usize = 64 * 1024;
/// How long a body may be on its way.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long the documents may be kept, in seconds: keys are published far longer before they are used.
const DOCUMENT_AGE: u64 = 60;

/// One request to an endpoint that takes parameters.
pub(super) struct Asked<'a> {
    pub(super) peer: &'a Peer,
    pub(super) headers: &'a HeaderMap,
    pub(super) parameters: Parameters<'a>,
    /// What is known while this request is answered.
    pub(super) snapshot: &'a Snapshot,
    pub(super) now: Timestamp,
    pub(super) correlation: Correlation<'a>,
}

/// Answers a request.
pub(super) async fn answer(state: &State, peer: &Peer, request: Request<Incoming>) -> Answer {
    let started = Instant::now();
    let Some(endpoint) = state.endpoints.at(request.uri().path()) else {
        return answer::empty(StatusCode::NOT_FOUND);
    };
    let answer = match (endpoint.takes_post(), request.method()) {
        (true, &Method::POST) => {
            let span = info_span!("request", endpoint = endpoint.as_str(), outcome = field::Empty);
            follow_trace(&span, request.headers());
            post(state, peer, endpoint, request).instrument(span).await
        }
        (false, &Method::GET | &Method::HEAD) => document(state, endpoint),
        (takes_post, _) => {
            let mut answer = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(if takes_post { "POST" } else { "GET, HEAD" }));
            answer
        }
    };
    state.metrics.answered(endpoint, answer.status(), started.elapsed());
    answer
}

fn document(state: &State, endpoint: Endpoint) -> Answer {
    match (endpoint, state.keys.load().as_ref()) {
        (Endpoint::Keys, None) => answer::empty(StatusCode::SERVICE_UNAVAILABLE),
        (Endpoint::Keys, Some(keys)) => answer::public(keys.document.clone(), DOCUMENT_AGE),
        _ => answer::public(state.endpoints.metadata(), DOCUMENT_AGE),
    }
}

async fn post(state: &State, peer: &Peer, endpoint: Endpoint, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let correlation = Correlation::of(&head.headers);
    let refuse = |parameters: Option<&Parameters<'_>>, client: Option<&Client>, refusal: Refusal| {
        if refusal.is_of_authentication() {
            state.limits.failed(peer.address);
        }
        if let Refusal::Limited(limit, _) = refusal {
            state.metrics.limited(limit);
        }
        state.metrics.refused(endpoint, refusal.reason());
        Span::current().record("outcome", refusal.reason());
        audit::refused(endpoint, peer, parameters, client, &refusal, correlation);
        refusal.answer()
    };
    let body = match read(&head, body).await {
        Ok(body) => body,
        Err(refusal) => return refuse(None, None, refusal),
    };
    let parameters = match Parameters::parse(&body) {
        Ok(parameters) => parameters,
        Err(Malformed::Duplicate) => {
            return refuse(None, None, Refusal::invalid_request(DenialReason::ParameterTwice));
        }
        Err(_) => return refuse(None, None, Refusal::invalid_request(DenialReason::NotAForm)),
    };
    let (snapshot, now) = (state.snapshot.load_full(), (state.now)());
    let asked = Asked { peer, headers: &head.headers, parameters, snapshot: &snapshot, now, correlation };
    let client = match authenticate(state, &asked).await {
        Ok(client) => client,
        Err(refusal) => return refuse(Some(&asked.parameters), None, refusal),
    };
    let answer = match endpoint {
        Endpoint::Introspection => introspect::answer(state, &asked, &client).await,
        Endpoint::Revocation => revoke::answer(state, &asked, &client).await,
        Endpoint::Token | Endpoint::Keys | Endpoint::Metadata => token::answer(state, &asked, &client).await,
    };
    answer.unwrap_or_else(|refusal| refuse(Some(&asked.parameters), Some(&client), refusal))
}

/// Reads a body that is said to be a form. What a URL says is no part of it.
async fn read(head: &Parts, body: Incoming) -> Result<Bytes, Refusal> {
    if head.uri.query().is_some_and(|query| !query.is_empty()) || !is_form(&head.headers) {
        return Err(Refusal::invalid_request(DenialReason::NotAForm));
    }
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(Refusal::TooLarge);
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) => Err(Refusal::invalid_request(DenialReason::NotAForm)),
        Err(_) => Err(Refusal::TooSlow),
    }
}

/// Whether the body is said to be a form, in one way only.
fn is_form(headers: &HeaderMap) -> bool {
    let Some(text) = only(headers, &CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let media_type = text.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The value of a header that is there once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Makes a request's trace, if it has one, the one that our span is part of.
fn follow_trace(span: &Span, headers: &HeaderMap) {
    struct Headers<'a>(&'a HeaderMap);
    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }
        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(HeaderName::as_str).collect()
        }
    }
    if headers.contains_key("traceparent") {
        // Without a collector there is no trace to be part of.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
}
