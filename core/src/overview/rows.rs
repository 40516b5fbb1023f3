//! One row for each object.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::{
    AccessPolicy, ConditionType, Enforcement, PolicyEnforcement, Reason, ServiceIdentity, TrustDomain, find_condition,
};

/// The condition `Ready` of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadyRow {
    /// `True`, `False`, or `Unknown` as long as the operator has not looked at the object.
    pub status: String,
    /// Why, CamelCase.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
}

/// A TrustDomain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainRow {
    /// Name of the object.
    pub name: String,
    /// The SPIFFE trust-domain name that it holds; absent if it holds none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Whether it is ready.
    pub ready: ReadyRow,
    /// Whether no finding but warnings is about it.
    pub well: bool,
    /// `Enforce`, `Audit` or `Disabled`.
    pub enforcement: Enforcement,
    /// The certificate authority that signs now; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<AuthorityRow>,
    /// The namespaces that it holds, sorted.
    pub namespaces: Vec<String>,
}

/// The certificate authority of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityRow {
    /// Identifier of its generation.
    pub generation: String,
    /// When it ends to be valid, RFC 3339.
    pub not_after: Timestamp,
}

/// A ServiceIdentity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRow {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Whether it is ready.
    pub ready: ReadyRow,
    /// Whether no finding but warnings is about it.
    pub well: bool,
    /// Its SPIFFE ID; absent if it was never accepted.
    #[serde(rename = "spiffeID", skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// Its certificate; absent if none was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateRow>,
    /// Id (`kid`) of its token-signing key; absent if it has none.
    #[serde(rename = "signingKeyID", skip_serializing_if = "Option::is_none")]
    pub signing_key_id: Option<String>,
}

/// The certificate of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRow {
    /// When it ends to be valid, RFC 3339.
    pub not_after: Timestamp,
    /// When it will be renewed, RFC 3339.
    pub renewal_time: Timestamp,
}

/// An AccessPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRow {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Whether it is ready.
    pub ready: ReadyRow,
    /// Whether no finding but warnings is about it.
    pub well: bool,
    /// `Enforce`, or `Audit` for a draft.
    pub enforcement: PolicyEnforcement,
    /// Number of `from` entries that are open (for a draft: that would be).
    pub edges: i32,
    /// Number of `from` entries.
    pub entries: usize,
    /// Whether everything that it opened has surely reached the pods.
    pub effective: bool,
    /// When that is so, RFC 3339; absent if nothing is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_after: Option<Timestamp>,
}

impl ReadyRow {
    pub(super) fn of(conditions: &[Condition]) -> Self {
        match find_condition(conditions, ConditionType::Ready) {
            Some(ready) => {
                Self { status: ready.status.clone(), reason: ready.reason.clone(), message: ready.message.clone() }
            }
            None => Self {
                status: "Unknown".to_owned(),
                reason: Reason::Pending.as_str().to_owned(),
                message: "the operator has not looked at it: see whether the operator runs".to_owned(),
            },
        }
    }
}

impl DomainRow {
    pub(super) fn of(domain: &TrustDomain) -> Self {
        let status = domain.status.clone().unwrap_or_default();
        Self {
            name: domain.name_any(),
            trust_domain: status.trust_domain,
            ready: ReadyRow::of(&status.conditions),
            well: true,
            enforcement: domain.spec.enforcement,
            certificate_authority: status
                .certificate_authority
                .map(|authority| AuthorityRow { generation: authority.generation, not_after: authority.not_after.0 }),
            namespaces: status.namespaces,
        }
    }
}

impl IdentityRow {
    pub(super) fn of(identity: &ServiceIdentity) -> Self {
        let status = identity.status.clone().unwrap_or_default();
        Self {
            namespace: identity.namespace().unwrap_or_default(),
            name: identity.name_any(),
            ready: ReadyRow::of(&status.conditions),
            well: true,
            spiffe_id: status.spiffe_id,
            certificate: status.certificate.map(|certificate| CertificateRow {
                not_after: certificate.not_after.0,
                renewal_time: certificate.renewal_time.0,
            }),
            signing_key_id: status.signing_key.map(|key| key.key_id),
        }
    }
}

impl PolicyRow {
    pub(super) fn of(policy: &AccessPolicy, now: Timestamp) -> Self {
        let status = policy.status.clone().unwrap_or_default();
        let ready = ReadyRow::of(&status.conditions);
        let effective_after = status.effective_after.map(|time| time.0);
        Self {
            namespace: policy.namespace().unwrap_or_default(),
            name: policy.name_any(),
            well: true,
            enforcement: policy.spec.enforcement,
            edges: status.edges.unwrap_or_default(),
            entries: policy.spec.from.len(),
            effective: ready.status == "True" && effective_after.is_some_and(|time| time <= now),
            effective_after,
            ready,
        }
    }
}
