//! What one TrustDomain needs in the operator's namespace, and its status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::authority::{AuthorityStep, authority_step, left_as_it_is, parent_problem};
use super::directory::{token_service_problems, untold_namespace};
use super::fence::{BASELINE, baseline_taken, fence_step};
use super::issuers::{key_problems, record_step};
use super::member::{binding_taken, member_step};
use super::objects::{Owner, metadata};
use super::status::{Conditions, Outcome};
use super::{Step, content_step, name_taken, pending};
use crate::access::{ceiling_problems, issuer_problems};
use crate::api::{AuthorityStatus, ConditionType, Enforcement, Reason, TrustDomain, TrustDomainStatus};
use crate::pki::{CaGenerations, issuing_bundle, roots_bundle};
use crate::world::{AUTHORITY_SECRET_TYPE, NamespacedName, Problem, World, config_map_hash, may_be_member};

/// Finalizer of a TrustDomain: it goes when no identity is left in the domain.
pub const FINALIZER: &str = "ringfence.dev/identities";

/// Everything that one TrustDomain needs.
#[derive(Clone, Debug)]
pub struct DomainPlan {
    /// The finalizer is missing.
    pub add_finalizer: bool,
    /// The object is being deleted and nothing holds it any more.
    pub clean_up: bool,
    /// The CA.
    pub authority: AuthorityStep,
    /// The id of the CA generation that signs, where the TrustDomain does not have it on record.
    pub record: Option<String>,
    /// The ConfigMap with roots and issuing CAs.
    pub trust: Step<ConfigMap>,
    /// The ConfigMap with the last good keys of its token issuers.
    pub issuers: Step<ConfigMap>,
}

/// Plans one TrustDomain.
pub fn domain_plan(world: &World, name: &str) -> Option<DomainPlan> {
    let domain = world.domain(name)?;
    let has_finalizer = domain.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    if domain.metadata.deletion_timestamp.is_some() {
        let remains = identities_in(world, name).next().is_some();
        return Some(DomainPlan {
            add_finalizer: false,
            clean_up: has_finalizer && !remains,
            authority: AuthorityStep::Keep,
            record: None,
            trust: Step::Keep,
            issuers: Step::Keep,
        });
    }
    let owner = Owner::of(domain.as_ref());
    let trust = world.generations(name).map_or(Step::Keep, |generations| {
        if let Some(lost) = world.lost_authority_of([name]) {
            let key = NamespacedName::new(world.settings.operator_namespace.clone(), format!("{name}-trust"));
            return Step::Blocked(left_as_it_is("ConfigMap", &key, &lost));
        }
        let lists = world.revocation_lists([name]);
        let desired = trust_config_map(&world.settings.operator_namespace, name, generations, lists, &owner);
        let key = NamespacedName::new(world.settings.operator_namespace.clone(), format!("{name}-trust"));
        let hash = config_map_hash(&desired);
        content_step(world.config_map(&key), desired, &hash, &owner, || name_taken("ConfigMap", &key))
    });
    let signing = world.generations(name).and_then(|generations| generations.signing());
    let unrecorded = signing.filter(|signing| world.recorded_authority(name).is_none_or(|id| id != signing.id()));
    Some(DomainPlan {
        add_finalizer: !has_finalizer,
        clean_up: false,
        authority: authority_step(world, name, domain),
        record: unrecorded.map(|signing| signing.id().to_owned()),
        trust,
        issuers: record_step(world, name, domain, &owner),
    })
}

/// The Secret with the CA generations of a domain. It has no owner: a restored one is adopted by its name.
pub fn authority_secret(operator_namespace: &str, domain: &str, generations: &CaGenerations) -> Secret {
    Secret {
        metadata: metadata(operator_namespace, &format!("{domain}-ca"), None, None),
        type_: Some(AUTHORITY_SECRET_TYPE.to_owned()),
        data: Some(generations.to_secret_data().into()),
        ..Secret::default()
    }
}

