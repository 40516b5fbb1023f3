//! A rotation that a user asks for: which one is still to be done, and until when it may be felt.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::status::PROPAGATION;
use crate::api::{ConditionType, Reason, RotationStatus, RotationTarget, ServiceIdentity};
use crate::pki::LeafFacts;
use crate::world::{NamespacedName, Problem, World, whole_second};

/// What the status says about the rotation that is asked for: the last one that was begun, until this one is.
pub(super) fn rotation_status(
    world: &World,
    key: &NamespacedName,
    kid: Option<&str>,
    now: Timestamp,
) -> Option<RotationStatus> {
    let object = world.service_identity(key)?;
    let wanted = object.spec.rotation.as_ref()?;
    let recorded = object.status.as_ref().and_then(|status| status.rotation.clone());
    if recorded.as_ref().is_some_and(|recorded| recorded.id == wanted.id) {
        return recorded;
    }
    if object.status.is_none() {
        // What is new has nothing that could be in other hands.
        return Some(RotationStatus { id: wanted.id.clone(), time: None });
    }
    let is_begun = match wanted.target {
        RotationTarget::Certificate => world.unrevoked(key, now).iter().all(|certificate| !certificate.possible),
        RotationTarget::SigningKey => {
            let before = object.status.as_ref().and_then(|status| status.signing_key.as_ref());
            kid.is_some() && kid != before.map(|before| before.key_id.as_str())
        }
    };
    if is_begun {
        Some(RotationStatus { id: wanted.id.clone(), time: Some(Time(whole_second(now))) })
    } else {
        recorded
    }
}

/// Whether a certificate is from before the rotation that distrusts it.
pub(super) fn is_distrusted(object: &ServiceIdentity, leaf: &LeafFacts) -> bool {
    let rotates = object.spec.rotation.as_ref().is_some_and(|wanted| wanted.target == RotationTarget::Certificate);
    let begun = object.status.as_ref().and_then(|status| status.rotation.as_ref()?.time.as_ref());
    rotates && begun.is_some_and(|begun| leaf.issued_at() < begun.0)
}

/// Until when a rotation may be felt: until then files in pods may be older than it.
pub fn rolls_until(object: &ServiceIdentity) -> Option<Timestamp> {
    object.spec.rotation.as_ref()?;
    let begun = object.status.as_ref()?.rotation.as_ref()?.time.as_ref()?.0;
    begun.checked_add(PROPAGATION).ok()
}

/// What a rotation that is under way means for those who call and are called.
pub(super) fn rolling(object: &ServiceIdentity, begun: Option<&RotationStatus>, now: Timestamp) -> Option<Problem> {
    let wanted = object.spec.rotation.as_ref()?;
    let begun = begun.filter(|begun| begun.id == wanted.id);
    let what = match wanted.target {
        RotationTarget::Certificate => "earlier certificates are on the revocation list",
        RotationTarget::SigningKey => "the earlier key is in no key set any more",
    };
    let message = match begun.map(|begun| begun.time.as_ref()) {
        None => format!("rotation {} begins: {what} in a moment, and requests may fail then", wanted.id),
        Some(None) => return None,
        Some(Some(time)) => {
            let until = time.0.checked_add(PROPAGATION).ok().filter(|until| now < *until)?;
            format!(
                "rotation {}: {what}, and whoever still uses what was delivered before is refused; until {until} files in pods may be older",
                wanted.id
            )
        }
    };
    Some(Problem { condition: ConditionType::RollingOver, reason: Reason::Compromised, message })
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
