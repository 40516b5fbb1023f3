//! What the border of a domain lets through: whether one of its entries covers a crossing, or how near the nearest came.

use ipnet::IpNet;

use super::cidr::{is_anywhere, parse_cidr};
use super::{Authenticated, Objection, ResolvedPort, ResolvedSigner};
use crate::api::{AcceptedAuthentication, CeilingPort, ConditionType, Empty, IdentityRef, Reason, TrustDomain};
use crate::world::{NamespacedName, Problem};

/// Which way the border is crossed, seen from the domain whose border it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

/// Something that wants to cross the border of a domain.
#[derive(Clone, Debug)]
pub(super) struct Crossing<'a> {
    /// Who of ours; nothing for every member.
    pub(super) ours: Option<&'a NamespacedName>,
    /// The other end.
    pub(super) other: Other<'a>,
    /// The callee's ports.
    pub(super) ports: &'a [ResolvedPort],
    /// What the callee demands.
    pub(super) proof: &'a Authenticated,
}

/// The end of a crossing that lies outside the domain.
#[derive(Clone, Debug)]
pub(super) enum Other<'a> {
    /// A member, or every member, of the TrustDomain of this name.
    Domain(&'a str),
    /// Pods of these namespaces.
    Pods(&'a [String]),
    Cidr(IpNet),
    Anywhere,
    KubernetesApi,
}

/// What the ceiling says about a crossing that it lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// The cluster's own addresses may be among the addresses.
    pub(super) cluster_addresses: bool,
}

/// Whether every port of the crossing is covered by an entry that covers the other end, our end and the proof as well.
pub(super) fn admit(
    domain: &TrustDomain,
    direction: Direction,
    crossing: &Crossing<'_>,
) -> Result<Admission, Objection> {
    let entries = entries(domain, direction);
    let mut admission = Admission { cluster_addresses: true };
    let mut missed: Vec<(ResolvedPort, Miss)> = Vec::new();
    for port in crossing.ports {
        let misses: Vec<Option<Miss>> = entries.iter().map(|entry| entry.misses(crossing, *port)).collect();
        let covering: Vec<&Entry<'_>> =
            entries.iter().zip(&misses).filter(|(_, miss)| miss.is_none()).map(|(entry, _)| entry).collect();
        if covering.is_empty() {
            let nearest =
                misses.into_iter().flatten().reduce(|best, miss| if miss.part > best.part { miss } else { best });
            missed.push((*port, nearest.unwrap_or(Miss { part: Part::Other, entry: 0 })));
        }
        admission.cluster_addresses &= covering.iter().any(|entry| entry.cluster_addresses);
    }
    let Some((_, nearest)) = missed.first().copied() else { return Ok(admission) };
    let ports: Vec<String> =
        missed.iter().filter(|(_, miss)| *miss == nearest).map(|(port, _)| port.to_string()).collect();
    Err(objection(domain, direction, crossing, entries.get(nearest.entry), nearest.part, &ports.join(", ")))
}

/// What is wrong with the ceilings of a domain: ranges that can't be read cover nothing.
pub fn ceiling_problems(domain: &TrustDomain) -> Vec<Problem> {
    let inbound = domain.spec.inbound.iter().map(|entry| entry.cidrs.as_ref()).enumerate();
    let inbound = inbound.map(|(index, cidrs)| (format!("inbound[{index}]"), cidrs));
    let outbound = domain.spec.outbound.iter().map(|entry| entry.cidrs.as_ref()).enumerate();
    let outbound = outbound.map(|(index, cidrs)| (format!("outbound[{index}]"), cidrs));
    let problems = inbound.chain(outbound).flat_map(|(place, cidrs)| {
        let faults = cidrs.into_iter().flatten().filter_map(|cidr| parse_cidr(cidr).err());
        faults.map(move |Objection { reason, message, .. }| Problem {
            condition: ConditionType::Accepted,
            reason,
            message: format!("{place} covers less than it says: {message}"),
        })
    });
    problems.collect()
}

/// What of a crossing an entry does not cover, in the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Other,
    Ours,
    Port,
    Proof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Miss {
    part: Part,
    /// Position of the entry.
    entry: usize,
}

/// An inbound or an outbound entry.
#[derive(Debug)]
struct Entry<'a> {
    index: usize,
    anywhere: bool,
    trust_domains: &'a [String],
    namespaces: &'a [String],
    cidrs: &'a [String],
    kubernetes_api: bool,
    ports: &'a [CeilingPort],
    identities: &'a [IdentityRef],
    cluster_addresses: bool,
    /// Nothing where the direction has no say about proof.
    accepted: Option<Vec<AcceptedAuthentication>>,
    direction: Direction,
}

