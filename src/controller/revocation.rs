//! The revocation lists of a domain, signed where RSA keys may take their time.

use std::sync::Arc;

use jiff::Timestamp;
use ringfence_core::pki::CaGenerations;
use ringfence_core::plan::{RevocationPlan, revise_lists, revocation_plan};

use super::context::Context;
use super::error::Error;

/// Generations of a CA with their lists, and what these were planned to say.
pub(super) struct Revised {
    pub(super) generations: CaGenerations,
    pub(super) plan: RevocationPlan,
}

/// Signs the lists of a domain that are not as they are to be; nothing if all are.
///
/// # Errors
/// When a list can't be signed.
pub(super) async fn revise(
    context: &Context,
    domain: &str,
    generations: Arc<CaGenerations>,
    now: Timestamp,
) -> Result<Option<Revised>, Error> {
    let plan = revocation_plan(&context.world(), domain, now);
    let revised = tokio::task::spawn_blocking(move || {
        revise_lists(&generations, &plan, now).map(|revised| revised.map(|generations| Revised { generations, plan }))
    });
    Ok(revised.await??)
}

/// What an event says about certificates that were revoked; nothing if none were.
pub(super) fn note(plan: &RevocationPlan) -> Option<String> {
    let identities: Vec<String> = plan.identities.iter().take(5).map(ToString::to_string).collect();
    let more = plan.identities.len().saturating_sub(identities.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!identities.is_empty()).then(|| {
        format!("revoked {} certificates of ServiceIdentity {}{more}", plan.revoke.len(), identities.join(", "))
    })
}
