//! What has to be written: for each unit of the world the difference between what is and what should be, as values.
//!
//! The same plan says what the operator writes and, when nothing is left in it, that the unit is programmed; `render`
//! prints it. Keys and serial numbers come in when a plan is carried out.

mod authority;
mod clients;
mod directory;
mod domain;
mod fence;
mod identity;
mod issuers;
mod keystores;
mod member;
mod objects;
mod policy;
mod restart;
mod revocation;
mod rotation;
mod status;
mod suspension;
mod trust;

#[cfg(test)]
mod directory_properties;
#[cfg(test)]
mod directory_random;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;

pub use authority::{AuthorityStep, MakeAuthorityError, make_authority, with_adopted};
pub use clients::{ClientStep, ClientsPlan, client_secret};
pub use directory::{DirectoryStep, directory_step};
pub use domain::{DomainPlan, FINALIZER, authority_secret, domain_plan, domain_status, trust_config_map};
pub use fence::{BASELINE, FenceStep, fence_step};
pub use identity::{
    CertificateStep, IdentityPlan, SigningKeyStep, identity_plan, leaf_profile, refused_step, signing_key_secret,
    tls_secret,
};
pub use keystores::keystore_password;
pub use member::{MEMBER_ROLE, MemberStep, OPERATOR_ACCOUNT, is_entered, member_step};
pub use objects::Owner;
pub use policy::policy_status;
pub use restart::{
    RestartPlan, Restarted, restart_due, restart_failed, restart_plan, restart_refused, restart_stalled, restarting,
    workload_not_found,
};
pub use revocation::{OUTAGE_BUDGET, RevocationPlan, revise_lists, revocation_plan};
pub use rotation::rolls_until;
pub use status::{Outcome, PROPAGATION, identity_status};

pub use suspension::{IDENTITY_FINALIZER, Leftover, SuspensionPlan, may_go, needs_finalizer, suspension_plan};

use crate::world::{NamespacedName, OutputFacts, Problem};

/// What to do about one output whose desired content is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<K> {
    /// Nothing: it is as it should be, or it should not be and is not.
    Keep,
    /// Create it, or replace the version that is known.
    Write {
        /// What to write.
        desired: Box<K>,
        /// UID and version that a replacement is bound to; nothing to create.
        replaces: Option<(String, String)>,
        /// Someone else changed what was written.
        drift: bool,
    },
    /// Delete this version of it.
    Delete {
        /// Its UID.
        uid: String,
    },
    /// Nothing, until this is resolved.
    Blocked(Problem),
}

impl<K> Step<K> {
    /// Nothing to do.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// Why an object of this name can't be written: it is someone else's.
pub fn name_taken(kind: &str, key: &NamespacedName) -> Problem {
    Problem {
        condition: crate::api::ConditionType::NameTaken,
        reason: crate::api::Reason::NameTaken,
        message: format!(
            "{kind} {key} exists and is not Ringfence's: it is left alone; delete or rename it, which is seen within a minute"
        ),
    }
}

/// Something is still to be written, and waits for something else.
fn pending(message: String) -> Problem {
    Problem { condition: crate::api::ConditionType::Programmed, reason: crate::api::Reason::Pending, message }
}

/// The step for an output of which the whole content is desired and hashed.
fn content_step<K>(
    found: Option<&OutputFacts<String>>,
    desired: K,
    hash: &str,
    owner: &Owner,
    blocked: impl FnOnce() -> Problem,
) -> Step<K> {
    match found {
        None => Step::Write { desired: Box::new(desired), replaces: None, drift: false },
        Some(found) if found.owner_uid.as_deref() != Some(&owner.uid) => Step::Blocked(blocked()),
        Some(found) if found.content == hash && found.marked => Step::Keep,
        Some(found) => Step::Write {
            desired: Box::new(desired),
            replaces: Some((found.uid.clone(), found.resource_version.clone())),
            drift: found.recorded_hash.as_deref() == Some(hash),
        },
    }
}
