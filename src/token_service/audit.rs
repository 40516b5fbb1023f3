//! The record of who got what and who did not: one line for each, in which no token, secret or assertion ever is. Its target
//! is `ringfence::audit`, so that it can be filtered and shipped by itself.

use ringfence_core::tokens::{Client, ClientProof, Minting};
use tracing::info;

use super::answer::Refusal;
use super::correlation::Correlation;
use super::endpoints::Endpoint;
use super::http::Asked;
use super::parameters::Parameters;
use super::peers::Peer;
use super::token::Grant;

/// What the lines' target is.
const TARGET: &str = "ringfence::audit";
/// Longest part of another text of a request that is written down, in octets.
const LONGEST_TEXT: usize = 253;

/// How a client proved itself, as the log and the metrics have it.
pub(super) fn proof(client: &Client) -> &'static str {
    match client {
        Client::Identity(service) => match service.proof {
            ClientProof::Certificate { .. } => "certificate",
            ClientProof::Key => "key",
            ClientProof::ServiceAccount => "service_account",
        },
        Client::Registered(_) => "secret",
    }
}

/// A token was issued.
pub(super) fn issued(asked: &Asked<'_>, client: &Client, grant: Grant, minting: &Minting) {
    let claims = &minting.claims;
    info!(
        target: TARGET,
        event = "issued",
        grant = grant.as_str(),
        client = claims.client_id,
        proof = proof(client),
        subject = claims.sub,
        callee = %minting.callee,
        audience = claims.aud,
        scope = %claims.scope,
        policy = minting.policy,
        jti = claims.jti,
        kind = minting.kind.typ(),
        lifetime = minting.lifetime_seconds(),
        address = %asked.peer.address,
        correlation = asked.correlation.as_str(),
        "a token was issued"
    );
}

/// A token was revoked.
pub(super) fn revoked(asked: &Asked<'_>, client: &Client, jti: &str) {
    info!(
        target: TARGET,
        event = "revoked",
        client = client.id(),
        proof = proof(client),
        jti,
        address = %asked.peer.address,
        correlation = asked.correlation.as_str(),
        "a token was revoked"
    );
}

/// A token is not good for who asks about it, or was not taken back for who asked for that: the answer says neither why nor
/// so much as that.
pub(super) fn kept_silent(event: &'static str, asked: &Asked<'_>, client: &Client, jti: Option<&str>, reason: &str) {
    info!(
        target: TARGET,
        event,
        reason,
        client = client.id(),
        proof = proof(client),
        jti,
        address = %asked.peer.address,
        correlation = asked.correlation.as_str(),
        "a question about a token has no positive answer"
    );
}

/// A request was refused; `client` is there once it has proved who it is.
pub(super) fn refused(
    endpoint: Endpoint,
    peer: &Peer,
    parameters: Option<&Parameters<'_>>,
    client: Option<&Client>,
    refusal: &Refusal,
    correlation: Correlation<'_>,
) {
    // The client's own texts: what they are good for is seen in their beginning.
    let said = |name| parameters.and_then(|parameters| parameters.get(name)).map(beginning);
    info!(
        target: TARGET,
        event = "refused",
        endpoint = endpoint.as_str(),
        reason = refusal.reason(),
        client = client.map(Client::id),
        proof = client.map(proof),
        grant = said("grant_type"),
        audience = said("audience").or_else(|| said("resource")),
        scope = said("scope"),
        address = %peer.address,
        correlation = correlation.as_str(),
        "a request was refused"
    );
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}
