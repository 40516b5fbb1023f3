//! Who asks: a service by its certificate, its key or its service account, or a registered client by its secret. Each in one
//! way alone.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use ringfence_core::tokens::{
    Client, ClientProof, DenialReason, OAuthError, ServiceClient, unverified_issuer, verify_assertion,
};
use zeroize::Zeroizing;

use super::answer::Refusal;
use super::http::{Asked, only};
use super::metrics::Limit;
use super::state::State;
use super::store::Once;

/// What a client assertion is (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request shows.
enum Credentials<'a> {
    Certificate,
    Assertion(&'a str),
    Secret { id: Cow<'a, str>, secret: Zeroizing<String> },
}

/// Says who asks, if that is proved, and counts the request against the client's limit.
///
/// # Errors
/// `invalid_client`, and `invalid_request` for several proofs at once.
pub(super) async fn authenticate(state: &State, asked: &Asked<'_>) -> Result<Client, Refusal> {
    let credentials = credentials(asked)?;
    // Whoever showed a certificate has proved something: others at its address must not keep it out.
    if asked.peer.certificate.is_none() {
        state.limits.may_try(asked.peer.address).map_err(|wait| Refusal::Limited(Limit::Address, wait))?;
    }
    let client = match credentials {
        Credentials::Certificate => by_certificate(asked)?,
        Credentials::Assertion(assertion) => return by_assertion(state, asked, assertion).await,
        Credentials::Secret { id, secret } => {
            asked.snapshot.graph.authenticate_registered(&id, &secret, asked.peer.address)?
        }
    };
    admit(state, asked, &client)?;
    Ok(client)
}

/// Finds the one proof of a request.
fn credentials<'a>(asked: &'a Asked<'_>) -> Result<Credentials<'a>, Refusal> {
    let parameter = |name| asked.parameters.get(name);
    let (assertion, kind) = (parameter("client_assertion"), parameter("client_assertion_type"));
    let (header, secret) = (asked.headers.contains_key(AUTHORIZATION), parameter("client_secret"));
    let ways = [header, secret.is_some(), assertion.is_some() || kind.is_some()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(Refusal::invalid_request(DenialReason::SeveralMethods));
    }
    match (assertion, kind) {
        (None, None) => {}
        (Some(assertion), Some(JWT_BEARER)) => return Ok(Credentials::Assertion(assertion)),
        _ => return Err(Refusal::invalid_request(DenialReason::NoCredentials)),
    }
    let credentials = if header {
        basic(asked)?
    } else if let Some(secret) = secret {
        let id = parameter("client_id").ok_or(Refusal::invalid_request(DenialReason::ParameterMissing))?;
        Credentials::Secret { id: Cow::Owned(id.to_owned()), secret: Zeroizing::new(secret.to_owned()) }
    } else if asked.peer.certificate.is_some() {
        return Ok(Credentials::Certificate);
    } else {
        return Err(invalid_client(DenialReason::NoCredentials));
    };
    // A service is no client outside the cluster.
    if asked.peer.certificate.is_some() {
        return Err(Refusal::invalid_request(DenialReason::SeveralMethods));
    }
    Ok(credentials)
}

/// Reads `Authorization: Basic` (RFC 7617), with id and secret encoded as in a form (RFC 6749, section 2.3.1).
fn basic(asked: &Asked<'_>) -> Result<Credentials<'static>, Refusal> {
    let read = || {
        let (scheme, encoded) = only(asked.headers, &AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
        let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        scheme.eq_ignore_ascii_case("basic").then(|| (Cow::Owned(form_decoded(id)), form_decoded(secret)))
    };
    let (id, secret) = read().ok_or(invalid_client(DenialReason::NoCredentials))?;
    Ok(Credentials::Secret { id, secret: Zeroizing::new(secret) })
}

/// One value of a form.
fn form_decoded(text: &str) -> String {
    // What would end a value is no part of one.
    form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

fn by_certificate(asked: &Asked<'_>) -> Result<Client, Refusal> {
    let Some(certificate) = &asked.peer.certificate else { return Err(invalid_client(DenialReason::NoCredentials)) };
    if !certificate.verifies(asked.snapshot, asked.now) {
        return Err(invalid_client(DenialReason::WrongCertificate));
    }
    let proof = ClientProof::Certificate { thumbprint: certificate.thumbprint.clone() };
    service(asked, ServiceClient { spiffe_id: certificate.spiffe_id.clone(), proof })
}

/// A service that may talk to the token service.
fn service(asked: &Asked<'_>, client: ServiceClient) -> Result<Client, Refusal> {
    let known = asked.snapshot.graph.service(&client.spiffe_id).is_some_and(|service| service.identity.client);
    if known { Ok(Client::Identity(client)) } else { Err(invalid_client(DenialReason::UnknownClient)) }
}

/// Whose assertion it is, its issuer tells: a service's own names the service, and any other is a service account's.
async fn by_assertion(state: &State, asked: &Asked<'_>, assertion: &str) -> Result<Client, Refusal> {
    let issuer = unverified_issuer(assertion).ok_or(invalid_client(DenialReason::Malformed))?;
    if !issuer.starts_with("spiffe:") {
        let account = state.reviews.service_account(assertion).await?;
        let service_of = asked.snapshot.graph.service_account(&account.namespace, &account.name);
        let spiffe_id = service_of.ok_or(invalid_client(DenialReason::UnknownClient))?.spiffe_id.clone();
        let client = service(asked, ServiceClient { spiffe_id, proof: ClientProof::ServiceAccount })?;
        let client = with_certificate(asked, client)?;
        admit(state, asked, &client)?;
        return Ok(client);
    }
    let audiences = [state.endpoints.token(), state.endpoints.issuer()];
    let verified = verify_assertion(&asked.snapshot.graph, assertion, &audiences, asked.now)?;
    let client = with_certificate(asked, verified.client)?;
    admit(state, asked, &client)?;
    let until =
        Timestamp::from_second(verified.usable_until).map_err(|_| invalid_client(DenialReason::LivesTooLong))?;
    let once = Once::Assertion { client: &client.id(), jti: &verified.jti };
    match state.store.consume(once, until).await {
        Ok(true) => Ok(client),
        Ok(false) => Err(invalid_client(DenialReason::Replayed)),
        Err(error) => Err(state.store_failed(&error)),
    }
}

/// A client that shows a certificate besides its assertion has proved itself in both ways, if both name the same service;
/// its tokens are bound to the certificate then.
fn with_certificate(asked: &Asked<'_>, client: Client) -> Result<Client, Refusal> {
    if asked.peer.certificate.is_none() {
        return Ok(client);
    }
    let shown = by_certificate(asked)?;
    if shown.id() == client.id() { Ok(shown) } else { Err(invalid_client(DenialReason::WrongCertificate)) }
}

/// Lets a client in that has proved who it is, unless it asks too often or says that it is another.
fn admit(state: &State, asked: &Asked<'_>, client: &Client) -> Result<(), Refusal> {
    let id = client.id();
    state.limits.client(&id).map_err(|wait| Refusal::Limited(Limit::Client, wait))?;
    // RFC 6749 section 2.3.1, RFC 7521 section 4.2, RFC 8705 section 2.
    if asked.parameters.get("client_id").is_some_and(|said| said != id) {
        return Err(invalid_client(DenialReason::WrongClientId));
    }
    Ok(())
}

fn invalid_client(reason: DenialReason) -> Refusal {
    Refusal::new(OAuthError::InvalidClient, reason)
}
