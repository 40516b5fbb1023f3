//! The status of an AccessPolicy: it has no outputs of its own, only those of the identities at its ends.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::status::{Conditions, PROPAGATION};
use crate::access::{JudgedPolicy, weaker_grants};
use crate::api::{AccessPolicyStatus, ConditionType, Reason, SourceStatus};
use crate::world::{NamespacedName, Problem, World};

/// The status of one AccessPolicy. `unprogrammed` says of an identity whether something of it is still to be written.
pub fn policy_status(
    world: &World,
    key: &NamespacedName,
    unprogrammed: &dyn Fn(&NamespacedName) -> bool,
    now: Timestamp,
) -> Option<AccessPolicyStatus> {
    let policy = world.policy(key)?;
    let judged = world.judged(key)?;
    let previous = policy.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(policy.metadata.generation, &previous.conditions, now);
    conditions.problems(problems(judged, unprogrammed));
    conditions.problems(weaker_grants(world, judged));
    let partly = !judged.refusals.is_empty() && !judged.grants.is_empty();
    if partly {
        let total = judged.grants.len() + judged.refusals.len();
        let message =
            format!("{} of {total} entries of from stand; status.from says why the others do not", judged.grants.len());
        conditions.note(ConditionType::Accepted, Reason::PartiallyAccepted, message);
    }
    let (reason, message) = if judged.draft {
        (Reason::Audit, "a draft: nothing is opened or delivered".to_owned())
    } else {
        (Reason::Ready, "in force".to_owned())
    };
    let edges = i32::try_from(judged.grants.len()).unwrap_or(i32::MAX);
    let programmed = !judged.draft && !judged.grants.is_empty() && !judged.identities().any(unprogrammed);
    let unchanged = previous.observed_generation == policy.metadata.generation && previous.edges == Some(edges);
    let effective_after = match previous.effective_after {
        _ if !programmed => None,
        Some(time) if unchanged => Some(time),
        _ => now.checked_add(PROPAGATION).ok().map(Time),
    };
    Some(AccessPolicyStatus {
        observed_generation: policy.metadata.generation,
        conditions: conditions.finish(reason, message),
        edges: Some(edges),
        from: judged
            .refusals
            .iter()
            .map(|refusal| SourceStatus {
                index: i32::try_from(refusal.index).unwrap_or(i32::MAX),
                source: refusal.source.clone(),
                reason: refusal.reason.as_str().to_owned(),
                message: refusal.message.clone(),
            })
            .collect(),
        effective_after,
    })
}

fn problems(judged: &JudgedPolicy, unprogrammed: &dyn Fn(&NamespacedName) -> bool) -> Vec<Problem> {
    let mut problems = judged.problems.clone();
    let unresolved = judged.refusals.iter().find(|refusal| refusal.unresolved);
    if let Some(refusal) = unresolved {
        problems.push(Problem {
            condition: ConditionType::ResolvedRefs,
            reason: refusal.reason,
            message: refusal.message.clone(),
        });
    }
    if judged.grants.is_empty()
        && let Some(refusal) = judged.refusals.iter().find(|refusal| !refusal.unresolved)
    {
        problems.push(Problem {
            condition: ConditionType::Accepted,
            reason: refusal.reason,
            message: refusal.message.clone(),
        });
    }
    if !judged.draft
        && let Some(end) = judged.identities().find(|end| unprogrammed(end))
    {
        problems.push(Problem {
            condition: ConditionType::Programmed,
            reason: Reason::Pending,
            message: format!("the outputs of ServiceIdentity {end} are still to be written: see its status"),
        });
    }
    problems
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
