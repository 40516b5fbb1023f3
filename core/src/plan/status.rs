//! Conditions from problems, and the status of an identity.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::identity::{identity_plan, leaf_of};
use super::restart::{Restarted, restart_disabled, restart_status};
use super::rotation::{rolling, rotation_status};
use super::suspension::{SuspensionPlan, suspension_plan};
use crate::access::{Origin, widening};
use crate::api::{
    CertificateStatus, ConditionType, Enforcement, Reason, ServiceIdentityStatus, SigningKeyStatus, set_condition,
};
use crate::pki::renewal_time;
use crate::world::{Identity, NamespacedName, Problem, SecretFacts, World};

/// How long a kubelet may take to bring a changed ConfigMap or Secret into a pod: its sync period and its cache, with a
/// margin.
pub const PROPAGATION: SignedDuration = SignedDuration::from_secs(120);

/// The four that every object has.
const SUMMARY: [ConditionType; 3] = [ConditionType::Accepted, ConditionType::ResolvedRefs, ConditionType::Programmed];

/// What came of carrying out a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong.
    pub problems: Vec<Problem>,
    /// What all workloads that are to be rolled now run with.
    pub restarted: Option<Restarted>,
}

/// Builds the conditions of one object.
pub(super) struct Conditions<'a> {
    generation: Option<i64>,
    previous: &'a [Condition],
    now: Timestamp,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(generation: Option<i64>, previous: &'a [Condition], now: Timestamp) -> Self {
        Self { generation, previous, now, problems: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn problems(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    /// Something is still to be written: for the reason that is known, or because it has just begun.
    pub(super) fn unprogrammed(&mut self, otherwise: &str) {
        if self.problems.iter().any(|problem| problem.condition == ConditionType::Programmed) {
            return;
        }
        let keeps_from_writing = |problem: &&Problem| {
            matches!(problem.condition, ConditionType::NameTaken | ConditionType::Contested | ConditionType::ClockSkew)
        };
        let (reason, message) = match self.problems.iter().find(keeps_from_writing) {
            Some(known) => (known.reason, known.message.clone()),
            None => (Reason::Pending, otherwise.to_owned()),
        };
        self.problems.push(Problem { condition: ConditionType::Programmed, reason, message });
    }

    /// Something worth knowing about a condition that stays good.
    pub(super) fn note(&mut self, condition: ConditionType, reason: Reason, message: String) {
        self.notes.push(Problem { condition, reason, message });
    }

    /// The conditions: the four of the summary, and others only if they apply.
    pub(super) fn finish(self, ready_reason: Reason, ready_message: String) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let mut set = |kind, status, reason, message| {
            set_condition(&mut conditions, self.previous, (kind, status), reason, message, (self.generation, self.now));
        };
        let holds = |problem: &&Problem| !is_informational(problem.reason);
        match self.problems.iter().find(holds) {
            Some(problem) => set(ConditionType::Ready, false, problem.reason, problem.message.clone()),
            None => match self.problems.iter().chain(&self.notes).next() {
                Some(note) => set(ConditionType::Ready, true, note.reason, note.message.clone()),
                None => set(ConditionType::Ready, true, ready_reason, ready_message),
            },
        }
        for kind in SUMMARY {
            let mut found = self.problems.iter().filter(|problem| problem.condition == kind);
            let first = found.clone().find(holds).or_else(|| found.next());
            match first {
                Some(problem) => {
                    let all = self
                        .problems
                        .iter()
                        .filter(|other| other.condition == kind)
                        .map(|other| other.message.as_str());
                    set(kind, is_informational(problem.reason), problem.reason, all.collect::<Vec<_>>().join("; "));
                }
                None => match self.notes.iter().find(|note| note.condition == kind) {
                    Some(note) => set(kind, true, note.reason, note.message.clone()),
                    None => {
                        let (reason, message) = good(kind);
                        set(kind, true, reason, message.to_owned());
                    }
                },
            }
        }
        let mut extra: Vec<ConditionType> = self.problems.iter().map(|problem| problem.condition).collect();
        extra.sort_unstable();
        extra.dedup();
        for kind in extra.into_iter().filter(|kind| !SUMMARY.contains(kind) && *kind != ConditionType::Ready) {
            if let Some(problem) = self.problems.iter().find(|problem| problem.condition == kind) {
                let all =
                    self.problems.iter().filter(|other| other.condition == kind).map(|other| other.message.as_str());
                set(kind, true, problem.reason, all.collect::<Vec<_>>().join("; "));
            }
        }
        conditions
    }
}

fn good(kind: ConditionType) -> (Reason, &'static str) {
    match kind {
        ConditionType::ResolvedRefs => (Reason::Resolved, "everything that is named exists"),
        ConditionType::Programmed => (Reason::Programmed, "everything is written and current"),
        _ => (Reason::Accepted, "accepted as declared"),
    }
}

/// Worth knowing, and no reason not to be ready.
fn is_informational(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoPods
            | Reason::Audit
            | Reason::EnforcementDisabled
            | Reason::WeakerGrant
            | Reason::RevocationUnavailable
            | Reason::PartiallyAccepted
            | Reason::Compromised
            | Reason::RestartDisabled
            | Reason::WorkloadNotFound
            | Reason::Restarting
    )
}