/// The ConfigMap with the roots and issuing CAs of a domain, and the revocation lists of these and of all above.
pub fn trust_config_map(
    operator_namespace: &str,
    domain: &str,
    generations: &CaGenerations,
    lists: String,
    owner: &Owner,
) -> ConfigMap {
    let data = BTreeMap::from([
        ("roots.pem".to_owned(), roots_bundle(generations)),
        ("issuing.pem".to_owned(), issuing_bundle(generations)),
        ("crl.pem".to_owned(), lists),
    ]);
    let mut config_map = ConfigMap { data: Some(data), ..ConfigMap::default() };
    let hash = config_map_hash(&config_map);
    config_map.metadata = metadata(operator_namespace, &format!("{domain}-trust"), Some(owner), Some(&hash));
    config_map
}

/// The status of one TrustDomain as the world is now.
pub fn domain_status(world: &World, name: &str, outcome: &Outcome, now: Timestamp) -> Option<TrustDomainStatus> {
    let domain = world.domain(name)?;
    let previous = domain.status.clone().unwrap_or_default();
    let plan = domain_plan(world, name)?;
    let mut conditions = Conditions::new(domain.metadata.generation, &previous.conditions, now);
    conditions.problems(outcome.problems.iter().cloned());
    conditions.problems(problems(world, name, domain, &plan));
    if let Some(left) = left_to_write(world, name, &plan) {
        conditions.unprogrammed(&left);
    }
    let (reason, message) = match domain.spec.enforcement {
        Enforcement::Enforce => (Reason::Ready, "the domain is in force".to_owned()),
        Enforcement::Audit => {
            (Reason::Audit, "everything is computed and reported; no NetworkPolicy is written".to_owned())
        }
        Enforcement::Disabled => {
            (Reason::EnforcementDisabled, "certificates and keys are issued; no NetworkPolicy is written".to_owned())
        }
    };
    let signing = world.generations(name).and_then(|generations| generations.signing());
    Some(TrustDomainStatus {
        observed_generation: domain.metadata.generation,
        conditions: conditions.finish(reason, message),
        trust_domain: world.trust_domain_name(name).map(|name| name.to_string()),
        namespaces: world.namespaces_of(name).into_iter().collect(),
        certificate_authority: signing.map(|signing| AuthorityStatus {
            generation: signing.id().to_owned(),
            serial: signing.certificate().serial().to_string(),
            not_before: Time(signing.not_before()),
            not_after: Time(signing.not_after()),
        }),
    })
}

/// What is still to be written for a domain.
fn left_to_write(world: &World, name: &str, plan: &DomainPlan) -> Option<String> {
    if matches!(plan.authority, AuthorityStep::Root(_) | AuthorityStep::Intermediate(..)) {
        return Some("the CA is being made".to_owned());
    }
    if !plan.trust.is_keep() {
        return Some("the trust bundle is being written".to_owned());
    }
    if !plan.issuers.is_keep() {
        return Some("the keys of token issuers are being put on record".to_owned());
    }
    let enforces = world.domain(name)?.spec.enforcement == Enforcement::Enforce;
    let mut namespaces = world.namespaces_of(name);
    namespaces.retain(|name| world.namespace(name).is_some_and(|facts| !facts.terminating));
    if let Some(left) = namespaces.iter().find(|namespace| !member_step(world, namespace).step.is_keep()) {
        return Some(format!("the operator is being given its rights in namespace {left}"));
    }
    if let Some(left) = untold_namespace(world, name) {
        return Some(format!("the token service is being told of namespace {left}"));
    }
    let left = namespaces.into_iter().find(|namespace| {
        match world.network_policy(&NamespacedName::new(namespace.clone(), BASELINE)) {
            None => enforces,
            Some(_) if enforces => baseline_taken(world, namespace).is_some(),
            Some(_) => matches!(fence_step(world, namespace).step, Step::Delete { .. }),
        }
    })?;
    Some(match fence_step(world, &left).waiting_for.first() {
        Some(first) => format!(
            "namespace {left} is fenced when its running pods won't be cut off: ServiceIdentity {first} still has no NetworkPolicy"
        ),
        None if enforces => format!("the fence of namespace {left} is being written"),
        None => format!("the fence of namespace {left} is being removed"),
    })
}

