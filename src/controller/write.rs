//! Writing: create first, later writes bound to the UID and version that are known, and nothing of others is touched.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::{NamespaceResourceScope, Resource};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use super::trace;

/// Field manager, event reporter and Lease name.
pub(super) const MANAGER: &str = "ringfence";

/// A kind of output.
pub(super) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
    /// Whether each object that could stand in the way is watched, not only those with our label. Then nothing has to be
    /// read to find out whose it is.
    const ALL_WATCHED: bool;
}

impl Kind for Secret {
    const ALL_WATCHED: bool = false;
}

impl Kind for ConfigMap {
    const ALL_WATCHED: bool = false;
}

impl Kind for NetworkPolicy {
    const ALL_WATCHED: bool = true;
}

impl Kind for RoleBinding {
    const ALL_WATCHED: bool = true;
}

/// What came of a write.
#[derive(Debug)]
pub(super) enum Written<K> {
    /// It is written; the object as the API server answered.
    Done(K),
    /// An object of that name exists and is ours, although it was not known: to be planned again with what is in it.
    Found(K),
    /// An object of that name exists and is someone else's.
    Taken,
    /// The version that was to be replaced is not current any more: look again.
    Conflict,
    /// The namespace is being deleted.
    Terminating,
}

impl<K> Written<K> {
    /// A word for it, for traces.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Found(_) => "found",
            Self::Taken => "taken",
            Self::Conflict => "conflict",
            Self::Terminating => "terminating",
        }
    }
}

/// Creates an object, or replaces the version that is known of it.
pub(super) async fn write<K: Kind>(
    client: &Client,
    desired: K,
    replaces: Option<(String, String)>,
) -> kube::Result<Written<K>> {
    let verb = if replaces.is_some() { "update" } else { "create" };
    let span = trace::write::<K>(verb, desired.meta().namespace.as_deref(), desired.meta().name.as_deref());
    let written = create_or_replace(client, desired, replaces).instrument(span.clone()).await;
    span.record("outcome", written.as_ref().map_or("failed", Written::as_str));
    written
}

async fn create_or_replace<K: Kind>(
    client: &Client,
    mut desired: K,
    replaces: Option<(String, String)>,
) -> kube::Result<Written<K>> {
    let metadata = desired.meta().clone();
    let api = Api::<K>::namespaced(client.clone(), metadata.namespace.as_deref().unwrap_or_default());
    let name = metadata.name.as_deref().unwrap_or_default();
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    if let Some((uid, version)) = replaces {
        let fresh = desired.clone();
        bind(desired.meta_mut(), uid.clone(), version);
        return match api.replace(name, &params, &desired).await {
            Err(kube::Error::Api(status))
                if status.is_invalid() && !K::ALL_WATCHED && is_frozen(&api, name).await? =>
            {
                // Someone made it immutable, so that it would stay as it is: another one takes its place.
                delete::<K>(client, metadata.namespace.as_deref().unwrap_or_default(), name, &uid).await?;
                replaced(api.create(&params, &fresh).await)
            }
            answer => replaced(answer),
        };
    }
    match api.create(&params, &desired).await {
        Ok(object) => Ok(Written::Done(object)),
        Err(error) if is_terminating(&error) => Ok(Written::Terminating),
        Err(kube::Error::Api(status)) if status.is_already_exists() && K::ALL_WATCHED => Ok(Written::Conflict),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let Some(found) = api.get_opt(name).await? else { return Ok(Written::Conflict) };
            let is_ours =
                controller(found.meta()).map(|owner| &owner.uid) == controller(&metadata).map(|owner| &owner.uid);
            Ok(if is_ours { Written::Found(found) } else { Written::Taken })
        }
        Err(error) => Err(error),
    }
}

/// Deletes this very object; one that is gone already is as good.
pub(super) async fn delete<K: Kind>(client: &Client, namespace: &str, name: &str, uid: &str) -> kube::Result<()> {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let span = trace::write::<K>("delete", Some(namespace), Some(name));
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let deleted = match api.delete(name, &params).instrument(span.clone()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error),
    };
    span.record("outcome", if deleted.is_ok() { "done" } else { "failed" });
    deleted
}

/// Whether a Secret or a ConfigMap is immutable.
async fn is_frozen<K: Kind>(api: &Api<K>, name: &str) -> kube::Result<bool> {
    let found = api.get_opt(name).await?;
    Ok(found.and_then(|found| serde_json::to_value(found).ok()).is_some_and(|found| found["immutable"] == true))
}

fn bind(metadata: &mut ObjectMeta, uid: String, resource_version: String) {
    metadata.uid = Some(uid);
    metadata.resource_version = Some(resource_version);
}

fn replaced<K>(answer: kube::Result<K>) -> kube::Result<Written<K>> {
    match answer {
        Ok(object) => Ok(Written::Done(object)),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(Written::Conflict),
        Err(error) => Err(error),
    }
}

/// The controller that owns an object: whose it is.
fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn is_terminating(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status
            .details
            .as_ref()
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")),
        _ => false,
    }
}
