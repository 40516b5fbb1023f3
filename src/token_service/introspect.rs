//! The introspection endpoint (RFC 7662).

use http::StatusCode;
use ringfence_core::tokens::{
    Client, DenialReason, Introspected, IntrospectionResponse, OAuthError, Usage, introspect,
};
use tracing::debug;

use super::answer::{self, Answer, Refusal};
use super::http::Asked;
use super::state::State;

/// Answers whether a token holds. All that is no positive answer is the same answer; why is for the log.
pub(super) async fn answer(state: &State, asked: &Asked<'_>, client: &Client) -> Result<Answer, Refusal> {
    let token = asked.parameters.get("token").ok_or(Refusal::invalid_request(DenialReason::ParameterMissing))?;
    let response = match look(state, asked, client, token).await {
        Ok(response) => *response,
        // Nothing is known of it, so that nothing is said.
        Err(Refusal::Denied(denial)) if denial.error == OAuthError::TemporarilyUnavailable => {
            return Err(denial.into());
        }
        Err(refusal) => {
            debug!(client = client.id(), reason = refusal.reason(), "a token is not active");
            IntrospectionResponse::inactive()
        }
    };
    state.metrics.introspected(response.active);
    Ok(answer::private(StatusCode::OK, &response))
}

async fn look(
    state: &State,
    asked: &Asked<'_>,
    client: &Client,
    token: &str,
) -> Result<Box<IntrospectionResponse>, Refusal> {
    let inactive = |reason| Refusal::new(OAuthError::InvalidGrant, reason);
    let own = state.keys()?.ring.read(token).map_err(inactive)?;
    match introspect(&asked.snapshot.graph, client, &own, state.endpoints.issuer(), asked.now) {
        Introspected::Inactive(reason) => Err(inactive(reason)),
        // A token for one call is its callee's business: whether it was used already, only using it up could tell.
        Introspected::Active { usage: Usage::Look, .. } => Err(inactive(DenialReason::NotForThisClient)),
        Introspected::Active { response, usage } => {
            state.spend(&own, usage == Usage::UseUp).await?;
            Ok(response)
        }
    }
}
