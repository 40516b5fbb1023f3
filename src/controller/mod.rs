//! The operator: watches fold into the world, what they touch is queued, and each unit is brought to what is declared.
//!
//! ```text
//! watch ──► World ──► queue ──► plan (pure) ──► write ──► status, events
//! ```
//! Only `watch`, `write` and the reconcilers of the kinds, which call it, have a client; every decision is in
//! `ringfence_core`.

mod clock;
mod contest;
mod context;
mod domain;
mod entropy;
mod error;
mod events;
mod fence;
mod health;
mod identity;
mod malformed;
mod policy;
mod queue;
mod report;
mod watch;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use clock::{Clock, Now};
pub use entropy::SystemEntropy;
use futures::StreamExt;
pub use health::Health;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use ringfence_core::pki::Entropy;
use ringfence_core::world::{Settings, Unit, World};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span};

use context::Context;
use queue::Ended;
use watch::Seen;

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
        Self { config, settings, clock, entropy, health: Health::default() }
    }

    /// Runs until it is told to stop; what is in work then is finished first.
    ///
    /// # Errors
    /// When no client can be made of the configuration.
    pub async fn run(self, stop: CancellationToken) -> kube::Result<()> {
        let client: Client = ClientBuilder::try_from(self.config)?.with_layer(&self.clock).build();
        let events = events::Events::new(client.clone());
        let (seen, watches) = watch::all(&client, &self.settings.operator_namespace);
        let world = World::new(self.settings);
        let context = Arc::new(Context::new(client, self.clock, self.entropy, events, world));
        let mut tasks = JoinSet::new();
        let folding = fold(Arc::clone(&context), seen, watches, self.health);
        let until = stop.clone();
        tasks.spawn(async move {
            until.run_until_cancelled(folding).await;
        });
        tasks.spawn(look_at_the_clock(Arc::clone(&context), stop.clone()));
        for _ in 0..WORKERS {
            tasks.spawn(work(Arc::clone(&context), stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        Ok(())
    }
}

/// Folds everything that the watches tell. Nothing is planned before each of them has told all there is: a restart must
/// not take what it has not yet seen for missing.
async fn fold(
    context: Arc<Context>,
    mut seen: impl futures::Stream<Item = Seen> + Unpin,
    watches: usize,
    health: Health,
) {
    let mut listed = 0;
    while let Some(seen) = seen.next().await {
        match seen {
            Seen::Changed(changes) => {
                let mut world = context.world();
                let touched: BTreeSet<Unit> = changes.into_iter().flat_map(|change| world.apply(change)).collect();
                // Whoever sees this world sees also what is still to be done about it.
                if listed == watches {
                    context.queue.add(touched);
                }
            }
            Seen::Malformed { plural, key, error } => malformed::report(&context, plural, &key, &error).await,
            Seen::Listed => {
                listed += 1;
                if listed == watches {
                    let units = {
                        let mut world = context.world();
                        world.listed();
                        world.all_units()
                    };
                    info!(units = units.len(), "everything is listed: the operator is ready");
                    health.set_ready();
                    context.queue.add(units);
                }
            }
        }
    }
}

/// Renewals follow the clock on the wall, which a timer does not see jump.
async fn look_at_the_clock(context: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        context.queue.wake(context.clock.now());
    }
}

async fn work(context: Arc<Context>, stop: CancellationToken) {
    while let Some(unit) = stop.run_until_cancelled(context.queue.next()).await {
        let ended = reconcile(&context, &unit).await;
        context.queue.finish(&unit, ended);
        if let Unit::Identity(key) = &unit {
            let waiting = context.memory().waiting.remove(key).unwrap_or_default();
            context.queue.add(waiting.into_iter().map(Unit::Policy));
        }
    }
}

async fn reconcile(context: &Context, unit: &Unit) -> Ended {
    match unit {
        Unit::Domain(name) => domain::reconcile(context, name).instrument(info_span!("trust_domain", name)).await,
        Unit::Fence(namespace) => fence::reconcile(context, namespace).instrument(info_span!("fence", namespace)).await,
        Unit::Identity(key) => identity::reconcile(context, key).instrument(info_span!("service_identity", %key)).await,
        Unit::Policy(key) => policy::reconcile(context, key).instrument(info_span!("access_policy", %key)).await,
    }
}
