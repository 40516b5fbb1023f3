//! Grants beside which another one demands more: they are not mixed, and whoever can't prove the one uses the other.

use std::collections::BTreeSet;

use super::{Authenticated, Grant, GrantSource, JudgedPolicy, ResolvedSigner};
use crate::api::{ConditionType, Reason};
use crate::world::{Problem, World};

/// What is worth knowing about a policy because another one in force, for the same callee, demands more of the same
/// callers on the same port. One problem for each such other policy.
pub fn weaker_grants(world: &World, judged: &JudgedPolicy) -> Vec<Problem> {
    let Some(callee) = judged.grants.iter().find_map(Grant::callee) else { return Vec::new() };
    let others = world.judged_of(callee).filter(|other| other.origin != judged.origin && !other.draft);
    others.filter_map(|other| weaker_than(judged, other)).collect()
}

fn weaker_than(judged: &JudgedPolicy, other: &JudgedPolicy) -> Option<Problem> {
    let mut pairs = judged.grants.iter().flat_map(|weak| other.grants.iter().map(move |strong| (weak, strong)));
    let (weak, strong) = pairs.find(|(weak, strong)| is_weaker(weak, strong))?;
    let message = format!(
        "{} may call {} with proof {} by this policy, although {} demands {}: make them agree, or delete one",
        strong.source,
        weak.target,
        in_words(&weak.authentication),
        other.origin,
        in_words(&strong.authentication)
    );
    Some(Problem { condition: ConditionType::Accepted, reason: Reason::WeakerGrant, message })
}

fn is_weaker(weak: &Grant, strong: &Grant) -> bool {
    let (less, more) = (weak.authentication.demands(), strong.authentication.demands());
    let less = less != more && less.is_subset(&more);
    let meets = weak
        .ports
        .iter()
        .any(|a| strong.ports.iter().any(|b| a.protocol == b.protocol && a.port <= b.last() && b.port <= a.last()));
    less && meets && weak.callee() == strong.callee() && takes_in(&weak.source, &strong.source)
}

impl Authenticated {
    /// All that is demanded, one by one: less is demanded by whoever demands a part of it.
    fn demands(&self) -> BTreeSet<String> {
        let mut demands = BTreeSet::new();
        demands.extend(self.mtls.then(|| "mtls".to_owned()));
        match self.signer() {
            None => {}
            Some(ResolvedSigner::Caller) => drop(demands.insert("jwt".to_owned())),
            Some(ResolvedSigner::Issuer(token)) => {
                demands.insert(format!("issuer {}", token.issuer.issuer));
                demands.extend(token.scopes.iter().map(|scope| format!("scope {scope}")));
                demands.extend(token.one_time.then(|| "one-time".to_owned()));
            }
        }
        demands
    }
}

/// The proof, with what two tokens of one issuer may differ in.
fn in_words(authentication: &Authenticated) -> String {
    let mut words = authentication.as_str().to_owned();
    if let Some(ResolvedSigner::Issuer(token)) = authentication.signer() {
        if !token.scopes.is_empty() {
            let scopes: Vec<&str> = token.scopes.iter().map(String::as_str).collect();
            words += &format!(" with scope {}", scopes.join(" "));
        }
        words += if token.one_time { " used once" } else { "" };
    }
    words
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
