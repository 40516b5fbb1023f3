//! The token endpoint: client credentials (RFC 6749, section 4.4) and token exchange (RFC 8693).

use http::StatusCode;
use ringfence_core::api::TokenFormat;
use ringfence_core::jwt::MAX_TOKEN_LENGTH;
use ringfence_core::tokens::{
    Client, DenialReason, ForeignIssuer, Issuance, Minting, OAuthError, ServiceClient, Subject, TokenKind,
    TokenRequest, Transaction, client_credentials, exchange, foreign_issuer_of, may_be_shown,
    read_foreign_introspection, verify_foreign,
};
use serde::Serialize;

use super::answer::{self, Answer, Refusal};
use super::audit;
use super::http::Asked;
use super::keys::Keys;
use super::parameters::Parameters;
use super::state::State;
use super::store::Once;
use crate::controller::random;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TRANSACTION_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// The grant types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    ClientCredentials,
    Exchange,
}

impl Grant {
    /// As the log and the metrics have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Exchange => "token_exchange",
        }
    }
}

#[derive(Serialize)]
struct Issued<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// Answers a request for a token.
pub(super) async fn answer(state: &State, asked: &Asked<'_>, client: &Client) -> Result<Answer, Refusal> {
    let parameters = &asked.parameters;
    let grant = match parameters.get("grant_type") {
        Some("client_credentials") => Grant::ClientCredentials,
        Some(TOKEN_EXCHANGE) => Grant::Exchange,
        Some(_) => return Err(Refusal::new(OAuthError::UnsupportedGrantType, DenialReason::UnknownGrantType)),
        None => return Err(Refusal::invalid_request(DenialReason::ParameterMissing)),
    };
    let keys = state.keys()?;
    let (request, type_) = (request(parameters)?, requested_type(parameters)?);
    let entropy = random();
    let minting = match grant {
        Grant::ClientCredentials => {
            client_credentials(&state.snapshot.load().graph, client, &request, &issuance(state, entropy))?
        }
        Grant::Exchange => {
            let subject = subject(state, &keys, asked, client).await?;
            let decide =
                || exchange(&state.snapshot.load().graph, client, &subject, &request, &issuance(state, entropy));
            let minting = decide()?;
            match &subject {
                Subject::Own(token) => {
                    let (jti, callee) = (token.claims.jti.as_str(), minting.callee.as_str());
                    let once = (token.kind == TokenKind::Transaction).then_some(Once::Exchange { jti, callee });
                    state.spend(token, once).await?;
                    // While the store was asked, the edge may have been closed.
                    decide()?
                }
                Subject::Foreign(_) => minting,
            }
        }
    };
    if type_ == JWT && minting.format != TokenFormat::Jwt {
        return Err(Refusal::invalid_request(DenialReason::UnknownTokenType));
    }
    let token = keys.ring.mint(&minting)?;
    state.metrics.issued(grant.as_str(), form(&minting), audit::proof(client));
    audit::issued(asked, client, grant, &minting);
    let scope = &minting.claims.scope;
    let issued = Issued {
        access_token: &token,
        issued_token_type: (grant == Grant::Exchange || type_ != ACCESS_TOKEN).then_some(type_),
        // A transaction token is no access token (RFC 8693, section 2.2.1).
        token_type: if minting.kind == TokenKind::Transaction { "N_A" } else { "Bearer" },
        expires_in: minting.lifetime_seconds(),
        scope: (!scope.is_empty()).then(|| scope.to_string()),
    };
    Ok(answer::private(StatusCode::OK, &issued))
}

/// What is decided with comes from now, and not from before something that was waited for.
fn issuance(state: &State, entropy: [u8; 16]) -> Issuance<'_> {
    Issuance { issuer: state.endpoints.issuer(), now: (state.now)(), entropy }
}

/// What is asked for, whoever asks.
fn request(parameters: &Parameters<'_>) -> Result<TokenRequest, Refusal> {
    let target = |reason| Refusal::new(OAuthError::InvalidTarget, reason);
    let audience = match (parameters.get("audience"), parameters.get("resource")) {
        (Some(audience), None) | (None, Some(audience)) => audience.to_owned(),
        _ => return Err(target(DenialReason::AudienceNotOne)),
    };
    let scope = parameters.get("scope").map(str::parse).transpose()?;
    let transaction = if parameters.get("requested_token_type") == Some(TRANSACTION_TOKEN) {
        let [purpose, details, context] =
            ["purpose", "request_details", "request_context"].map(|name| parameters.get(name));
        Some(Transaction::parse(purpose, details, context)?)
    } else {
        None
    };
    Ok(TokenRequest { audience, scope, transaction })
}

