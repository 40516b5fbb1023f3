//! How a caller must prove itself, and whether it can.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::callee::Callee;
use super::caller::Caller;
use super::issuer_token::issuer_token;
use super::{Authenticated, Objection, ResolvedJwt, ResolvedSigner};
use crate::api::{Authentication, JwtRequirement, Reason, Signer, TrustDomain};
use crate::world::{Identity, World, signed};

/// Longest lifetime of a token where a TrustDomain says nothing.
pub(crate) const DEFAULT_TOKEN_LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// What a caller must prove: what the policy demands, or else a certificate of whoever has one.
pub(super) fn demanded(
    world: &World,
    declared: Option<&Authentication>,
    caller: &Caller<'_>,
    callee: &Callee<'_>,
) -> Result<Authenticated, Objection> {
    let invalid = |message: String| Err(Objection::refused(Reason::Invalid, message));
    let can_prove = matches!(caller, Caller::Identity(_) | Caller::TrustDomain { .. });
    let (declared, callee) = match (declared, callee) {
        (None, Callee::Identity(callee)) => {
            let by_default = Authenticated { mtls: can_prove, jwt: None };
            shows_certificates(&by_default, caller, callee)?;
            return Ok(by_default);
        }
        (None, _) => return Ok(Authenticated::default()),
        (Some(_), callee) if !matches!(callee, Callee::Identity(_)) => {
            return invalid(
                "authentication needs a callee with an identity, since nothing else could check it: leave it out"
                    .to_owned(),
            );
        }
        (Some(declared), Callee::Identity(callee)) => (declared, *callee),
        (Some(_), _) => return Ok(Authenticated::default()),
    };
    if declared.mtls.is_none() && declared.jwt.is_none() {
        return invalid(
            "authentication demands nothing: name mtls, jwt or both, or leave it out for the default".to_owned(),
        );
    }
    if !can_prove && declared.mtls.is_some() {
        let remedy = match &declared.jwt {
            Some(required) if required.signer == Signer::Issuer => "and demand the issuer's token alone",
            _ => "without authentication",
        };
        return invalid(format!(
            "{} has no identity that it could prove: put it into a policy of its own, {remedy}",
            caller.in_words()
        ));
    }
    let jwt = match &declared.jwt {
        Some(required) => Some(token(world, required, caller, callee)?),
        None => None,
    };
    let demanded = Authenticated { mtls: declared.mtls.is_some(), jwt };
    shows_certificates(&demanded, caller, callee)?;
    Ok(demanded)
}

/// Whatever is demanded goes over TLS, for which the callee shows a certificate, and the caller too where it proves itself
/// by it. Of a whole domain each member is as it is.
fn shows_certificates(demanded: &Authenticated, caller: &Caller<'_>, callee: &Identity) -> Result<(), Objection> {
    let missing = |identity: &Identity, usage: &str, role: &str| {
        let message = format!(
            "the certificate of ServiceIdentity {} is not for {role}: add {usage} to certificate.usages in it",
            identity.key
        );
        Err(Objection::refused(Reason::UsageMissing, message))
    };
    match caller {
        Caller::Identity(caller) if demanded.mtls && !caller.options.usages.client_auth => {
            missing(caller, "ClientAuth", "clients")
        }
        _ if (demanded.mtls || demanded.jwt.is_some()) && !callee.options.usages.server_auth => {
            missing(callee, "ServerAuth", "servers")
        }
        _ => Ok(()),
    }
}

fn token(
    world: &World,
    required: &JwtRequirement,
    caller: &Caller<'_>,
    callee: &Identity,
) -> Result<ResolvedJwt, Objection> {
    let JwtRequirement { signer, issuer, validation, scopes, one_time, .. } = required;
    let invalid = |message: String| Err(Objection::refused(Reason::Invalid, message));
    match (signer, caller) {
        (Signer::Issuer, _) => issuer_token(world, required, caller, callee),
        _ if issuer.is_some() || validation.is_some() || !scopes.is_empty() || *one_time => invalid(
            "issuer, validation, scopes and oneTime are about tokens of an issuer: set signer: Issuer, or leave them out"
                .to_owned(),
        ),
        (Signer::Caller, Caller::Identity(caller)) => caller_token(world, required, caller, callee),
        (Signer::Caller, Caller::TrustDomain { .. }) => invalid(format!(
            "a token that the caller signs can't be asked of {}: name the callers one by one, or demand mtls alone",
            caller.in_words()
        )),
        (Signer::Caller, _) => invalid(format!(
            "{} has no identity that it could prove: put it into a policy of its own, without authentication",
            caller.in_words()
        )),
    }
}

fn caller_token(
    world: &World,
    required: &JwtRequirement,
    caller: &Identity,
    callee: &Identity,
) -> Result<ResolvedJwt, Objection> {
    if caller.signing_key.is_none() {
        let message = format!(
            "ServiceIdentity {} has no key to sign a token with: set signingKey in it, {{}} is enough",
            caller.key
        );
        return Err(Objection::refused(Reason::NoSigningKey, message));
    }
    let limits = [&caller.domain, &callee.domain].map(|domain| lifetime_limit(world.domain(domain).map(AsRef::as_ref)));
    let declared = required.max_lifetime.as_ref().map(signed);
    Ok(ResolvedJwt {
        signer: ResolvedSigner::Caller,
        audiences: audiences(world, required, callee, &callee.audiences)?,
        max_lifetime: limits.into_iter().chain(declared).min(),
    })
}

fn lifetime_limit(domain: Option<&TrustDomain>) -> SignedDuration {
    let declared = domain.and_then(|domain| domain.spec.signing_keys.max_token_lifetime.as_ref());
    declared.map_or(DEFAULT_TOKEN_LIFETIME, signed)
}

/// The audiences that a policy asks for, of those that tokens for the callee may carry.
pub(super) fn audiences(
    world: &World,
    required: &JwtRequirement,
    callee: &Identity,
    known: &BTreeSet<String>,
) -> Result<BTreeSet<String>, Objection> {
    let own: Vec<&str> = known.iter().map(String::as_str).collect();
    let asked: BTreeSet<String> =
        if required.audiences.is_empty() { known.clone() } else { required.audiences.iter().cloned().collect() };
    if asked.is_empty() {
        let message = format!(
            "ServiceIdentity {} accepts tokens under no audience: see its status, or name others in its audiences",
            callee.key
        );
        return Err(Objection::unresolved(Reason::AudienceNotFound, message));
    }
    let wildcards =
        world.domain(&callee.domain).is_some_and(|domain| domain.spec.signing_keys.allow_wildcard_audiences);
    for audience in &asked {
        match audience.strip_prefix("*.") {
            _ if own.contains(&audience.as_str()) => {}
            Some(_) if !wildcards => {
                let message = format!(
                    "the audience {audience} is a wildcard, which TrustDomain {} does not allow: name one of {} in authentication.jwt.audiences",
                    callee.domain,
                    own.join(", ")
                );
                return Err(Objection::refused(Reason::AudienceNotAllowed, message));
            }
            Some(rest) if own.iter().any(|own| own.split_once('.').is_some_and(|(_, own)| own == rest)) => {}
            _ => {
                let message = format!(
                    "{audience} is no audience of ServiceIdentity {}, which has {}: name one of these in authentication.jwt.audiences, or add it there",
                    callee.key,
                    own.join(", ")
                );
                return Err(Objection::unresolved(Reason::AudienceNotFound, message));
            }
        }
    }
    Ok(asked)
}
