//! The revocation lists of a domain: when they are signed, and what goes on them.

use jiff::{SignedDuration, Timestamp};

use crate::pki::{CaGenerations, ListError, Revoked};
use crate::world::{DEFAULT_CERTIFICATE_DURATION, NamespacedName, World, signed, whole_second};

/// How long the operator may be away before a list that was signed at the last moment is overdue: 7 days.
pub const OUTAGE_BUDGET: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the lists of one domain are to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationPlan {
    /// What is to be revoked, with the id of the generation that issued it.
    pub revoke: Vec<(String, Revoked)>,
    /// Whose certificates these are.
    pub identities: Vec<NamespacedName>,
    /// How long a list serves: the longest certificate below the CA, and the outage budget.
    pub life: SignedDuration,
}

/// Plans the lists of one domain.
pub fn revocation_plan(world: &World, name: &str, now: Timestamp) -> RevocationPlan {
    let unrevoked = world.unrevoked_by(name, now);
    let mut identities: Vec<NamespacedName> = unrevoked.iter().map(|(key, _)| (*key).clone()).collect();
    identities.dedup();
    let revoke = unrevoked.into_iter().map(|(_, certificate)| {
        let (serial, not_after, cause) = (certificate.serial, certificate.not_after, certificate.cause);
        (certificate.authority, Revoked { serial, revoked_at: whole_second(now), not_after, cause })
    });
    let below = world.descendants_of(name).into_iter().chain([name.to_owned()]);
    let durations = below.filter_map(|domain| world.domain(&domain)?.spec.certificates.duration.as_ref().map(signed));
    let longest = durations.fold(DEFAULT_CERTIFICATE_DURATION, SignedDuration::max);
    RevocationPlan { revoke: revoke.collect(), identities, life: OUTAGE_BUDGET.saturating_add(longest) }
}

/// The generations with lists as they are planned; nothing if they have them already.
///
/// # Errors
/// [`ListError`].
pub fn revise_lists(
    generations: &CaGenerations,
    plan: &RevocationPlan,
    now: Timestamp,
) -> Result<Option<CaGenerations>, ListError> {
    generations.with_revoked(&plan.revoke, plan.life, now)
}

#[cfg(test)]
#[path = "revocation_tests.rs"]
mod tests;
