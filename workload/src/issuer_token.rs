//! What a token of an issuer must say (RFC 9068, RFC 7662), whether it was verified by key or the issuer was asked.

use std::collections::BTreeSet;

use jiff::Timestamp;
use ringfence_core::access::AccessToken;
use ringfence_core::jwt::{Audiences, JwtFault, LEEWAY_SECONDS, Times, Unverified, VerifyingKeys};
use ringfence_core::pki::SpiffeId;
use serde::Deserialize;
use serde_json::Value;

/// A token of an issuer that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum IssuerTokenFault {
    /// It is no JWT, or does not verify.
    #[error(transparent)]
    Jwt(#[from] JwtFault),
    /// The header says that it is something else than an access token.
    #[error("its typ is not that of an access token")]
    WrongType,
    /// The issuer says that it is not active.
    #[error("its issuer says that it is not active")]
    NotActive,
    /// Another one issued it.
    #[error("its iss is not the issuer")]
    WrongIssuer,
    /// It is for someone else.
    #[error("its aud is none of the audiences that are accepted")]
    WrongAudience,
    /// It is good for longer than tokens may be.
    #[error("it lives longer than it may")]
    LivesTooLong,
    /// It allows less than is demanded.
    #[error("its scope lacks what is demanded")]
    ScopeMissing,
    /// It was issued to another service than the one that calls.
    #[error("it was issued to another client")]
    WrongClient,
    /// It is bound to another certificate than the one that the connection shows, or to none where one is demanded.
    #[error("it is not bound to the client's certificate")]
    WrongCertificate,
}

/// Who presents a token.
pub(crate) struct Bearer<'a> {
    /// The identity that an entry of `access.json` is about, if it is about one.
    pub(crate) identity: Option<&'a SpiffeId>,
    /// The certificate that the connection shows, and whether the entry demands one.
    pub(crate) thumbprint: Option<&'a str>,
    pub(crate) certificate_demanded: bool,
}

#[derive(Deserialize)]
struct Said {
    iss: Option<String>,
    aud: Option<Audiences>,
    client_id: Option<String>,
    scope: Option<String>,
    cnf: Option<Confirmation>,
    #[serde(flatten)]
    times: Times,
}

#[derive(Deserialize)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    thumbprint: Option<String>,
}

/// Verifies a JWT of an issuer with its keys; gives its claims.
pub(crate) fn verify(token: &str, keys: &VerifyingKeys) -> Result<Value, IssuerTokenFault> {
    let jwt = Unverified::parse(token)?;
    // Above all, what a service signs itself, and what is to be used once, is none.
    if !matches!(jwt.typ().as_deref(), None | Some("jwt" | "at+jwt")) {
        return Err(IssuerTokenFault::WrongType);
    }
    Ok(jwt.verify(keys)?)
}

