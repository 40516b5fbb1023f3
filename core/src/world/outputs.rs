//! What is remembered of the objects that Ringfence writes, and of NetworkPolicies that it does not.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use super::AppliedTemplate;
use crate::issuers::{Fingerprint, delivered};
use crate::jwt::{SigningKeyFacts, SigningKeyFault};
use crate::pki::{LeafFacts, TlsSecretFault};

/// Value of `app.kubernetes.io/managed-by` on everything that Ringfence writes.
pub const MANAGED_BY: &str = "ringfence";
/// Label of everything that Ringfence writes. It selects; it proves nothing.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Annotation with the hash of the content that was written.
pub const HASH_ANNOTATION: &str = "ringfence.dev/content-hash";
/// Annotation of a Secret with the record of the keystores in it.
pub const KEYSTORE_ANNOTATION: &str = "ringfence.dev/keystores";
/// Annotation of a Secret that comes from a backup. Without a controller it belongs to the identity that it is named after.
pub const RESTORED_ANNOTATION: &str = "ringfence.dev/restored";
/// Type of the Secret with a certificate and its key.
pub const TLS_SECRET_TYPE: &str = "kubernetes.io/tls";
/// Type of the Secret with a token-signing key.
pub const SIGNING_KEY_SECRET_TYPE: &str = "ringfence.dev/signing-key";
/// Type of the Secret with the credentials of a client of a token issuer.
pub const CLIENT_SECRET_TYPE: &str = "ringfence.dev/client-credentials";
/// Type of the Secret with the generations of a CA.
pub const AUTHORITY_SECRET_TYPE: &str = "ringfence.dev/certificate-authority";

/// One output as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFacts<T> {
    /// UID of the object.
    pub uid: String,
    /// Its version, for the precondition of the next write.
    pub resource_version: String,
    /// UID of the controller that owns it: whose it is. Kept if someone takes the reference off the very object.
    pub owner_uid: Option<String>,
    /// It carries our label, so that the watch sees it, and its owner.
    pub marked: bool,
    /// The template for labels and annotations that was put on it.
    pub template: Option<AppliedTemplate>,
    /// What the annotation says of keystores in it.
    pub keystore_record: Option<String>,
    /// It comes from a backup, says the annotation.
    pub restored: bool,
    /// Hash of the content that was last written, as the annotation says.
    pub recorded_hash: Option<ContentHash>,
    /// What is in it.
    pub content: T,
}

/// What is remembered of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretFacts {
    /// A certificate and its key.
    Certificate(Result<Box<LeafFacts>, TlsSecretFault>),
    /// A token-signing key.
    SigningKey(Result<Box<SigningKeyFacts>, SigningKeyFault>),
    /// The credentials of a client of a token issuer, and nothing else.
    Client(Option<Fingerprint>),
    /// Something else.
    Other,
}

/// Hash of a whole content, hexadecimal SHA-256.
pub type ContentHash = String;

impl<T> OutputFacts<T> {
    fn new(metadata: &ObjectMeta, content: T) -> Self {
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
        let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            owner_uid: owner.map(|owner| owner.uid.clone()),
            marked: owner.is_some()
                && metadata.labels.iter().flatten().any(|(k, v)| k == MANAGED_BY_LABEL && v == MANAGED_BY),
            template: AppliedTemplate::of(metadata),
            keystore_record: annotation(KEYSTORE_ANNOTATION),
            recorded_hash: annotation(HASH_ANNOTATION),
            restored: annotation(RESTORED_ANNOTATION).is_some(),
            content,
        }
    }

    /// Whether it belongs to the object of this UID, which has the name for it: by its controller, or, where it has none,
    /// because it was restored. UIDs do not survive a backup of objects.
    pub fn is_of(&self, uid: &str) -> bool {
        self.owner_uid.as_deref().map_or(self.restored, |owner| owner == uid)
    }

    /// The same object, seen before, was someone's and is nobody's now: it is still his, and no longer as it was written.
    pub(super) fn remember_owner(&mut self, before: &Self) {
        if self.uid == before.uid && self.owner_uid.is_none() {
            self.owner_uid.clone_from(&before.owner_uid);
        }
    }

    /// Whether the object was read or written after another one of the same name.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let version = |facts: &Self| facts.resource_version.parse::<u64>().unwrap_or(u64::MAX);
        self.uid != other.uid || version(self) > version(other)
    }
}

impl From<&Secret> for OutputFacts<SecretFacts> {
    fn from(secret: &Secret) -> Self {
        let data = secret.data.clone().unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        let content = match secret.type_.as_deref() {
            Some(TLS_SECRET_TYPE) => SecretFacts::Certificate(LeafFacts::of_secret(&data).map(Box::new)),
            Some(SIGNING_KEY_SECRET_TYPE) => SecretFacts::SigningKey(SigningKeyFacts::of_secret(&data).map(Box::new)),
            Some(CLIENT_SECRET_TYPE) => SecretFacts::Client(delivered(&data)),
            _ => SecretFacts::Other,
        };
        Self::new(&secret.metadata, content)
    }
}

impl From<&ConfigMap> for OutputFacts<ContentHash> {
    fn from(config_map: &ConfigMap) -> Self {
        Self::new(&config_map.metadata, config_map_hash(config_map))
    }
}

impl From<&NetworkPolicy> for OutputFacts<ContentHash> {
    fn from(policy: &NetworkPolicy) -> Self {
        Self::new(&policy.metadata, network_policy_hash(policy))
    }
}

impl From<&RoleBinding> for OutputFacts<ContentHash> {
    fn from(binding: &RoleBinding) -> Self {
        Self::new(&binding.metadata, role_binding_hash(binding))
    }
}

/// A NetworkPolicy of someone else.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignPolicy {
    /// What it allows.
    pub spec: NetworkPolicySpec,
}

/// Hash of everything in a ConfigMap.
pub fn config_map_hash(config_map: &ConfigMap) -> ContentHash {
    content_hash(&(&config_map.data, &config_map.binary_data, config_map.immutable))
}

/// Hash of everything in a NetworkPolicy.
pub fn network_policy_hash(policy: &NetworkPolicy) -> ContentHash {
    content_hash(&policy.spec)
}

/// Hash of everything in a RoleBinding. A group that goes without saying is left out.
pub fn role_binding_hash(binding: &RoleBinding) -> ContentHash {
    content_hash(&(&binding.role_ref, &binding.subjects))
}

/// Hash of a value, the same whether it was made here or came back from the API server, which leaves out what is empty.
pub fn content_hash(value: &impl Serialize) -> ContentHash {
    // Serialising to a tree fails only for maps whose keys are not strings; the API's types have none.
    let text = serde_json::to_value(value).map(without_empty).unwrap_or_default().to_string();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Leaves out empty fields, but no element of a list: an empty rule allows everything.
fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(k, v)| (k, without_empty(v))).filter(|(_, v)| !is_empty(v)).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty).collect()),
        other => other,
    }
}

#[cfg(test)]
#[path = "outputs_tests.rs"]
mod tests;
