//! Workloads that can't reload: which of them run with something older than what is delivered, and when they are rolled.
//!
//! What counts is the age of pods, not what was done about a workload: pods that started after the last change have what
//! is delivered, whoever replaced them, and nothing needs to be remembered of them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::identity::{IdentityPlan, leaf_of};
use crate::api::{ConditionType, LabelSelector, Reason, RestartStatus, ServiceIdentity, Workload};
use crate::pki::LeafFacts;
use crate::world::{Identity, NamespacedName, PodFacts, Problem, SecretFacts, World, content_hash, whole_second};

/// How long what is delivered must have stayed as it is before workloads are rolled: what comes together rolls them once.
const SETTLING: SignedDuration = SignedDuration::from_secs(10);

/// So much later than a change a kubelet that has the older version in its cache may still bring that into a pod.
const CACHED: SignedDuration = SignedDuration::from_secs(2);

/// The one file that changes with every revocation, also of others, and the one that changes with every policy.
const NOT_COUNTED: [&str; 2] = ["crl.pem", "access.json"];

/// What is to be looked at, since workloads may run with something older.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPlan {
    /// The workloads, in the identity's namespace.
    pub workloads: Vec<Workload>,
    /// Hash of what they are to run with.
    pub hash: String,
    /// Not before this.
    pub due: Timestamp,
    /// Since when it is delivered.
    pub since: Timestamp,
    first: Option<Timestamp>,
    generation: Option<i64>,
}

/// That all workloads which were named then run with what is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    hash: String,
    generation: Option<i64>,
}

impl RestartPlan {
    /// Its workloads are through.
    pub fn done(self) -> Restarted {
        Restarted { hash: self.hash, generation: self.generation }
    }

    /// How many pods of a namespace run with something older, of those that a workload selects.
    pub fn pods_from_before(&self, world: &World, namespace: &str, selector: &LabelSelector) -> usize {
        let pods = world.pods_in(namespace).filter(|(_, pod)| selector.matches(&pod.labels));
        pods.filter(|(_, pod)| self.is_from_before(pod)).count()
    }

    fn is_from_before(&self, pod: &PodFacts) -> bool {
        if self.first == Some(self.since) || pod.start.rolled_for.as_ref() == Some(&self.hash) {
            return false;
        }
        let until = self.since.checked_add(CACHED).unwrap_or(self.since);
        pod.start.files_since.is_some_and(|files| files < until && self.first.is_none_or(|first| files >= first))
    }
}

/// Whether workloads of an identity are to be rolled, and may be.
pub(super) fn is_wanted(world: &World, object: &ServiceIdentity) -> bool {
    object.spec.restart.is_some() && world.settings.restart
}

/// Hash over what is delivered and can't be reloaded; nothing as long as there is no certificate. No key goes into it.
pub(super) fn credentials_hash(world: &World, identity: &Identity, trust: &BTreeMap<String, String>) -> Option<String> {
    let leaf = leaf_of(world, identity)?;
    let signing_key = identity.signing_key.as_ref().and_then(|(_, secret)| {
        let found = world.secret(&NamespacedName::new(identity.key.namespace.clone(), secret.clone()))?;
        let SecretFacts::SigningKey(Ok(facts)) = &found.content else { return None };
        Some((facts.current.kid.as_str(), facts.next.as_ref().map(|next| next.kid.as_str())))
    });
    let trust: BTreeMap<_, _> = trust.iter().filter(|(file, _)| !NOT_COUNTED.contains(&file.as_str())).collect();
    let certificate = (leaf.serial.to_string(), leaf.public_key_sha256, leaf.chain_sha256, leaf.ca_sha256);
    Some(content_hash(&(certificate, signing_key, trust)))
}

/// What the status says about the workloads. What is delivered and is not what it was begins a new account; a plan that
/// is not carried out yet leaves the old one.
pub(super) fn restart_status(
    object: &ServiceIdentity,
    plan: &IdentityPlan,
    leaf: Option<&LeafFacts>,
    restarted: Option<&Restarted>,
    now: Timestamp,
) -> Option<RestartStatus> {
    let hash = plan.credentials.as_ref()?;
    let status = object.status.as_ref();
    let recorded = status.and_then(|status| status.restart.clone());
    if !plan.is_delivered() {
        return recorded;
    }
    let now = whole_second(now);
    let begun = |since: Timestamp, first: Option<Timestamp>| RestartStatus {
        hash: hash.clone(),
        since: Time(since),
        first: first.map(Time),
        completed_generation: None,
    };
    Some(match recorded {
        Some(recorded) if recorded.hash == *hash => {
            let completed = restarted.filter(|restarted| restarted.hash == *hash).and_then(|done| done.generation);
            RestartStatus { completed_generation: completed.or(recorded.completed_generation), ..recorded }
        }
        Some(recorded) => {
            let is_new = |_: &Time| now < settled(recorded.since.0);
            begun(now, recorded.first.as_ref().filter(|first| is_new(first)).map(|first| first.0))
        }
        None => {
            let issued = leaf.map_or(now, LeafFacts::issued_at);
            // One that had certificates before may have pods with any of them.
            let is_new = status.is_none_or(|status| status.certificate.is_none());
            begun(issued, is_new.then_some(issued))
        }
    })
}