fn entries(domain: &TrustDomain, direction: Direction) -> Vec<Entry<'_>> {
    let inbound = domain.spec.inbound.iter().enumerate().map(|(index, entry)| Entry {
        index,
        anywhere: is_open(entry.anywhere, entry.cidrs.as_ref()),
        trust_domains: names(entry.trust_domains.as_ref()),
        namespaces: names(entry.namespaces.as_ref()),
        cidrs: names(entry.cidrs.as_ref()),
        kubernetes_api: entry.kubernetes_api.is_some(),
        ports: &entry.ports,
        identities: &entry.identities,
        cluster_addresses: entry.cluster_addresses,
        accepted: Some(entry.accepted_authentication.clone().unwrap_or_else(|| {
            let mut accepted = vec![
                AcceptedAuthentication::Mtls,
                AcceptedAuthentication::CallerJwt,
                AcceptedAuthentication::IssuerJwt,
            ];
            accepted.extend(entry.trust_domains.is_none().then_some(AcceptedAuthentication::None));
            accepted
        })),
        direction,
    });
    let outbound = domain.spec.outbound.iter().enumerate().map(|(index, entry)| Entry {
        index,
        anywhere: is_open(entry.anywhere, entry.cidrs.as_ref()),
        trust_domains: names(entry.trust_domains.as_ref()),
        namespaces: names(entry.namespaces.as_ref()),
        cidrs: names(entry.cidrs.as_ref()),
        kubernetes_api: entry.kubernetes_api.is_some(),
        ports: &entry.ports,
        identities: &entry.identities,
        cluster_addresses: entry.cluster_addresses,
        accepted: None,
        direction,
    });
    match direction {
        Direction::Inbound => inbound.collect(),
        Direction::Outbound => outbound.collect(),
    }
}

fn names(names: Option<&Vec<String>>) -> &[String] {
    names.map(Vec::as_slice).unwrap_or_default()
}

fn is_open(anywhere: Option<Empty>, cidrs: Option<&Vec<String>>) -> bool {
    let mut wide = cidrs.into_iter().flatten().filter(|cidr| cidr.ends_with("/0"));
    anywhere.is_some() || wide.any(|cidr| parse_cidr(cidr).is_ok_and(is_anywhere))
}

impl Entry<'_> {
    fn misses(&self, crossing: &Crossing<'_>, port: ResolvedPort) -> Option<Miss> {
        let part = if !self.covers_other(&crossing.other) {
            Part::Other
        } else if !self.covers_ours(crossing.ours) {
            Part::Ours
        } else if !self.covers_port(port) {
            Part::Port
        } else if !self.covers_proof(crossing.proof) {
            Part::Proof
        } else {
            return None;
        };
        Some(Miss { part, entry: self.index })
    }

    /// Members of other domains come and go only by `trustDomains`. `anywhere` takes in all else that may come in; what
    /// may go out by it are addresses.
    fn covers_other(&self, other: &Other<'_>) -> bool {
        let inbound = self.direction == Direction::Inbound;
        match other {
            Other::Domain(name) => self.trust_domains.iter().any(|named| named == name),
            Other::Pods(namespaces) => {
                (inbound && self.anywhere) || namespaces.iter().all(|namespace| self.namespaces.contains(namespace))
            }
            // A range that can't be read covers nothing.
            Other::Cidr(cidr) => {
                let mut ranges = self.cidrs.iter().filter_map(|range| parse_cidr(range).ok());
                self.anywhere || ranges.any(|range| range.contains(cidr))
            }
            Other::Anywhere => self.anywhere,
            Other::KubernetesApi => (inbound && self.anywhere) || self.kubernetes_api,
        }
    }

    fn covers_ours(&self, ours: Option<&NamespacedName>) -> bool {
        let is = |named: &IdentityRef, ours: &NamespacedName| {
            named.name == ours.name && named.namespace.as_ref().is_none_or(|namespace| *namespace == ours.namespace)
        };
        self.identities.is_empty() || ours.is_some_and(|ours| self.identities.iter().any(|named| is(named, ours)))
    }

    /// Ranges that overlap or touch cover a longer one together.
    fn covers_port(&self, port: ResolvedPort) -> bool {
        let allowed = self.ports.iter().filter(|allowed| allowed.protocol == port.protocol);
        let mut allowed: Vec<(u16, u16)> =
            allowed.map(|range| (range.port, range.end_port.unwrap_or(range.port))).collect();
        allowed.sort_unstable();
        let covered = allowed.iter().fold(u32::from(port.port), |next, (first, last)| {
            if u32::from(*first) <= next { next.max(u32::from(*last) + 1) } else { next }
        });
        self.ports.is_empty() || covered > u32::from(port.last())
    }

    /// A policy must demand one of the accepted proofs, unless none is accepted as well.
    fn covers_proof(&self, proof: &Authenticated) -> bool {
        self.accepted.as_ref().is_none_or(|accepted| {
            accepted.iter().any(|accepted| match accepted {
                AcceptedAuthentication::Mtls => proof.mtls,
                AcceptedAuthentication::CallerJwt => matches!(proof.signer(), Some(ResolvedSigner::Caller)),
                AcceptedAuthentication::IssuerJwt => matches!(proof.signer(), Some(ResolvedSigner::Issuer(_))),
                AcceptedAuthentication::None => true,
            })
        })
    }
}

