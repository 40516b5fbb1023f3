//! What `access.json` says of tokens and of those who issue them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Grant, GrantSource, IssuerToken, ResolvedJwt, ResolvedSigner};
use crate::api::{Signer, TokenIssuer, TokenValidation};
use crate::pki::SpiffeId;
use crate::world::{Identity, IssuerKey, ListedIssuer, World};

/// A token. One that the caller signs has the `typ` `service+jwt`, and its SPIFFE ID as `iss` and `sub`. One of an issuer
/// has the issuer's identifier as `iss`; the built-in issuer's JWTs have the `typ` `at+jwt`, or `txntoken+jwt` where
/// they are used once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// Who signs it.
    pub signer: Signer,
    /// Identifier of the issuer that signs it (`iss`); absent for one that the caller signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Name of the file with the keys that verify it; absent where it is introspected, and for a callee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_set: Option<String>,
    /// How the callee validates the token of an issuer; absent for one that the caller signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<TokenValidation>,
    /// It must carry all of these in `scope`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<String>,
    /// True: each call needs a token of its own, which its first introspection uses up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_time: bool,
    /// The token must carry one of these in `aud`.
    pub audiences: BTreeSet<String>,
    /// Longest time from `iat` to `exp`, in seconds; absent where that is left to the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime_seconds: Option<u64>,
}

/// A token issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessIssuer {
    /// Its name in the service's TrustDomain.
    pub name: String,
    /// Name of the file with its public keys; absent if no caller's token is verified by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_set: Option<String>,
    /// Where the service introspects its tokens (RFC 7662); absent if it does not talk to the issuer, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_uri: Option<String>,
    /// Name of the file with the roots by which its certificate is verified; absent for an issuer that is among `callees`,
    /// whose certificate is verified as that of any callee, and for one with a certificate of a public CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
}

impl From<&ResolvedJwt> for AccessToken {
    fn from(jwt: &ResolvedJwt) -> Self {
        let of_issuer = match &jwt.signer {
            ResolvedSigner::Caller => None,
            ResolvedSigner::Issuer(token) => Some(token),
        };
        Self {
            signer: of_issuer.map_or(Signer::Caller, |_| Signer::Issuer),
            issuer: of_issuer.map(|token| token.issuer.issuer.clone()),
            key_set: None,
            validation: of_issuer.map(|token| token.validation),
            scopes: of_issuer.map(|token| token.scopes.clone()).unwrap_or_default(),
            one_time: of_issuer.is_some_and(|token| token.one_time),
            audiences: jwt.audiences.clone(),
            max_lifetime_seconds: jwt.max_lifetime.and_then(|lifetime| u64::try_from(lifetime.as_secs()).ok()),
        }
    }
}

/// Name of the file with the public keys of a service.
pub fn key_set_file(signer: &SpiffeId) -> String {
    format!("jwks.{}.{}.json", signer.namespace(), signer.service_account())
}

/// Name of the file with the public keys of a token issuer, by its name in the TrustDomain.
pub fn issuer_key_set_file(issuer: &str) -> String {
    format!("issuer.{issuer}.jwks.json")
}

/// Name of the file with the roots by which the certificate of a token issuer is verified.
pub fn issuer_roots_file(issuer: &str) -> String {
    format!("issuer.{issuer}.pem")
}

/// The issuers whose keys verify the tokens of a callee's callers.
pub fn verified_issuers<'a>(incoming: impl IntoIterator<Item = &'a Grant>) -> impl Iterator<Item = &'a ListedIssuer> {
    let tokens = incoming.into_iter().filter_map(|grant| issuer_token(grant));
    tokens.filter(|token| token.validation == TokenValidation::Jwks).map(|token| &token.issuer)
}

/// An issuer as its domain declares it.
pub fn declared_issuer<'a>(world: &'a World, identity: &Identity, issuer: &ListedIssuer) -> Option<&'a TokenIssuer> {
    world.domain(&identity.domain)?.token_issuer(&issuer.name)
}

pub(super) fn key_sets(incoming: &[&Grant]) -> BTreeMap<String, String> {
    let signers = incoming.iter().filter(|grant| grant.authentication.signer() == Some(&ResolvedSigner::Caller));
    let signers = signers.filter_map(|grant| match &grant.source {
        GrantSource::Identity(peer) => Some(&peer.spiffe_id),
        _ => None,
    });
    signers.map(|signer| (signer.to_string(), key_set_file(signer))).collect()
}

/// The file with the keys that verify the token of a caller.
pub(super) fn key_set(grant: &Grant) -> Option<String> {
    match (grant.authentication.signer()?, &grant.source) {
        (ResolvedSigner::Caller, GrantSource::Identity(peer)) => Some(key_set_file(&peer.spiffe_id)),
        (ResolvedSigner::Issuer(token), _) if token.validation == TokenValidation::Jwks => {
            Some(issuer_key_set_file(&token.issuer.name))
        }
        _ => None,
    }
}

/// The issuers whose tokens callers bring, and those that the identity talks to.
pub(super) fn access_issuers(
    world: &World,
    identity: &Identity,
    incoming: &[&Grant],
) -> BTreeMap<String, AccessIssuer> {
    let brought = incoming.iter().filter_map(|grant| issuer_token(grant)).map(|token| &token.issuer);
    let mut issuers: BTreeMap<String, AccessIssuer> = BTreeMap::new();
    for issuer in brought.chain(&identity.issuers) {
        let (key_set, introspection_uri, roots) = (None, None, None);
        let known = AccessIssuer { name: issuer.name.clone(), key_set, introspection_uri, roots };
        issuers.entry(issuer.issuer.clone()).or_insert(known);
    }
    for issuer in verified_issuers(incoming.iter().copied()) {
        if let Some(known) = issuers.get_mut(&issuer.issuer) {
            known.key_set = Some(issuer_key_set_file(&issuer.name));
        }
    }
    for issuer in &identity.issuers {
        if let Some(known) = issuers.get_mut(&issuer.issuer) {
            let has_roots = declared_issuer(world, identity, issuer).is_some_and(|issuer| issuer.ca_bundle.is_some());
            known.roots = has_roots.then(|| issuer_roots_file(&issuer.name));
            known.introspection_uri = introspection_uri(world, identity, issuer);
        }
    }
    issuers
}

/// Where tokens of an issuer are introspected: as its domain says, or else as the issuer itself says.
fn introspection_uri(world: &World, identity: &Identity, issuer: &ListedIssuer) -> Option<String> {
    match issuer.key {
        IssuerKey::BuiltIn => Some(format!("{}/introspect", issuer.issuer.trim_end_matches('/'))),
        IssuerKey::External { .. } => {
            let declared = declared_issuer(world, identity, issuer).and_then(|issuer| issuer.introspection_uri.clone());
            declared.or_else(|| world.issuer(&issuer.key)?.introspection_uri.clone())
        }
    }
}

fn issuer_token(grant: &Grant) -> Option<&IssuerToken> {
    match grant.authentication.signer()? {
        ResolvedSigner::Issuer(token) => Some(token),
        ResolvedSigner::Caller => None,
    }
}
