//! What the endpoints answer: JSON that nobody keeps, and the standards' error codes with a fixed sentence.

use std::time::Duration;

use axum::body::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use ringfence_core::tokens::{Denial, DenialReason, OAuthError};
use serde::Serialize;
use serde_json::json;

use super::metrics::Limit;

/// An answer, whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why there is no positive answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refusal {
    /// What was asked is refused.
    Denied(Denial),
    /// It was asked too often; after so long it may be asked again.
    Limited(Limit, Duration),
    /// The body is larger than any request is.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Refusal {
    /// A refusal for a reason.
    pub(super) fn new(error: OAuthError, reason: DenialReason) -> Self {
        Self::Denied(Denial::new(error, reason))
    }

    /// The request is not well formed.
    pub(super) fn invalid_request(reason: DenialReason) -> Self {
        Self::new(OAuthError::InvalidRequest, reason)
    }

    /// Why, for the log and the metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.reason.as_str(),
            Self::Limited(..) => "RateLimited",
            Self::TooLarge => DenialReason::TooLarge.as_str(),
            Self::TooSlow => "TooSlow",
        }
    }

    /// Whether the client did not prove who it is.
    pub(super) fn is_of_authentication(&self) -> bool {
        matches!(self, Self::Denied(denial) if denial.error == OAuthError::InvalidClient)
    }

    /// What the caller gets: it learns no more than the standards' code says.
    pub(super) fn answer(&self) -> Answer {
        let (error, status) = match self {
            Self::Denied(denial) => (denial.error, status(denial.error)),
            Self::Limited(..) => (OAuthError::TemporarilyUnavailable, StatusCode::TOO_MANY_REQUESTS),
            Self::TooLarge => (OAuthError::InvalidRequest, StatusCode::PAYLOAD_TOO_LARGE),
            Self::TooSlow => (OAuthError::InvalidRequest, StatusCode::REQUEST_TIMEOUT),
        };
        let mut answer = private(status, &json!({"error": error.as_str(), "error_description": error.description()}));
        let headers = answer.headers_mut();
        match self {
            Self::Denied(_) if status == StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="token service""#));
            }
            Self::Denied(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Denied(_) => {}
            Self::Limited(_, wait) => {
                // Whole seconds, and never too early.
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            }
            // What is left of the body is not read.
            Self::TooLarge | Self::TooSlow => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        answer
    }
}

fn status(error: OAuthError) -> StatusCode {
    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST)
}

/// An answer for the one who asked, and for no cache (RFC 6749, section 5.1).
pub(super) fn private(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("an answer always serializes");
    let mut answer = plain(status, Bytes::from(body));
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

/// A document that is the same for everyone, and may be kept for so many seconds.
pub(super) fn public(document: Bytes, seconds: u64) -> Answer {
    let mut answer = plain(StatusCode::OK, document);
    let kept = HeaderValue::try_from(format!("public, max-age={seconds}")).expect("a number fits into a header");
    answer.headers_mut().insert(CACHE_CONTROL, kept);
    answer
}

/// Nothing but a status.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn plain(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
