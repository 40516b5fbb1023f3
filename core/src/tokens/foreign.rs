//! Tokens of other issuers, which a service presents in exchange for one of ours.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::keys::OPAQUE_PREFIX;
use super::members::{ForeignIssuer, Service};
use super::scopes::is_scope_token;
use super::{Denial, DenialReason, OAuthError, ServiceClient, SubjectId, TokenGraph, unverified_issuer};
use crate::jwt::{Audiences, Times, Unverified};
use crate::pki::SpiffeId;

/// What another issuer's token says about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignSubject {
    /// The service that presents the token, for which it is meant.
    pub presented_by: SpiffeId,
    /// Whose subject it is.
    pub id: SubjectId,
    /// What the token allows.
    pub scopes: BTreeSet<String>,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
    /// The token's id, if it has one.
    pub jti: Option<String>,
}

/// What is taken from a token of another issuer, or from its answer to an introspection.
#[derive(Deserialize)]
struct ForeignClaims {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    aud: Option<Audiences>,
    #[serde(default)]
    scope: Option<ScopeClaim>,
    /// Where some issuers write scopes.
    #[serde(default)]
    scp: Option<ScopeClaim>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(flatten)]
    times: Times,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeClaim {
    Text(String),
    List(Vec<String>),
}

/// Longest `sub`, in octets.
const MAX_SUBJECT_LENGTH: usize = 512;

/// The issuer that a token which a service presents says it has, if the service's domain trusts it. Without one the token
/// is opaque, or of nobody who is trusted.
#[must_use]
pub fn foreign_issuer_of<'a>(graph: &'a TokenGraph, client: &ServiceClient, token: &str) -> Option<&'a ForeignIssuer> {
    graph.foreign_issuer(&client.spiffe_id, &unverified_issuer(token)?)
}

/// Whether an issuer may see a token that nobody is known to have made, to say what it is: whoever sees one that is
/// another's could use it. So none that looks like ours is shown, and no JWT that names another issuer.
#[must_use]
pub fn may_be_shown(issuer: &ForeignIssuer, token: &str) -> bool {
    let claimed = claimed_issuer(token);
    !token.starts_with(OPAQUE_PREFIX) && claimed.is_none_or(|claimed| claimed == issuer.issuer.issuer)
}

/// The issuer that a JWT names, whatever its header says.
fn claimed_issuer(token: &str) -> Option<String> {
    let octets = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&octets).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Verifies a JWT of another issuer.
///
/// # Errors
/// `invalid_grant`.
pub fn verify_foreign(
    issuer: &ForeignIssuer,
    service: &Service,
    token: &str,
    now: Timestamp,
) -> Result<ForeignSubject, Denial> {
    let verified = || {
        let jwt = Unverified::parse(token)?;
        // Above all, what a service signs itself is no token of an issuer.
        if !matches!(jwt.typ().as_deref(), None | Some("jwt" | "at+jwt")) {
            return Err(DenialReason::WrongType);
        }
        let keys = issuer.keys.as_ref().ok_or(DenialReason::IssuerKeysUnknown)?;
        let claims: ForeignClaims = jwt.verify(keys)?;
        if claims.iss.as_ref() != Some(&issuer.issuer.issuer) {
            return Err(DenialReason::WrongIssuer);
        }
        subject(issuer, service, claims, now)
    };
    verified().map_err(|reason| Denial::new(OAuthError::InvalidGrant, reason))
}

/// Reads another issuer's answer to the introspection of a token (RFC 7662, section 2.2).
///
/// # Errors
/// `invalid_grant`.
pub fn read_foreign_introspection(
    issuer: &ForeignIssuer,
    service: &Service,
    response: &Value,
    now: Timestamp,
) -> Result<ForeignSubject, Denial> {
    let read = || {
        if response.get("active") != Some(&Value::Bool(true)) {
            return Err(DenialReason::NotActive);
        }
        let claims = ForeignClaims::deserialize(response).map_err(|_| DenialReason::Malformed)?;
        if claims.iss.as_ref().is_some_and(|iss| *iss != issuer.issuer.issuer) {
            return Err(DenialReason::WrongIssuer);
        }
        subject(issuer, service, claims, now)
    };
    read().map_err(|reason| Denial::new(OAuthError::InvalidGrant, reason))
}

fn subject(
    issuer: &ForeignIssuer,
    service: &Service,
    claims: ForeignClaims,
    now: Timestamp,
) -> Result<ForeignSubject, DenialReason> {
    let meant_for_it =
        |audience: &String| service.identity.audiences.contains(audience) || issuer.issuer.audiences.contains(audience);
    if !claims.aud.as_ref().is_some_and(|audiences| audiences.as_slice().iter().any(meant_for_it)) {
        return Err(DenialReason::WrongAudience);
    }
    let exp = claims.times.check(now)?;
    let sub = claims.sub.filter(|sub| (1..=MAX_SUBJECT_LENGTH).contains(&sub.len()));
    // The names of our own services are ours to give.
    let sub = sub.filter(|sub| !sub.starts_with("spiffe:")).ok_or(DenialReason::WrongSubject)?;
    let scopes = [claims.scope, claims.scp].into_iter().flatten().flat_map(ScopeClaim::into_scopes).collect();
    let id = SubjectId { iss: issuer.issuer.issuer.clone(), sub };
    Ok(ForeignSubject { presented_by: service.spiffe_id.clone(), id, scopes, exp, jti: claims.jti })
}

impl ScopeClaim {
    fn into_scopes(self) -> Vec<String> {
        let scopes = match self {
            Self::Text(text) => text.split(' ').map(str::to_owned).collect(),
            Self::List(list) => list,
        };
        scopes.into_iter().filter(|scope| is_scope_token(scope)).collect()
    }
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
