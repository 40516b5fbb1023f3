//! The CA of a domain: where it comes from, and when there is one to make.

use jiff::{SignedDuration, Timestamp};

use super::pending;
use crate::api::{ConditionType, Reason, TrustDomain};
use crate::pki::{
    AuthorityError, AuthorityProfile, CaGeneration, CaGenerations, CaSource, Entropy, GenerationsError, KeyError,
    Phase, new_intermediate, new_root,
};
use crate::world::{AUTHORITY_ANNOTATION, NamespacedName, Problem, World, signed};

/// How long a root is valid unless declared otherwise: 10 years.
const ROOT_DURATION: SignedDuration = SignedDuration::from_hours(87_600);
/// How long an intermediate is valid unless declared otherwise: 1 year.
const INTERMEDIATE_DURATION: SignedDuration = SignedDuration::from_hours(8_760);
/// Deepest chain of parents.
const MAX_DEPTH: usize = 3;

/// What to do about the CA of a domain.
#[derive(Clone, Debug)]
pub enum AuthorityStep {
    /// Nothing.
    Keep,
    /// Make a root.
    Root(AuthorityProfile),
    /// Make an intermediate under the parent's CA.
    Intermediate(AuthorityProfile, Box<CaGeneration>),
    /// Look at the Secret that the user brings: adopt it, or keep what there is.
    Supplied {
        /// Name of the Secret in the operator's namespace.
        secret: String,
    },
    /// Nothing, until this is resolved.
    Blocked(Problem),
}