/// What is to be looked at for an identity of which everything is delivered. Nothing where all workloads are known to run
/// with that, and nothing before the status tells what that is: whoever takes over goes by it.
pub fn restart_plan(world: &World, plan: &IdentityPlan) -> Option<RestartPlan> {
    let object = world.service_identity(&plan.identity.key)?;
    let recorded =
        pending(object).filter(|recorded| plan.is_delivered() && plan.credentials.as_ref() == Some(&recorded.hash))?;
    Some(RestartPlan {
        workloads: object.spec.restart.clone()?.workloads,
        hash: recorded.hash.clone(),
        due: settled(recorded.since.0),
        since: recorded.since.0,
        first: recorded.first.as_ref().map(|first| first.0),
        generation: object.metadata.generation,
    })
}

/// When workloads of an identity are to be looked at, if they are.
pub fn restart_due(object: &ServiceIdentity) -> Option<Timestamp> {
    pending(object).map(|recorded| settled(recorded.since.0))
}

fn pending(object: &ServiceIdentity) -> Option<&RestartStatus> {
    object.spec.restart.as_ref()?;
    let recorded = object.status.as_ref()?.restart.as_ref()?;
    (recorded.completed_generation.is_none() || recorded.completed_generation != object.metadata.generation)
        .then_some(recorded)
}

fn settled(since: Timestamp) -> Timestamp {
    since.checked_add(SETTLING).unwrap_or(since)
}

/// That workloads are named and nobody may roll them.
pub(super) fn restart_disabled(world: &World, object: &ServiceIdentity) -> Option<Problem> {
    let restart = object.spec.restart.as_ref().filter(|_| !world.settings.restart)?;
    let named: Vec<String> = restart.workloads.iter().map(ToString::to_string).collect();
    Some(problem(
        Reason::RestartDisabled,
        format!(
            "restarts are off, so that nobody rolls {} when certificates change: set restart.enabled: true in the values of the chart, or take restart out of the spec",
            named.join(", ")
        ),
    ))
}

/// The API server gives the operator no right to roll a workload.
pub fn restart_refused(workload: &Workload, error: &str) -> Problem {
    let message = format!(
        "{workload} is not rolled, since the operator lacks the right to: set restart.enabled: true in the values of the chart ({error})"
    );
    problem(Reason::RestartDisabled, message)
}

/// A workload that is named does not exist.
pub fn workload_not_found(namespace: &str, workload: &Workload) -> Problem {
    let message = format!(
        "there is no {} {namespace}/{}, so that nothing is rolled: create it, or take it out of restart.workloads",
        workload.kind.as_str(),
        workload.name
    );
    problem(Reason::WorkloadNotFound, message)
}

/// A workload is being rolled, or waits for its turn.
pub fn restarting(workload: &Workload, has_turn: bool) -> Problem {
    let what = if has_turn { "is being rolled" } else { "waits until others are rolled" };
    problem(Reason::Restarting, format!("{workload} {what}: pods of it run with what was delivered before"))
}

/// A workload was rolled, and its pods are not replaced.
pub fn restart_stalled(workload: &Workload, left: usize) -> Problem {
    let message = format!(
        "{workload} was rolled, and {left} pods still run with what was delivered before, which will expire or be distrusted: see why its new pods don't start (kubectl rollout status); one that is paused or has the update strategy OnDelete waits for you"
    );
    problem(Reason::RestartStalled, message)
}

/// A workload could not be rolled.
pub fn restart_failed(workload: &Workload, error: &str) -> Problem {
    problem(Reason::RestartFailed, format!("{workload} could not be rolled, which is tried again: {error}"))
}

fn problem(reason: Reason, message: String) -> Problem {
    Problem { condition: ConditionType::RestartPending, reason, message }
}

#[cfg(test)]
#[path = "restart_tests.rs"]
mod tests;
