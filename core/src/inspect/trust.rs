//! What a service trusts: bundles, key sets, and who may call whom.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::because;
use super::facts::CertificateFacts;
use super::refusal::{Refusal, RefusalReason};
use crate::access::{AccessCallee, AccessCaller, AccessDocument, AccessPort, AccessProof, PortRange};
use crate::access::{CalleeName, CallerName};
use crate::api::Signer;
use crate::pki::{Certificate, certificates};

/// The ConfigMap `<identity>-trust` or `<TrustDomain>-trust`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustReport {
    /// The files with trusted certificates, by name.
    pub bundles: Vec<BundleReport>,
    /// The files with public keys, by name.
    pub key_sets: Vec<KeySetReport>,
    /// What `access.json` says; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSummary>,
    /// Why a service can't use a file. Empty: nothing stands against them.
    pub refusals: Vec<Refusal>,
}

/// Trusted certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleReport {
    /// Name of the file; empty where there is only one.
    pub file: String,
    /// The certificates.
    pub authorities: Vec<CertificateFacts>,
    /// Which of them no peer can be verified with. Empty: none.
    pub refusals: Vec<Refusal>,
}

/// A file with public keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySetReport {
    /// Name of the file.
    pub file: String,
    /// The keys.
    pub keys: Vec<PublicKey>,
}

/// One public key of a key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// The key id; absent if the set does not say, which only those of token issuers may.
    #[serde(default, rename(serialize = "keyID"), skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// What it verifies (`alg`); absent if the set does not say, which only those of token issuers may.
    #[serde(default, rename(serialize = "algorithm"), skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Whose key it is; absent if the set does not say.
    #[serde(default, rename(serialize = "spiffeID"), skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
}

/// What `access.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessSummary {
    /// The service's own SPIFFE ID.
    #[serde(rename = "spiffeID")]
    pub spiffe_id: String,
    /// Names under which it accepts tokens.
    pub audiences: Vec<String>,
    /// Who may call it, and whom it may call.
    pub edges: Vec<AccessEdge>,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessEdge {
    /// `In`: the peer may call. `Out`: the peer may be called.
    pub direction: Direction,
    /// The peer: a SPIFFE ID, or what stands for one, e.g. `anywhere`.
    pub peer: String,
    /// Ports of the one being called, e.g. `8443/TCP`.
    pub ports: Vec<String>,
    /// How the caller must prove itself: `mtls`, a `token` that it signs, an `issuer-token`, `mtls` and one of them, or none.
    pub proof: Vec<&'static str>,
    /// The AccessPolicy that grants it, `<namespace>/<name>`; absent for the way to a token issuer, which needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Which way an edge goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Direction {
    /// The peer may call.
    In,
    /// The peer may be called.
    Out,
}

impl BundleReport {
    pub(super) fn of(file: &str, bundle: &[Certificate], now: Timestamp) -> Self {
        let expired = bundle.iter().filter(|authority| now > authority.not_after()).map(|authority| {
            RefusalReason::AuthorityExpired.because(format!(
                "{} was valid until {}: what it issued does not verify any more",
                authority.subject(),
                authority.not_after()
            ))
        });
        Self {
            file: file.to_owned(),
            authorities: bundle.iter().map(CertificateFacts::of).collect(),
            refusals: expired.collect(),
        }
    }
}

impl AccessSummary {
    fn of(document: &AccessDocument) -> Self {
        let callers =
            document.ports.iter().flat_map(|port| port.callers.iter().map(move |caller| incoming(port, caller)));
        let mut edges: Vec<AccessEdge> = callers.chain(document.callees.iter().map(outgoing)).collect();
        edges.sort_by(|a, b| (a.direction, &a.peer, &a.ports).cmp(&(b.direction, &b.peer, &b.ports)));
        Self { spiffe_id: document.spiffe_id.clone(), audiences: document.audiences.iter().cloned().collect(), edges }
    }
}

pub(super) fn inspect_trust<'a>(
    data: impl IntoIterator<Item = (&'a str, &'a str)>,
    now: Timestamp,
) -> Option<TrustReport> {
    let mut report = TrustReport { bundles: Vec::new(), key_sets: Vec::new(), access: None, refusals: Vec::new() };
    for (file, text) in data {
        let read = if file == "access.json" {
            read_access(text).map(|access| report.access = Some(access))
        } else if is_key_set(file) {
            read_keys(text, is_of_issuer(file))
                .map(|keys| report.key_sets.push(KeySetReport { file: file.to_owned(), keys }))
        } else if is_bundle(file) {
            read_bundle(file, text, now).map(|bundle| report.bundles.push(bundle))
        } else {
            Ok(())
        };
        if let Err(why) = read {
            report.refusals.push(
                RefusalReason::Unreadable
                    .because(format!("{file} can't be read: {why}; Ringfence puts back what it wrote, if it runs")),
            );
        }
    }
    report.refusals.extend(report.bundles.iter().flat_map(|bundle| bundle.refusals.iter().cloned()));
    let empty = report.bundles.is_empty() && report.key_sets.is_empty() && report.access.is_none();
    (!empty || !report.refusals.is_empty()).then_some(report)
}

