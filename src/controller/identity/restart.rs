//! Rolling workloads that can't reload, after everything is delivered.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use ringfence_core::api::{LabelSelector, Reason, Workload, WorkloadKind};
use ringfence_core::plan::{
    IdentityPlan, RestartPlan, restart_failed, restart_plan, restart_refused, restart_stalled, restarting,
    workload_not_found,
};
use ringfence_core::world::{NamespacedName, RESTART_ANNOTATION, Unit};
use serde_json::{Value, json};
use tracing::Instrument;

use super::Pass;
use crate::controller::rollouts::{Progress, Target};
use crate::controller::trace;
use crate::controller::write::MANAGER;

/// Pause before the pods of a workload that is being rolled are counted again. The API server is not asked for that.
const COUNTED_AGAIN: i64 = 5;
/// Pause before one that waits for its turn, or that stands still, is looked at again, should nothing tell of it earlier.
const LOOKED_AT_AGAIN: i64 = 60;
/// Pause before the API server is asked again for what it does not have or does not give.
const ASKED_AGAIN: i64 = 600;

/// What the API server says about a workload.
struct Found {
    selector: LabelSelector,
    /// What it was last rolled for.
    rolled_for: Option<String>,
}

impl Pass<'_> {
    /// Rolls the workloads that run with something older than what is delivered.
    pub(super) async fn restart(&mut self, plan: &IdentityPlan) {
        let wanted = restart_plan(&self.context.world(), plan);
        let Some(wanted) = wanted.filter(|wanted| wanted.due <= self.now) else { return };
        let mut all = true;
        for workload in &wanted.workloads {
            all &= self.look_at(&wanted, workload).await;
        }
        self.outcome.restarted = all.then(|| wanted.done());
    }

    /// Looks at one workload, and rolls it if need be; returns whether all of its pods have what is delivered.
    async fn look_at(&mut self, wanted: &RestartPlan, workload: &Workload) -> bool {
        let target: Target = (self.key.clone(), workload.clone());
        let context = self.context;
        if context.rollouts.is_through(&target, &wanted.hash) {
            return true;
        }
        if let Some(selector) = context.rollouts.selector(&target, &wanted.hash) {
            return self.count(wanted, &target, &selector);
        }
        if !context.rollouts.enter(&target, &wanted.hash, wanted.since, self.now) {
            self.outcome.problems.push(restarting(workload, false));
            self.look_again(LOOKED_AT_AGAIN);
            return false;
        }
        let api = workloads(context.client.clone(), &self.key.namespace, workload.kind);
        let found = match self.find(&api, workload).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.outcome.problems.push(workload_not_found(&self.key.namespace, workload));
                self.look_again(ASKED_AGAIN);
                self.wake(context.rollouts.leave(&target));
                return false;
            }
            Err(error) => return self.fail(&target, &error),
        };
        let left = wanted.pods_from_before(&context.world(), &self.key.namespace, &found.selector);
        if left > 0 && found.rolled_for.as_ref() != Some(&wanted.hash) {
            if let Err(error) = self.roll(&api, workload, &wanted.hash).await {
                return self.fail(&target, &error);
            }
            let note =
                format!("rolled {workload}, of which {left} pods run with what was delivered before {}", wanted.since);
            let object = context.world().service_identity(self.key).cloned();
            if let Some(object) = object {
                context.events.normal(object.as_ref(), Reason::Restarted, note).await;
            }
        }
        self.count(wanted, &target, &found.selector)
    }

    /// Counts the pods that are still to be replaced; returns whether there are none.
    fn count(&mut self, wanted: &RestartPlan, target: &Target, selector: &LabelSelector) -> bool {
        let left = wanted.pods_from_before(&self.context.world(), &self.key.namespace, selector);
        if left == 0 {
            self.wake(self.context.rollouts.finish(target));
            return true;
        }
        match self.context.rollouts.note(target, selector, left, self.now) {
            Progress::Rolling => {
                self.outcome.problems.push(restarting(&target.1, true));
                self.look_again(COUNTED_AGAIN);
            }
            Progress::Stalled => {
                self.outcome.problems.push(restart_stalled(&target.1, left));
                self.look_again(LOOKED_AT_AGAIN);
            }
        }
        false
    }

    async fn find(&self, api: &Api<DynamicObject>, workload: &Workload) -> kube::Result<Option<Found>> {
        let (kind, namespace) = (workload.kind.as_str(), &self.key.namespace);
        let found = api.get_opt(&workload.name).instrument(trace::gather_of(kind, namespace, &workload.name)).await?;
        Ok(found.map(|object| {
            let spec = &object.data["spec"];
            let rolled_for = spec["template"]["metadata"]["annotations"][RESTART_ANNOTATION].as_str();
            // The API server lets none pass that can't be read.
            let selector = serde_json::from_value(spec["selector"].clone()).unwrap_or_default();
            Found { selector, rolled_for: rolled_for.map(str::to_owned) }
        }))
    }

    async fn roll(&self, api: &Api<DynamicObject>, workload: &Workload, hash: &str) -> kube::Result<()> {
        let annotation: Value = json!({RESTART_ANNOTATION: hash});
        let patch = Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": annotation}}}}));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let span = trace::write_of("patch", workload.kind.as_str(), Some(&self.key.namespace), Some(&workload.name));
        let rolled = api.patch(&workload.name, &params, &patch).instrument(span.clone()).await;
        span.record("outcome", if rolled.is_ok() { "done" } else { "failed" });
        rolled.map(drop)
    }

    fn fail(&mut self, target: &Target, error: &kube::Error) -> bool {
        self.wake(self.context.rollouts.leave(target));
        if lacks_right(error) {
            self.outcome.problems.push(restart_refused(&target.1, &error.to_string()));
            self.look_again(ASKED_AGAIN);
        } else {
            // One that went in this very moment is found missing the next time.
            self.outcome.problems.push(restart_failed(&target.1, &error.to_string()));
            self.failed = true;
        }
        false
    }

    /// Lets an identity take the turn that it has waited for.
    fn wake(&self, identity: Option<NamespacedName>) {
        self.context.queue.add(identity.map(Unit::Identity));
    }

    fn look_again(&mut self, seconds: i64) {
        let again = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).ok();
        self.again = self.again.into_iter().chain(again).min();
    }
}

