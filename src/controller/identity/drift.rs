//! What is someone's doing, and what follows from what is declared.

use ringfence_core::api::Reason;
use ringfence_core::jwt::RegenerateReason;
use ringfence_core::pki::ReissueReason;

use crate::controller::contest::Output;

/// Whether a certificate is issued anew for something that may be someone's doing; the other reasons follow from what is
/// declared, and come no more often than that changes.
pub(super) fn may_be_contested(reason: ReissueReason) -> bool {
    !matches!(
        reason,
        ReissueReason::NamesChanged
            | ReissueReason::UsagesChanged
            | ReissueReason::AlgorithmChanged
            | ReissueReason::IssuerSuperseded
            | ReissueReason::DurationChanged
            | ReissueReason::Revoked
            | ReissueReason::Compromised
    )
}

/// Whether it certainly is someone's doing.
pub(super) fn is_drift(reason: ReissueReason) -> bool {
    matches!(
        reason,
        ReissueReason::Missing | ReissueReason::Malformed | ReissueReason::KeyMismatch | ReissueReason::WrongIdentity
    )
}

/// Whether a signing key is generated anew for something that is someone's doing.
pub(super) fn is_drift_of_key(reason: RegenerateReason) -> bool {
    !matches!(reason, RegenerateReason::AlgorithmChanged | RegenerateReason::Compromised)
}

/// What an event says about a Secret that was written anew around what is in it.
pub(super) fn put_right((kind, key): &Output, reason: &str) -> (Reason, String) {
    if reason == Reason::Restored.as_str() {
        return (Reason::Restored, format!("took over {kind} {}, which was restored from a backup", key.name));
    }
    (Reason::DriftCorrected, format!("put {kind} {} right ({reason})", key.name))
}
