//! What is not as it should be.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::RENEWAL_GRACE;
use super::rows::ReadyRow;
use crate::api::{AccessPolicy, ConditionType, Reason, ServiceIdentity, TrustDomain};
use crate::world::NamespacedName;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Kind of the object.
    pub kind: &'static str,
    /// Namespace of the object; empty for a TrustDomain.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Why, CamelCase: a reason of a condition, or `Behind`, `RenewalOverdue`, `Expired`.
    pub reason: String,
    /// The same in a sentence, with what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// The object is not ready, or something that it asks for is not there.
    NotReady,
    /// An entry of a policy is refused and closed; the rest of it stands.
    Refused,
    /// The operator has not caught up with the object.
    Behind,
    /// Worth knowing; everything works.
    Warning,
}

impl Finding {
    fn about<K: Resource<DynamicType = ()>>(
        object: &K,
        severity: Severity,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            kind: kind_of::<K>(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            reason: reason.into(),
            message: message.into(),
        }
    }

    pub(super) fn order(&self) -> (Severity, usize, &str, &str, &str, &str) {
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(KINDS.len());
        (self.severity, kind, &self.namespace, &self.name, &self.reason, &self.message)
    }
}

pub(super) fn of_domain(domain: &TrustDomain, now: Timestamp) -> Vec<Finding> {
    let status = domain.status.clone().unwrap_or_default();
    let mut found = common(domain, &status.conditions, status.observed_generation);
    if let Some(authority) = status.certificate_authority
        && now > authority.not_after.0
    {
        found.push(Finding::about(
            domain,
            Severity::NotReady,
            EXPIRED,
            format!("the CA was valid until {}: nothing that it issued verifies any more", authority.not_after.0),
        ));
    }
    found
}

pub(super) fn of_identity(identity: &ServiceIdentity, now: Timestamp) -> Vec<Finding> {
    let status = identity.status.clone().unwrap_or_default();
    let mut found = common(identity, &status.conditions, status.observed_generation);
    if let Some(certificate) = status.certificate {
        let (end, renewal) = (certificate.not_after.0, certificate.renewal_time.0);
        let late = renewal.checked_add(RENEWAL_GRACE).is_ok_and(|late| now > late);
        if now > end {
            let message =
                format!("the certificate was valid until {end}: peers refuse it; see whether the operator runs");
            found.push(Finding::about(identity, Severity::NotReady, EXPIRED, message));
        } else if late {
            let message = format!(
                "the certificate should have been renewed at {renewal} and is valid until {end}: see whether the \
                 operator runs"
            );
            found.push(Finding::about(identity, Severity::Behind, "RenewalOverdue", message));
        }
    }
    found
}

pub(super) fn of_policy(policy: &AccessPolicy) -> Vec<Finding> {
    let status = policy.status.clone().unwrap_or_default();
    let mut found = common(policy, &status.conditions, status.observed_generation);
    for entry in &status.from {
        let message = format!("from[{}] ({}): {}", entry.index, entry.source, entry.message);
        // What keeps the whole policy from being ready is among its entries too.
        let said = |known: &Finding| known.severity == Severity::NotReady && known.message == entry.message;
        match found.iter_mut().find(|known| said(known)) {
            Some(known) => known.message = message,
            None => found.push(Finding::about(policy, Severity::Refused, entry.reason.clone(), message)),
        }
    }
    found
}

pub(super) fn malformed(kind: &'static str, key: &NamespacedName, error: &str) -> Finding {
    Finding {
        severity: Severity::NotReady,
        kind,
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        reason: Reason::Invalid.as_str().to_owned(),
        message: format!("the stored object does not fit the schema: {error}; apply it again with the field put right"),
    }
}

/// What the conditions of any kind tell.
fn common<K: Resource<DynamicType = ()>>(object: &K, conditions: &[Condition], observed: Option<i64>) -> Vec<Finding> {
    let mut found = Vec::new();
    let ready = ReadyRow::of(conditions);
    if ready.status != "True" {
        found.push(Finding::about(object, Severity::NotReady, ready.reason, ready.message));
    }
    let generation = object.meta().generation;
    if observed.is_some() && observed < generation {
        let message = format!(
            "the status describes generation {} and the spec is at {}: see whether the operator runs",
            observed.unwrap_or_default(),
            generation.unwrap_or_default()
        );
        found.push(Finding::about(object, Severity::Behind, "Behind", message));
    }
    for condition in conditions.iter().filter(|condition| condition.type_ != ConditionType::Ready.as_str()) {
        let severity = match (is_summary(&condition.type_), condition.status == "True") {
            (true, false) => Severity::NotReady,
            (true, true) if !is_worth_a_warning(&condition.reason) => continue,
            (false, false) => continue,
            _ => Severity::Warning,
        };
        let is_said = |known: &Finding| known.reason == condition.reason || known.message == condition.message;
        let waits = condition.reason == Reason::Pending.as_str() && !found.is_empty();
        if !found.iter().any(is_said) && !waits {
            found.push(Finding::about(object, severity, condition.reason.clone(), condition.message.clone()));
        }
    }
    found
}

/// Conditions that are good when true; the others appear only when something applies.
fn is_summary(condition: &str) -> bool {
    [ConditionType::Accepted, ConditionType::ResolvedRefs, ConditionType::Programmed]
        .iter()
        .any(|kind| kind.as_str() == condition)
}

/// Reasons of conditions that hold, which a user should nevertheless look at. The entries of a policy that is accepted
/// in part are told one by one.
fn is_worth_a_warning(reason: &str) -> bool {
    [Reason::WeakerGrant, Reason::RevocationUnavailable].iter().any(|known| known.as_str() == reason)
}

fn kind_of<K: Resource<DynamicType = ()>>() -> &'static str {
    let kind = K::kind(&());
    KINDS.iter().find(|known| **known == kind).copied().unwrap_or_default()
}

/// In the order in which one follows from the other.
const KINDS: [&str; 3] = ["TrustDomain", "ServiceIdentity", "AccessPolicy"];

/// A certificate that is not valid any more.
const EXPIRED: &str = "Expired";
