//! Whether a client gets a token, and what it says: the graph decides.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::introspect::in_force;
use super::members::Granted;
use super::{
    Actor, Claims, Client, ClientProof, Confirmation, Denial, DenialReason, ForeignSubject, MAX_ACTORS, OAuthError,
    OwnToken, Registration, Scopes, ServiceClient, SubjectId, TokenGraph, TokenKind,
};
use crate::access::CallerName;
use crate::api::TokenFormat;
use crate::jwt::base64url;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRequest {
    /// The callee, by one of its audiences: the one value of `audience` or `resource`.
    pub audience: String,
    /// What the token is to allow; none for what the grant demands.
    pub scope: Option<Scopes>,
    /// The token is to be a transaction token, for this.
    pub transaction: Option<Transaction>,
}

/// What a transaction token is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    /// Its purpose, e.g. `payment`.
    pub purpose: String,
    /// Its details.
    pub details: Option<Map<String, Value>>,
    /// Circumstances of the request.
    pub context: Option<Map<String, Value>>,
}

/// What comes from outside a decision.
#[derive(Clone, Copy, Debug)]
pub struct Issuance<'a> {
    /// The built-in issuer's identifier.
    pub issuer: &'a str,
    /// The time.
    pub now: Timestamp,
    /// 128 random bits for the token's id.
    pub entropy: [u8; 16],
}

/// The token that a service presents for exchange: good by itself, and now judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// One of ours.
    Own(Box<OwnToken>),
    /// Another issuer's.
    Foreign(ForeignSubject),
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Minting {
    /// What it is.
    pub kind: TokenKind,
    /// Its form.
    pub format: TokenFormat,
    /// What it says.
    pub claims: Claims,
    /// SPIFFE ID of who is called with it.
    pub callee: String,
    /// The AccessPolicy that grants it, `<namespace>/<name>`.
    pub policy: String,
}

/// Longest purpose of a transaction, in octets.
const MAX_PURPOSE_LENGTH: usize = 256;
/// Longest details and longest context of a transaction, each in octets.
const MAX_CONTEXT_LENGTH: usize = 4096;

impl Transaction {
    /// Reads the parameters `purpose`, `request_details` and `request_context`.
    ///
    /// # Errors
    /// `invalid_request` without a purpose, and if details or context are no JSON object or too long.
    pub fn parse(purpose: Option<&str>, details: Option<&str>, context: Option<&str>) -> Result<Self, Denial> {
        let malformed = Denial::new(OAuthError::InvalidRequest, DenialReason::TransactionMalformed);
        let object = |text: Option<&str>| match text {
            None => Ok(None),
            Some(text) if text.len() > MAX_CONTEXT_LENGTH => Err(malformed),
            Some(text) => serde_json::from_str(text).map(Some).map_err(|_| malformed),
        };
        let purpose = purpose.filter(|purpose| {
            (1..=MAX_PURPOSE_LENGTH).contains(&purpose.len()) && !purpose.chars().any(char::is_control)
        });
        let purpose = purpose.ok_or(malformed)?.to_owned();
        Ok(Self { purpose, details: object(details)?, context: object(context)? })
    }
}

impl Minting {
    /// For how long it is good, in seconds.
    #[must_use]
    pub fn lifetime_seconds(&self) -> i64 {
        self.claims.exp - self.claims.iat
    }
}

/// Decides on a token that a client asks for in its own name (RFC 6749, section 4.4).
///
/// # Errors
/// [`Denial`].
pub fn client_credentials(
    graph: &TokenGraph,
    client: &Client,
    request: &TokenRequest,
    issuance: &Issuance<'_>,
) -> Result<Minting, Denial> {
    let registration = present(graph, client)?;
    let limits = Limits { subject: None, registered: registration.map(|registration| &registration.scopes) };
    let chosen = choose(graph, client, request, &limits)?;
    let now = issuance.now.as_second();
    let exp = now + lifetime(&chosen.granted);
    Ok(chosen.minting(client, request, issuance, Principal { sub: client.id(), ..Principal::default() }, exp))
}

