//! Tokens that an issuer signs: whether a policy may demand them, and whether its callers can get them.

use std::collections::BTreeSet;

use super::caller::Caller;
use super::proof::{DEFAULT_TOKEN_LIFETIME, audiences};
use super::{IssuerToken, Objection, ResolvedJwt, ResolvedSigner};
use crate::api::{JwtRequirement, Reason, TokenFormat, TokenIssuer, TokenValidation, TrustDomain};
use crate::world::{Identity, ListedIssuer, NO_TOKEN_SERVICE, World, signed};

/// What a token must be like that an issuer of the callee's domain signs. Each edge that is granted by it is one for which
/// its caller can get such a token.
pub(super) fn issuer_token(
    world: &World,
    required: &JwtRequirement,
    caller: &Caller<'_>,
    callee: &Identity,
) -> Result<ResolvedJwt, Objection> {
    let missing = || {
        let message = format!("TrustDomain {} does not exist", callee.domain);
        Objection::unresolved(Reason::NotInTrustDomain, message)
    };
    let domain = world.domain(&callee.domain).ok_or_else(missing)?;
    let declared = named(domain, &callee.domain, required.issuer.as_deref())?;
    let issuer = world
        .listed_issuer(domain, declared)
        .ok_or_else(|| Objection::unresolved(Reason::TokenServiceNotFound, NO_TOKEN_SERVICE.to_owned()))?;
    let validation = validation(required, declared, &issuer, callee)?;
    gets_tokens(world, caller, &issuer)?;
    let limit = declared
        .built_in
        .as_ref()
        .map(|settings| settings.token_lifetime.as_ref().map_or(DEFAULT_TOKEN_LIFETIME, signed));
    let known: BTreeSet<String> = callee.audiences.iter().chain(&declared.audiences).cloned().collect();
    Ok(ResolvedJwt {
        audiences: audiences(world, required, callee, &known)?,
        max_lifetime: limit.into_iter().chain(required.max_lifetime.as_ref().map(signed)).min(),
        signer: ResolvedSigner::Issuer(IssuerToken {
            issuer,
            validation,
            scopes: required.scopes.iter().cloned().collect(),
            one_time: required.one_time,
        }),
    })
}

/// The issuer that a policy means: by its name, or the only one.
fn named<'a>(domain: &'a TrustDomain, domain_name: &str, name: Option<&str>) -> Result<&'a TokenIssuer, Objection> {
    match (name, domain.spec.token_issuers.as_slice()) {
        (Some(name), _) => domain.token_issuer(name).ok_or_else(|| {
            let message = format!(
                "TrustDomain {domain_name} has no token issuer {name}, {}: correct authentication.jwt.issuer, or ask the platform team to add it",
                domain.issuers_in_words()
            );
            Objection::unresolved(Reason::IssuerNotFound, message)
        }),
        (None, [issuer]) => Ok(issuer),
        (None, []) => {
            let message =
                format!("TrustDomain {domain_name} has no token issuer: ask the platform team to add one to tokenIssuers");
            Err(Objection::unresolved(Reason::IssuerNotFound, message))
        }
        (None, issuers) => {
            let names: Vec<&str> = issuers.iter().map(|issuer| issuer.name.as_str()).collect();
            let message = format!(
                "TrustDomain {domain_name} has the token issuers {}: name one of them in authentication.jwt.issuer",
                names.join(", ")
            );
            Err(Objection::refused(Reason::IssuerAmbiguous, message))
        }
    }
}

/// How the callee validates the token, if it can.
fn validation(
    required: &JwtRequirement,
    declared: &TokenIssuer,
    issuer: &ListedIssuer,
    callee: &Identity,
) -> Result<TokenValidation, Objection> {
    let validation = required.validation.unwrap_or_default();
    let invalid = |message: String| Err(Objection::refused(Reason::Invalid, message));
    if required.one_time && declared.built_in.is_none() {
        return invalid(format!(
            "one-time tokens come from the built-in issuer alone, which {} is not: leave oneTime out, or name the built-in one",
            declared.name
        ));
    }
    match validation {
        TokenValidation::Jwks if required.one_time => {
            invalid("a one-time token is used up by introspection: set validation: Introspection".to_owned())
        }
        TokenValidation::Jwks
            if declared.built_in.as_ref().is_some_and(|settings| settings.token_format == TokenFormat::Opaque) =>
        {
            let message = format!(
                "tokens for callees of TrustDomain {} are opaque, so that no key verifies them: set validation: Introspection",
                callee.domain
            );
            Err(Objection::refused(Reason::OpaqueToken, message))
        }
        TokenValidation::Introspection if !callee.issuers.iter().any(|listed| listed.is_same(issuer)) => {
            let message = format!(
                "ServiceIdentity {} does not talk to token issuer {} and so can't introspect its tokens: add it to tokenIssuers there, or set validation: Jwks",
                callee.key, declared.name
            );
            Err(Objection::refused(Reason::IssuerNotListed, message))
        }
        validation => Ok(validation),
    }
}

/// Whether a caller can get tokens of the issuer. Those without an identity have them from outside.
fn gets_tokens(world: &World, caller: &Caller<'_>, issuer: &ListedIssuer) -> Result<(), Objection> {
    let refused = |message: String| Err(Objection::refused(Reason::NoTokenIssuer, message));
    let url = &issuer.issuer;
    match caller {
        Caller::Identity(identity) if !identity.issuers.iter().any(|listed| listed.is_same(issuer)) => {
            let domain = &identity.domain;
            let remedy = match in_domain(world, domain, issuer) {
                Some(named) => format!("add {} to tokenIssuers in it", named.name),
                None => format!(
                    "ask the platform team to add the issuer to TrustDomain {domain}, and then add it to tokenIssuers in it"
                ),
            };
            refused(format!("ServiceIdentity {} can't get a token of {url}: {remedy}", identity.key))
        }
        Caller::TrustDomain { name, .. } if in_domain(world, name, issuer).is_none() => refused(format!(
            "no member of TrustDomain {name} can get a token of {url}: ask the platform team to add the issuer to its tokenIssuers"
        )),
        Caller::KubernetesApi(_) => {
            let message = "the API server brings no token of an issuer: put kubernetesAPI into a policy of its own, without authentication";
            Err(Objection::refused(Reason::Invalid, message.to_owned()))
        }
        _ => Ok(()),
    }
}

/// The same issuer as another domain names it, if members of that one can talk to it.
fn in_domain(world: &World, domain: &str, issuer: &ListedIssuer) -> Option<ListedIssuer> {
    let domain = world.domain(domain)?;
    let reachable = domain.spec.token_issuers.iter().filter(|named| named.is_reachable());
    reachable.filter_map(|named| world.listed_issuer(domain, named)).find(|named| named.is_same(issuer))
}

#[cfg(test)]
#[path = "issuer_token_tests.rs"]
mod tests;
