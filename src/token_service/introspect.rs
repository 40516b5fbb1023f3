//! The introspection endpoint (RFC 7662).

use http::StatusCode;
use ringfence_core::tokens::{
    Client, DenialReason, Introspected, IntrospectionResponse, OAuthError, OwnToken, Usage, introspect,
};

use super::answer::{self, Answer, Refusal};
use super::audit;
use super::graph::Snapshot;
use super::http::Asked;
use super::state::State;
use super::store::Once;

/// Answers whether a token holds. All that is no positive answer is the same answer; why is for the log.
pub(super) async fn answer(state: &State, asked: &Asked<'_>, client: &Client) -> Result<Answer, Refusal> {
    let token = asked.parameters.get("token").ok_or(Refusal::invalid_request(DenialReason::ParameterMissing))?;
    let own = state.keys()?.ring.read(token).map_err(inactive);
    let looked = match &own {
        Ok(own) => look(state, client, own).await,
        Err(refusal) => Err(*refusal),
    };
    let response = match looked {
        Ok(response) => *response,
        // Nothing is known of it, so that nothing is said.
        Err(Refusal::Denied(denial)) if denial.error == OAuthError::TemporarilyUnavailable => {
            return Err(denial.into());
        }
        Err(refusal) => {
            let jti = own.as_ref().ok().map(|own| own.claims.jti.as_str());
            audit::kept_silent("inactive", asked, client, jti, refusal.reason());
            IntrospectionResponse::inactive()
        }
    };
    state.metrics.introspected(response.active);
    Ok(answer::private(StatusCode::OK, &response))
}

async fn look(state: &State, client: &Client, own: &OwnToken) -> Result<Box<IntrospectionResponse>, Refusal> {
    let snapshot = state.snapshot.load_full();
    let (response, usage) = judge(state, &snapshot, client, own)?;
    state.spend(own, (usage == Usage::UseUp).then_some(Once::Token { jti: &own.claims.jti })).await?;
    // While the store was asked, the edge may have been closed.
    let now = state.snapshot.load_full();
    if now.epoch == snapshot.epoch { Ok(response) } else { Ok(judge(state, &now, client, own)?.0) }
}

fn judge(
    state: &State,
    snapshot: &Snapshot,
    client: &Client,
    own: &OwnToken,
) -> Result<(Box<IntrospectionResponse>, Usage), Refusal> {
    match introspect(&snapshot.graph, client, own, state.endpoints.issuer(), (state.now)()) {
        Introspected::Inactive(reason) => Err(inactive(reason)),
        // A token for one call is its callee's business: whether it was used already, only using it up could tell.
        Introspected::Active { usage: Usage::Look, .. } => Err(inactive(DenialReason::NotForThisClient)),
        Introspected::Active { response, usage } => Ok((response, usage)),
    }
}

fn inactive(reason: DenialReason) -> Refusal {
    Refusal::new(OAuthError::InvalidGrant, reason)
}
