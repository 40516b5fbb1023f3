//! What is written into what others declare: finalizers, which keep an object until what hangs on it is cleaned up, and
//! which CA a TrustDomain has.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use ringfence_core::api::TrustDomain;
use ringfence_core::world::{AUTHORITY_ANNOTATION, Unit};
use serde_json::{Value, json};

use super::context::Context;
use super::report::{Declared, without_managers};
use super::write::MANAGER;

/// Changes the finalizers of the very version of an object that is known. One that is gone needs none.
///
/// # Errors
/// When the API server refuses it, also because the object has changed meanwhile.
pub(super) async fn set_finalizers<K: Declared>(
    context: &Context,
    unit: &Unit,
    api: &Api<K>,
    object: &K,
    change: impl FnOnce(&mut Vec<String>),
) -> kube::Result<()> {
    let mut finalizers = object.finalizers().to_vec();
    change(&mut finalizers);
    set_metadata(context, unit, api, object, json!({"finalizers": finalizers})).await
}

/// Records in a TrustDomain which CA generation it has.
///
/// # Errors
/// When the API server refuses it, also because the object has changed meanwhile.
pub(super) async fn record_authority(
    context: &Context,
    unit: &Unit,
    api: &Api<TrustDomain>,
    domain: &TrustDomain,
    id: &str,
) -> kube::Result<()> {
    set_metadata(context, unit, api, domain, json!({"annotations": {AUTHORITY_ANNOTATION: id}})).await
}

async fn set_metadata<K: Declared>(
    context: &Context,
    unit: &Unit,
    api: &Api<K>,
    object: &K,
    mut metadata: Value,
) -> kube::Result<()> {
    metadata["uid"] = json!(object.uid());
    metadata["resourceVersion"] = json!(object.resource_version());
    let patch = json!({"metadata": metadata});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&object.name_any(), &params, &Patch::Merge(patch)).await {
        Ok(written) => {
            context.fold_own(unit, [without_managers(written).seen()]);
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
