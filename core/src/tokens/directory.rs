//! What the token service is told: one document for each member namespace of a domain that selects it, in a ConfigMap of
//! the token service's own namespace, so that it needs to see nothing else of the cluster.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::access::{AccessCaller, CallerName, Grant, GrantTarget, ResolvedSigner};
use crate::api::{TokenFormat, TokenValidation};
use crate::jwt::PublicJwk;
use crate::world::IssuerKey;

/// Version of the document's form. The token service refuses one that it does not know.
pub const DIRECTORY_VERSION: u32 = 1;
/// Name of the document in its ConfigMap.
pub const DIRECTORY_FILE: &str = "directory.json";

/// A namespace as the token service sees it: its identities, and who may call them with a token of the built-in issuer.
/// What is suspended, refused or a draft is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Version of the document's form: 1.
    pub version: u32,
    /// The namespace.
    pub namespace: String,
    /// The TrustDomain that the namespace is in.
    pub domain: DirectoryDomain,
    /// Its identities, by name.
    pub identities: Vec<DirectoryIdentity>,
    /// The grants whose callee is one of these identities and that demand a token of the built-in issuer.
    pub grants: Vec<DirectoryGrant>,
}

/// What the TrustDomain says about tokens, and what verifies its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryDomain {
    /// Name of the TrustDomain object.
    pub name: String,
    /// Its SPIFFE trust-domain name.
    pub trust_domain: String,
    /// Issuing CAs of the domain, PEM: a member's certificate must chain to one of them.
    pub bundle: String,
    /// Revocation lists of these CAs, PEM.
    pub revocation_lists: String,
    /// Form of the tokens for callees of the domain.
    pub token_format: TokenFormat,
    /// Longest life of such a token, in seconds.
    pub token_lifetime_seconds: u64,
    /// Scopes that services may ask for besides those that a grant demands.
    pub scopes: BTreeSet<String>,
    /// Clients outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<DirectoryClients>,
    /// Other issuers whose tokens members may exchange.
    pub issuers: Vec<DirectoryIssuer>,
}

/// Where the domain's clients outside the cluster are registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryClients {
    /// Name of the Secret in the token service's namespace.
    pub secret_name: String,
    /// Address ranges that they come from; of length 0 for anywhere.
    pub cidrs: Vec<String>,
}

/// Another issuer that the domain trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryIssuer {
    /// Its name in the TrustDomain.
    pub name: String,
    /// Its identifier (`iss`).
    pub issuer: String,
    /// Its public keys, a JWK Set (RFC 7517); absent until they were fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// Where its opaque tokens are introspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_uri: Option<String>,
    /// Audiences that its tokens may carry for any member, besides the member's own.
    pub audiences: BTreeSet<String>,
}

/// An identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryIdentity {
    /// Name of the ServiceIdentity.
    pub name: String,
    /// Name of its service account.
    pub service_account: String,
    /// Its SPIFFE ID.
    #[serde(rename = "spiffeID")]
    pub spiffe_id: String,
    /// Names under which it accepts tokens.
    pub audiences: BTreeSet<String>,
    /// It lists the built-in issuer: only then may it talk to the token service.
    pub client: bool,
    /// Public keys that verify what it signs; empty without a signing key.
    pub keys: Vec<PublicJwk>,
}

/// A grant that demands a token of the built-in issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryGrant {
    /// Who may call: an identity, a trust domain, addresses or anyone.
    pub caller: CallerName,
    /// SPIFFE ID of the callee.
    pub callee: String,
    /// Audiences of which the token carries one.
    pub audiences: BTreeSet<String>,
    /// Scopes that the token carries.
    pub scopes: BTreeSet<String>,
    /// Longest time from `iat` to `exp`, in seconds.
    pub max_lifetime_seconds: u64,
    /// How the callee validates the token.
    pub validation: TokenValidation,
    /// The caller must show its certificate too, so that the token can be bound to it (RFC 8705).
    pub mtls: bool,
    /// Each call needs a transaction token of its own.
    pub one_time: bool,
    /// The AccessPolicy that grants it, `<namespace>/<name>`.
    pub policy: String,
}

impl DirectoryGrant {
    /// A grant as the token service is told of it; nothing if it demands no token of the built-in issuer.
    pub fn of(grant: &Grant) -> Option<Self> {
        let GrantTarget::Identity(callee) = &grant.target else { return None };
        let jwt = grant.authentication.jwt.as_ref()?;
        let ResolvedSigner::Issuer(token) = &jwt.signer else { return None };
        if token.issuer.key != IssuerKey::BuiltIn {
            return None;
        }
        let AccessCaller { caller, policy, .. } = grant.into();
        Some(Self {
            caller,
            callee: callee.spiffe_id.to_string(),
            audiences: jwt.audiences.clone(),
            scopes: token.scopes.clone(),
            max_lifetime_seconds: u64::try_from(jwt.max_lifetime?.as_secs()).unwrap_or_default(),
            validation: token.validation,
            mtls: grant.authentication.mtls,
            one_time: token.one_time,
            policy: policy?,
        })
    }
}

/// Name of the ConfigMap, in the token service's namespace, with the document of a namespace.
pub fn directory_config_map(namespace: &str) -> String {
    format!("{PREFIX}{namespace}")
}

/// The namespace of which a ConfigMap of this name tells, if it is the name of one that does.
pub fn directory_namespace(config_map: &str) -> Option<&str> {
    config_map.strip_prefix(PREFIX)
}

/// How the names of these ConfigMaps begin.
const PREFIX: &str = "tokens.";