fn objection(
    domain: &TrustDomain,
    direction: Direction,
    crossing: &Crossing<'_>,
    entry: Option<&Entry<'_>>,
    part: Part,
    ports: &str,
) -> Objection {
    let domain = domain.metadata.name.as_deref().unwrap_or_default();
    let (reason, side, admits) = match direction {
        Direction::Inbound => (Reason::InboundNotAllowed, "inbound", "admits"),
        Direction::Outbound => (Reason::OutboundNotAllowed, "outbound", "lets its members reach"),
    };
    let other = crossing.other.in_words();
    let Some(entry) = entry.filter(|_| part > Part::Other) else {
        let message = format!(
            "TrustDomain {domain} has no {side} entry that {admits} {other} on port {ports}: ask the platform team to add one"
        );
        return Objection::refused(reason, message);
    };
    let place = format!("{side}[{}] of TrustDomain {domain} {admits} {other}", entry.index);
    let message = match part {
        Part::Other | Part::Ours => {
            let ours = crossing.ours.map_or_else(|| "for every member".to_owned(), |ours| format!("for {ours}"));
            let named: Vec<String> = entry.identities.iter().map(in_words).collect();
            format!("{place} only for {}, not {ours}: ask the platform team to add it to identities", named.join(", "))
        }
        Part::Port => {
            let allowed: Vec<String> = entry
                .ports
                .iter()
                .map(|port| {
                    ResolvedPort::range(port.port, port.end_port.unwrap_or(port.port), port.protocol).to_string()
                })
                .collect();
            format!(
                "{place} only on pod port {}, not on {ports}: ask the platform team to add it to ports",
                allowed.join(", ")
            )
        }
        Part::Proof => {
            let accepted: Vec<&str> = entry.accepted.iter().flatten().copied().map(kind).collect();
            format!(
                "{place} only with {}, and the policy demands {}: demand it in authentication, or ask the platform team to accept it",
                accepted.join(" or "),
                crossing.proof.in_words()
            )
        }
    };
    Objection::refused(reason, message)
}

fn in_words(identity: &IdentityRef) -> String {
    match &identity.namespace {
        Some(namespace) => format!("{namespace}/{}", identity.name),
        None => identity.name.clone(),
    }
}

fn kind(accepted: AcceptedAuthentication) -> &'static str {
    match accepted {
        AcceptedAuthentication::Mtls => "Mtls",
        AcceptedAuthentication::CallerJwt => "CallerJwt",
        AcceptedAuthentication::IssuerJwt => "IssuerJwt",
        AcceptedAuthentication::None => "None",
    }
}

impl Other<'_> {
    fn in_words(&self) -> String {
        match self {
            Self::Domain(name) => format!("trustDomains [{name}]"),
            Self::Pods(namespaces) => format!("namespaces [{}]", namespaces.join(", ")),
            Self::Cidr(cidr) => format!("cidrs [{cidr}]"),
            Self::Anywhere => "anywhere".to_owned(),
            Self::KubernetesApi => "kubernetesAPI".to_owned(),
        }
    }
}

impl Authenticated {
    /// The demanded proofs in the words of a ceiling.
    fn in_words(&self) -> &'static str {
        match (self.mtls, self.signer()) {
            (true, Some(ResolvedSigner::Caller)) => "Mtls and CallerJwt",
            (true, Some(ResolvedSigner::Issuer(_))) => "Mtls and IssuerJwt",
            (true, None) => "Mtls",
            (false, Some(ResolvedSigner::Caller)) => "CallerJwt",
            (false, Some(ResolvedSigner::Issuer(_))) => "IssuerJwt",
            (false, None) => "None",
        }
    }
}

#[cfg(test)]
#[path = "ceiling_tests.rs"]
mod tests;