/// Whether it is a role that refuses a request, and neither an admission policy nor somebody's webhook.
fn lacks_right(error: &kube::Error) -> bool {
    let is_about_roles =
        |message: &str| ["get", "patch"].iter().any(|verb| message.contains(&format!("cannot {verb} resource")));
    matches!(error, kube::Error::Api(answer) if answer.code == 403 && is_about_roles(&answer.message))
}

fn workloads(client: kube::Client, namespace: &str, kind: WorkloadKind) -> Api<DynamicObject> {
    let resource = match kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    };
    Api::namespaced_with(client, namespace, &resource)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_role_that_refuses_is_told_from_an_admission_that_does() {
        let cases = [
            (
                403,
                r#"deployments.apps "a" is forbidden: User "x" cannot get resource "deployments" in API group "apps" in the namespace "shop""#,
                true,
            ),
            (
                403,
                r#"deployments.apps "a" is forbidden: User "x" cannot patch resource "deployments" in API group "apps" in the namespace "shop""#,
                true,
            ),
            (
                403,
                r#"deployments.apps "a" is forbidden: ValidatingAdmissionPolicy 'b' denied request: the operator changes nothing"#,
                false,
            ),
            (403, r#"admission webhook "c" denied the request: no"#, false),
            (500, "cannot get resource", false),
        ];
        for (code, message, expected) in cases {
            let status = Status::failure(message, "").with_code(code).boxed();
            assert_eq!(lacks_right(&kube::Error::Api(status)), expected, "{message}");
        }
    }
}