fn problems(world: &World, name: &str, domain: &TrustDomain, plan: &DomainPlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |condition, reason, message| problems.push(Problem { condition, reason, message });
    for fault in domain.faults() {
        add(ConditionType::Accepted, Reason::Invalid, fault);
    }
    let issuers = issuer_problems(world, domain).into_iter().chain(key_problems(world, name, domain));
    for Problem { condition, reason, message } in ceiling_problems(domain).into_iter().chain(issuers) {
        add(condition, reason, message);
    }
    let claimed = domain.claimed_name();
    if let Some(holder) = world.holder_of_name(claimed).filter(|holder| *holder != name) {
        add(
            ConditionType::Accepted,
            Reason::TrustDomainTaken,
            format!(
                "TrustDomain {holder} holds the trust-domain name {claimed}: set spec.trustDomain of a new object to another name"
            ),
        );
    }
    for namespace in &domain.spec.namespaces {
        if !may_be_member(namespace, &world.settings.operator_namespace) {
            add(
                ConditionType::Accepted,
                Reason::NamespaceNotAllowed,
                format!("namespace {namespace} can't be a member: the cluster itself depends on it"),
            );
        } else if world.namespace(namespace).is_none() {
            add(
                ConditionType::ResolvedRefs,
                Reason::NamespaceNotFound,
                format!("namespace {namespace} does not exist: create it, or take it out of namespaces"),
            );
        }
    }
    for namespace in world.namespaces_claimed_by(name) {
        if let Some(holder) = world
            .domain_of(&namespace)
            .and_then(|holder| holder.metadata.name.as_deref())
            .filter(|holder| *holder != name)
        {
            add(
                ConditionType::Accepted,
                Reason::NamespaceTaken,
                format!(
                    "namespace {namespace} belongs to TrustDomain {holder}, which claimed it first: take it out of one of them"
                ),
            );
        }
    }
    problems.extend(parent_problem(world, name, domain));
    match &plan.authority {
        AuthorityStep::Blocked(problem) => problems.extend((!problems.contains(problem)).then(|| problem.clone())),
        AuthorityStep::Supplied { .. }
            if world.generations(name).is_none_or(|generations| generations.signing().is_none()) =>
        {
            problems.push(pending("no CA has been adopted yet".to_owned()));
        }
        _ => {}
    }
    for step in [&plan.trust, &plan.issuers] {
        if let Step::Blocked(problem) = step {
            problems.push(problem.clone());
        }
    }
    if domain.metadata.deletion_timestamp.is_some() {
        let left: Vec<String> = identities_in(world, name).take(5).collect();
        if !left.is_empty() {
            problems.push(Problem {
                condition: ConditionType::Accepted,
                reason: Reason::IdentitiesRemain,
                message: format!("the deletion waits until these identities are gone: {}", left.join(", ")),
            });
        }
    }
    if domain.spec.enforcement == Enforcement::Enforce
        && world.cluster.dns().is_none()
        && !world.namespaces_of(name).is_empty()
    {
        problems.push(Problem {
            condition: ConditionType::Unenforceable,
            reason: Reason::DnsNotFound,
            message: "no DNS Service kube-system/kube-dns with a selector was found: fenced pods can't resolve names; set nodeLocalDNS if the cluster's DNS runs elsewhere".to_owned(),
        });
    }
    for namespace in world.namespaces_of(name) {
        problems.extend(binding_taken(world, &namespace));
        problems.extend(baseline_taken(world, &namespace));
    }
    problems.extend(token_service_problems(world, domain));
    problems
}

/// All identities in the namespaces of a domain, accepted or not.
fn identities_in<'a>(world: &'a World, domain: &str) -> impl Iterator<Item = String> + 'a {
    let namespaces = world.namespaces_of(domain).into_iter();
    namespaces.flat_map(|namespace| world.identities_in(&namespace)).map(|(key, _)| key.to_string())
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;