/// Decides on a token for the next hop, in exchange for one that the client received (RFC 8693).
///
/// # Errors
/// [`Denial`].
pub fn exchange(
    graph: &TokenGraph,
    client: &Client,
    subject: &Subject,
    request: &TokenRequest,
    issuance: &Issuance<'_>,
) -> Result<Minting, Denial> {
    present(graph, client)?;
    let Client::Identity(service) = client else {
        return Err(Denial::new(OAuthError::UnauthorizedClient, DenialReason::NotForRegisteredClients));
    };
    let principal = principal(graph, service, subject, issuance)?;
    let scopes = subject.scopes();
    let limits = Limits { subject: Some(scopes), registered: None };
    let chosen = choose(graph, client, request, &limits)?;
    let now = issuance.now.as_second();
    let exp = (now + lifetime(&chosen.granted)).min(subject.exp());
    if exp <= now {
        return Err(Denial::new(OAuthError::InvalidGrant, DenialReason::Expired));
    }
    Ok(chosen.minting(client, request, issuance, principal, exp))
}

impl Subject {
    fn scopes(&self) -> &BTreeSet<String> {
        match self {
            Self::Own(token) => token.claims.scope.as_set(),
            Self::Foreign(subject) => &subject.scopes,
        }
    }

    fn exp(&self) -> i64 {
        match self {
            Self::Own(token) => token.claims.exp,
            Self::Foreign(subject) => subject.exp,
        }
    }
}

/// For whom a token is.
#[derive(Default)]
struct Principal {
    sub: String,
    sub_id: Option<SubjectId>,
    act: Option<Actor>,
    /// What stays the same along a transaction's chain of calls.
    txn: Option<String>,
    purp: Option<String>,
    tctx: Option<Map<String, Value>>,
}

/// The client as it stands now: the registration of one that is registered.
fn present<'a>(graph: &'a TokenGraph, client: &Client) -> Result<Option<&'a Registration>, Denial> {
    let gone = Denial::new(OAuthError::InvalidClient, DenialReason::ClientGone);
    match client {
        Client::Identity(service) => {
            let known = graph.service(&service.spiffe_id).is_some_and(|service| service.identity.client);
            if known { Ok(None) } else { Err(gone) }
        }
        Client::Registered(registered) => graph.registration(registered).map(Some).ok_or(gone),
    }
}

/// Judges the token that a service presents: it was meant for this service, and holds still.
fn principal(
    graph: &TokenGraph,
    service: &ServiceClient,
    subject: &Subject,
    issuance: &Issuance<'_>,
) -> Result<Principal, Denial> {
    let denial = |reason| Denial::new(OAuthError::InvalidGrant, reason);
    let actor = |before: Option<&Actor>| {
        let chain = before.into_iter().flat_map(Actor::chain).count();
        let sub = service.spiffe_id.to_string();
        if chain < MAX_ACTORS {
            Ok(Actor { sub, act: before.cloned().map(Box::new) })
        } else {
            Err(denial(DenialReason::ChainTooLong))
        }
    };
    match subject {
        Subject::Own(token) => {
            let admitted = in_force(graph, token, issuance.issuer, issuance.now).map_err(denial)?;
            if !admitted.iter().any(|granted| granted.callee.spiffe_id == service.spiffe_id) {
                return Err(denial(DenialReason::WrongAudience));
            }
            let claims = &token.claims;
            Ok(Principal {
                sub: claims.sub.clone(),
                sub_id: claims.sub_id.clone(),
                act: Some(actor(claims.act.as_ref())?),
                txn: claims.txn.clone(),
                purp: claims.purp.clone(),
                tctx: claims.tctx.clone(),
            })
        }
        Subject::Foreign(foreign) => {
            if foreign.presented_by != service.spiffe_id {
                return Err(denial(DenialReason::WrongAudience));
            }
            let trusted = graph.foreign_issuer(&service.spiffe_id, &foreign.id.iss);
            trusted.ok_or_else(|| denial(DenialReason::UntrustedIssuer))?;
            Ok(Principal {
                sub: foreign.id.sub.clone(),
                sub_id: Some(foreign.id.clone()),
                act: Some(actor(None)?),
                ..Principal::default()
            })
        }
    }
}

/// Beyond which no scope goes, whatever the grant says.
struct Limits<'a> {
    subject: Option<&'a BTreeSet<String>>,
    registered: Option<&'a BTreeSet<String>>,
}

/// The grant by which a token is made, and its scopes.
struct Chosen<'a> {
    granted: Granted<'a>,
    scope: Scopes,
}

