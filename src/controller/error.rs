//! What can fail while a plan is carried out.

use http::StatusCode;
use ringfence_core::api::{ConditionType, Reason};
use ringfence_core::jwt::SigningKeyError;
use ringfence_core::pki::{IssueError, KeyError, ListError};
use ringfence_core::plan::MakeAuthorityError;
use ringfence_core::world::Problem;
use tracing::{debug, warn};

use super::reach::is_overload;

use super::keystores::KeystoreError;

/// A step that failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the API server did not take a write: {}", said(.0))]
    Kube(#[from] kube::Error),
    #[error("a key could not be generated: {0}")]
    Key(#[from] KeyError),
    #[error("the certificate could not be issued: {0}")]
    Issue(#[from] IssueError),
    #[error("the signing key could not be used: {0}")]
    SigningKey(#[from] SigningKeyError),
    #[error("the CA could not be made: {0}")]
    Authority(#[from] MakeAuthorityError),
    #[error("the revocation lists could not be brought up to date: {0}")]
    Lists(#[from] ListError),
    #[error("the Secret could not be put right: {0}")]
    Rewrite(String),
    #[error("the keystores could not be written: {0}")]
    Keystores(#[from] KeystoreError),
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A failure as a condition says it.
pub(super) fn write_failed(error: &Error) -> Problem {
    Problem {
        condition: ConditionType::Programmed,
        reason: Reason::WriteFailed,
        message: format!("{error}; it is tried again"),
    }
}

/// What the API server said, or why it said nothing, without what else a client's error shows.
pub(crate) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// An error, its cause, the cause of that, and so on.
pub(super) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// An error with all its causes, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error)
        .map(ToString::to_string)
        .reduce(|said, cause| if said.ends_with(&cause) { said } else { format!("{said}: {cause}") })
        .unwrap_or_default()
}

/// Whether a request failed because the API server could not be reached, or takes none now: that is told once for all.
pub(super) fn is_outage(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => StatusCode::from_u16(status.code).is_ok_and(is_overload),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Tells that something failed and is tried again. The line says by its span what it is about.
pub(super) fn tell(error: &kube::Error, what: &str) {
    let (outage, error) = (is_outage(error), said(error));
    if outage { debug!(error, "{what}") } else { warn!(error, "{what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Nested(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn a_cause_that_was_said_already_is_not_said_again() {
        let nested = |outer, inner| chain(&Nested(outer, Some(Box::new(Nested(inner, None)))));
        assert_eq!(nested("no answer", "connection refused"), "no answer: connection refused");
        assert_eq!(nested("no answer: connection refused", "connection refused"), "no answer: connection refused");
    }

    #[test]
    fn what_the_api_server_says_is_said_once() {
        let status = kube::core::Status::failure("exceeded quota", "Forbidden").with_code(403);
        let error = Error::Kube(kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), "the API server did not take a write: exceeded quota");
    }
}
