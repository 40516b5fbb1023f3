//! Whether an identity is gone, where its outputs went before the news of it came in.

use kube::Api;
use ringfence_core::api::ServiceIdentity;
use ringfence_core::world::NamespacedName;

use super::context::Context;

/// Watches tell of different kinds in any order: a certificate that was issued and is missing may have gone with its
/// identity, and nobody is to issue another one for that. Only the API server knows.
pub(super) async fn is_gone(context: &Context, key: &NamespacedName) -> bool {
    let uid = {
        let world = context.world();
        let Some(object) = world.service_identity(key) else { return false };
        let issued = object.status.as_ref().is_some_and(|status| status.certificate.is_some());
        let secret = NamespacedName::new(key.namespace.clone(), object.tls_secret());
        let ends = object.spec.suspended || object.metadata.deletion_timestamp.is_some();
        if !issued || ends || world.secret(&secret).is_some() || context.members.awaits(&world, key) {
            return false;
        }
        object.metadata.uid.clone()
    };
    match Api::<ServiceIdentity>::namespaced(context.client.clone(), &key.namespace).get_metadata_opt(&key.name).await {
        Ok(found) => found.is_none_or(|found| found.metadata.uid != uid || found.metadata.deletion_timestamp.is_some()),
        Err(_) => false,
    }
}
