//! Grants beside which another one demands more: they are not mixed, and whoever can't prove the one uses the other.

use super::{Grant, GrantSource, JudgedPolicy};
use crate::api::{ConditionType, Reason};
use crate::world::{Problem, World};

/// What is worth knowing about a policy because another one in force, for the same callee, demands more of the same
/// callers on the same port. One problem for each such other policy.
pub fn weaker_grants(world: &World, judged: &JudgedPolicy) -> Vec<Problem> {
    let Some(callee) = judged.grants.iter().find_map(Grant::callee) else { return Vec::new() };
    let others = world.judged_of(callee).filter(|other| other.key != judged.key && !other.draft);
    others.filter_map(|other| weaker_than(judged, other)).collect()
}

fn weaker_than(judged: &JudgedPolicy, other: &JudgedPolicy) -> Option<Problem> {
    let mut pairs = judged.grants.iter().flat_map(|weak| other.grants.iter().map(move |strong| (weak, strong)));
    let (weak, strong) = pairs.find(|(weak, strong)| is_weaker(weak, strong))?;
    let message = format!(
        "{} may call {} with proof {} by this policy, although AccessPolicy {} demands {}: make them agree, or delete one",
        strong.source,
        weak.target,
        weak.authentication.as_str(),
        other.key,
        strong.authentication.as_str()
    );
    Some(Problem { condition: ConditionType::Accepted, reason: Reason::WeakerGrant, message })
}

fn is_weaker(weak: &Grant, strong: &Grant) -> bool {
    let less = (!weak.authentication.mtls || strong.authentication.mtls)
        && (weak.authentication.jwt.is_none() || strong.authentication.jwt.is_some())
        && weak.authentication.as_str() != strong.authentication.as_str();
    let meets = weak
        .ports
        .iter()
        .any(|a| strong.ports.iter().any(|b| a.protocol == b.protocol && a.port <= b.last() && b.port <= a.last()));
    less && meets && weak.callee() == strong.callee() && takes_in(&weak.source, &strong.source)
}

/// Whether whoever is meant by `inner` is meant by `outer` too.
fn takes_in(outer: &GrantSource, inner: &GrantSource) -> bool {
    match (outer, inner) {
        (GrantSource::Anywhere, _) => true,
        (GrantSource::Identity(outer), GrantSource::Identity(inner)) => outer.key == inner.key,
        (GrantSource::TrustDomain { name, .. }, GrantSource::Identity(inner)) => *name == inner.domain,
        (GrantSource::TrustDomain { name: outer, .. }, GrantSource::TrustDomain { name: inner, .. }) => outer == inner,
        _ => false,
    }
}

#[cfg(test)]
#[path = "weaker_tests.rs"]
mod tests;
