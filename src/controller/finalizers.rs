//! Finalizers: what keeps an object until what hangs on it is cleaned up.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use ringfence_core::world::Unit;

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
    let patch = serde_json::json!({"metadata": {
        "finalizers": finalizers, "uid": object.uid(), "resourceVersion": object.resource_version(),
    }});
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
