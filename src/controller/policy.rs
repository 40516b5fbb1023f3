//! Reconciling an AccessPolicy: its status, and what opened or closed.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Api;
use ringfence_core::access::{Edge, closed, edges, opened};
use ringfence_core::api::{AccessPolicy, Reason};
use ringfence_core::plan::policy_status;
use ringfence_core::world::{Change, NamespacedName, Unit};
use tracing::warn;

use super::context::Context;
use super::queue::Ended;
use super::write::write_status;

/// Brings the status of one policy up to date, and tells what it opened and closed.
pub(super) async fn reconcile(context: &Context, key: &NamespacedName) -> Ended {
    let found = {
        let world = context.world();
        world.policy(key).cloned().map(|policy| {
            let memory = context.memory();
            let unprogrammed = |identity: &NamespacedName| memory.unprogrammed.contains(identity);
            let status = policy_status(&world, key, &unprogrammed, context.clock.now());
            (policy, status, edges(world.judged(key).filter(|judged| !judged.draft).map(AsRef::as_ref)))
        })
    };
    let Some((policy, status, open)) = found else {
        let before = context.memory().policies.remove(key);
        if let Some((policy, before)) = before {
            announce(context, &policy, &before, &BTreeSet::new()).await;
        }
        return Ended::Done;
    };
    let mut bad = None;
    if let Some(status) = status.filter(|status| policy.status.as_ref() != Some(status)) {
        bad = super::transition(policy.status.as_ref().map(|s| s.conditions.as_slice()), &status.conditions);
        let api = Api::<AccessPolicy>::namespaced(context.client.clone(), &key.namespace);
        match write_status(&api, &key.name, &status).await {
            Ok(Some(mut written)) => {
                written.metadata.managed_fields = None;
                let unit = Unit::Policy(key.clone());
                context.fold_own(&unit, [Change::Policy(key.clone(), Some(Arc::new(written)))]);
            }
            Ok(None) => return Ended::Done,
            Err(error) => {
                warn!(policy = %key, %error, "the status could not be written and is tried again");
                return Ended::Failed;
            }
        }
    }
    if let Some((reason, message)) = bad {
        context.events.warning(policy.as_ref(), reason, message).await;
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