/// Checks what a token says, by its claims or by the issuer's answer about it.
pub(crate) fn check(
    claims: &Value,
    demanded: &AccessToken,
    bearer: &Bearer<'_>,
    now: Timestamp,
) -> Result<(), IssuerTokenFault> {
    let said = Said::deserialize(claims).map_err(|_| JwtFault::Malformed)?;
    if said.iss.as_ref() != demanded.issuer.as_ref() {
        return Err(IssuerTokenFault::WrongIssuer);
    }
    let is_meant = |audience: &String| demanded.audiences.contains(audience);
    if !said.aud.as_ref().is_some_and(|audiences| audiences.as_slice().iter().any(is_meant)) {
        return Err(IssuerTokenFault::WrongAudience);
    }
    let exp = said.times.check(now)?;
    if let Some(longest) = demanded.max_lifetime_seconds.and_then(|seconds| i64::try_from(seconds).ok()) {
        let begin = said.times.iat.ok_or(IssuerTokenFault::LivesTooLong)?;
        if exp.saturating_sub(begin) > longest.saturating_add(LEEWAY_SECONDS) {
            return Err(IssuerTokenFault::LivesTooLong);
        }
    }
    let scopes: BTreeSet<&str> = said.scope.as_deref().unwrap_or_default().split(' ').collect();
    if !demanded.scopes.iter().all(|scope| scopes.contains(scope.as_str())) {
        return Err(IssuerTokenFault::ScopeMissing);
    }
    // Only Ringfence's own issuer names services by their SPIFFE IDs; others know clients by names of their own.
    let client: Option<SpiffeId> = said.client_id.as_deref().and_then(|client| client.parse().ok());
    if let (Some(identity), Some(client)) = (bearer.identity, &client)
        && identity != client
    {
        return Err(IssuerTokenFault::WrongClient);
    }
    match said.cnf.and_then(|cnf| cnf.thumbprint) {
        Some(bound) if bearer.thumbprint != Some(bound.as_str()) => Err(IssuerTokenFault::WrongCertificate),
        None if bearer.certificate_demanded && client.is_some() => Err(IssuerTokenFault::WrongCertificate),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ringfence_core::api::Signer;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://sts.example";

    fn demanded() -> AccessToken {
        AccessToken {
            signer: Signer::Issuer,
            issuer: Some(ISSUER.to_owned()),
            key_set: None,
            validation: None,
            scopes: ["customer".to_owned()].into(),
            one_time: false,
            audiences: ["gateway.storefront.svc".to_owned()].into(),
            max_lifetime_seconds: Some(300),
        }
    }

    #[test]
    fn what_a_token_says_must_fit_what_is_demanded() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let order: SpiffeId = "spiffe://storefront/ns/storefront/sa/order".parse().unwrap();
        let good = json!({
            "iss": ISSUER, "aud": "gateway.storefront.svc", "scope": "more customer", "client_id": "web",
            "iat": now.as_second(), "exp": now.as_second() + 300,
        });
        let anyone = Bearer { identity: None, thumbprint: None, certificate_demanded: false };
        let service = Bearer { identity: Some(&order), thumbprint: Some("shown"), certificate_demanded: true };
        let changed = |member: &str, value: Value| {
            let mut claims = good.clone();
            claims[member] = value;
            claims
        };
        let of_order = |cnf: Value| {
            let mut claims = changed("client_id", json!(order));
            claims["cnf"] = cnf;
            claims
        };
        let bound = |to: &str| of_order(json!({"x5t#S256": to}));
        let cases = [
            ("all fits", good.clone(), &anyone, Ok(())),
            ("several audiences", changed("aud", json!(["x", "gateway.storefront.svc"])), &anyone, Ok(())),
            (
                "another issuer",
                changed("iss", json!("https://sts.example/")),
                &anyone,
                Err(IssuerTokenFault::WrongIssuer),
            ),
            ("no issuer", changed("iss", Value::Null), &anyone, Err(IssuerTokenFault::WrongIssuer)),
            ("another audience", changed("aud", json!("order")), &anyone, Err(IssuerTokenFault::WrongAudience)),
            ("no audience", changed("aud", Value::Null), &anyone, Err(IssuerTokenFault::WrongAudience)),
            ("a part of a scope", changed("scope", json!("customers")), &anyone, Err(IssuerTokenFault::ScopeMissing)),
            ("no scope", changed("scope", Value::Null), &anyone, Err(IssuerTokenFault::ScopeMissing)),
            ("expired", changed("exp", json!(now.as_second() - 60)), &anyone, Err(JwtFault::Expired.into())),
            ("a long life", changed("exp", json!(now.as_second() + 400)), &anyone, Err(IssuerTokenFault::LivesTooLong)),
            ("bound, and shown", bound("shown"), &service, Ok(())),
            ("bound to another", bound("other"), &service, Err(IssuerTokenFault::WrongCertificate)),
            ("bound, and none shown", bound("shown"), &anyone, Err(IssuerTokenFault::WrongCertificate)),
            ("not bound", of_order(Value::Null), &service, Err(IssuerTokenFault::WrongCertificate)),
            (
                "issued to another service",
                changed("client_id", json!("spiffe://storefront/ns/storefront/sa/gateway")),
                &service,
                Err(IssuerTokenFault::WrongClient),
            ),
        ];
        for (what, claims, bearer, expected) in cases {
            assert_eq!(check(&claims, &demanded(), bearer, now), expected, "{what}");
        }
    }
}