fn is_key_set(file: &str) -> bool {
    let (stem, is_json) = file.strip_suffix(".json").map_or((file, false), |stem| (stem, true));
    is_json && (stem == "jwks" || stem.starts_with("jwks.") || is_of_issuer(file))
}

fn is_of_issuer(file: &str) -> bool {
    file.starts_with("issuer.") && file.ends_with(".jwks.json")
}

/// Revocation lists are PEM too, and no certificates.
fn is_bundle(file: &str) -> bool {
    file.ends_with(".pem") && file != "crl.pem"
}

fn read_bundle(file: &str, text: &str, now: Timestamp) -> Result<BundleReport, String> {
    // Who trusts nobody has an empty file.
    let bundle = if text.is_empty() { Ok(Vec::new()) } else { certificates(text.as_bytes()) };
    bundle.map(|bundle| BundleReport::of(file, &bundle, now)).map_err(|error| because(&error))
}

/// What Ringfence writes of the services' keys is complete; what issuers publish need not be.
fn read_keys(text: &str, of_issuer: bool) -> Result<Vec<PublicKey>, String> {
    #[derive(Deserialize)]
    struct KeySet {
        keys: Vec<PublicKey>,
    }
    let KeySet { keys } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let is_complete = |key: &PublicKey| key.kid.is_some() && key.alg.is_some();
    if of_issuer || keys.iter().all(is_complete) { Ok(keys) } else { Err("a key lacks kid or alg".to_owned()) }
}

fn read_access(text: &str) -> Result<AccessSummary, String> {
    serde_json::from_str(text).map(|document| AccessSummary::of(&document)).map_err(|error| error.to_string())
}

fn incoming(port: &AccessPort, caller: &AccessCaller) -> AccessEdge {
    let peer = match &caller.caller {
        CallerName::Identity { spiffe_id, .. } => spiffe_id.clone(),
        CallerName::TrustDomain { trust_domain } => format!("spiffe://{trust_domain}/*"),
        CallerName::Pods { namespaces, selector } => {
            format!("pods {selector} of {}", namespaces.iter().cloned().collect::<Vec<_>>().join(", "))
        }
        CallerName::Cidr { cidr, .. } => cidr.clone(),
        CallerName::Anywhere => "anywhere".to_owned(),
        CallerName::KubernetesApi => "the Kubernetes API server".to_owned(),
    };
    AccessEdge {
        direction: Direction::In,
        peer,
        ports: vec![port_name(&port.range)],
        proof: proof(&caller.proof),
        policy: caller.policy.clone(),
    }
}

fn outgoing(callee: &AccessCallee) -> AccessEdge {
    let peer = match &callee.callee {
        CalleeName::Identity { spiffe_id, .. } => spiffe_id.clone(),
        CalleeName::Pods { namespaces, selector } => {
            format!("pods {selector} of {}", namespaces.iter().cloned().collect::<Vec<_>>().join(", "))
        }
        CalleeName::External { blocks } => blocks.iter().map(|block| block.cidr.clone()).collect::<Vec<_>>().join(", "),
        CalleeName::KubernetesApi => "the Kubernetes API server".to_owned(),
    };
    AccessEdge {
        direction: Direction::Out,
        peer,
        ports: callee.ports.iter().map(port_name).collect(),
        proof: proof(&callee.proof),
        policy: callee.policy.clone(),
    }
}

fn port_name(range: &PortRange) -> String {
    let protocol = range.protocol.as_str();
    match range.end_port {
        Some(end) => format!("{}-{end}/{protocol}", range.port),
        None => format!("{}/{protocol}", range.port),
    }
}

fn proof(proof: &AccessProof) -> Vec<&'static str> {
    let signer = proof.token.as_ref().map(|token| token.signer);
    [(proof.mtls, "mtls"), (signer == Some(Signer::Caller), "token"), (signer == Some(Signer::Issuer), "issuer-token")]
        .into_iter()
        .filter(|(demanded, _)| *demanded)
        .map(|(_, word)| word)
        .collect()
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
