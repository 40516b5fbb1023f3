//! Metadata of everything that Ringfence writes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use crate::world::{HASH_ANNOTATION, MANAGED_BY, MANAGED_BY_LABEL};

/// Who an output belongs to. Ownership is this UID, never a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// API version, e.g. `ringfence.dev/v1alpha1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl Owner {
    /// An object as an owner.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            name: object.meta().name.clone().unwrap_or_default(),
            uid: object.meta().uid.clone().unwrap_or_default(),
        }
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}

/// Metadata of an output. Without an owner it stays when everything else is cleaned up.
pub(super) fn metadata(namespace: &str, name: &str, owner: Option<&Owner>, hash: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])),
        annotations: hash.map(|hash| BTreeMap::from([(HASH_ANNOTATION.to_owned(), hash.to_owned())])),
        owner_references: owner.map(|owner| vec![owner.reference()]),
        ..ObjectMeta::default()
    }
}
