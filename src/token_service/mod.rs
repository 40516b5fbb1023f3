//! The token service: access tokens for services, as the access graph allows them.
//!
//! ```text
//! connection ──► peer ──► request ──► client ──► decision (pure) ──► store ──► token
//!                              watches ──► snapshot ──┘                keys ──┘
//! ```
//! Every decision is in `ringfence_core::tokens`. Requests read one snapshot of what the operator has written, and wait for
//! nothing but, where something may be used once or can be revoked, the store that the replicas share.

mod answer;
mod audit;
mod authenticate;
mod certificate;
mod correlation;
mod endpoints;
mod events;
mod graph;
mod http;
mod introspect;
mod issuers;
mod keys;
mod limits;
mod listener;
mod metrics;
mod parameters;
mod peers;
mod places;
mod reviews;
mod revoke;
mod state;
pub mod store;
mod token;
mod watch;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use ringfence_core::tokens::keys::KeySettings;
use ringfence_core::world::NamespacedName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::controller::{Now, Reach, Repeats};
use endpoints::Endpoints;
pub use endpoints::IssuerFault;
use events::{Events, Publisher};
use graph::Snapshot;
use issuers::Issuers;
use keys::Keeper;
use limits::Limits;
use listener::Listener;
pub use metrics::Metrics;
use reviews::Reviews;
use state::State;
use store::{Store, StoreError};
use watch::Watches;

/// What the token service is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its ServiceIdentity: its Secrets and ConfigMaps are named after it, and lie in its namespace.
    pub identity: NamespacedName,
    /// Its identifier (`iss`), an `https` URL.
    pub issuer: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// How its keys are replaced.
    pub keys: KeySettings,
    /// Where the store is.
    pub store: store::Settings,
    /// Name of a Secret with `ca.crt`, `tls.crt` and `tls.key` for the store, in its namespace. Without one, its own
    /// certificate is for the store too.
    pub store_secret: Option<String>,
    /// Requests that one client may make in a second.
    pub client_rate: NonZeroU32,
    /// Connections that may be open at once.
    pub connections: usize,
    /// For how long connections are taken still when the process is told to stop.
    pub stop_delay: Duration,
    /// How long connections may take to end after that.
    pub drain: Duration,
}

/// Why the token service can't run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no way to talk to the API server.
    #[error("no client can be made of the configuration: {0}")]
    Client(#[from] kube::Error),
    /// The issuer's name.
    #[error(transparent)]
    Issuer(#[from] IssuerFault),
    /// The store's settings.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address.
    #[error("{address} can't be served: {error}; choose another --address")]
    Address {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A token service.
pub struct TokenService {
    client: Client,
    settings: Settings,
    state: Arc<State>,
    publisher: Publisher,
}

impl std::fmt::Debug for TokenService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenService").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl TokenService {
    /// One that does not run yet.
    ///
    /// # Errors
    /// [`Failure`], for settings that can't be used.
    pub fn new(mut config: Config, settings: Settings) -> Result<Self, Failure> {
        // What failed is asked again from where it can still be seen whether that is wanted.
        config.default_retry = false;
        let client: Client = ClientBuilder::try_from(config)?.with_layer(&Reach::default()).build();
        let (now, metrics): (Now, Metrics) = (Arc::new(Timestamp::now), Metrics::default());
        let observed = metrics.clone();
        let store = Store::new(&settings.store, Arc::clone(&now), Box::new(move |seen| observed.stored(seen)))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (events, publisher) = Events::new(settings.identity.clone());
        let state = State {
            events,
            large_bodies: Semaphore::new(http::LARGE_BODIES),
            issuers: Issuers::new(Arc::clone(&provider)),
            endpoints: Endpoints::new(&settings.issuer)?,
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            keys: ArcSwapOption::empty(),
            certificate: Arc::default(),
            provider,
            limits: Limits::new(settings.client_rate),
            reviews: Reviews::new(client.clone(), &settings.issuer, metrics.clone()),
            metrics,
            store,
            store_repeats: Mutex::new(Repeats::default()),
            now,
        };
        Ok(Self { client, settings, state: Arc::new(state), publisher })
    }

    /// What it measures.
    pub fn metrics(&self) -> Metrics {
        self.state.metrics.clone()
    }

    /// Tells what it is not ready for want of, if it is not.
    pub fn readiness(&self) -> impl Fn() -> Option<String> + Clone + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move || state.is_missing()
    }

    /// Answers until it is told to stop; requests that are there then are answered first.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let Self { client, settings, state, publisher } = self;
        let NamespacedName { namespace, name } = &settings.identity;
        let address = settings.address;
        let listener = Listener::bind(address, settings.connections, settings.drain, Arc::clone(&state)).await;
        let listener = listener.map_err(|error| Failure::Address { address, error })?;
        info!(%address, issuer = settings.issuer, "the token service listens");
        // Whoever balances the load learns a moment later that this replica stops.
        let (closing, delay) = (CancellationToken::new(), settings.stop_delay);
        let close = closing.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            stop.cancelled().await;
            sleep(delay).await;
            close.cancel();
        });
        tasks.spawn(
            Watches::new(client.clone(), &settings.identity, settings.store_secret.as_deref(), Arc::clone(&state))
                .run(closing.clone()),
        );
        tasks.spawn(publisher.run(client.clone(), closing.clone()));
        tasks.spawn(Keeper::new(&client, namespace, name, settings.keys, Arc::clone(&state)).run(closing.clone()));
        tasks.spawn(listener.serve(closing));
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
