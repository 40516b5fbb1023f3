//! An identity that is suspended, or goes: what it had is revoked and removed.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use ringfence_core::api::{ConditionType, ServiceIdentity, ServiceIdentityStatus, find_condition};
use ringfence_core::plan::{IDENTITY_FINALIZER, Leftover, SuspensionPlan, needs_finalizer};
use ringfence_core::world::Change;

use super::Pass;
use crate::controller::error::{Error, tell};
use crate::controller::finalizers::set_finalizers;
use crate::controller::queue::Ended;
use crate::controller::write::delete;

/// What an event says about a rotation that begins with this status: it is lossy.
pub(super) fn lossy_rotation(object: &ServiceIdentity, status: Option<&ServiceIdentityStatus>) -> Option<String> {
    let (before, after) = (object.status.as_ref().and_then(|status| status.rotation.as_ref()), status?);
    let begins = after.rotation.is_some() && after.rotation.as_ref() != before;
    let condition = find_condition(&after.conditions, ConditionType::RollingOver).filter(|_| begins)?;
    Some(condition.message.clone())
}

impl Pass<'_> {
    /// Closes the identity, and removes its credentials as far as they are revoked.
    pub(super) async fn suspend(&mut self, plan: &SuspensionPlan) {
        self.network_policy(format!("ringfence-{}", self.key.name), &plan.network_policy).await;
        for leftover in &plan.leftovers {
            let removed = self.remove(leftover).await;
            self.conclude(removed.map(|()| None));
        }
        // What comes back is new, and nobody's doing.
        let mut memory = self.context.memory();
        memory.edges.remove(self.key);
        memory.forget(&self.unit);
    }

    pub(super) async fn remove(&self, Leftover { kind, key, uid }: &Leftover) -> Result<(), Error> {
        let client = &self.context.client;
        let gone = if *kind == "Secret" {
            delete::<Secret>(client, &key.namespace, &key.name, uid).await?;
            Change::Secret(key.clone(), None)
        } else {
            delete::<ConfigMap>(client, &key.namespace, &key.name, uid).await?;
            Change::ConfigMap(key.clone(), None)
        };
        self.context.fold_own(&self.unit, [gone]);
        Ok(())
    }

    /// Puts the finalizer on an identity: without it, one that is deleted while the operator is away would leave
    /// certificates behind that nobody revokes. Returns whether it is there.
    pub(super) async fn hold(&mut self) -> bool {
        let Some(object) = self.object().filter(|object| needs_finalizer(object)) else { return true };
        let held = self.finalizers(&object, |finalizers| finalizers.push(IDENTITY_FINALIZER.to_owned())).await;
        self.conclude(held.map(|()| None).map_err(Error::from));
        !self.failed
    }

    /// Lets an identity go that is being deleted and whose certificates are revoked.
    pub(super) async fn release(self) -> Ended {
        let Some(object) = self.object() else { return Ended::Done };
        let drop_ours = |finalizers: &mut Vec<String>| finalizers.retain(|finalizer| finalizer != IDENTITY_FINALIZER);
        match self.finalizers(&object, drop_ours).await {
            Ok(()) => Ended::Done,
            Err(error) => {
                tell(&error, "the finalizer could not be taken off and is tried again");
                Ended::Failed
            }
        }
    }

    fn object(&self) -> Option<Arc<ServiceIdentity>> {
        self.context.world().service_identity(self.key).cloned()
    }

    async fn finalizers(&self, object: &ServiceIdentity, change: impl FnOnce(&mut Vec<String>)) -> kube::Result<()> {
        let api = Api::<ServiceIdentity>::namespaced(self.context.client.clone(), &self.key.namespace);
        set_finalizers(self.context, &self.unit, &api, object, change).await
    }
}
