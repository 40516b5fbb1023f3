//! What can fail while a plan is carried out.

use ringfence_core::api::{ConditionType, Reason};
use ringfence_core::jwt::SigningKeyError;
use ringfence_core::pki::{IssueError, KeyError, ListError};
use ringfence_core::plan::MakeAuthorityError;
use ringfence_core::world::Problem;

use super::keystores::KeystoreError;

/// A step that failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the API server did not take a write: {0}")]
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
