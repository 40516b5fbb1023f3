//! The revocation endpoint (RFC 7009).

use http::StatusCode;
use ringfence_core::tokens::{Client, DenialReason, OwnToken, may_revoke};

use super::answer::{self, Answer, Refusal};
use super::audit;
use super::http::Asked;
use super::state::State;

/// Revokes a token. One that is nobody's, or someone else's, is answered like one that was revoked.
pub(super) async fn answer(state: &State, asked: &Asked<'_>, client: &Client) -> Result<Answer, Refusal> {
    let token = asked.parameters.get("token").ok_or(Refusal::invalid_request(DenialReason::ParameterMissing))?;
    let own = state.keys()?.ring.read(token);
    let judged = match &own {
        Ok(own) => judge(state, asked, client, own).map(|()| own),
        Err(reason) => Err(*reason),
    };
    match judged {
        Ok(own) => {
            let revoked = state.store.revoke(&own.claims.jti, state.until(own)).await;
            revoked.map_err(|error| state.store_failed(&error))?;
            audit::revoked(asked, client, &own.claims.jti);
        }
        Err(reason) => {
            let jti = own.as_ref().ok().map(|own| own.claims.jti.as_str());
            audit::kept_silent("not_revoked", asked, client, jti, reason.as_str());
        }
    }
    Ok(answer::empty(StatusCode::OK))
}

/// Whether there is something to revoke, and for this client.
fn judge(state: &State, asked: &Asked<'_>, client: &Client, own: &OwnToken) -> Result<(), DenialReason> {
    if own.claims.exp <= asked.now.as_second() {
        return Err(DenialReason::Expired);
    }
    let may = may_revoke(&state.snapshot.load().graph, client, own);
    if may { Ok(()) } else { Err(DenialReason::NotForThisClient) }
}
