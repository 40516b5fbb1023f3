//! Reconciling what the token service is told of a namespace: one ConfigMap in the token service's own namespace.
//!
//! Whatever closes an identity touches this too, and this comes before the identities in the queue: no more tokens are
//! minted in the same pass in which packets stop, or earlier. What opens may come before the files of the callee, which
//! refuses until it has them.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use ringfence_core::api::Reason;
use ringfence_core::plan::{DirectoryStep, Step, directory_step, name_taken};
use ringfence_core::tokens::directory_namespace;
use ringfence_core::world::{Change, NamespacedName, Problem, Unit};

use super::contest::{Output, contested};
use super::context::Context;
use super::error::{Error, tell, write_failed};
use super::members::Access;
use super::queue::Ended;
use super::trace;
use super::write::{Written, delete, write};

/// One pass over one of these ConfigMaps.
struct Pass<'a> {
    context: &'a Context,
    unit: Unit,
    output: Output,
    /// The TrustDomain that is responsible.
    domain: Option<String>,
    /// What it is to be told.
    problem: Option<Problem>,
}

/// Brings one of these ConfigMaps to what is declared.
pub(super) async fn reconcile(context: &Context, key: &NamespacedName) -> Ended {
    let (DirectoryStep { domain, step, problem }, access, waits) = trace::plan().in_scope(|| {
        let world = context.world();
        let plan = directory_step(&world, key);
        // Keys in Secrets that are not seen yet would seem to be missing, and so would a CA that is being made. In a
        // namespace that can't be entered at all nobody's key is vouched for.
        let told = directory_namespace(&key.name).map(|namespace| context.members.access(&world, namespace));
        let has_authority = plan.domain.as_ref().is_none_or(|domain| world.generations(domain).is_some());
        let waits = told == Some(Access::Awaited) || !has_authority;
        (plan, context.members.access(&world, &key.namespace), waits)
    });
    let output = ("ConfigMap", key.clone());
    let mut pass = Pass { context, unit: Unit::Directory(key.clone()), output, domain, problem };
    let ended = match step {
        Step::Keep => Ended::Done,
        // The TrustDomain says why without being told.
        Step::Blocked(_) => Ended::Done,
        // Its turn comes when the operator sees what is there.
        Step::Write { .. } if waits => return Ended::Done,
        _ if access == Access::Awaited => return Ended::Done,
        _ if access != Access::Open => {
            pass.problem = access.problem();
            Ended::Done
        }
        Step::Delete { uid } => pass.delete(&uid).await,
        Step::Write { desired, replaces, drift } => pass.write(*desired, replaces, drift).await,
    };
    pass.note_in_place();
    pass.report();
    ended
}

/// What the TrustDomain is told about the namespaces of which the token service is not told everything.
pub(super) fn problems(context: &Context, domain: &str) -> Vec<Problem> {
    let memory = context.memory();
    let of_domain = memory.untold.values().filter(|(responsible, _)| responsible == domain);
    of_domain.map(|(_, problem)| problem.clone()).collect()
}

impl Pass<'_> {
    async fn delete(&mut self, uid: &str) -> Ended {
        let (client, key) = (&self.context.client, self.output.1.clone());
        match delete::<ConfigMap>(client, &key.namespace, &key.name, uid).await {
            Ok(()) => {
                self.context.memory().forget(&self.unit);
                self.context.fold_own(&self.unit, [Change::ConfigMap(key, None)]);
                Ended::Done
            }
            Err(error) => self.fail(error),
        }
    }

    async fn write(&mut self, desired: ConfigMap, replaces: Option<(String, String)>, drift: bool) -> Ended {
        let (context, key, now) = (self.context, self.output.1.clone(), self.context.clock.now());
        let drift = drift || replaces.is_none() && context.memory().was_in_place(&self.unit, &self.output);
        // What is declared anew is written all the same: something may be revoked by it.
        let left_alone = context.memory().contests.until(&self.output, now).filter(|_| drift);
        if let Some(until) = left_alone {
            self.problem = Some(contested(&self.output, until));
            return Ended::At(until);
        }
        let written = match write::<ConfigMap>(&context.client, desired, replaces).await {
            Ok(Written::Done(written)) => written,
            Ok(Written::Found(found)) => {
                context.fold_found(&self.unit, Change::ConfigMap(key, Some((&found).into())));
                return Ended::Failed;
            }
            // Nothing tells when it goes: it is looked at again and again, with growing pauses.
            Ok(Written::Taken) => {
                self.problem = Some(name_taken("ConfigMap", &key));
                return Ended::Failed;
            }
            Ok(Written::Conflict) => return Ended::Failed,
            Ok(Written::Terminating) => return Ended::Done,
            Err(error) => return self.fail(error),
        };
        context.fold_own(&self.unit, [Change::ConfigMap(key.clone(), Some((&written).into()))]);
        if drift {
            context.memory().contests.corrected(&self.output, now);
            self.announce().await;
        }
        match directory_step(&context.world(), &key).step {
            // It is due no more since this was begun.
            Step::Delete { .. } => Ended::After(Duration::ZERO),
            // Someone on the way may have changed it.
            Step::Write { .. } if !context.queue.comes_again(&self.unit) => Ended::Failed,
            _ => Ended::Done,
        }
    }

    fn fail(&mut self, error: kube::Error) -> Ended {
        tell(&error, "what the token service is told could not be written and is tried again");
        self.problem = Some(write_failed(&Error::from(error)));
        Ended::Failed
    }

    /// Tells that someone else changed or deleted it.
    async fn announce(&self) {
        let domain = self.domain.as_ref().and_then(|domain| self.context.world().domain(domain).cloned());
        let Some(domain) = domain else { return };
        let note = format!("someone else changed ConfigMap {}; it is put right", self.output.1);
        self.context.events.warning(domain.as_ref(), Reason::DriftCorrected, note).await;
    }

    fn note_in_place(&self) {
        let found = self.context.world().config_map(&self.output.1).is_some();
        let outputs = found.then(|| self.output.clone()).into_iter().collect();
        self.context.memory().note_in_place(&self.unit, outputs);
    }

    /// Lets the TrustDomain know when there is something else to tell than before.
    fn report(self) {
        let (key, told) = (self.output.1, self.domain.zip(self.problem));
        let mut memory = self.context.memory();
        let before = match told.clone() {
            Some(told) => memory.untold.insert(key, told),
            None => memory.untold.remove(&key),
        };
        drop(memory);
        if before != told {
            let domains = before.into_iter().chain(told).map(|(domain, _)| Unit::Domain(domain));
            self.context.queue.add(domains);
        }
    }
}
