//! What every reconciliation shares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use ringfence_core::access::Edge;
use ringfence_core::api::{AccessPolicy, ConditionType, Reason};
use ringfence_core::pki::Entropy;
use ringfence_core::world::{Change, NamespacedName, Problem, Unit, World};

use super::clock::Clock;
use super::contest::{Contests, Output};
use super::events::Events;
use super::issuers::Issuers;
use super::members::Members;
use super::metrics::Metrics;
use super::outdated::Outdated;
use super::passwords::Passwords;
use super::queue::Queue;
use super::rollouts::Rollouts;

/// Shared by all reconciliations.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
    pub(super) queue: Queue,
    leads: AtomicBool,
    pub(super) members: Members,
    pub(super) passwords: Passwords,
    pub(super) issuers: Issuers,
    pub(super) rollouts: Rollouts,
    world: Mutex<World>,
    memory: Mutex<Memory>,
}

/// What is known beyond the objects, and can be lost with the process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Identities of which something is still to be written.
    pub(super) unprogrammed: BTreeSet<NamespacedName>,
    /// Policies whose status waits until a touched identity is through.
    pub(super) waiting: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    /// Edges of identities as they were last written: when some go, packets stop before files change.
    pub(super) edges: BTreeMap<NamespacedName, BTreeSet<Edge>>,
    /// Policies as they were last judged, with their edges: to say what opens and closes.
    pub(super) policies: BTreeMap<NamespacedName, (Arc<AccessPolicy>, BTreeSet<Edge>)>,
    /// Outputs that were in place when a unit was last looked at: what is missing then, someone else has deleted.
    pub(super) in_place: BTreeMap<Unit, BTreeSet<Output>>,
    /// Outputs that someone else keeps changing.
    pub(super) contests: Contests,
    /// What the token service can't be told, by ConfigMap, with the TrustDomain that says so.
    pub(super) untold: BTreeMap<NamespacedName, (String, Problem)>,
    /// Statuses of which a part is kept.
    pub(super) outdated: Outdated,
    /// Objects that can't be read, by the plural of their kind, with why.
    pub(super) malformed: BTreeMap<(&'static str, NamespacedName), String>,
}

impl Memory {
    /// Whether someone else has deleted an output.
    pub(super) fn was_in_place(&self, unit: &Unit, output: &Output) -> bool {
        self.in_place.get(unit).is_some_and(|outputs| outputs.contains(output))
    }

    /// Remembers which outputs of a unit are in place.
    pub(super) fn note_in_place(&mut self, unit: &Unit, outputs: BTreeSet<Output>) {
        if outputs.is_empty() {
            self.in_place.remove(unit);
        } else {
            self.in_place.insert(unit.clone(), outputs);
        }
    }

    /// Forgets a unit that is gone.
    pub(super) fn forget(&mut self, unit: &Unit) {
        if let Some(outputs) = self.in_place.remove(unit) {
            self.contests.forget(&outputs);
        }
    }
}

impl Context {
    pub(super) fn new(
        client: Client,
        clock: Clock,
        entropy: Arc<dyn Entropy>,
        events: Events,
        metrics: Metrics,
        world: World,
    ) -> Self {
        let (world, memory) = (Mutex::new(world), Mutex::default());
        let (queue, members, leads) = (Queue::default(), Members::default(), AtomicBool::new(false));
        let (passwords, issuers, rollouts) = (Passwords::default(), Issuers::default(), Rollouts::default());
        Self {
            client,
            clock,
            entropy,
            events,
            metrics,
            queue,
            leads,
            members,
            passwords,
            issuers,
            rollouts,
            world,
            memory,
        }
    }

    /// From now on everything that is touched is queued, and everything is touched once. Returns how much that is.
    pub(super) fn lead(&self) -> usize {
        let mut world = self.world();
        world.listed();
        let units = world.all_units();
        let count = units.len();
        self.leads.store(true, Ordering::SeqCst);
        self.queue.add(units);
        count
    }

    /// Whether it is on this replica to write.
    pub(super) fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds what a reconciliation wrote itself. Its own unit has seen the outputs already; the answer to a status,
    /// though, may bring a declaration that is newer than the one that was planned with, and that no watch tells again.
    pub(super) fn fold_own(&self, unit: &Unit, changes: impl IntoIterator<Item = Change>) {
        self.fold(unit, changes, World::apply_answer);
    }

    /// Folds what a reconciliation found where it knew of nothing: it was taken for gone when it lost our label.
    pub(super) fn fold_found(&self, unit: &Unit, change: Change) {
        self.fold(unit, [change], World::apply);
    }

    /// Folds what was learnt elsewhere than from the API server.
    pub(super) fn fold_told(&self, change: Change) {
        let mut world = self.world();
        // Whoever sees this world sees also what is still to be done about it.
        let touched = world.apply(change);
        self.queue.add(touched);
    }

    fn fold(
        &self,
        unit: &Unit,
        changes: impl IntoIterator<Item = Change>,
        apply: fn(&mut World, Change) -> BTreeSet<Unit>,
    ) {
        let mut touched = BTreeSet::new();
        let mut world = self.world();
        for change in changes {
            let declared = matches!(change, Change::Domain(..) | Change::Identity(..) | Change::Policy(..));
            let units = apply(&mut world, change);
            touched.extend(units.into_iter().filter(|touched| declared || touched != unit));
        }
        // Whoever sees this world sees also what is still to be done about it.
        self.queue.add(touched);
        drop(world);
    }

    /// Why nothing may be issued now.
    pub(super) fn skew(&self) -> Option<Problem> {
        let complaint = self.clock.complaint()?;
        Some(Problem {
            condition: ConditionType::ClockSkew,
            reason: Reason::ClockSkew,
            message: format!("{complaint}: nothing is issued until they agree; check the time service of the nodes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::Config;
    use ringfence_core::api::ServiceIdentity;
    use ringfence_core::world::Settings;
    use serde_json::json;

    use super::*;
    use crate::controller::SystemEntropy;

    /// A context whose client reaches nobody.
    fn context() -> Context {
        let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let events = Events::new(client.clone());
        Context::new(
            client,
            Clock::system(),
            Arc::new(SystemEntropy),
            events,
            Metrics::default(),
            World::new(Settings::default()),
        )
    }

    fn order(generation: i64, version: u32, names: &[&str]) -> Change {
        let object: ServiceIdentity = serde_json::from_value(json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "ServiceIdentity",
            "metadata": {"name": "order", "namespace": "shop", "uid": "1", "generation": generation,
                         "resourceVersion": version.to_string()},
            "spec": {"dnsNames": names},
        }))
        .unwrap();
        Change::Identity(NamespacedName::new("shop", "order"), Some(Arc::new(object)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_declaration_that_comes_with_the_answer_to_a_status_is_planned() {
        let context = context();
        let unit = Unit::Identity(NamespacedName::new("shop", "order"));
        context.world().apply(order(1, 10, &[]));
        context.fold_own(&unit, [order(1, 11, &[])]);
        let next = || async { tokio::time::timeout(Duration::from_secs(1), context.queue.next()).await.ok() };
        assert_eq!(next().await, None, "a status alone is our own word");
        context.fold_own(&unit, [order(2, 12, &["shop.example.com"])]);
        assert!([next().await, next().await, next().await].contains(&Some(unit)), "the watch will tell nothing new");
    }
}
