//! The revocation endpoint (RFC 7009).

use http::StatusCode;
use ringfence_core::tokens::{Client, DenialReason, may_revoke};

use super::answer::{self, Answer, Refusal};
use super::audit;
use super::http::Asked;
use super::state::State;

/// Revokes a token. One that is nobody's, or someone else's, is answered like one that was revoked.
pub(super) async fn answer(state: &State, asked: &Asked<'_>, client: &Client) -> Result<Answer, Refusal> {
    let token = asked.parameters.get("token").ok_or(Refusal::invalid_request(DenialReason::ParameterMissing))?;
    let own = state.keys()?.ring.read(token).ok();
    let own = own.filter(|own| own.claims.exp > asked.now.as_second());
    if let Some(own) = own.filter(|own| may_revoke(&asked.snapshot.graph, client, own)) {
        let revoked = state.store.revoke(&own.claims.jti, state.until(&own)).await;
        revoked.map_err(|error| state.store_failed(&error))?;
        audit::revoked(asked, client, &own.claims.jti);
    }
    Ok(answer::empty(StatusCode::OK))
}
