//! Reconciling the operator's own RoleBinding in a namespace.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::RoleBinding;
use ringfence_core::api::Reason;
use ringfence_core::plan::{MemberStep, Step, is_entered, member_step};
use ringfence_core::world::{Change, MEMBER_BINDING, NamespacedName, Unit};
use tracing::info;

use super::contest::{Output, contested};
use super::context::Context;
use super::error::{said, tell};
use super::queue::Ended;
use super::write::{Written, delete, write};

/// Pause while something is still being written in a namespace that is left.
const PAUSE: Duration = Duration::from_millis(250);

/// Brings the RoleBinding of one namespace to what is declared.
pub(super) async fn reconcile(context: &Context, namespace: &str) -> Ended {
    let MemberStep { domain, step } = {
        let world = context.world();
        context.members.look(&world, namespace);
        let member = member_step(&world, namespace);
        if !is_entered(&world, namespace) && !matches!(member.step, Step::Write { .. }) {
            context.members.forget_refusal(namespace);
        }
        member
    };
    let unit = Unit::Member(namespace.to_owned());
    let output = ("RoleBinding", NamespacedName::new(namespace, MEMBER_BINDING));
    let done = match step {
        Step::Keep | Step::Blocked(_) => {
            note_in_place(context, &unit, &output);
            return Ended::Done;
        }
        Step::Delete { .. } if is_busy(context, namespace) => return Ended::After(PAUSE),
        Step::Delete { uid } => {
            let deleted = delete::<RoleBinding>(&context.client, namespace, MEMBER_BINDING, &uid).await;
            deleted.map(|()| {
                info!(namespace, "the operator has no rights in the namespace any more");
                context.memory().forget(&unit);
                Some(Change::RoleBinding(output.1.clone(), None))
            })
        }
        Step::Write { desired, replaces, drift } => {
            let now = context.clock.now();
            let drift = drift || replaces.is_none() && context.memory().was_in_place(&unit, &output);
            let left_alone = context.memory().contests.until(&output, now);
            if let Some(until) = left_alone {
                refuse(context, namespace, contested(&output, until).message);
                return Ended::At(until);
            }
            match write::<RoleBinding>(&context.client, *desired, replaces).await {
                Err(error) => Err(error),
                Ok(Written::Terminating) => return Ended::Done,
                Ok(Written::Taken | Written::Found(_) | Written::Conflict) => return Ended::Failed,
                Ok(Written::Done(binding)) => {
                    if drift {
                        context.memory().contests.corrected(&output, now);
                        announce(context, domain.as_deref(), &output).await;
                    }
                    info!(namespace, "the operator has its rights in the namespace");
                    Ok(Some(Change::RoleBinding(output.1.clone(), Some((&binding).into()))))
                }
            }
        }
    };
    match done {
        Ok(change) => {
            let written = matches!(change, Some(Change::RoleBinding(_, Some(_))));
            context.members.forget_refusal(namespace);
            context.fold_own(&unit, change);
            context.members.look(&context.world(), namespace);
            note_in_place(context, &unit, &output);
            // Someone on the way may have changed it.
            let MemberStep { step, .. } = member_step(&context.world(), namespace);
            if written && matches!(step, Step::Write { .. }) { Ended::Failed } else { Ended::Done }
        }
        Err(error) => {
            tell(&error, "the operator's RoleBinding could not be written and is tried again");
            let why = format!(
                "RoleBinding {} can't be written, so that nothing else is: {}; it is tried again",
                output.1,
                said(&error)
            );
            refuse(context, namespace, why);
            Ended::Failed
        }
    }
}

/// Whether something is still being written in a namespace, with the rights that are to go.
fn is_busy(context: &Context, namespace: &str) -> bool {
    let units = context.world().units_on_entry(namespace);
    units.iter().any(|unit| match unit {
        Unit::Identity(key) => key.namespace == namespace && context.queue.is_pending(unit),
        Unit::Directory(key) => key.namespace == namespace && context.queue.is_pending(unit),
        Unit::Fence(_) => context.queue.is_pending(unit),
        _ => false,
    })
}

/// Says why a namespace can't be entered, on everything that waits for it.
fn refuse(context: &Context, namespace: &str, why: String) {
    context.members.note_refused(namespace, why);
    context.queue.add(context.world().units_on_entry(namespace));
}

/// Tells that someone else changed or deleted the RoleBinding.
async fn announce(context: &Context, domain: Option<&str>, (_, key): &Output) {
    let Some(object) = domain.and_then(|domain| context.world().domain(domain).cloned()) else { return };
    let note = format!("someone else changed RoleBinding {key}; it is put right");
    context.events.warning(object.as_ref(), Reason::DriftCorrected, note).await;
}

fn note_in_place(context: &Context, unit: &Unit, output: &Output) {
    let found = context.world().role_binding(&output.1.namespace).is_some();
    context.memory().note_in_place(unit, found.then(|| output.clone()).into_iter().collect());
}
