//! Reconciling the fence of a namespace: its baseline NetworkPolicy.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use ringfence_core::api::Reason;
use ringfence_core::plan::{BASELINE, FenceStep, Step, fence_step};
use ringfence_core::world::{Change, NamespacedName, Problem, Unit};

use super::contest::{Output, contested};
use super::context::Context;
use super::error::tell;
use super::members::Access;
use super::queue::Ended;
use super::trace;
use super::write::{Written, delete, write};

/// Brings the baseline of one namespace to what is declared.
pub(super) async fn reconcile(context: &Context, namespace: &str) -> Ended {
    let (FenceStep { domain, step, waiting_for }, access) = trace::plan().in_scope(|| {
        let world = context.world();
        (fence_step(&world, namespace), context.members.access(&world, namespace))
    });
    let key = NamespacedName::new(namespace, BASELINE);
    let unit = Unit::Fence(namespace.to_owned());
    let output = ("NetworkPolicy", key.clone());
    let taken = |key: &NamespacedName| format!("NetworkPolicy {key} is someone else's: the namespace is not fenced");
    let (change, reason, note) = match step {
        Step::Keep => {
            note_in_place(context, &unit, &output);
            return Ended::Done;
        }
        Step::Blocked(_) => return Ended::Done,
        // Its turn comes when the operator has its rights there.
        _ if access != Access::Open => return Ended::Done,
        // Its turn comes when the NetworkPolicies of the identities are there.
        Step::Write { .. } if !waiting_for.is_empty() => return Ended::Done,
        Step::Delete { uid } => match delete::<NetworkPolicy>(&context.client, namespace, BASELINE, &uid).await {
            Ok(()) => {
                context.memory().forget(&unit);
                let note = format!("namespace {namespace} is not fenced any more");
                (Some(Change::NetworkPolicy(key, None)), Reason::Unfenced, note)
            }
            Err(error) => return failed(&error),
        },
        Step::Write { desired, replaces, drift } => {
            let now = context.clock.now();
            let drift = drift || replaces.is_none() && context.memory().was_in_place(&unit, &output);
            let left_alone = context.memory().contests.until(&output, now);
            if let Some(until) = left_alone {
                context.queue.add(domain.map(Unit::Domain));
                return Ended::At(until);
            }
            match write::<NetworkPolicy>(&context.client, *desired, replaces).await {
                Ok(Written::Done(policy)) => {
                    let (reason, note) = if drift {
                        context.memory().contests.corrected(&output, now);
                        (Reason::DriftCorrected, format!("someone else changed NetworkPolicy {key}; it is put right"))
                    } else {
                        (
                            Reason::Fenced,
                            format!(
                                "namespace {namespace} is fenced: nobody in, nobody out, but DNS and what is granted"
                            ),
                        )
                    };
                    (Some(Change::NetworkPolicy(key, Some((&policy).into()))), reason, note)
                }
                Ok(Written::Found(policy)) => {
                    context.fold_found(&unit, Change::NetworkPolicy(key, Some((&policy).into())));
                    return Ended::Failed;
                }
                Ok(Written::Taken) => (None, Reason::NameTaken, taken(&key)),
                Ok(Written::Conflict) => return Ended::Failed,
                Ok(Written::Terminating) => return Ended::Done,
                Err(error) => return failed(&error),
            }
        }
    };
    let written = matches!(change, Some(Change::NetworkPolicy(_, Some(_))));
    let good = change.is_some() && reason != Reason::DriftCorrected;
    context.fold_own(&unit, change);
    note_in_place(context, &unit, &output);
    let Some(object) = domain.and_then(|domain| context.world().domain(&domain).cloned()) else { return Ended::Done };
    if good {
        context.events.normal(object.as_ref(), reason, note).await;
    } else {
        context.events.warning(object.as_ref(), reason, note).await;
    }
    context.queue.add(object.metadata.name.clone().map(Unit::Domain));
    // Someone on the way may have changed it.
    let FenceStep { step, .. } = fence_step(&context.world(), namespace);
    let changed = written && matches!(step, Step::Write { .. }) && !context.queue.comes_again(&unit);
    if changed { Ended::Failed } else { Ended::Done }
}

/// Whether someone is fighting over the baseline of a namespace, and until when it is left alone.
pub(super) fn contest(context: &Context, namespace: &str) -> Option<Problem> {
    let output = ("NetworkPolicy", NamespacedName::new(namespace, BASELINE));
    let until = context.memory().contests.until(&output, context.clock.now())?;
    let FenceStep { step, .. } = fence_step(&context.world(), namespace);
    matches!(step, Step::Write { .. }).then(|| contested(&output, until))
}

fn note_in_place(context: &Context, unit: &Unit, output: &Output) {
    let found = context.world().network_policy(&output.1).is_some();
    context.memory().note_in_place(unit, found.then(|| output.clone()).into_iter().collect());
}

fn failed(error: &kube::Error) -> Ended {
    tell(error, "the fence could not be written and is tried again");
    Ended::Failed
}
