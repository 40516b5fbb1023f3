//! Tokens of Kubernetes service accounts: the API server says whose they are, and whether they still hold.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use ringfence_core::jwt::MAX_TOKEN_LENGTH;
use ringfence_core::tokens::{DenialReason, OAuthError, is_only_for};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::answer::Refusal;
use super::metrics::Metrics;
use crate::controller::said;

/// Questions under way at the same time: the API server has other things to do.
const MOST_QUESTIONS: usize = 16;
/// How long an answer may take, waiting for a turn included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceAccount {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Asks the API server. Nothing is kept: a token whose pod is gone is refused at once.
pub(super) struct Reviews {
    api: Api<TokenReview>,
    turns: Semaphore,
    audience: String,
    metrics: Metrics,
}

impl Reviews {
    /// Takes tokens for this audience alone: one for the API server, or for anyone else, is none.
    pub(super) fn new(client: Client, audience: &str, metrics: Metrics) -> Self {
        Self { api: Api::all(client), turns: Semaphore::new(MOST_QUESTIONS), audience: audience.to_owned(), metrics }
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// `invalid_client` if it is nobody's or for someone else; `temporarily_unavailable` without an answer.
    pub(super) async fn service_account(&self, token: &str) -> Result<ServiceAccount, Refusal> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(Refusal::new(OAuthError::InvalidClient, DenialReason::TooLarge));
        }
        // The API server says whether ours is among its audiences. One that is for others too could be used by them.
        if !is_only_for(token, &self.audience) {
            return Err(Refusal::new(OAuthError::InvalidClient, DenialReason::WrongAudience));
        }
        let spec = TokenReviewSpec { audiences: Some(vec![self.audience.clone()]), token: Some(token.to_owned()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let ask = async {
            let _turn = self.turns.acquire().await;
            self.api.create(&PostParams::default(), &review).await
        };
        // Boxed: it is large, and part of every request's future.
        let status = match Box::pin(timeout(TIMEOUT, ask)).await {
            Ok(Ok(answer)) => answer.status.unwrap_or_default(),
            failed => {
                self.metrics.reviewed("failed");
                let error = failed.map_or_else(
                    |_| "no answer in time".to_owned(),
                    |failed| failed.err().as_ref().map(said).unwrap_or_default(),
                );
                debug!(error, "the API server can't be asked about a token");
                return Err(Refusal::new(OAuthError::TemporarilyUnavailable, DenialReason::ApiServerUnavailable));
            }
        };
        let is_for_us = status.audiences.iter().flatten().any(|audience| *audience == self.audience);
        let account = status.user.and_then(|user| of_username(user.username.as_deref()?));
        let refused = |reason| {
            self.metrics.reviewed("refused");
            Err(Refusal::new(OAuthError::InvalidClient, reason))
        };
        if status.authenticated != Some(true) {
            return refused(DenialReason::NotAuthenticated);
        }
        if !is_for_us {
            return refused(DenialReason::WrongAudience);
        }
        let Some(account) = account else { return refused(DenialReason::UnknownClient) };
        self.metrics.reviewed("accepted");
        Ok(account)
    }
}

/// The service account that a user name stands for.
fn of_username(username: &str) -> Option<ServiceAccount> {
    let (namespace, name) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_account_is_one() {
        let order = ServiceAccount { namespace: "shop".to_owned(), name: "order".to_owned() };
        assert_eq!(of_username("system:serviceaccount:shop:order"), Some(order));
        for other in ["admin", "system:serviceaccount:shop", "system:serviceaccounts:shop:order", "system:node:a"] {
            assert_eq!(of_username(other), None, "{other}");
        }
    }
}
