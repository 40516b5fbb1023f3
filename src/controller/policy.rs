//! Reconciling an AccessPolicy: its status, and what opened or closed.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Api;
use ringfence_core::access::{Edge, closed, edges, opened};
use ringfence_core::api::{AccessPolicy, Reason};
use ringfence_core::plan::policy_status;
use ringfence_core::world::{NamespacedName, Unit};

use super::context::Context;
use super::error::tell;
use super::queue::Ended;
use super::report::{Reported, report};
use super::trace;

/// Brings the status of one policy up to date, and tells what it opened and closed.
pub(super) async fn reconcile(context: &Context, key: &NamespacedName) -> Ended {
    if waits(context, key) {
        return Ended::Done;
    }
    let found = trace::plan().in_scope(|| {
        let world = context.world();
        world.policy(key).cloned().map(|policy| {
            let memory = context.memory();
            let unprogrammed = |identity: &NamespacedName| memory.unprogrammed.contains(identity);
            let status = policy_status(&world, key, &unprogrammed, context.clock.now());
            (policy, status, edges(world.judged(key).filter(|judged| !judged.draft).map(AsRef::as_ref)))
        })
    });
    let Some((policy, status, open)) = found else {
        let before = context.memory().policies.remove(key);
        context.memory().outdated.forget(&Unit::Policy(key.clone()));
        if let Some((policy, before)) = before {
            announce(context, &policy, &before, &BTreeSet::new()).await;
        }
        return Ended::Done;
    };
    let api = Api::<AccessPolicy>::namespaced(context.client.clone(), &key.namespace);
    match report(context, &Unit::Policy(key.clone()), &api, &policy, status).await {
        Ok(Reported::Unchanged | Reported::Written) => {}
        Ok(Reported::Nowhere) => return Ended::Done,
        Err(error) => {
            tell(&error, "the status could not be written and is tried again");
            return Ended::Failed;
        }
    }
    let before = context.memory().policies.insert(key.clone(), (Arc::clone(&policy), open.clone()));
    let before = match before {
        Some((_, edges)) => edges,
        // What it opened before a restart was told then.
        None if policy.status.as_ref().is_some_and(|status| status.edges.is_some_and(|edges| edges > 0)) => {
            open.clone()
        }
        None => BTreeSet::new(),
    };
    announce(context, &policy, &before, &open).await;
    Ended::Done
}

/// Whether an identity that the policy is about is not through yet: then the policy is looked at again when it is, so that
/// its status does not speak of packets that still go another way.
fn waits(context: &Context, key: &NamespacedName) -> bool {
    let world = context.world();
    // An identity that gets through meanwhile finds this locked, and then its policy among those that wait.
    let mut memory = context.memory();
    let mut identities = world.judged(key).into_iter().flat_map(|judged| judged.identities());
    let pending = identities.find(|identity| {
        context.queue.is_pending(&Unit::Identity((*identity).clone())) || context.members.awaits(&world, identity)
    });
    if let Some(pending) = pending {
        memory.waiting.entry(pending.clone()).or_default().insert(key.clone());
    }
    pending.is_some()
}

/// Tells what opened and what closed. A NetworkPolicy decides when a connection is made: one that is open already may
/// outlive its permission.
async fn announce(context: &Context, policy: &AccessPolicy, before: &BTreeSet<Edge>, now: &BTreeSet<Edge>) {
    let list = |edges: BTreeSet<Edge>| edges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (gone, new) = (closed(before, now), opened(before, now));
    if !gone.is_empty() {
        let note = format!("closed; connections that are already open may live on until they end: {}", list(gone));
        context.events.normal(policy, Reason::EdgeClosed, note).await;
    }
    if !new.is_empty() {
        context.events.normal(policy, Reason::EdgeOpened, format!("opened: {}", list(new))).await;
    }
}
