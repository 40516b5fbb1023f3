//! Whether a token still holds: by itself, and by the graph as it is now.

use jiff::Timestamp;

use super::members::Granted;
use super::mint::lifetime;
use super::{
    Claims, Client, ClientProof, DenialReason, IntrospectionResponse, OwnToken, ServiceClient, TokenGraph, TokenKind,
};
use crate::jwt::LEEWAY_SECONDS;
use crate::pki::SpiffeId;

/// The answer to an introspection.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspected {
    /// The token holds, unless it was revoked, or was for one use and is used up.
    Active {
        /// The answer.
        response: Box<IntrospectionResponse>,
        /// What the answer does to the token.
        usage: Usage,
    },
    /// It does not hold, or is not the client's business; why is for the log alone.
    Inactive(DenialReason),
}

/// What the answer to an introspection does to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nothing: it can be used until it expires.
    Many,
    /// It is used up: only the first such answer may be positive, of all replicas.
    UseUp,
    /// Nothing, but it may be used up already.
    Look,
}

/// Answers who asks for a token of ours: its audience, or the client that it was issued to, and nobody else.
#[must_use]
pub fn introspect(graph: &TokenGraph, asking: &Client, token: &OwnToken, issuer: &str, now: Timestamp) -> Introspected {
    let admitted = match in_force(graph, token, issuer, now) {
        Ok(admitted) => admitted,
        Err(reason) => return Introspected::Inactive(reason),
    };
    let is_audience = match asking {
        Client::Identity(service) => admitted
            .iter()
            .any(|granted| granted.callee.spiffe_id == service.spiffe_id && granted.callee.identity.client),
        Client::Registered(_) => false,
    };
    let usage = match token.kind {
        _ if !is_audience && !is_holder(graph, asking, &token.claims) => {
            return Introspected::Inactive(DenialReason::NotForThisClient);
        }
        TokenKind::Access => Usage::Many,
        TokenKind::Transaction if is_audience => Usage::UseUp,
        TokenKind::Transaction => Usage::Look,
    };
    let response = Box::new(IntrospectionResponse::active(token.claims.clone()));
    Introspected::Active { response, usage }
}

/// Whether a client may revoke a token: the one that it was issued to, and nobody else (RFC 7009, section 2.1).
#[must_use]
pub fn may_revoke(graph: &TokenGraph, asking: &Client, token: &OwnToken) -> bool {
    is_holder(graph, asking, &token.claims)
}

/// Whether a token was issued to this client. One that is registered must still be admitted where the token is for.
fn is_holder(graph: &TokenGraph, asking: &Client, claims: &Claims) -> bool {
    claims.client_id == asking.id()
        && match asking {
            Client::Identity(service) => is_client(graph, &service.spiffe_id),
            Client::Registered(_) => !graph.granted(asking, &claims.aud).is_empty(),
        }
}

/// The grants by which a token holds; never none.
pub(super) fn in_force<'a>(
    graph: &'a TokenGraph,
    token: &OwnToken,
    issuer: &str,
    now: Timestamp,
) -> Result<Vec<Granted<'a>>, DenialReason> {
    let claims = &token.claims;
    if claims.iss != issuer {
        return Err(DenialReason::WrongIssuer);
    }
    let now = now.as_second();
    if now >= claims.exp {
        return Err(DenialReason::Expired);
    }
    if claims.iat > now + LEEWAY_SECONDS {
        return Err(DenialReason::NotYetValid);
    }
    if !chain_is_there(graph, claims) {
        return Err(DenialReason::ActorGone);
    }
    let client = client(graph, &claims.client_id).ok_or(DenialReason::ClientGone)?;
    let admitted = admitting(graph, &client, token);
    if admitted.is_empty() { Err(DenialReason::NoGrant) } else { Ok(admitted) }
}

/// The grants that admit this token of a client.
fn admitting<'a>(graph: &'a TokenGraph, client: &Client, token: &OwnToken) -> Vec<Granted<'a>> {
    let claims = &token.claims;
    let registered = match client {
        Client::Identity(_) => None,
        Client::Registered(registered) => graph.registration(registered).map(|registration| &registration.scopes),
    };
    if registered.is_some_and(|scopes| !claims.scope.is_subset(scopes)) {
        return Vec::new();
    }
    let mut granted = graph.granted(client, &claims.aud);
    granted.retain(|granted| {
        let grant = granted.grant;
        let allowed = |scope: &String| grant.scopes.contains(scope) || granted.domain.scopes.contains(scope);
        grant.one_time == (token.kind == TokenKind::Transaction)
            && grant.scopes.is_subset(claims.scope.as_set())
            && claims.scope.as_set().iter().all(allowed)
            && (!grant.mtls || claims.cnf.is_some())
            && claims.exp - claims.iat <= lifetime(granted)
    });
    granted
}

/// Whether all in a token's chain are still there: who acted, and for whom.
fn chain_is_there(graph: &TokenGraph, claims: &Claims) -> bool {
    let is_service = |id: &str| id.parse().is_ok_and(|id: SpiffeId| graph.service(&id).is_some());
    let subject = match (&claims.sub_id, claims.actors().last()) {
        // The one who presented the other issuer's token is the first who acted.
        (Some(subject), Some(first)) => {
            first.parse().is_ok_and(|first| graph.foreign_issuer(&first, &subject.iss).is_some())
        }
        (Some(_), None) => false,
        (None, _) => is_service(&claims.sub) || graph.registered(&claims.sub).is_some(),
    };
    subject && claims.actors().all(is_service)
}

/// The client that an id stands for.
fn client(graph: &TokenGraph, client_id: &str) -> Option<Client> {
    match client_id.parse() {
        Ok(spiffe_id) => is_client(graph, &spiffe_id)
            .then_some(Client::Identity(ServiceClient { spiffe_id, proof: ClientProof::Key })),
        Err(_) => graph.registered(client_id).map(Client::Registered),
    }
}

fn is_client(graph: &TokenGraph, spiffe_id: &SpiffeId) -> bool {
    graph.service(spiffe_id).is_some_and(|service| service.identity.client)
}

#[cfg(test)]
#[path = "introspect_tests.rs"]
mod tests;
