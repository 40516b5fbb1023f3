//! The operator's own rights in a namespace of a TrustDomain: one RoleBinding, there before anything else is written and
//! gone when nothing is left to do.

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::Resource;

use super::fence::{BASELINE, belongs_to, is_ours};
use super::objects::{Owner, metadata};
use super::{Step, content_step, name_taken};
use crate::api::TrustDomain;
use crate::world::{MEMBER_BINDING, NamespacedName, Problem, World, role_binding_hash};

/// Name of the ClusterRole that holds the operator's rights in one namespace. It is bound there and nowhere else.
pub const MEMBER_ROLE: &str = "ringfence-member";

/// Name of the operator's service account.
pub const OPERATOR_ACCOUNT: &str = "ringfence";

/// What to do about the RoleBinding of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberStep {
    /// The TrustDomain that is responsible.
    pub domain: Option<String>,
    /// The step.
    pub step: Step<RoleBinding>,
}

/// Plans the RoleBinding of one namespace. It stays in a namespace that left its domain until the fence is gone, no
/// identity is left that could have to be closed, and the token service is told of nobody there.
pub fn member_step(world: &World, namespace: &str) -> MemberStep {
    let found = world.role_binding(namespace);
    let Some(domain) = responsible(world, namespace) else {
        let step = match found.filter(|found| is_ours(world, found)) {
            Some(found) => Step::Delete { uid: found.uid.clone() },
            None => Step::Keep,
        };
        return MemberStep { domain: None, step };
    };
    let member = |step| MemberStep { domain: domain.metadata.name.clone(), step };
    if world.namespace(namespace).is_none_or(|facts| facts.terminating) {
        return member(Step::Keep);
    }
    let owner = Owner::of(domain);
    let mut desired = role_binding(&world.settings.operator_namespace);
    let hash = role_binding_hash(&desired);
    desired.metadata = metadata(namespace, MEMBER_BINDING, Some(&owner), Some(&hash));
    if let Some(found) = found.filter(|found| !belongs_to(found, domain) && is_ours(world, found)) {
        // The namespace comes from another domain. It changes hands without a moment in between.
        let replaces = Some((found.uid.clone(), found.resource_version.clone()));
        return member(Step::Write { desired: Box::new(desired), replaces, drift: false });
    }
    let key = NamespacedName::new(namespace, MEMBER_BINDING);
    member(content_step(found, desired, &hash, &owner, || name_taken("RoleBinding", &key)))
}

/// Whether the operator has its rights in a namespace, as far as the objects say.
pub fn is_entered(world: &World, namespace: &str) -> bool {
    let binding = role_binding(&world.settings.operator_namespace);
    world.role_binding(namespace).is_some_and(|found| found.content == role_binding_hash(&binding))
        && !matches!(member_step(world, namespace).step, Step::Delete { .. } | Step::Blocked(_))
}

/// Why a namespace can't be entered: the name of the RoleBinding is someone else's.
pub(super) fn binding_taken(world: &World, namespace: &str) -> Option<Problem> {
    match member_step(world, namespace).step {
        Step::Blocked(problem) => Some(problem),
        _ => None,
    }
}

/// The TrustDomain that a namespace is in, or the one that it left with something still to be closed or removed.
fn responsible<'a>(world: &'a World, namespace: &str) -> Option<&'a TrustDomain> {
    if let Some(domain) = world.domain_of(namespace) {
        return Some(domain);
    }
    let baseline = world.network_policy(&NamespacedName::new(namespace, BASELINE));
    let fence = baseline.filter(|found| is_ours(world, found));
    let left = world.identities_in(namespace).any(|(key, object)| {
        let policy = world.network_policy(&NamespacedName::new(namespace, format!("ringfence-{}", key.name)));
        policy.is_some_and(|policy| policy.owner_uid.is_some() && policy.owner_uid == object.meta().uid)
    });
    let told = world.directories_in(namespace).any(|(_, found)| is_ours(world, found));
    let mark = fence.or_else(|| world.role_binding(namespace).filter(|_| left || told))?;
    world.domains().map(AsRef::as_ref).find(|domain| belongs_to(mark, domain))
}

/// Gives the operator the rights of a member, without metadata.
fn role_binding(operator_namespace: &str) -> RoleBinding {
    RoleBinding {
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: MEMBER_ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: OPERATOR_ACCOUNT.to_owned(),
            namespace: Some(operator_namespace.to_owned()),
            ..Subject::default()
        }]),
        ..RoleBinding::default()
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
