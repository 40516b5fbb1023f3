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
use ringfence_workload::PeerCertificate;
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
    let shown = shown(state, asked)?;
    match credentials {
        Credentials::Certificate => {
            let client = shown.ok_or(invalid_client(DenialReason::NoCredentials))?;
            is_named(asked, &client)?;
            Ok(client)
        }
        Credentials::Assertion(assertion) => by_assertion(state, asked, assertion, shown).await,
        Credentials::Secret { id, secret } => {
            let client = asked.snapshot.graph.authenticate_registered(&id, &secret, asked.peer.address)?;
            admit(state, asked, client, shown)
        }
    }
}

/// The service whose certificate the connection shows. It pays for the request, however that ends, and nobody else at its
/// address can keep it out; without a certificate that holds, the address is what counts.
fn shown(state: &State, asked: &Asked<'_>) -> Result<Option<Client>, Refusal> {
    let shown = asked.peer.certificate.as_ref().map(|certificate| by_certificate(asked, certificate)).transpose();
    match &shown {
        Ok(Some(client)) => charge(state, client)?,
        _ => state.limits.may_try(asked.peer.address).map_err(|wait| Refusal::Limited(Limit::Address, wait))?,
    }
    shown
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

fn by_certificate(asked: &Asked<'_>, certificate: &PeerCertificate) -> Result<Client, Refusal> {
    if !certificate.verifies(asked.snapshot, asked.now) {
        return Err(invalid_client(DenialReason::WrongCertificate));
    }
    let proof = ClientProof::Certificate { thumbprint: certificate.thumbprint().to_owned() };
    service(asked, ServiceClient { spiffe_id: certificate.spiffe_id().clone(), proof })
}

/// A service that may talk to the token service.
fn service(asked: &Asked<'_>, client: ServiceClient) -> Result<Client, Refusal> {
    let known = asked.snapshot.graph.service(&client.spiffe_id).is_some_and(|service| service.identity.client);
    if known { Ok(Client::Identity(client)) } else { Err(invalid_client(DenialReason::UnknownClient)) }
}

/// Whose assertion it is, its issuer tells: a service's own names the service, and any other is a service account's.
async fn by_assertion(
    state: &State,
    asked: &Asked<'_>,
    assertion: &str,
    shown: Option<Client>,
) -> Result<Client, Refusal> {
    let issuer = unverified_issuer(assertion).ok_or(invalid_client(DenialReason::Malformed))?;
    if !issuer.starts_with("spiffe:") {
        let account = state.reviews.service_account(assertion).await?;
        let service_of = asked.snapshot.graph.service_account(&account.namespace, &account.name);
        let spiffe_id = service_of.ok_or(invalid_client(DenialReason::UnknownClient))?.spiffe_id.clone();
        let client = service(asked, ServiceClient { spiffe_id, proof: ClientProof::ServiceAccount })?;
        return admit(state, asked, client, shown);
    }
    let audiences = [state.endpoints.token(), state.endpoints.issuer()];
    let verified = verify_assertion(&asked.snapshot.graph, assertion, &audiences, asked.now)?;
    let client = admit(state, asked, verified.client, shown)?;
    let until =
        Timestamp::from_second(verified.usable_until).map_err(|_| invalid_client(DenialReason::LivesTooLong))?;
    let once = Once::Assertion { client: &client.id(), jti: &verified.jti };
    match state.store.consume(once, until).await {
        Ok(true) => Ok(client),
        Ok(false) => Err(invalid_client(DenialReason::Replayed)),
        Err(error) => Err(state.store_failed(&error)),
    }
}

/// Lets a client in that has proved who it is, unless it asks too often or says that it is another. One that shows a
/// certificate besides has proved itself in both ways, if both name the same service; its tokens are bound to the certificate
/// then, and it has paid for the request already.
fn admit(state: &State, asked: &Asked<'_>, client: Client, shown: Option<Client>) -> Result<Client, Refusal> {
    let client = match shown {
        Some(shown) if shown.id() == client.id() => shown,
        Some(_) => return Err(invalid_client(DenialReason::WrongCertificate)),
        None => {
            charge(state, &client)?;
            client
        }
    };
    is_named(asked, &client)?;
    Ok(client)
}

fn charge(state: &State, client: &Client) -> Result<(), Refusal> {
    state.limits.client(&client.id()).map_err(|wait| Refusal::Limited(Limit::Client, wait))
}

/// Whether `client_id`, if it is there, is the client's (RFC 6749 section 2.3.1, RFC 7521 section 4.2, RFC 8705 section 2).
fn is_named(asked: &Asked<'_>, client: &Client) -> Result<(), Refusal> {
    if asked.parameters.get("client_id").is_some_and(|said| said != client.id()) {
        return Err(invalid_client(DenialReason::WrongClientId));
    }
    Ok(())
}

fn invalid_client(reason: DenialReason) -> Refusal {
    Refusal::new(OAuthError::InvalidClient, reason)
}

#[cfg(test)]
#[path = "authenticate_tests.rs"]
mod tests;
