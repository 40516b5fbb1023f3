//! Statuses: what a reconciliation ends with. One that says nothing new is not written.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::{Api, Resource, ResourceExt};
use ringfence_core::api::{AccessPolicy, ConditionType, Reason, ServiceIdentity, TrustDomain, find_condition};
use ringfence_core::world::{Change, NamespacedName, Unit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use super::context::Context;
use super::outdated;
use super::trace;
use super::write::MANAGER;

/// One of the three kinds.
pub(super) trait Declared:
    Resource<DynamicType = ()> + HasStatus<Status: Serialize + PartialEq> + Clone + Debug + DeserializeOwned
{
    fn conditions(status: &Self::Status) -> &[Condition];

    /// The change that this version of it makes.
    fn seen(self) -> Change;
}

impl Declared for TrustDomain {
    fn conditions(status: &Self::Status) -> &[Condition] {
        &status.conditions
    }

    fn seen(self) -> Change {
        Change::Domain(self.name_any(), Some(Arc::new(self)))
    }
}

impl Declared for ServiceIdentity {
    fn conditions(status: &Self::Status) -> &[Condition] {
        &status.conditions
    }

    fn seen(self) -> Change {
        Change::Identity(key_of(&self), Some(Arc::new(self)))
    }
}

impl Declared for AccessPolicy {
    fn conditions(status: &Self::Status) -> &[Condition] {
        &status.conditions
    }

    fn seen(self) -> Change {
        Change::Policy(key_of(&self), Some(Arc::new(self)))
    }
}

fn key_of<K: Resource>(object: &K) -> NamespacedName {
    NamespacedName::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any())
}

/// What came of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// It says what it said before.
    Unchanged,
    /// It is written.
    Written,
    /// There is nothing to write it to: the object is gone, or was stored under a looser schema, so that the API server
    /// takes no status for it.
    Nowhere,
}

impl Reported {
    /// A word for it, for traces.
    fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Written => "done",
            Self::Nowhere => "nowhere",
        }
    }
}

/// Writes the status of an object if it says something new, and warns when the object is not ready any more.
pub(super) async fn report<K: Declared>(
    context: &Context,
    unit: &Unit,
    api: &Api<K>,
    object: &K,
    status: Option<K::Status>,
) -> kube::Result<Reported> {
    let span = trace::status();
    let reported = write_status(context, unit, api, object, status).instrument(span.clone()).await;
    span.record("outcome", reported.as_ref().map_or("failed", |reported| reported.as_str()));
    reported
}

async fn write_status<K: Declared>(
    context: &Context,
    unit: &Unit,
    api: &Api<K>,
    object: &K,
    status: Option<K::Status>,
) -> kube::Result<Reported> {
    let Some(status) = status.filter(|status| object.status() != Some(status)) else {
        return Ok(Reported::Unchanged);
    };
    if context.memory().outdated.knows(unit, &status, object.status()) {
        return Ok(Reported::Unchanged);
    }
    let patch = serde_json::json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": object.name_any() },
        "status": status,
    });
    let apply = PatchParams::apply(MANAGER).force();
    let applied = match api.patch_status(&object.name_any(), &apply, &Patch::Apply(patch)).await {
        // What it knows of it is better than nothing.
        Err(kube::Error::Api(answer)) if outdated::is_undeclared(&answer) => {
            let merge = Patch::Merge(outdated::replacing(object.status(), &status));
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            api.patch_status(&object.name_any(), &params, &merge).await
        }
        applied => applied,
    };
    let reported = match applied {
        Ok(written) => {
            context.memory().outdated.note(unit, &status, written.status());
            context.fold_own(unit, [without_managers(written).seen()]);
            Reported::Written
        }
        Err(kube::Error::Api(answer)) if answer.is_not_found() => return Ok(Reported::Nowhere),
        // Until the object is changed, only an event can say so.
        Err(kube::Error::Api(answer)) if answer.is_invalid() => Reported::Nowhere,
        Err(error) => return Err(error),
    };
    if let Some((reason, message)) = turned_bad(object.status().map(K::conditions), K::conditions(&status)) {
        context.events.warning(object, reason, message).await;
    }
    Ok(reported)
}

/// An object without the record of who set which field, which nobody here reads.
pub(super) fn without_managers<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// What became bad: the reason and message for a warning, when an object turns from ready, or from new, to not ready, or
/// from one reason for that to another. Waiting is not bad.
fn turned_bad(before: Option<&[Condition]>, after: &[Condition]) -> Option<(Reason, String)> {
    let ready = find_condition(after, ConditionType::Ready)?;
    let old = before.and_then(|before| find_condition(before, ConditionType::Ready));
    if ready.status == "True" || old.is_some_and(|old| old.status == ready.status && old.reason == ready.reason) {
        return None;
    }
    let reason =
        Reason::parse(&ready.reason).filter(|reason| !matches!(reason, Reason::Pending | Reason::ParentNotReady))?;
    Some((reason, ready.message.clone()))
}
