//! What a TrustDomain's status says of its token issuers, and what of them is kept over a restart.

use k8s_openapi::api::core::v1::ConfigMap;

use super::objects::{Owner, metadata};
use super::{Step, content_step, name_taken};
use crate::api::{ConditionType, Reason, TrustDomain};
use crate::issuers::{DeclaredIssuer, RECORD_SUFFIX, declared_issuers, record_data};
use crate::world::{IssuerFacts, IssuerFailure, IssuerKey, NamespacedName, Problem, World, config_map_hash};

/// The ConfigMap with the last good keys of a domain's issuers: none where there are no such keys.
pub(super) fn record_step(world: &World, name: &str, domain: &TrustDomain, owner: &Owner) -> Step<ConfigMap> {
    let key = NamespacedName::new(world.settings.operator_namespace.clone(), format!("{name}{RECORD_SUFFIX}"));
    let known =
        |issuer: &'_ str| -> Option<&IssuerFacts> { Some(world.issuer(&IssuerKey::external(name, issuer))?.as_ref()) };
    let names = domain.spec.token_issuers.iter().map(|issuer| issuer.name.as_str());
    let data = record_data(names.filter_map(|issuer| Some((issuer, known(issuer)?))));
    let found = world.config_map(&key);
    if data.is_empty() {
        let ours = found.filter(|found| found.owner_uid.as_deref() == Some(&owner.uid));
        return ours.map_or(Step::Keep, |found| Step::Delete { uid: found.uid.clone() });
    }
    let mut desired = ConfigMap { data: Some(data), ..ConfigMap::default() };
    let hash = config_map_hash(&desired);
    desired.metadata = metadata(&key.namespace, &key.name, Some(owner), Some(&hash));
    content_step(found, desired, &hash, owner, || name_taken("ConfigMap", &key))
}

/// Why keys of a domain's issuers can't be had, or are old.
pub(super) fn key_problems(world: &World, name: &str, domain: &TrustDomain) -> Vec<Problem> {
    let (issuers, faults) = declared_issuers(domain);
    let refused = faults.into_iter().map(|message| Problem {
        condition: ConditionType::Accepted,
        reason: Reason::Invalid,
        message,
    });
    refused.chain(issuers.iter().filter_map(|issuer| key_problem(world, name, issuer))).collect()
}

fn key_problem(world: &World, domain: &str, issuer: &DeclaredIssuer) -> Option<Problem> {
    let key = IssuerKey::external(domain, &issuer.name);
    let problem = |reason, message| Some(Problem { condition: ConditionType::ResolvedRefs, reason, message });
    let (IssuerFailure { reason, since, why }, meanwhile) = match (world.issuer(&key), world.issuer_failure(&key)) {
        (Some(facts), _) => (facts.stale.as_ref()?, "the keys that were fetched before stay in use"),
        (None, Some(failure)) => (failure, "its tokens can't be verified by key"),
        (None, None) => {
            return problem(Reason::Pending, format!("the keys of token issuer {} are being fetched", issuer.name));
        }
    };
    let to_do = match reason {
        Reason::IssuerUnreachable => {
            "check that it runs, that its certificate is under caBundle, and that the operator may go there"
        }
        _ => "correct what it answers, or issuer and jwksUri in tokenIssuers",
    };
    problem(*reason, format!("token issuer {}: {why}, since {since}; {meanwhile} meanwhile; {to_do}", issuer.name))
}
