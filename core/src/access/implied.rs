//! Edges that no policy declares: to the token issuers that identities list, and from the clients outside that a domain
//! registers. That the TrustDomain names the issuer is the consent, so that no ceiling applies.

use super::callee::token_service;
use super::caller::pods_without_identity;
use super::cidr::{blocks, is_anywhere, parse_cidr};
use super::ports::merged;
use super::{Authenticated, Grant, GrantSource, GrantTarget, JudgedPolicy, Objection, Origin, ResolvedPort};
use crate::api::{CeilingPort, ConditionType, IssuerEndpoint, Reason, TrustDomain};
use crate::world::{Identity, IssuerKey, ListedIssuer, Problem, World};

/// What follows from the issuers that an identity lists; nothing if it lists none.
pub fn to_issuers(world: &World, identity: &Identity) -> Option<JudgedPolicy> {
    let edge = |issuer: &ListedIssuer| match &issuer.key {
        IssuerKey::BuiltIn => {
            let (callee, port) = token_service(world)?;
            if callee.key == identity.key {
                let message = format!(
                    "ServiceIdentity {} is the token service itself: take {} out of tokenIssuers",
                    identity.key, issuer.name
                );
                return Err(Objection::refused(Reason::Invalid, message));
            }
            Ok((GrantTarget::Identity(callee.into()), vec![port]))
        }
        IssuerKey::External { domain, name } => {
            let issuer = world.domain(domain).and_then(|domain| domain.token_issuer(name));
            let missing =
                || Objection::unresolved(Reason::IssuerNotFound, format!("TrustDomain {domain} has no {name}"));
            endpoint(world, issuer.and_then(|issuer| issuer.endpoint.as_ref()).ok_or_else(missing)?)
        }
    };
    let origin = Origin::Identity(identity.key.clone());
    let found = identity.issuers.iter().map(|issuer| {
        let ends = edge(issuer).map_err(|objection| about(&issuer.name, objection))?;
        Ok((GrantSource::Identity(identity.into()), ends))
    });
    (!identity.issuers.is_empty()).then(|| judged(origin, found))
}

/// What follows from the clients that a domain registers with the built-in issuer; nothing if it registers none, or the
/// token service is closed to everyone.
pub fn from_registered_clients(world: &World, domain: &TrustDomain) -> Option<JudgedPolicy> {
    let (issuer, built_in) = domain.built_in_issuer()?;
    let clients = built_in.clients.as_ref()?;
    let (callee, port) = token_service(world).ok()?;
    let cluster_ranges = world.cluster.ranges();
    let found = clients.cidrs.iter().map(|text| {
        let cidr = parse_cidr(text)?;
        let source = if is_anywhere(cidr) {
            GrantSource::Anywhere
        } else {
            let blocks = blocks(cidr, &cluster_ranges, false);
            if blocks.is_empty() {
                let message = format!(
                    "clients.cidrs: {cidr} lies within the cluster's own addresses, where clients have identities: name addresses outside it"
                );
                return Err(Objection::refused(Reason::ClusterAddresses, message));
            }
            GrantSource::Cidr { declared: cidr, blocks }
        };
        Ok((source, (GrantTarget::Identity(callee.into()), vec![port])))
    });
    let found = found.map(|found| found.map_err(|objection| about(&issuer.name, objection)));
    Some(judged(Origin::Clients(domain.metadata.name.clone().unwrap_or_default()), found))
}

/// What is wrong with where a domain says that its token issuers and their clients are.
pub fn issuer_problems(world: &World, domain: &TrustDomain) -> Vec<Problem> {
    let endpoints = domain.spec.token_issuers.iter().filter_map(|issuer| {
        let objection = endpoint(world, issuer.endpoint.as_ref()?).err()?;
        Some(about(&issuer.name, objection))
    });
    let clients = from_registered_clients(world, domain).map(|judged| judged.problems);
    endpoints.chain(clients.into_iter().flatten()).collect()
}

fn judged(
    origin: Origin,
    found: impl Iterator<Item = Result<(GrantSource, (GrantTarget, Vec<ResolvedPort>)), Problem>>,
) -> JudgedPolicy {
    let (mut grants, mut problems) = (Vec::new(), Vec::new());
    for (index, found) in found.enumerate() {
        match found {
            Ok((source, (target, ports))) => grants.push(Grant {
                origin: origin.clone(),
                index,
                source,
                target,
                ports,
                // How clients prove themselves to an issuer is the issuer's own affair.
                authentication: Authenticated::default(),
                rules: Vec::new(),
            }),
            Err(problem) => problems.push(problem),
        }
    }
    problems.dedup();
    JudgedPolicy { origin, draft: false, grants, refusals: Vec::new(), problems }
}

/// Where an issuer outside of all domains is. The cluster's own addresses may be among them.
fn endpoint(world: &World, endpoint: &IssuerEndpoint) -> Result<(GrantTarget, Vec<ResolvedPort>), Objection> {
    let target = match (&endpoint.pods, &endpoint.cidrs) {
        (Some(pods), None) => GrantTarget::Pods(pods_without_identity(world, pods)?),
        (None, Some(cidrs)) => {
            let cidrs = cidrs.iter().map(|cidr| parse_cidr(cidr)).collect::<Result<Vec<_>, _>>()?;
            let mut blocks: Vec<_> =
                cidrs.into_iter().flat_map(|cidr| blocks(cidr, &world.cluster.ranges(), true)).collect();
            blocks.sort();
            blocks.dedup();
            GrantTarget::External(blocks)
        }
        _ => {
            let message = "endpoint must name exactly one of pods and cidrs".to_owned();
            return Err(Objection::refused(Reason::Invalid, message));
        }
    };
    let ports = merged(endpoint.ports.iter().map(resolved));
    if ports.is_empty() || matches!(&target, GrantTarget::External(blocks) if blocks.is_empty()) {
        let message = "endpoint names no address or no port: name at least one of each".to_owned();
        return Err(Objection::refused(Reason::Invalid, message));
    }
    Ok((target, ports))
}

fn resolved(port: &CeilingPort) -> ResolvedPort {
    let CeilingPort { port, end_port, protocol } = *port;
    ResolvedPort::range(port, end_port.unwrap_or(port), protocol)
}

/// An objection to what is declared of an issuer.
fn about(issuer: &str, objection: Objection) -> Problem {
    let Objection { reason, message, unresolved } = objection;
    let condition = if unresolved { ConditionType::ResolvedRefs } else { ConditionType::Accepted };
    Problem { condition, reason, message: format!("tokenIssuers[{issuer}]: {message}") }
}

#[cfg(test)]
#[path = "implied_tests.rs"]
mod tests;
