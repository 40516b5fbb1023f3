//! The built-in token service as the installation runs it, and what is known of the keys of token issuers.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::{Change, NamespacedName, Problem, World};
use crate::api::{ConditionType, Reason, TokenIssuer, TrustDomain};
use crate::jwt::parse_public_jwks;

/// Name of the file with public keys in the ConfigMap that the token service publishes.
pub const KEY_SET_FILE: &str = "jwks.json";

/// Name of the ConfigMap in which the token service that runs under an identity publishes its public keys.
pub fn key_set_name(identity: &str) -> String {
    format!("{identity}-jwks")
}

/// Where the built-in token service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenService {
    /// Its ServiceIdentity.
    pub identity: NamespacedName,
    /// Port of its pods.
    pub port: u16,
    /// Its identifier (`iss`), an `https` URL.
    pub issuer: String,
}

impl TokenService {
    /// The ConfigMap in which the token service publishes its public keys, as a JWK Set in `jwks.json`.
    pub fn key_set(&self) -> NamespacedName {
        NamespacedName::new(self.identity.namespace.clone(), key_set_name(&self.identity.name))
    }

    /// What that ConfigMap tells of its keys, as it is `now`; nothing when it is gone.
    pub fn published(&self, config_map: Option<&ConfigMap>, now: Timestamp) -> Change {
        let key = self.key_set();
        let text = config_map.map(|config_map| config_map.data.as_ref().and_then(|data| data.get(KEY_SET_FILE)));
        let read = match text {
            None => Err(format!("ConfigMap {key} is gone; the token service writes it again")),
            Some(None) => {
                Err(format!("ConfigMap {key} has no {KEY_SET_FILE}; delete it, and the token service writes it again"))
            }
            Some(Some(text)) => parse_public_jwks(text).map_err(|fault| {
                format!("ConfigMap {key} can't be used: {fault}; delete it, and the token service writes it again")
            }),
        };
        match read {
            Err(why) => {
                let failure = IssuerFailure { reason: Reason::IssuerInvalid, since: now, why };
                Change::IssuerUnknown(IssuerKey::BuiltIn, failure)
            }
            Ok(jwks) => {
                let introspection_uri = Some(format!("{}/introspect", self.issuer.trim_end_matches('/')));
                let facts = IssuerFacts { issuer: self.issuer.clone(), jwks, introspection_uri, stale: None };
                Change::IssuerKeys(IssuerKey::BuiltIn, Some(Arc::new(facts)))
            }
        }
    }
}

/// Whose keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerKey {
    /// The built-in token service.
    BuiltIn,
    /// An issuer that a TrustDomain names.
    External {
        /// Name of the TrustDomain object.
        domain: String,
        /// Name of the issuer in it.
        name: String,
    },
}

impl IssuerKey {
    /// That of an issuer that a TrustDomain names.
    pub fn external(domain: impl Into<String>, name: impl Into<String>) -> Self {
        Self::External { domain: domain.into(), name: name.into() }
    }
}

/// An issuer of a TrustDomain as an identity lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedIssuer {
    /// Its name in the TrustDomain.
    pub name: String,
    /// Whose keys verify its tokens.
    pub key: IssuerKey,
    /// Its identifier (`iss`).
    pub issuer: String,
}

impl ListedIssuer {
    /// Whether both are the same issuer, each as its own domain names it.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.key, &other.key) {
            (IssuerKey::BuiltIn, IssuerKey::BuiltIn) => true,
            (IssuerKey::External { .. }, IssuerKey::External { .. }) => self.issuer == other.issuer,
            _ => false,
        }
    }
}

impl World {
    /// An issuer of a domain with its identifier; nothing for the built-in one where the installation runs none.
    pub fn listed_issuer(&self, domain: &TrustDomain, issuer: &TokenIssuer) -> Option<ListedIssuer> {
        let name = issuer.name.clone();
        Some(match (&issuer.built_in, &issuer.issuer) {
            (None, Some(url)) => {
                let domain = domain.metadata.name.clone().unwrap_or_default();
                ListedIssuer { key: IssuerKey::external(domain, &name), name, issuer: url.clone() }
            }
            _ => {
                let issuer = self.settings.token_service.as_ref()?.issuer.clone();
                ListedIssuer { name, key: IssuerKey::BuiltIn, issuer }
            }
        })
    }
}

/// The issuer of this name, if members of the domain may talk to it.
pub(super) fn listable(world: &World, domain: &TrustDomain, name: &str) -> Result<ListedIssuer, Problem> {
    let (condition, reason, message) = match domain.token_issuer(name) {
        None => {
            let domain_name = domain.metadata.name.as_deref().unwrap_or_default();
            let message = format!(
                "TrustDomain {domain_name} has no token issuer {name}, {}: correct tokenIssuers, or ask the platform team to add it",
                domain.issuers_in_words()
            );
            (ConditionType::ResolvedRefs, Reason::IssuerNotFound, message)
        }
        Some(issuer) if !issuer.is_reachable() => {
            let message = format!(
                "token issuer {name} of TrustDomain {} has no endpoint, so that nobody can be let out to it: take it out of tokenIssuers, or ask the platform team to set its endpoint",
                domain.metadata.name.as_deref().unwrap_or_default()
            );
            (ConditionType::Accepted, Reason::IssuerWithoutEndpoint, message)
        }
        Some(issuer) => match world.listed_issuer(domain, issuer) {
            Some(listed) => return Ok(listed),
            None => (ConditionType::ResolvedRefs, Reason::TokenServiceNotFound, NO_TOKEN_SERVICE.to_owned()),
        },
    };
    Err(Problem { condition, reason, message })
}

/// Said where the built-in issuer is named.
pub(crate) const NO_TOKEN_SERVICE: &str = "this installation runs no token service, which builtIn stands for: ask the platform team to set tokenService.enabled in the chart";

impl TokenIssuer {
    /// Whether it is said where the issuer is, so that identities can list it.
    pub(crate) fn is_reachable(&self) -> bool {
        self.built_in.is_some() || self.endpoint.is_some()
    }
}

impl TrustDomain {
    /// The names of its issuers, for a message.
    pub(crate) fn issuers_in_words(&self) -> String {
        let names: Vec<&str> = self.spec.token_issuers.iter().map(|issuer| issuer.name.as_str()).collect();
        if names.is_empty() { "and no other either".to_owned() } else { format!("only {}", names.join(", ")) }
    }

    /// The issuer of this name.
    pub fn token_issuer(&self, name: &str) -> Option<&TokenIssuer> {
        self.spec.token_issuers.iter().find(|issuer| issuer.name == name)
    }
}

/// What is known of an issuer: the last that was valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerFacts {
    /// Its identifier (`iss`).
    pub issuer: String,
    /// Its public keys, a JWK Set with public members only.
    pub jwks: Value,
    /// Where its tokens are introspected.
    pub introspection_uri: Option<String>,
    /// Why the last attempts to fetch brought nothing newer; nothing when they did.
    pub stale: Option<IssuerFailure>,
}

/// Why an issuer's keys could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerFailure {
    /// `IssuerUnreachable` or `IssuerInvalid`.
    pub reason: Reason,
    /// Since when no attempt has succeeded.
    pub since: Timestamp,
    /// What happened, with the address that was asked.
    pub why: String,
}
