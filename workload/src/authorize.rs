//! Whether a request is let through, and by what.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use ringfence_core::access::{AccessCaller, AccessToken, CallerName};
use ringfence_core::api::{Signer, TokenValidation};
use ringfence_core::jwt::{ServiceTokenClaims, ServiceTokenFault};
use ringfence_core::pki::SpiffeId;
use serde_json::Value;

use crate::decide::{Attempt, candidates};
use crate::issuer_token::{self, Bearer, IssuerTokenFault};
use crate::material::Material;
use crate::refusal::{Refusal, TokenFault};
use crate::verifier::PeerCertificate;
use crate::workload::Workload;

/// Who calls, and by what it was let through. A request that reaches a service has it among its extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The entry of `access.json`.
    pub name: CallerName,
    /// Who it is: by its certificate, or by the token that it signed. Absent for callers without an identity.
    pub spiffe_id: Option<SpiffeId>,
    /// Whether it showed a certificate that was demanded.
    pub by_certificate: bool,
    /// The claims of the token that was demanded, verified; for a token that was introspected, the issuer's answer.
    pub claims: Option<Arc<Value>>,
    /// The AccessPolicy that grants it, `<namespace>/<name>`.
    pub policy: Option<String>,
    /// The address that the connection comes from.
    pub address: IpAddr,
}

/// What became of a request.
#[derive(Debug)]
pub struct Decision<'a> {
    /// The port of the pod.
    pub port: u16,
    /// The path that was asked for.
    pub path: &'a str,
    /// By what it was let through, or why not.
    pub outcome: Result<&'a Caller, Refusal>,
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) certificate: Option<PeerCertificate>,
}

/// Decides about one request.
pub(crate) async fn authorize(workload: &Workload, port: u16, peer: &Peer, head: &Parts) -> Result<Caller, Refusal> {
    let (material, now) = (workload.material(), Timestamp::now());
    if peer.certificate.as_ref().is_some_and(|shown| !shown.verifies(&*material, now)) {
        return Err(Refusal::CertificateNotGood);
    }
    let certificate = peer.certificate.as_ref();
    let attempt = Attempt {
        port,
        address: peer.address,
        certificate: certificate.map(PeerCertificate::spiffe_id),
        method: head.method.as_str(),
        path: head.uri.path(),
    };
    let request = Request { workload, material: &material, certificate, token: bearer_token(head), now };
    let mut closest = Refusal::CallerNotListed;
    for entry in candidates(&material, &attempt)? {
        match request.prove(entry).await {
            Ok(proved) => return Ok(proved.caller(entry, &attempt)),
            Err(refusal) => closest = closest.max(refusal),
        }
    }
    Err(closest)
}

/// What is to be looked at for each entry.
struct Request<'a> {
    workload: &'a Workload,
    material: &'a Material,
    certificate: Option<&'a PeerCertificate>,
    token: Option<&'a str>,
    now: Timestamp,
}

/// What a token proved.
#[derive(Default)]
struct Proved {
    signer: Option<SpiffeId>,
    claims: Option<Arc<Value>>,
}

impl Proved {
    fn caller(self, entry: &AccessCaller, attempt: &Attempt<'_>) -> Caller {
        let by_certificate = attempt.certificate.filter(|_| entry.proof.mtls);
        Caller {
            name: entry.caller.clone(),
            spiffe_id: by_certificate.cloned().or(self.signer),
            by_certificate: entry.proof.mtls,
            claims: self.claims,
            policy: entry.policy.clone(),
            address: attempt.address,
        }
    }
}

impl Request<'_> {
    async fn prove(&self, entry: &AccessCaller) -> Result<Proved, Refusal> {
        let Some(demanded) = &entry.proof.token else { return Ok(Proved::default()) };
        let token = self.token.ok_or(Refusal::TokenRequired)?;
        let refused = |fault: TokenFault| Refusal::TokenNotAccepted(fault);
        match demanded.signer {
            Signer::Caller => self.signed_by_caller(entry, demanded, token).map_err(refused),
            Signer::Issuer => {
                let claims = self.claims_of_issuer(demanded, token).await?;
                let identity = identity(entry);
                let bearer = Bearer {
                    identity: identity.as_ref(),
                    thumbprint: self.certificate.map(PeerCertificate::thumbprint),
                    certificate_demanded: entry.proof.mtls,
                };
                issuer_token::check(&claims, demanded, &bearer, self.now).map_err(|fault| refused(fault.into()))?;
                Ok(Proved { signer: None, claims: Some(Arc::new(claims)) })
            }
        }
    }

    fn signed_by_caller(
        &self,
        entry: &AccessCaller,
        demanded: &AccessToken,
        token: &str,
    ) -> Result<Proved, TokenFault> {
        let signer = ServiceTokenClaims::unverified_signer(token)?;
        if identity(entry).as_ref() != Some(&signer) {
            return Err(ServiceTokenFault::WrongIssuer.into());
        }
        let keys = demanded.key_set.as_deref().and_then(|file| self.material.keys(file)).ok_or(TokenFault::NoKeys)?;
        let longest = demanded.max_lifetime_seconds.and_then(|seconds| i64::try_from(seconds).ok());
        let longest = longest.map(SignedDuration::from_secs);
        let claims = ServiceTokenClaims::verify(token, &signer, keys, &demanded.audiences, longest, self.now)?;
        let claims = serde_json::to_value(claims).map_err(|_| TokenFault::NoKeys)?;
        Ok(Proved { signer: Some(signer), claims: Some(Arc::new(claims)) })
    }

    async fn claims_of_issuer(&self, demanded: &AccessToken, token: &str) -> Result<Value, Refusal> {
        let refused = |fault: IssuerTokenFault| Refusal::TokenNotAccepted(fault.into());
        if demanded.validation == Some(TokenValidation::Introspection) {
            let issuer = demanded.issuer.as_deref().unwrap_or_default();
            let answer = self.workload.introspect(issuer, token).await.map_err(|error| {
                tracing::warn!(issuer, error = &error as &dyn std::error::Error, "a token could not be introspected");
                Refusal::IssuerUnavailable
            })?;
            return if answer["active"] == true { Ok(answer) } else { Err(refused(IssuerTokenFault::NotActive)) };
        }
        let keys = demanded.key_set.as_deref().and_then(|file| self.material.keys(file));
        let keys = keys.ok_or(Refusal::TokenNotAccepted(TokenFault::NoKeys))?;
        issuer_token::verify(token, keys).map_err(refused)
    }
}

fn identity(entry: &AccessCaller) -> Option<SpiffeId> {
    match &entry.caller {
        CallerName::Identity { spiffe_id, .. } => spiffe_id.parse().ok(),
        _ => None,
    }
}

/// The token of a request (RFC 6750, section 2.1), if it has exactly one.
fn bearer_token(head: &Parts) -> Option<&str> {
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
