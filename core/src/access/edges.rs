//! Edges: what judged policies open, flat, to be listed and compared.

use std::collections::BTreeSet;
use std::fmt;

use super::caller::pods_in_words;
use super::{Authenticated, Grant, GrantSource, GrantTarget, JudgedPolicy, ResolvedPort, ResolvedSigner};

/// Someone may call someone on a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Who may call, e.g. `identity storefront/order`.
    pub caller: String,
    /// Who is called, e.g. `identity settlement/payment`.
    pub callee: String,
    /// On which port, or range of ports.
    pub port: ResolvedPort,
    /// What the caller must prove, e.g. `mtls`, `jwt` (signed by the caller), `issuer-jwt`, `mtls+jwt` or `nothing`.
    pub proof: &'static str,
}

/// What policies open, drafts included: leave them out to see what is in force.
pub fn edges<'a>(judged: impl IntoIterator<Item = &'a JudgedPolicy>) -> BTreeSet<Edge> {
    judged.into_iter().flat_map(|policy| &policy.grants).flat_map(Grant::edges).collect()
}

/// What is open now and was not before.
pub fn opened(old: &BTreeSet<Edge>, new: &BTreeSet<Edge>) -> BTreeSet<Edge> {
    new - old
}

/// What was open before and is not now.
pub fn closed(old: &BTreeSet<Edge>, new: &BTreeSet<Edge>) -> BTreeSet<Edge> {
    old - new
}

impl Grant {
    /// The grant as edges, one for each port or range of ports.
    pub fn edges(&self) -> impl Iterator<Item = Edge> {
        let (caller, callee) = (self.source.to_string(), self.target.to_string());
        let proof = self.authentication.as_str();
        self.ports.iter().map(move |port| Edge { caller: caller.clone(), callee: callee.clone(), port: *port, proof })
    }
}

impl Authenticated {
    /// What is demanded, in a word.
    pub fn as_str(&self) -> &'static str {
        match (self.mtls, self.signer()) {
            (true, Some(ResolvedSigner::Caller)) => "mtls+jwt",
            (true, Some(ResolvedSigner::Issuer(_))) => "mtls+issuer-jwt",
            (true, None) => "mtls",
            (false, Some(ResolvedSigner::Caller)) => "jwt",
            (false, Some(ResolvedSigner::Issuer(_))) => "issuer-jwt",
            (false, None) => "nothing",
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {} {}", self.caller, self.callee, self.port, self.proof)
    }
}

impl fmt::Display for GrantSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(peer) => write!(f, "identity {}", peer.key),
            Self::TrustDomain { name, .. } => write!(f, "trustDomain {name}"),
            Self::Pods(pods) => f.write_str(&pods_in_words(pods)),
            Self::Cidr { declared, .. } => write!(f, "cidr {declared}"),
            Self::Anywhere => f.write_str("anywhere"),
            Self::KubernetesApi(_) => f.write_str("kubernetesAPI"),
        }
    }
}

impl fmt::Display for GrantTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(peer) => write!(f, "identity {}", peer.key),
            Self::Pods(pods) => f.write_str(&pods_in_words(pods)),
            Self::External(blocks) => {
                let cidrs: Vec<String> = blocks.iter().map(|block| block.cidr.to_string()).collect();
                write!(f, "external {}", cidrs.join(", "))
            }
            Self::KubernetesApi(_) => f.write_str("kubernetesAPI"),
        }
    }
}

#[cfg(test)]
#[path = "edges_tests.rs"]
mod tests;
