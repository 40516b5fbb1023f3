//! Client assertions (RFC 7523): a service proves itself by a JWT that its key signed.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Client, ClientProof, Denial, DenialReason, OAuthError, ServiceClient, TokenGraph};
use crate::jwt::{Audiences, LEEWAY_SECONDS, Times, Unverified};
use crate::pki::SpiffeId;

/// Longest time from now to an assertion's expiry, in seconds.
pub const MAX_ASSERTION_LIFETIME_SECONDS: i64 = 300;

/// An assertion that is good, but for whether it was used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// Who.
    pub client: Client,
    /// The assertion's id, to be used once by this client.
    pub jti: String,
    /// Until when it could be used again, in seconds since 1970.
    pub usable_until: i64,
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    sub: String,
    aud: Audiences,
    #[serde(default)]
    jti: Option<String>,
    #[serde(flatten)]
    times: Times,
}

/// Longest `jti`, in octets.
const MAX_ID_LENGTH: usize = 256;

/// The issuer that an assertion says it has: to tell a service's own from a Kubernetes service account's, and for nothing
/// else, since nothing is verified.
#[must_use]
pub fn unverified_issuer(assertion: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    Unverified::parse(assertion).ok()?.unverified_claims::<Issuer>().ok().map(|claims| claims.iss)
}

/// Whether a JWT is meant for this audience and for nobody else, who could use it too. Nothing is verified.
#[must_use]
pub fn is_only_for(jwt: &str, audience: &str) -> bool {
    #[derive(Deserialize)]
    struct Audience {
        aud: Audiences,
    }
    let claims = Unverified::parse(jwt).and_then(|jwt| jwt.unverified_claims::<Audience>());
    claims.is_ok_and(|claims| claims.aud.as_slice() == [audience])
}

/// Verifies the assertion of a service. `audiences` are the token endpoint's URL and the issuer's: whatever it is meant
/// for must be one of them.
///
/// # Errors
/// `invalid_client`.
pub fn verify_assertion(
    graph: &TokenGraph,
    assertion: &str,
    audiences: &[&str],
    now: Timestamp,
) -> Result<VerifiedAssertion, Denial> {
    verified(graph, assertion, audiences, now).map_err(|reason| Denial::new(OAuthError::InvalidClient, reason))
}

fn verified(
    graph: &TokenGraph,
    assertion: &str,
    audiences: &[&str],
    now: Timestamp,
) -> Result<VerifiedAssertion, DenialReason> {
    let jwt = Unverified::parse(assertion)?;
    // Above all, what a service signs for its callees is none.
    if !matches!(jwt.typ().as_deref(), None | Some("jwt" | "client-authentication+jwt")) {
        return Err(DenialReason::WrongType);
    }
    let claimed: AssertionClaims = jwt.unverified_claims()?;
    let spiffe_id: SpiffeId = claimed.iss.parse().map_err(|_| DenialReason::WrongIssuer)?;
    let service = graph.service(&spiffe_id).filter(|service| service.identity.client);
    let service = service.ok_or(DenialReason::UnknownClient)?;
    let claims: AssertionClaims = jwt.verify(&service.keys)?;
    if claims.sub != claims.iss {
        return Err(DenialReason::WrongSubject);
    }
    let meant_for = claims.aud.as_slice();
    if meant_for.is_empty() || !meant_for.iter().all(|audience| audiences.contains(&audience.as_str())) {
        return Err(DenialReason::WrongAudience);
    }
    let exp = claims.times.check(now)?;
    if exp > now.as_second() + MAX_ASSERTION_LIFETIME_SECONDS + LEEWAY_SECONDS {
        return Err(DenialReason::LivesTooLong);
    }
    let jti = claims.jti.filter(|jti| (1..=MAX_ID_LENGTH).contains(&jti.len())).ok_or(DenialReason::NoId)?;
    let client = Client::Identity(ServiceClient { spiffe_id, proof: ClientProof::Key });
    Ok(VerifiedAssertion { client, jti, usable_until: exp + LEEWAY_SECONDS })
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
