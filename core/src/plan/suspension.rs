//! What is left to do for an identity that is suspended, and when one that is being deleted may go.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::Step;
use super::identity::refused_step;
use crate::api::{ConditionType, Reason, ServiceIdentity};
use crate::world::{NamespacedName, Problem, Unrevoked, World};

/// Finalizer of a ServiceIdentity: it goes when its certificates are on the revocation lists.
pub const IDENTITY_FINALIZER: &str = "ringfence.dev/certificates";

/// What is left to do for an identity that is suspended, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct SuspensionPlan {
    /// Its NetworkPolicy, which closes everything.
    pub network_policy: Step<NetworkPolicy>,
    /// Certificates that are to be revoked.
    pub unrevoked: Vec<Unrevoked>,
    /// Outputs to be deleted. The Secret with the certificate waits until that is revoked.
    pub leftovers: Vec<Leftover>,
}

/// An output that is not to be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Its kind, Secret or ConfigMap.
    pub kind: &'static str,
    /// Its name.
    pub key: NamespacedName,
    /// Its UID.
    pub uid: String,
}

impl SuspensionPlan {
    /// Nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.network_policy.is_keep() && self.leftovers.is_empty() && !self.waits()
    }

    fn waits(&self) -> bool {
        self.unrevoked.iter().any(|certificate| certificate.possible)
    }

    /// What can't be done, or is still to be done.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let impossible = self.unrevoked.iter().filter(|certificate| !certificate.possible);
        if let Some(last) = impossible.max_by_key(|certificate| certificate.not_after) {
            problems.push(Problem {
                condition: ConditionType::Suspended,
                reason: Reason::RevocationUnavailable,
                message: format!(
                    "its certificates can't be revoked, because the CA of TrustDomain {} lacks the key usage cRLSign: verifiers accept them until {}; give the CA a certificate with cRLSign",
                    last.domain, last.not_after
                ),
            });
        }
        if let Step::Blocked(problem) = &self.network_policy {
            problems.push(problem.clone());
        }
        problems
    }

    /// What is still to be done, for a message.
    pub(super) fn left(&self) -> String {
        match self.unrevoked.iter().find(|certificate| certificate.possible) {
            Some(certificate) => format!(
                "certificate {} is being put on the revocation list of TrustDomain {}",
                certificate.serial, certificate.domain
            ),
            None => "the identity is being closed and its Secrets are being deleted".to_owned(),
        }
    }
}

/// Plans an identity that is suspended; nothing for any other, for one that is being deleted, or in a namespace that is.
pub fn suspension_plan(world: &World, key: &NamespacedName, now: Timestamp) -> Option<SuspensionPlan> {
    let is_suspended =
        |object: &&ServiceIdentity| object.spec.suspended && object.metadata.deletion_timestamp.is_none();
    let object = world.service_identity(key).map(AsRef::as_ref).filter(is_suspended)?;
    if world.namespace(&key.namespace).is_some_and(|facts| facts.terminating) {
        return None;
    }
    let mut plan = SuspensionPlan {
        network_policy: refused_step(world, key),
        unrevoked: world.unrevoked(key, now),
        leftovers: Vec::new(),
    };
    let named = |name: String| NamespacedName::new(key.namespace.clone(), name);
    let is_ours = |owner: Option<&String>| owner.is_some() && owner == object.metadata.uid.as_ref();
    let tls = (!plan.waits()).then(|| object.tls_secret());
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let clients = world.client_secrets_of(key, uid);
    plan.leftovers.extend(clients.map(|(key, found)| Leftover {
        kind: "Secret",
        key: key.clone(),
        uid: found.uid.clone(),
    }));
    for key in tls.into_iter().chain(object.signing_key_secret()).map(named) {
        if let Some(found) = world.secret(&key).filter(|found| found.is_of(uid)) {
            plan.leftovers.push(Leftover { kind: "Secret", key, uid: found.uid.clone() });
        }
    }
    let trust = named(format!("{}-trust", key.name));
    if let Some(found) = world.config_map(&trust).filter(|found| is_ours(found.owner_uid.as_ref())) {
        plan.leftovers.push(Leftover { kind: "ConfigMap", key: trust, uid: found.uid.clone() });
    }
    Some(plan)
}

/// Whether the finalizer of an identity is to be put on it, before it gets its first certificate.
pub fn needs_finalizer(object: &ServiceIdentity) -> bool {
    object.metadata.deletion_timestamp.is_none() && !has_finalizer(object)
}

/// Whether an identity that is being deleted may go: its certificates are on the revocation lists, as far as can be.
pub fn may_go(world: &World, key: &NamespacedName, now: Timestamp) -> bool {
    let is_going = |object: &ServiceIdentity| object.metadata.deletion_timestamp.is_some() && has_finalizer(object);
    world.service_identity(key).is_some_and(|object| is_going(object))
        && world.unrevoked(key, now).iter().all(|certificate| !certificate.possible)
}

fn has_finalizer(object: &ServiceIdentity) -> bool {
    object.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == IDENTITY_FINALIZER)
}

#[cfg(test)]
#[path = "suspension_tests.rs"]
mod tests;
