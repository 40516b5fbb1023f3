//! Requests: which endpoint, how large, and what is written down about them.

use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use jiff::Timestamp;
use ringfence_core::tokens::{Client, DenialReason};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span, field, info_span};

use super::answer::{self, Answer, Refusal};
use super::authenticate::authenticate;
use super::correlation::Correlation;
use super::endpoints::Endpoint;
use super::graph::Snapshot;
use super::parameters::{Malformed, Parameters};
use super::peers::Peer;
use super::state::State;
use super::{audit, introspect, revoke, token};

/// Largest body of a request, in octets.
const LARGEST_BODY: usize = 64 * 1024;
/// Most bodies are smaller than this, and are read whenever they come.
const LARGE_BODY: usize = 8 * 1024;
/// Larger ones that are in memory at once, and of those that don't say how large they are.
pub(super) const LARGE_BODIES: usize = 128;
/// How long a body may be on its way.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long the documents may be kept, in seconds: keys are published far longer before they are used.
const DOCUMENT_AGE: u64 = 60;

/// One request to an endpoint that takes parameters.
pub(super) struct Asked<'a> {
    pub(super) peer: &'a Peer,
    pub(super) headers: &'a HeaderMap,
    pub(super) parameters: Parameters<'a>,
    /// What was known when it came, by which the client proves itself. What it gets is decided by what is known then.
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
            let (endpoint_name, correlation) = (endpoint.as_str(), Correlation::of(request.headers()));
            let correlated = correlation.as_str();
            let span =
                info_span!("request", endpoint = endpoint_name, correlation = correlated, outcome = field::Empty);
            correlation.follow(&span);
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
        if let Refusal::Denied(denial) = refusal {
            let audience = parameters.and_then(|parameters| parameters.get("audience").or(parameters.get("resource")));
            state.events.refused(&state.snapshot.load().graph, client, peer, audience, denial.reason);
        }
        refusal.answer()
    };
    let body = match read(&state.large_bodies, &head, body).await {
        Ok(body) => body,
        Err(refusal) => return refuse(None, None, refusal),
    };
    let parameters = match Parameters::parse(&body.octets) {
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

/// A body, with the room that it takes.
#[derive(Debug)]
struct Form<'a> {
    octets: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

/// Reads a body that is said to be a form. What a URL says is no part of it.
async fn read<'a, B>(large_bodies: &'a Semaphore, head: &Parts, body: B) -> Result<Form<'a>, Refusal>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    if head.uri.query().is_some_and(|query| !query.is_empty()) || !is_form(&head.headers) {
        return Err(Refusal::invalid_request(DenialReason::NotAForm));
    }
    let length = body.size_hint();
    if length.lower() > LARGEST_BODY as u64 {
        return Err(Refusal::TooLarge);
    }
    let is_large = length.upper().is_none_or(|length| length > LARGE_BODY as u64);
    let reading = async {
        // Nobody closes it.
        let room = if is_large { large_bodies.acquire().await.ok() } else { None };
        Limited::new(body, LARGEST_BODY).collect().await.map(|body| Form { octets: body.to_bytes(), _room: room })
    };
    match timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(form)) => Ok(form),
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

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    fn head() -> Parts {
        let request = Request::post("/token").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(()).unwrap().into_parts().0
    }

    fn body(length: usize) -> Full<Bytes> {
        Full::from(vec![b'a'; length])
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_room_and_small_ones_do_not() {
        let (room, head) = (Semaphore::new(1), head());
        let first = read(&room, &head, body(LARGE_BODY + 1)).await.unwrap();
        assert_eq!((first.octets.len(), room.available_permits()), (LARGE_BODY + 1, 0));
        assert!(read(&room, &head, body(LARGE_BODY)).await.is_ok());
        assert_eq!(read(&room, &head, body(LARGE_BODY + 1)).await.unwrap_err(), Refusal::TooSlow);
        let unknown = || {
            let frame = Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"a")));
            StreamBody::new(futures::stream::iter([frame]))
        };
        assert_eq!(read(&room, &head, unknown()).await.unwrap_err(), Refusal::TooSlow, "it may be any size");
        drop(first);
        assert!(read(&room, &head, unknown()).await.is_ok());
        assert_eq!(read(&room, &head, body(LARGEST_BODY + 1)).await.unwrap_err(), Refusal::TooLarge);
        assert_eq!(room.available_permits(), 1);
    }
}
