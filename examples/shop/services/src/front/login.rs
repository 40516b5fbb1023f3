//! Logging in and out.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Json};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use ringfence_workload::Caller;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::{Instrument, Span, info, warn};
use zeroize::Zeroizing;

use super::Shopfront;
use super::cookie::{LOGIN, SESSION};
use super::issuer::Fault;
use super::metrics::Ended;
use super::page;
use super::session::Session;
use super::ticket::{Stub, Ticket};
use crate::throttle::retry_after;

/// How long a login may take, from the link to the way back.
pub(super) const ATTEMPT_MINUTES: u32 = 10;
/// Longest error code of an issuer that is logged.
const LONGEST_CODE: usize = 64;

/// A login that is under way. It is good for one answer.
pub(super) struct Attempt {
    /// The URL of the issuer that the browser was sent to.
    issuer: String,
    /// Whether that says who it is in the answer.
    is_named_in_answer: bool,
    /// Comes back with the browser; nobody else knows it (RFC 6749, section 10.12).
    state: Zeroizing<String>,
    /// By it, nobody else can use the code (RFC 7636).
    verifier: Zeroizing<String>,
    /// The session that the browser had before. Its cookie does not come along when the issuer sends the browser back.
    before: Option<Stub>,
}

/// `GET /login`: sends the browser to the issuer. Anybody can begin a login, and there is room for so many at once: one address
/// can't begin them so fast that those of others have to go.
pub(super) async fn begin(
    State(front): State<Arc<Shopfront>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    if let Err(wait) = front.throttle.take(caller.address) {
        return (retry_after(wait), refuse(&front, &Refusal::TooMany)).into_response();
    }
    let begun = match front.issuer.begin().await {
        Ok(begun) => begun,
        Err(fault) => return refuse(&front, &Refusal::Issuer(fault)),
    };
    let attempt = Attempt {
        issuer: begun.issuer,
        is_named_in_answer: begun.is_named_in_answer,
        state: begun.state,
        verifier: begun.verifier,
        before: SESSION.read(&headers).map(|ticket| ticket.stub()),
    };
    let ticket = front.attempts.put(Arc::new(attempt), Instant::now());
    ([(SET_COOKIE, LOGIN.with(&ticket))], Redirect::to(&begun.url)).into_response()
}