/// The status of one ServiceIdentity as the world is now.
pub fn identity_status(
    world: &World,
    key: &NamespacedName,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<ServiceIdentityStatus> {
    let object = world.service_identity(key)?;
    let resolved = world.resolved(key)?;
    let previous = object.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(object.metadata.generation, &previous.conditions, now);
    conditions.problems(resolved.problems.iter().cloned());
    let to_issuers = world.implied(&Origin::Identity(key.clone()));
    conditions.problems(to_issuers.iter().flat_map(|judged| judged.problems.iter().cloned()));
    let Some(identity) = &resolved.identity else {
        if let Some(plan) = suspension_plan(world, key, now) {
            conditions.problems(outcome.problems.iter().cloned());
            return Some(suspended(world, key, &plan, (object.metadata.generation, conditions), &previous, now));
        }
        conditions.problems([Problem {
            condition: ConditionType::Programmed,
            reason: Reason::Pending,
            message: "nothing is written for an identity that is not accepted".to_owned(),
        }]);
        return Some(ServiceIdentityStatus {
            observed_generation: object.metadata.generation,
            conditions: conditions.finish(Reason::Ready, String::new()),
            ..previous
        });
    };
    conditions.problems(outcome.problems.iter().cloned());
    let plan = identity_plan(world, key, now)?;
    conditions.problems(plan.blocked().into_iter().cloned());
    if !plan.is_done() {
        conditions.unprogrammed("outputs are being written");
    }
    conditions.problems(widened(world, identity));
    let signing_key = signing_key(world, identity);
    let kid = signing_key.as_ref().map(|key| key.key_id.as_str());
    let rotation = rotation_status(world, key, kid, now);
    conditions.problems(rolling(object, rotation.as_ref(), now));
    conditions.problems(restart_disabled(world, object));
    let (reason, message) = ready(world, identity);
    let leaf = leaf_of(world, identity);
    let previous_certificates = world.previous_certificates(&previous, leaf, now);
    Some(ServiceIdentityStatus {
        observed_generation: object.metadata.generation,
        conditions: conditions.finish(reason, message),
        spiffe_id: Some(identity.spiffe_id.to_string()),
        certificate: leaf.map(|leaf| CertificateStatus {
            secret_name: identity.tls_secret.clone(),
            serial: leaf.serial.to_string(),
            authority: world.issued(leaf).map(|issued| issued.authority),
            not_before: Time(leaf.not_before),
            not_after: Time(leaf.not_after),
            renewal_time: Time(renewal_time(leaf.not_before, leaf.not_after, &identity.uid)),
        }),
        previous_certificates,
        signing_key,
        restart: restart_status(object, &plan, leaf, outcome.restarted.as_ref(), now),
        rotation,
    })
}

/// The status of an identity that is suspended: what it still has, and what is on no list yet.
fn suspended(
    world: &World,
    key: &NamespacedName,
    plan: &SuspensionPlan,
    (observed_generation, mut conditions): (Option<i64>, Conditions<'_>),
    previous: &ServiceIdentityStatus,
    now: Timestamp,
) -> ServiceIdentityStatus {
    conditions.problems(plan.problems());
    if !plan.is_done() {
        conditions.unprogrammed(&plan.left());
    }
    let is_there = |name: &String| world.secret(&NamespacedName::new(key.namespace.clone(), name.clone())).is_some();
    let certificate = previous.certificate.clone().filter(|certificate| is_there(&certificate.secret_name));
    let previous_certificates = match certificate {
        Some(_) => previous.previous_certificates.clone(),
        None => world.previous_certificates(previous, None, now),
    };
    ServiceIdentityStatus {
        observed_generation,
        conditions: conditions.finish(Reason::Ready, String::new()),
        certificate,
        previous_certificates,
        signing_key: previous.signing_key.clone().filter(|key| is_there(&key.secret_name)),
        spiffe_id: previous.spiffe_id.clone(),
        restart: previous.restart.clone(),
        rotation: previous.rotation.clone(),
    }
}

fn signing_key(world: &World, identity: &Identity) -> Option<SigningKeyStatus> {
    let (_, secret_name) = identity.signing_key.as_ref()?;
    let found = world.secret(&NamespacedName::new(identity.key.namespace.clone(), secret_name.clone()))?;
    match &found.content {
        SecretFacts::SigningKey(Ok(facts)) if found.is_of(&identity.uid) => {
            Some(SigningKeyStatus { secret_name: secret_name.clone(), key_id: facts.current.kid.clone() })
        }
        _ => None,
    }
}

fn widened(world: &World, identity: &Identity) -> Option<Problem> {
    let widening = widening(world, &identity.key.namespace);
    let ours: Vec<String> = widening
        .iter()
        .filter(|found| found.identities.contains(&identity.key))
        .map(|found| format!("{} ({})", found.policy, found.allows))
        .collect();
    (!ours.is_empty()).then(|| Problem {
        condition: ConditionType::Widened,
        reason: Reason::ForeignPolicy,
        message: format!(
            "NetworkPolicies of others allow more than was declared: {}; delete them and declare an AccessPolicy",
            ours.join(", ")
        ),
    })
}

fn ready(world: &World, identity: &Identity) -> (Reason, String) {
    let enforcement = world.domain(&identity.domain).map(|domain| domain.spec.enforcement).unwrap_or_default();
    match enforcement {
        Enforcement::Audit => (
            Reason::Audit,
            format!(
                "credentials are delivered; TrustDomain {} is in Audit and writes no NetworkPolicy",
                identity.domain
            ),
        ),
        Enforcement::Disabled => (
            Reason::EnforcementDisabled,
            format!("credentials are delivered; TrustDomain {} does not enforce", identity.domain),
        ),
        Enforcement::Enforce if !identity.pods.any => (
            Reason::NoPods,
            "credentials are delivered and the fence stands; no pod matches podSelector yet".to_owned(),
        ),
        Enforcement::Enforce => (Reason::Ready, "credentials are delivered and the fence stands".to_owned()),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