fn choose<'a>(
    graph: &'a TokenGraph,
    client: &Client,
    request: &TokenRequest,
    limits: &Limits<'_>,
) -> Result<Chosen<'a>, Denial> {
    let target = |reason| Denial::new(OAuthError::InvalidTarget, reason);
    if request.audience.is_empty() || request.audience.starts_with("*.") {
        return Err(target(DenialReason::AudienceNotOne));
    }
    let mut granted = graph.granted(client, &request.audience);
    let Some(first) = granted.first() else { return Err(target(DenialReason::NoGrant)) };
    if granted.iter().any(|other| other.callee.spiffe_id != first.callee.spiffe_id) {
        return Err(target(DenialReason::AmbiguousAudience));
    }
    let one_time = request.transaction.is_some();
    granted.retain(|granted| granted.grant.one_time == one_time);
    if granted.is_empty() {
        let reason = if one_time { DenialReason::NotOneTime } else { DenialReason::OneTimeOnly };
        return Err(target(reason));
    }
    let certified = binding(client).is_some();
    granted.retain(|granted| certified || !granted.grant.mtls);
    if granted.is_empty() {
        return Err(target(DenialReason::CertificateNeeded));
    }
    // The one that is about the least, so that asking for nothing in particular gives the least.
    granted.sort_by_key(|granted| {
        let grant = granted.grant;
        (!matches!(grant.caller, CallerName::Identity { .. }), grant.scopes.len(), &grant.policy, &grant.scopes)
    });
    let mut refused = None;
    for granted in granted {
        match scopes(&granted, request.scope.as_ref(), limits) {
            Ok(scope) => return Ok(Chosen { granted, scope }),
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    Err(Denial::new(OAuthError::InvalidScope, refused.unwrap_or(DenialReason::ScopeNotAllowed)))
}

/// The scopes of a token by this grant: what it demands, and nothing that goes beyond a limit.
fn scopes(granted: &Granted<'_>, asked: Option<&Scopes>, limits: &Limits<'_>) -> Result<Scopes, DenialReason> {
    let demanded = &granted.grant.scopes;
    let scope = asked.cloned().unwrap_or_else(|| demanded.clone().into());
    if !demanded.is_subset(scope.as_set()) {
        return Err(DenialReason::ScopeMissing);
    }
    if !scope.as_set().iter().all(|scope| demanded.contains(scope) || granted.domain.scopes.contains(scope)) {
        return Err(DenialReason::ScopeNotAllowed);
    }
    let within = |limit: Option<&BTreeSet<String>>| limit.is_none_or(|limit| scope.is_subset(limit));
    if !within(limits.subject) || !within(limits.registered) {
        return Err(DenialReason::ScopeTooWide);
    }
    Ok(scope)
}

/// How long a token by this grant may live, in seconds.
pub(super) fn lifetime(granted: &Granted<'_>) -> i64 {
    let seconds = granted.grant.max_lifetime_seconds.min(granted.domain.token_lifetime_seconds);
    i64::try_from(seconds).unwrap_or(0)
}

impl Chosen<'_> {
    fn minting(
        self,
        client: &Client,
        request: &TokenRequest,
        issuance: &Issuance<'_>,
        principal: Principal,
        exp: i64,
    ) -> Minting {
        let grant = self.granted.grant;
        let jti = base64url(&issuance.entropy);
        let mut claims = Claims {
            iss: issuance.issuer.to_owned(),
            sub: principal.sub,
            client_id: client.id(),
            aud: request.audience.clone(),
            exp,
            iat: issuance.now.as_second(),
            scope: self.scope,
            act: principal.act,
            cnf: binding(client).filter(|_| grant.mtls),
            sub_id: principal.sub_id,
            txn: principal.txn,
            purp: principal.purp,
            tctx: principal.tctx,
            rctx: None,
            req_wl: None,
            jti,
        };
        let mut kind = TokenKind::Access;
        if let Some(transaction) = &request.transaction {
            kind = TokenKind::Transaction;
            claims.txn.get_or_insert_with(|| claims.jti.clone());
            claims.purp.get_or_insert_with(|| transaction.purpose.clone());
            // Details can be added, and none that were given before can be changed.
            let details = [transaction.details.clone(), claims.tctx.take()];
            claims.tctx = details.into_iter().flatten().reduce(|mut all, before| {
                all.extend(before);
                all
            });
            claims.rctx = transaction.context.clone();
            claims.req_wl = Some(client.id());
        }
        Minting {
            kind,
            format: self.granted.domain.token_format,
            claims,
            callee: self.granted.callee.spiffe_id.to_string(),
            policy: grant.policy.clone(),
        }
    }
}

/// What a token is bound to: the certificate by which its client proved itself.
fn binding(client: &Client) -> Option<Confirmation> {
    match client {
        Client::Identity(ServiceClient { proof: ClientProof::Certificate { thumbprint }, .. }) => {
            Some(Confirmation { x5t_s256: thumbprint.clone() })
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod exchange_tests;
#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