/// What can go wrong when a CA is made.
#[derive(Debug, thiserror::Error)]
pub enum MakeAuthorityError {
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No certificate.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The generations make no sense together.
    #[error(transparent)]
    Generations(#[from] GenerationsError),
}

/// Plans the CA of one domain.
pub(super) fn authority_step(world: &World, name: &str, domain: &TrustDomain) -> AuthorityStep {
    let Some(trust_domain) = world.trust_domain_name(name) else { return AuthorityStep::Keep };
    let existing = match world.authority(name).map(|authority| &authority.generations) {
        Some(Err(error)) => {
            return blocked(
                Reason::AuthorityUnreadable,
                format!(
                    "Secret {}/{name}-ca can't be read: {error}; restore it from a backup, or, to start a new CA, delete it and take the annotation {AUTHORITY_ANNOTATION} off the TrustDomain",
                    world.settings.operator_namespace
                ),
            );
        }
        Some(Ok(generations)) => Some(generations),
        None if world.has_lost_authority(name) => {
            let instead = match &domain.spec.certificate_authority.secret {
                Some(supplied) => format!("to adopt the CA in Secret {} without what it has revoked", supplied.name),
                None => "to start a new CA that nobody trusts yet".to_owned(),
            };
            return blocked(
                Reason::AuthorityLost,
                format!(
                    "Secret {}/{name}-ca is gone, and nothing is issued or renewed: restore it from a backup, or, {instead}, take the annotation {AUTHORITY_ANNOTATION} off the TrustDomain",
                    world.settings.operator_namespace
                ),
            );
        }
        None => None,
    };
    // What is wrong with the spec is among the problems of the domain.
    if domain.authority_fault().is_some() {
        return AuthorityStep::Keep;
    }
    let source = &domain.spec.certificate_authority;
    if let Some(supplied) = &source.secret {
        return AuthorityStep::Supplied { secret: supplied.name.clone() };
    }
    if existing.is_some_and(|generations| generations.signing().is_some()) {
        return AuthorityStep::Keep;
    }
    let profile = |duration: Option<kube::core::Duration>, default, algorithm: Option<_>| AuthorityProfile {
        trust_domain: trust_domain.clone(),
        algorithm: algorithm.unwrap_or_default(),
        duration: duration.as_ref().map_or(default, signed),
    };
    if let Some(root) = &source.self_signed {
        return AuthorityStep::Root(profile(root.duration, ROOT_DURATION, root.algorithm));
    }
    let Some(parent) = &source.parent else { return AuthorityStep::Keep };
    if let Some(problem) = parent_problem(world, name, domain) {
        return AuthorityStep::Blocked(problem);
    }
    match world.generations(&parent.name).and_then(|generations| generations.signing()) {
        Some(authority) => AuthorityStep::Intermediate(
            profile(parent.duration, INTERMEDIATE_DURATION, parent.algorithm),
            Box::new(authority.clone()),
        ),
        None => blocked(
            Reason::ParentNotReady,
            format!("parent TrustDomain {} has no CA to sign with yet: see its status", parent.name),
        ),
    }
}

fn blocked(reason: Reason, message: String) -> AuthorityStep {
    let condition = match reason {
        Reason::ParentNotReady | Reason::AuthorityUnreadable | Reason::AuthorityLost => ConditionType::Programmed,
        Reason::ParentNotFound | Reason::SecretNotFound => ConditionType::ResolvedRefs,
        _ => ConditionType::Accepted,
    };
    AuthorityStep::Blocked(Problem { condition, reason, message })
}

/// Why an output stays as it is: what it is to hold can't be told before a CA is back.
pub(super) fn left_as_it_is(kind: &str, key: &NamespacedName, lost: &str) -> Problem {
    pending(format!("{kind} {key} is left as it is, because TrustDomain {lost} has lost its CA: see its status"))
}

/// What is wrong with the parents of a domain.
pub(super) fn parent_problem(world: &World, name: &str, domain: &TrustDomain) -> Option<Problem> {
    let mut path = vec![name.to_owned()];
    let mut next = domain.spec.certificate_authority.parent.as_ref().map(|parent| parent.name.clone());
    while let Some(parent) = next {
        let refuse = |condition, reason, message| Some(Problem { condition, reason, message });
        if path.contains(&parent) {
            path.push(parent);
            let message = format!(
                "the parents form a cycle, {}: give one of them another certificateAuthority",
                path.join(" → ")
            );
            return refuse(ConditionType::Accepted, Reason::ParentCycle, message);
        }
        if path.len() > MAX_DEPTH {
            let message =
                format!("the chain {} → {parent} has more than {MAX_DEPTH} levels of parents", path.join(" → "));
            return refuse(ConditionType::Accepted, Reason::ParentTooDeep, message);
        }
        let Some(object) = world.domain(&parent) else {
            let message = format!("parent TrustDomain {parent} does not exist: create it, or name another");
            return refuse(ConditionType::ResolvedRefs, Reason::ParentNotFound, message);
        };
        next = object.spec.certificate_authority.parent.as_ref().map(|parent| parent.name.clone());
        path.push(parent);
    }
    None
}

/// Carries out a step that makes a CA. It signs at once: nothing hangs on an earlier one.
///
/// # Errors
/// [`MakeAuthorityError`].
pub fn make_authority(
    step: &AuthorityStep,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> Result<Option<CaGenerations>, MakeAuthorityError> {
    let generation = match step {
        AuthorityStep::Root(profile) => {
            new_root(profile, entropy.private_key(profile.algorithm)?, &entropy.serial(), now)?
        }
        AuthorityStep::Intermediate(profile, parent) => {
            new_intermediate(profile, parent, entropy.private_key(profile.algorithm)?, &entropy.serial(), now)?
        }
        _ => return Ok(None),
    };
    Ok(Some(CaGenerations::new(vec![generation.with_phase(Phase::Active)])?))
}

/// The generations with a CA that the user brought as the one that signs; nothing if it already does, with the same
/// certificates above it. What signed before stays in the bundles.
///
/// # Errors
/// [`GenerationsError`].
pub fn with_adopted(
    existing: Option<&CaGenerations>,
    brought: CaGeneration,
) -> Result<Option<CaGenerations>, GenerationsError> {
    let signing = existing.and_then(CaGenerations::signing);
    if signing.is_some_and(|signing| signing.path() == brought.path() && signing.source() == CaSource::Secret) {
        return Ok(None);
    }
    let earlier = existing.into_iter().flatten().filter(|generation| generation.id() != brought.id()).cloned();
    let stepped_down = |generation: CaGeneration| match generation.phase() {
        Phase::Active => generation.with_phase(Phase::Reissued),
        _ => generation,
    };
    let mut generations: Vec<CaGeneration> = earlier.map(stepped_down).collect();
    // The same authority with other certificates above it has revoked what it has revoked.
    let brought = match existing.and_then(|existing| existing.get(brought.id())) {
        Some(known) => brought.with_revocations(known.revoked().to_vec(), known.revocation_list().cloned()),
        None => brought,
    };
    generations.push(brought.with_phase(Phase::Active));
    CaGenerations::new(generations).map(Some)
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
