//! Objects of ours that can't be read, because they were stored under a looser schema: they count as missing, and say so.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Resource};
use ringfence_core::api::{ConditionType, GROUP, Reason, VERSION, set_condition};
use ringfence_core::world::{Change, NamespacedName};
use tracing::warn;

use super::context::Context;
use super::error::said;
use super::write::MANAGER;

/// Remembers an object that can't be read; the one that leads says so.
pub(super) async fn seen(context: &Context, plural: &'static str, key: NamespacedName, error: String) {
    warn!(kind = plural, object = %key, error, "the object can't be read and is left out");
    context.memory().malformed.insert((plural, key.clone()), error.clone());
    if context.leads() {
        report(context, plural, &key, &error).await;
    }
}

/// Forgets that an object could not be read, if it was one: it can be now, or is gone.
pub(super) fn forget(context: &Context, change: &Change) {
    let which = match change {
        Change::Domain(name, _) => ("trustdomains", NamespacedName::new("", name)),
        Change::Identity(key, _) => ("serviceidentities", key.clone()),
        Change::Policy(key, _) => ("accesspolicies", key.clone()),
        _ => return,
    };
    context.memory().malformed.remove(&which);
}

/// Says of all that were seen until now that they are refused.
pub(super) async fn report_all(context: &Context) {
    let malformed = context.memory().malformed.clone();
    for ((plural, key), error) in malformed {
        report(context, plural, &key, &error).await;
    }
}

/// The kind of each object that can't be read.
pub(super) fn kinds(context: &Context) -> Vec<&'static str> {
    context.memory().malformed.keys().map(|(plural, _)| kind_of(plural)).collect()
}

fn kind_of(plural: &str) -> &'static str {
    match plural {
        "trustdomains" => "TrustDomain",
        "serviceidentities" => "ServiceIdentity",
        _ => "AccessPolicy",
    }
}

/// Says that an object is refused: in an event, and in its status.
async fn report(context: &Context, plural: &'static str, key: &NamespacedName, error: &str) {
    let kind = kind_of(plural);
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural);
    let api: Api<DynamicObject> = if key.namespace.is_empty() {
        Api::all_with(context.client.clone(), &resource)
    } else {
        Api::namespaced_with(context.client.clone(), &key.namespace, &resource)
    };
    let Ok(Some(object)) = api.get_opt(&key.name).await else { return };
    let conditions = object.data.pointer("/status/conditions").cloned();
    let previous = conditions.and_then(|conditions| serde_json::from_value(conditions).ok()).unwrap_or_else(Vec::new);
    let message =
        format!("the stored object does not fit the schema: {error}; apply it again with the field put right");
    let mut conditions = Vec::new();
    let at = (object.metadata.generation, context.clock.now());
    for condition in [ConditionType::Ready, ConditionType::Accepted] {
        set_condition(&mut conditions, &previous, (condition, false), Reason::Invalid, message.clone(), at);
    }
    if previous == conditions {
        return;
    }
    // Where a rule of the schema can't even be evaluated, the API server stores no status: then the event has to do.
    context.events.warning_about(&object.object_ref(&resource), Reason::Invalid, message).await;
    // Server-side apply would have to read the object too, and could no more than we.
    let patch = serde_json::json!({
        "status": { "observedGeneration": object.metadata.generation, "conditions": conditions },
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    if let Err(error) = api.patch_status(&key.name, &params, &Patch::Merge(patch)).await {
        warn!(kind = plural, object = %key, error = said(&error), "the refusal could not be written");
    }
}
