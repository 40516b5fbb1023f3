//! What a token of the built-in issuer says: access tokens (RFC 9068), transaction tokens
//! (draft-ietf-oauth-transaction-tokens), and the answer to who asks (RFC 7662).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Scopes;

/// Most actors that a token may name.
pub const MAX_ACTORS: usize = 16;

/// What a token is. It stands in the header (`typ`), so that none is taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenKind {
    /// An access token (RFC 9068).
    #[serde(rename = "at+jwt")]
    Access,
    /// A transaction token, for one call.
    #[serde(rename = "txntoken+jwt")]
    Transaction,
}

impl TokenKind {
    /// The header's `typ`.
    #[must_use]
    pub fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Transaction => "txntoken+jwt",
        }
    }

    /// The kind with this `typ`.
    #[must_use]
    pub fn of_typ(typ: &str) -> Option<Self> {
        [Self::Access, Self::Transaction].into_iter().find(|kind| kind.typ() == typ)
    }
}

/// The claims of a token. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// On whose behalf: a SPIFFE ID, a registered client's id, or the subject of another issuer's token (see `sub_id`).
    pub sub: String,
    /// The client that it was issued to: a SPIFFE ID, or a registered client's id.
    pub client_id: String,
    /// The one audience.
    pub aud: String,
    /// When it expires.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// Its id.
    pub jti: String,
    /// What it allows.
    #[serde(default)]
    pub scope: Scopes,
    /// Through whom the subject's request came, the last one first (RFC 8693, section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// The certificate that it is bound to (RFC 8705).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// The subject with its issuer (RFC 9493), for a subject of another issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_id: Option<SubjectId>,
    /// The transaction's id (RFC 8417).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// What the transaction is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purp: Option<String>,
    /// The transaction's details, which stay the same along the chain of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tctx: Option<Map<String, Value>>,
    /// Circumstances of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rctx: Option<Map<String, Value>>,
    /// The workload that asked for the transaction token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub req_wl: Option<String>,
}

/// Who acts for the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// SPIFFE ID of the actor.
    pub sub: String,
    /// Who acted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
}

/// What the bearer of a token must prove (RFC 7800).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// SHA-256 of the certificate's DER, base64url (RFC 8705, section 3.1).
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: String,
}

/// A subject of another issuer (RFC 9493, section 3.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename = "iss_sub")]
pub struct SubjectId {
    /// Its issuer.
    pub iss: String,
    /// The subject.
    pub sub: String,
}

/// The answer of the introspection endpoint (RFC 7662, section 2.2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntrospectionResponse {
    /// Whether the token is good.
    pub active: bool,
    /// `Bearer`; absent if it is not good, like all the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// What it says.
    #[serde(flatten)]
    pub claims: Option<Claims>,
}

impl Actor {
    /// The actors, the last one first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |actor| actor.act.as_deref()).map(|actor| actor.sub.as_str())
    }
}

impl Claims {
    /// Those who acted for the subject, the last one first.
    pub fn actors(&self) -> impl Iterator<Item = &str> {
        self.act.iter().flat_map(Actor::chain)
    }
}

impl IntrospectionResponse {
    /// A good token.
    #[must_use]
    pub fn active(claims: Claims) -> Self {
        Self { active: true, token_type: Some("Bearer"), claims: Some(claims) }
    }

    /// Any other.
    #[must_use]
    pub fn inactive() -> Self {
        Self { active: false, token_type: None, claims: None }
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
