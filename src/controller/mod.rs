//! The operator: watches fold into the world, what they touch is queued, and each unit is brought to what is declared.
//!
//! ```text
//! watch ──► World ──► queue ──► plan (pure) ──► write ──► status, events
//! ```
//! Only `watch`, `write` and the reconcilers of the kinds, which call it, have a client; every decision is in
//! `ringfence_core`.

mod backoff;
mod clock;
mod contest;
mod context;
mod directory;
mod domain;
mod entropy;
mod error;
mod events;
mod fence;
mod finalizers;
mod gate;
mod gone;
mod health;
mod identity;
mod interruption;
mod issuers;
mod keystores;
mod lease;
mod malformed;
mod member;
mod members;
mod metrics;
mod outdated;
mod passwords;
mod policy;
mod queue;
mod reach;
mod report;
mod revocation;
mod rollouts;
mod trace;
mod watch;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use backoff::Pauses;
pub use clock::{Clock, Now};
pub use entropy::SystemEntropy;
pub(crate) use entropy::random;
pub(crate) use error::{chain, said};
use futures::FutureExt;
pub use health::Health;
pub(crate) use interruption::{Interruptions, Repeats};
use kube::client::ClientBuilder;
use kube::{Client, Config};
pub use lease::{Candidate, LONGEST_LEASE, Lost};
pub use metrics::Metrics;
pub(crate) use reach::Reach;
use ringfence_core::pki::Entropy;
use ringfence_core::world::{Settings, Unit, World};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use context::Context;
use gate::Gate;
use lease::Lease;
use members::Watches;
use queue::Ended;
use watch::{Seen, Watch};

/// How many units are in work at once.
const WORKERS: usize = 16;

/// How often the clock on the wall is looked at; no certificate lives so short that this matters.
const TICK: Duration = Duration::from_secs(5);

/// What the operator is started with.
pub struct Operator {
    /// How to reach the API server.
    pub config: Config,
    /// What it is told about the cluster.
    pub settings: Settings,
    /// Its clock.
    pub clock: Clock,
    /// Its source of keys and serial numbers.
    pub entropy: Arc<dyn Entropy>,
    /// Where it says how it is.
    pub health: Health,
    /// As what it stands for election. None: there is no other, so that it leads without asking.
    pub candidate: Option<Candidate>,
    /// What it measures.
    pub metrics: Metrics,
}

/// Why an operator ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no way to talk to the API server.
    #[error("no client can be made of the configuration: {0}")]
    Client(#[from] kube::Error),
    /// It leads no more.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Operator {
    /// An operator with the system's clock and random numbers.
    pub fn new(config: Config, settings: Settings) -> Self {
        let (clock, entropy) = (Clock::system(), Arc::new(SystemEntropy));
        Self {
            config,
            settings,
            clock,
            entropy,
            health: Health::default(),
            candidate: None,
            metrics: Metrics::default(),
        }
    }

    /// Follows until it leads, and leads until it is told to stop; what is in work then is finished first.
    ///
    /// # Errors
    /// When no client can be made of the configuration, and when it leads no more: then nothing is finished.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Failure> {
        // What failed is asked again from where it can still be seen whether that is wanted.
        self.config.default_retry = false;
        let gate = Gate::default();
        let namespace = self.settings.operator_namespace.clone();
        let lease = match self.candidate {
            Some(candidate) => {
                // On a connection of its own, where it waits for nothing else.
                let client: Client = ClientBuilder::try_from(self.config.clone())?.with_layer(&self.clock).build();
                let (clock, health) = (self.clock.clone(), self.health.clone());
                Some(Lease::new(client, &namespace, candidate, clock, gate.clone(), health))
            }
            None => {
                gate.open();
                self.health.leads(self.clock.clone());
                None
            }
        };
        let client = ClientBuilder::try_from(self.config)?.with_layer(&self.clock);
        let client = client.with_layer(&Reach::default()).with_layer(self.metrics.writes());
        let client: Client = client.with_layer(&gate).build();
        let events = events::Events::new(client.clone());
        let watches = watch::all(&client, &namespace);
        let world = World::new(self.settings);
        let context = Arc::new(Context::new(client, self.clock, self.entropy, events, self.metrics, world));
        context.metrics.look_at(&context);
        let (mut tasks, listed) = (JoinSet::new(), CancellationToken::new());
        let folding = fold(Arc::clone(&context), watches, self.health, listed.clone());
        let until = stop.clone();
        tasks.spawn(async move {
            until.run_until_cancelled(folding).await;
            Ok(())
        });
        tasks.spawn(look_at_the_clock(Arc::clone(&context), stop.clone()).map(Ok));
        tasks.spawn(take_part(context, lease, listed, stop));
        all(tasks).await?;
        Ok(())
    }
}

