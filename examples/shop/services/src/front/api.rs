//! What the page asks of the shop: passed on to the gateway with the access token of the session, and nothing else of the browser's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER, SET_COOKIE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use ringfence_workload::{Client, IssuerToken};
use tracing::Instrument;

use super::Shopfront;
use super::cookie::SESSION;
use super::session::NoToken;
use crate::correlation::CorrelationId;
use crate::errand::{self, IDEMPOTENCY_KEY};
use crate::hop::{Hops, Visitor};
use crate::peer::Peer;
use crate::problem::Problem;

/// How long the gateway may take: longer than it gives the services behind it.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is passed on of a request. Cookies, `Authorization` and all that concerns the connection are not.
const ASKED: [HeaderName; 3] = [ACCEPT, CONTENT_TYPE, HeaderName::from_static(IDEMPOTENCY_KEY)];
/// What is passed on of an answer.
const ANSWERED: [HeaderName; 2] = [CONTENT_TYPE, RETRY_AFTER];

/// The way to the gateway.
pub(super) struct Gateway {
    peer: Peer,
    authority: Authority,
}

/// The paths that are passed on, below `/api`.
pub(super) fn routes() -> Router<Arc<Shopfront>> {
    let unknown = || async { Problem::new(StatusCode::NOT_FOUND, "the shop has no such thing") };
    Router::new()
        .route("/items", get(forward))
        .route("/orders", post(forward))
        .route("/orders/{id}", get(forward))
        .route("/graphql", post(forward))
        .fallback(unknown)
}

async fn forward(
    State(front): State<Arc<Shopfront>>,
    Extension(correlation): Extension<CorrelationId>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Response> {
    let body = body.map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()).into_response())?;
    let session = SESSION.read(&headers).and_then(|ticket| {
        let session = front.sessions.get(&ticket, Instant::now())?;
        Some((ticket, session))
    });
    let (ticket, session) = session.ok_or_else(log_in_first)?;
    let token = session.access_token(&front.issuer, &front.metrics).await;
    let token = token.map_err(|none| match none {
        NoToken::Ended => {
            front.sessions.take(ticket.stub(), Instant::now());
            log_in_first()
        }
        NoToken::IssuerUnavailable => {
            Problem::of_callee("the issuer", "it gives no token at the moment: try again in a while").into_response()
        }
    })?;
    let mut request = front.gateway.request(&uri).map_err(IntoResponse::into_response)?;
    let span = errand::span(front.gateway.authority.host(), &format!("{method} {}", request.uri().path()));
    *request.method_mut() = method;
    *request.headers_mut() = errand::headers(&correlation, &span);
    copy(&ASKED, &headers, request.headers_mut());
    request.extensions_mut().insert(IssuerToken { issuer: session.issuer().to_owned(), token });
    let answered = front.gateway.ask(request.map(|()| Full::new(body))).instrument(span).await;
    let mut response = answered.map_err(IntoResponse::into_response)?;
    let name = session.name().unwrap_or("a customer").to_owned();
    let by = "its session".to_owned();
    response.extensions_mut().insert(Visitor { name, by });
    Ok(response)
}

/// Nobody is logged in, or not any more.
fn log_in_first() -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "sign in first, at /login");
    ([(SET_COOKIE, SESSION.without())], problem).into_response()
}

impl Gateway {
    pub(super) fn new(client: Client, authority: Authority) -> Self {
        Self { peer: Peer::new(client, authority.host(), PATIENCE), authority }
    }

    /// A request to the gateway for what was asked for here. Paths that a server could read as other ones are not passed on.
    fn request(&self, asked: &Uri) -> Result<Request<()>, Problem> {
        let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"/-_".contains(&letter);
        let unknown = || Problem::new(StatusCode::NOT_FOUND, "the shop has no such thing");
        let path = asked.path_and_query().filter(|_| asked.path().bytes().all(is_plain)).ok_or_else(unknown)?;
        Ok(Request::builder().uri(self.at(path.clone())).body(()).expect("a URI makes a request"))
    }

    fn at(&self, path: PathAndQuery) -> Uri {
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(self.authority.clone()).path_and_query(path);
        uri.build().expect("these are the parts of a URI")
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response, Problem> {
        let (head, body) = self.peer.exchange(request).await?.into_parts();
        let mut response = (head.status, Extension(Hops::of_response(&head.headers)), body).into_response();
        response.headers_mut().remove(CONTENT_TYPE);
        copy(&ANSWERED, &head.headers, response.headers_mut());
        Ok(response)
    }
}

fn copy(names: &[HeaderName], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}