fn requested_type(parameters: &Parameters<'_>) -> Result<&'static str, Refusal> {
    match parameters.get("requested_token_type") {
        None | Some(ACCESS_TOKEN) => Ok(ACCESS_TOKEN),
        Some(JWT) => Ok(JWT),
        Some(TRANSACTION_TOKEN) => Ok(TRANSACTION_TOKEN),
        Some(_) => Err(Refusal::invalid_request(DenialReason::UnknownTokenType)),
    }
}

/// Reads the token that a service presents for exchange.
async fn subject(state: &State, keys: &Keys, asked: &Asked<'_>, client: &Client) -> Result<Subject, Refusal> {
    let parameters = &asked.parameters;
    if ["actor_token", "actor_token_type"].iter().any(|name| parameters.get(name).is_some()) {
        // The client itself is the one who acts.
        return Err(Refusal::invalid_request(DenialReason::ParameterNotTaken));
    }
    let missing = Refusal::invalid_request(DenialReason::ParameterMissing);
    let token = parameters.get("subject_token").ok_or(missing)?;
    let type_ = parameters.get("subject_token_type").ok_or(missing)?;
    if ![ACCESS_TOKEN, JWT, TRANSACTION_TOKEN].contains(&type_) {
        return Err(Refusal::invalid_request(DenialReason::UnknownTokenType));
    }
    let invalid_grant = |reason| Refusal::new(OAuthError::InvalidGrant, reason);
    if token.len() > MAX_TOKEN_LENGTH {
        return Err(invalid_grant(DenialReason::TooLarge));
    }
    let graph = &asked.snapshot.graph;
    let Client::Identity(service) = client else {
        return Err(Refusal::new(OAuthError::UnauthorizedClient, DenialReason::NotForRegisteredClients));
    };
    let known = graph.service(&service.spiffe_id).ok_or(invalid_grant(DenialReason::ClientGone))?;
    if let Some(issuer) = foreign_issuer_of(graph, service, token) {
        return Ok(Subject::Foreign(verify_foreign(issuer, known, token, asked.now)?));
    }
    let own = match keys.ring.read(token) {
        Ok(own) => own,
        // It is nobody's whose keys are known: the one issuer that can be meant is asked, if there is one.
        Err(reason) => {
            let issuer = asked_issuer(state, asked, service).filter(|issuer| may_be_shown(issuer, token));
            let issuer = issuer.ok_or(invalid_grant(reason))?;
            let response = state.issuers.introspect(&issuer.issuer.issuer, token, asked.correlation).await?;
            return Ok(Subject::Foreign(read_foreign_introspection(issuer, known, &response, asked.now)?));
        }
    };
    if (own.kind == TokenKind::Transaction) != (type_ == TRANSACTION_TOKEN) {
        return Err(invalid_grant(DenialReason::WrongSubjectType));
    }
    Ok(Subject::Own(Box::new(own)))
}

/// The issuer that is asked about an opaque token: the one that the parameter `subject_issuer` names, or else the only one that
/// can be asked. A token is shown to no issuer on the chance that it might be its own.
fn asked_issuer<'a>(state: &State, asked: &'a Asked<'_>, client: &ServiceClient) -> Option<&'a ForeignIssuer> {
    let graph = &asked.snapshot.graph;
    let trusted = graph.domain_of(&client.spiffe_id)?.issuers.iter();
    let named = asked.parameters.get("subject_issuer");
    let mut meant = trusted
        .filter(|issuer| issuer.introspection_uri.is_some() && state.issuers.can_ask(&issuer.issuer))
        .filter(|issuer| named.is_none_or(|named| named == issuer.issuer || named == issuer.name));
    let only = meant.next().filter(|_| meant.next().is_none())?;
    graph.foreign_issuer(&client.spiffe_id, &only.issuer)
}

/// The form of a token, as a label of a metric has it.
fn form(minting: &Minting) -> &'static str {
    match (minting.kind, minting.format) {
        (TokenKind::Transaction, _) => "transaction",
        (TokenKind::Access, TokenFormat::Jwt) => "jwt",
        (TokenKind::Access, TokenFormat::Opaque) => "opaque",
    }
}