/// What the issuer sends the browser back with (RFC 6749, section 4.1.2; RFC 9207).
#[derive(Default, Deserialize)]
pub(super) struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /callback`: the browser comes back from the issuer.
pub(super) async fn finish(
    State(front): State<Arc<Shopfront>>,
    headers: HeaderMap,
    answer: Result<Query<Answer>, QueryRejection>,
) -> Response {
    let Query(answer) = answer.unwrap_or_default();
    match front.clone().log_in(LOGIN.read(&headers).as_ref(), answer).await {
        Ok(session) => {
            front.metrics.logins.get_or_create(&Ended { outcome: "Done" }).inc();
            info!("a customer logged in");
            let cookies = [SESSION.with(&session), LOGIN.without()].map(|cookie| (SET_COOKIE, cookie));
            (axum::response::AppendHeaders(cookies), Redirect::to("/")).into_response()
        }
        Err(refusal) => refuse(&front, &refusal),
    }
}

/// `GET /session`: who is logged in.
pub(super) async fn session(State(front): State<Arc<Shopfront>>, headers: HeaderMap) -> Response {
    let session = SESSION.read(&headers).and_then(|ticket| front.sessions.get(&ticket, Instant::now()));
    let name = session.as_ref().and_then(|session| session.name());
    Json(json!({"signedIn": session.is_some(), "name": name})).into_response()
}

/// `POST /logout`: ends the session.
pub(super) async fn log_out(State(front): State<Arc<Shopfront>>, headers: HeaderMap) -> Response {
    let session = SESSION.read(&headers).and_then(|ticket| front.sessions.take(ticket.stub(), Instant::now()));
    if let Some(session) = session {
        session.end(front.issuer.clone()).await;
        info!("a customer logged out");
    }
    (StatusCode::NO_CONTENT, [(SET_COOKIE, SESSION.without())]).into_response()
}

impl Shopfront {
    /// Opens a session, if the answer belongs to a login that this browser began.
    async fn log_in(self: Arc<Self>, ticket: Option<&Ticket>, answer: Answer) -> Result<Ticket, Refusal> {
        // Whatever comes of it, the same attempt is good for nothing more.
        let attempt = ticket.and_then(|ticket| self.attempts.take(ticket.stub(), Instant::now()));
        let attempt = attempt.ok_or(Refusal::NoAttempt)?;
        let state = answer.state.map(Zeroizing::new).unwrap_or_default();
        verify_slices_are_equal(state.as_bytes(), attempt.state.as_bytes()).map_err(|_| Refusal::WrongState)?;
        if answer.iss.map_or(attempt.is_named_in_answer, |issuer| issuer != attempt.issuer) {
            return Err(Refusal::WrongIssuer);
        }
        if let Some(code) = answer.error {
            return Err(Refusal::Denied(code));
        }
        let code = answer.code.ok_or(Refusal::NoCode)?;
        self.open(code, attempt).await.map_err(Refusal::Issuer)
    }

    /// Opens a session for a code, in place of the one that the browser had before.
    ///
    /// It is done in a task of its own, so that the tokens are not lost when the browser goes away meanwhile: nobody has the
    /// session's ticket then, and it ends at once. The browser does not wait until its session before is revoked.
    async fn open(self: Arc<Self>, code: String, attempt: Arc<Attempt>) -> Result<Ticket, Fault> {
        let (browser, opened) = oneshot::channel();
        let opening = async move {
            let login = self.issuer.exchange(&attempt.issuer, code, &attempt.verifier).await;
            let ticket = login.map(|login| self.sessions.put(Session::of(login), Instant::now()));
            let before = attempt.before.filter(|_| ticket.is_ok());
            let before = before.and_then(|stub| self.sessions.take(stub, Instant::now()));
            let forsaken = match browser.send(ticket) {
                Err(Ok(ticket)) => self.sessions.take(ticket.stub(), Instant::now()),
                _ => None,
            };
            for session in before.into_iter().chain(forsaken) {
                session.end(self.issuer.clone()).await;
            }
        };
        tokio::spawn(opening.instrument(Span::current()));
        opened.await.unwrap_or_else(|_| Err(Fault::Silent("who asked it is gone".to_owned())))
    }
}

/// Why a login comes to nothing.
#[derive(Debug)]
enum Refusal {
    /// Too many logins begin at this address.
    TooMany,
    /// The browser shows no login that is under way.
    NoAttempt,
    /// The answer is not one to this login.
    WrongState,
    /// The answer is another issuer's, or does not say whose it is though the issuer says so always.
    WrongIssuer,
    /// The issuer, or the customer there, said no. By what code.
    Denied(String),
    /// The answer has no code.
    NoCode,
    /// The issuer gives no tokens.
    Issuer(Fault),
}

impl Refusal {
    /// A CamelCase word that stays the same, for metrics and logs.
    fn outcome(&self) -> &'static str {
        match self {
            Self::TooMany => "TooMany",
            Self::NoAttempt => "NoAttempt",
            Self::WrongState => "WrongState",
            Self::WrongIssuer => "WrongIssuer",
            Self::Denied(_) => "Denied",
            Self::NoCode => "NoCode",
            Self::Issuer(fault) if fault.is_final() => "CodeRefused",
            Self::Issuer(_) => "IssuerUnavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Issuer(fault) if !fault.is_final() => StatusCode::BAD_GATEWAY,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// For the customer.
    fn message(&self) -> &'static str {
        match self {
            Self::TooMany => "Too many logins begin where you are. Try again in a moment.",
            Self::NoAttempt => "No login is under way in this browser, or it took longer than ten minutes.",
            Self::WrongState => "This is not the answer to the login that this browser began last.",
            Self::WrongIssuer => "This is not the answer of the issuer that you were sent to.",
            Self::Denied(_) => "You were not signed in: the login was refused or broken off.",
            Self::NoCode => "The answer to the login lacks a code.",
            Self::Issuer(fault) if fault.is_final() => "The login was used already, or took too long.",
            Self::Issuer(_) => "The shop can't ask the issuer at the moment. Try again in a while.",
        }
    }

    /// For the log: an error code, or what is wrong with the issuer.
    fn reason(&self) -> Option<String> {
        match self {
            // It came by way of the browser, and so from anybody.
            Self::Denied(code) => {
                let is_code = |letter: char| letter.is_ascii_lowercase() || letter == '_';
                Some(code.clone()).filter(|code| code.len() <= LONGEST_CODE && code.chars().all(is_code))
            }
            Self::Issuer(fault) => Some(fault.to_string()),
            _ => None,
        }
    }
}

fn refuse(front: &Shopfront, refusal: &Refusal) -> Response {
    let outcome = refusal.outcome();
    front.metrics.logins.get_or_create(&Ended { outcome }).inc();
    warn!(outcome, reason = refusal.reason(), "a login was refused");
    (refusal.status(), [(SET_COOKIE, LOGIN.without())], page::refusal(refusal.message())).into_response()
}