/// Waits until all tasks have ended; the first that fails ends the others, and a panic goes on here.
async fn all<E: 'static>(mut tasks: JoinSet<Result<(), E>>) -> Result<(), E> {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(ended) => ended?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Waits for its turn, works, and lets the next one have its turn. Whoever has not yet seen everything does not ask for
/// it: another one may be ready to take over at once.
async fn take_part(
    context: Arc<Context>,
    lease: Option<Lease>,
    listed: CancellationToken,
    stop: CancellationToken,
) -> Result<(), Lost> {
    let following = async {
        let mut lease = lease;
        listed.cancelled().await;
        if let Some(lease) = &mut lease {
            lease.claim().await;
        }
        lease
    };
    let Some(lease) = stop.run_until_cancelled(following).await else { return Ok(()) };
    let units = context.lead();
    info!(units, "everything is looked at once");
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(Arc::clone(&context), stop.clone()).map(Ok));
    }
    let (until, telling) = (stop.clone(), Arc::clone(&context));
    workers.spawn(async move {
        until.run_until_cancelled(malformed::report_all(&telling)).await;
        Ok(())
    });
    workers.spawn(async move {
        stop.run_until_cancelled(issuers::follow(context)).await;
        Ok(())
    });
    let working = all(workers);
    let Some(mut lease) = lease else { return working.await };
    tokio::select! {
        lost = lease.hold() => return Err(lost),
        ended = working => ended?,
    }
    lease.release().await;
    Ok(())
}

/// Folds everything that the watches tell. Nothing is planned before each of them has told all there is, and nothing in
/// a namespace before its own have: a restart must not take what it has not yet seen for missing. Nor is it while another
/// replica leads: this one only keeps its world warm.
async fn fold(context: Arc<Context>, watches: Vec<Watch>, health: Health, all_listed: CancellationToken) {
    let (mut unlisted, watches): (Vec<&str>, Vec<_>) = watches.into_iter().unzip();
    let (mut watches, mut interruptions) = (Watches::new(watches), Interruptions::default());
    health.waits_for(&unlisted);
    while let Some(seen) = watches.next(&context).await {
        match seen {
            Seen::Changed(changes) => {
                changes.iter().for_each(|change| malformed::forget(&context, change));
                let mut world = context.world();
                let touched: BTreeSet<Unit> = changes.into_iter().flat_map(|change| world.apply(change)).collect();
                if unlisted.is_empty() {
                    look_at_members(&context, &world, &touched);
                }
                // Whoever sees this world sees also what is still to be done about it.
                if context.leads() {
                    context.queue.add(touched);
                }
            }
            Seen::Malformed { plural, key, error } => malformed::seen(&context, plural, key, error).await,
            Seen::Interrupted { kind, error } => {
                context.metrics.interrupted(kind);
                interruptions.tell(kind, &error);
            }
            Seen::Listed(kind) => {
                // Of some kinds there are several watches.
                let listed = unlisted.iter().position(|waiting| *waiting == kind);
                listed.map(|listed| unlisted.swap_remove(listed));
                health.waits_for(&unlisted);
                if unlisted.is_empty() {
                    let world = context.world();
                    look_at_members(&context, &world, &world.all_units());
                }
            }
            Seen::Entered(namespace) => {
                let world = context.world();
                context.members.note_seen(&namespace);
                if context.leads() {
                    context.queue.add(world.units_on_entry(&namespace));
                }
            }
            Seen::Withheld(namespace) => {
                let why = members::withheld(&namespace);
                warn!("{why}");
                context.members.note_refused(&namespace, why);
                if context.leads() {
                    context.queue.add(context.world().units_on_entry(&namespace));
                }
            }
        }
        if unlisted.is_empty() && !all_listed.is_cancelled() && context.members.all_seen() {
            info!("everything is listed: the operator is ready");
            health.set_ready();
            all_listed.cancel();
        }
    }
}

fn look_at_members(context: &Context, world: &World, touched: &BTreeSet<Unit>) {
    for unit in touched {
        if let Unit::Member(namespace) = unit {
            context.members.look(world, namespace);
        }
    }
}

/// Renewals follow the clock on the wall, which a timer does not see jump.
async fn look_at_the_clock(context: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        context.queue.wake(context.clock.now());
        context.issuers.tick();
    }
}

async fn work(context: Arc<Context>, stop: CancellationToken) {
    while let Some(unit) = stop.run_until_cancelled(context.queue.next()).await {
        context.metrics.begun(&context, &unit);
        let ended = reconcile(&context, &unit).await;
        if context.queue.finish(&unit, ended) {
            context.metrics.settled(&context, &unit);
        }
        if let Unit::Identity(key) = &unit {
            let waiting = context.memory().waiting.remove(key).unwrap_or_default();
            context.queue.add(waiting.into_iter().map(Unit::Policy));
        }
    }
}

async fn reconcile(context: &Context, unit: &Unit) -> Ended {
    let (started, span) = (Instant::now(), trace::reconcile(unit));
    let look = async {
        match unit {
            Unit::Domain(name) => domain::reconcile(context, name).await,
            Unit::Member(namespace) => member::reconcile(context, namespace).await,
            Unit::Fence(namespace) => fence::reconcile(context, namespace).await,
            Unit::Directory(key) => directory::reconcile(context, key).await,
            Unit::Identity(key) if passwords::awaited(context, key) => Ended::Done,
            Unit::Identity(key) if gone::is_gone(context, key).await => Ended::Done,
            Unit::Identity(key) => identity::reconcile(context, key).await,
            Unit::Policy(key) => policy::reconcile(context, key).await,
        }
    };
    let ended = look.instrument(span.clone()).await;
    span.record("outcome", ended.as_str());
    context.metrics.reconciled(unit, started.elapsed(), ended);
    ended
}
