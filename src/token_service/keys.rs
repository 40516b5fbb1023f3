//! The token service's keys: kept in a Secret by all replicas together, published in a ConfigMap, and replaced in time.
//!
//! Every write carries the version that it was decided on, so that of two replicas that do the same one is refused and looks
//! again. Tokens are made with what the Secret holds, and never with what is yet to be written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use ringfence_core::api::CertificateAlgorithm;
use ringfence_core::pki::{Entropy, SecretData};
use ringfence_core::tokens::keys::{Generations, GenerationsError, KeyChange, KeyRing, KeySettings, NewKeys, plan};
use ringfence_core::world::{KEY_SET_FILE, MANAGED_BY_LABEL, key_set_name};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::state::State;
use super::watch::one;
use crate::controller::{Interruptions, Pauses, SystemEntropy, random, said};
use crate::process::follow::{Told, follow};

/// What the API server is told who writes; as a label, it keeps everyone else from writing (an admission policy).
const MANAGER: &str = "ringfence-token-service";
/// However far ahead the next change is, it is looked at the clock on the wall so often: it may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What requests use.
pub(super) struct Keys {
    /// Makes and reads tokens.
    pub(super) ring: KeyRing,
    /// The JWK Set.
    pub(super) document: Bytes,
}

/// Keeps the keys.
pub(super) struct Keeper {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    /// Name of the Secret.
    secret_name: String,
    /// Name of the ConfigMap.
    key_set_name: String,
    settings: KeySettings,
    state: Arc<State>,
    watches: (BoxStream<'static, Told<Secret>>, BoxStream<'static, Told<ConfigMap>>),
    seen: Seen,
    interruptions: Interruptions,
}

/// What the watches have told, and what was written since.
#[derive(Default)]
struct Seen {
    secret: Option<Stored>,
    key_set: Option<ConfigMap>,
    secret_is_listed: bool,
    key_set_is_listed: bool,
    /// What was said of a Secret that can't be read, so that it is said once.
    fault: Option<GenerationsError>,
}

/// The Secret as it was seen last.
struct Stored {
    metadata: ObjectMeta,
    generations: Result<Generations, GenerationsError>,
}

impl From<Secret> for Stored {
    fn from(secret: Secret) -> Self {
        let data = secret.data.as_ref().map(SecretData::from).unwrap_or_default();
        Self { metadata: secret.metadata, generations: Generations::read(&data) }
    }
}

impl Keeper {
    /// Begins to watch what is there.
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        identity: &str,
        settings: KeySettings,
        state: Arc<State>,
    ) -> Self {
        let (secret_name, key_set_name) = (format!("{identity}-keys"), key_set_name(identity));
        let watches = (follow(one(client, namespace, &secret_name)), follow(one(client, namespace, &key_set_name)));
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client.clone(), namespace),
            secret_name,
            key_set_name,
            settings,
            state,
            watches,
            seen: Seen::default(),
            interruptions: Interruptions::default(),
        }
    }

    /// Keeps them until told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&mut self) {
        let (mut pauses, mut next) = (Pauses::default(), Instant::now() + LONGEST_SLEEP);
        loop {
            tokio::select! {
                Some(told) = self.watches.0.next() => self.secret_told(told),
                Some(told) = self.watches.1.next() => self.key_set_told(told),
                () = sleep_until(next) => {}
            }
            if !(self.seen.secret_is_listed && self.seen.key_set_is_listed) {
                continue;
            }
            let wait = match self.look().await {
                Ok(due) => {
                    pauses = Pauses::default();
                    let wait = due.duration_since((self.state.now)());
                    Duration::try_from(wait).unwrap_or_default().max(SHORTEST_SLEEP)
                }
                Err(error) => {
                    self.state.metrics.key_change("failed");
                    warn!(error = said(&error), "the keys can't be written: it is tried again");
                    pauses.next().unwrap_or(LONGEST_SLEEP)
                }
            };
            next = Instant::now() + wait.min(LONGEST_SLEEP);
        }
    }

    fn secret_told(&mut self, told: Told<Secret>) {
        match told {
            Told::Object(_, object) => self.seen.secret = object.map(|secret| Stored::from(*secret)),
            Told::Listed(_) => self.seen.secret_is_listed = true,
            Told::Interrupted(error) => {
                self.state.metrics.interrupted("keys");
                self.interruptions.tell("keys", &error);
            }
        }
    }

    fn key_set_told(&mut self, told: Told<ConfigMap>) {
        match told {
            Told::Object(_, object) => self.seen.key_set = object.map(|object| *object),
            Told::Listed(_) => self.seen.key_set_is_listed = true,
            Told::Interrupted(error) => {
                self.state.metrics.interrupted("key set");
                self.interruptions.tell("key set", &error);
            }
        }
    }

    /// Brings Secret and ConfigMap to where they are to be now, and says when to look again.
    async fn look(&mut self) -> kube::Result<Timestamp> {
        loop {
            let stored = match self.seen.secret.as_ref().map(|stored| &stored.generations) {
                None => Generations::default(),
                Some(Ok(generations)) => generations.clone(),
                Some(Err(fault)) => {
                    if self.seen.fault.replace(*fault) != Some(*fault) {
                        warn!(secret = self.secret_name, %fault, "the keys can't be read: those before stay in use");
                    }
                    return Ok(Timestamp::MAX);
                }
            };
            self.seen.fault = None;
            self.take_into_use(&stored);
            if self.seen.secret.is_some() && !self.publish(&stored).await? {
                return Ok(Timestamp::MAX);
            }
            let now = (self.state.now)();
            let plan = match plan(now, &stored, &self.published(), &self.settings, new_keys) {
                Ok(plan) => plan,
                Err(error) => {
                    // No key could be made. There is nothing to be done about it but to try again.
                    warn!(%error, "no key could be made");
                    return Ok(now);
                }
            };
            if plan.changes.is_empty() {
                return Ok(plan.next);
            }
            if !self.write(&plan.generations, &plan.changes).await? {
                // Another replica was faster. What it wrote is told by the watch.
                return Ok(Timestamp::MAX);
            }
        }
    }

    /// Makes and reads tokens with these from now on.
    fn take_into_use(&self, generations: &Generations) {
        let Some(ring) = KeyRing::new(generations) else { return };
        self.state.metrics.keys(generations.iter().count());
        let document = Bytes::from(ring.jwks().to_owned());
        self.state.keys.store(Some(Arc::new(Keys { ring, document })));
    }

    /// The ids of the keys in the ConfigMap.
    fn published(&self) -> BTreeSet<String> {
        let text = self.seen.key_set.as_ref().and_then(|object| object.data.as_ref()?.get(KEY_SET_FILE));
        let keys: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let ids = keys["keys"].as_array().into_iter().flatten().filter_map(|key| key["kid"].as_str());
        ids.map(str::to_owned).collect()
    }

    /// Brings the ConfigMap to hold exactly the public keys of these. Whether it does: another replica may have written it.
    async fn publish(&mut self, generations: &Generations) -> kube::Result<bool> {
        let data = [(KEY_SET_FILE.to_owned(), generations.jwks())].into();
        let known = self.seen.key_set.clone();
        if known.as_ref().is_some_and(|known| known.data.as_ref() == Some(&data)) {
            return Ok(true);
        }
        let metadata = metadata(&self.key_set_name, known.as_ref().map(|known| &known.metadata));
        let object = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
        let written = match known {
            None => self.config_maps.create(&parameters(), &object).await,
            Some(_) => self.config_maps.replace(&self.key_set_name, &parameters(), &object).await,
        };
        let Some(written) = unless_another_was_faster(written)? else { return Ok(false) };
        debug!(configmap = self.key_set_name, "the public keys are published");
        self.seen.key_set = Some(written);
        Ok(true)
    }

    /// Writes the Secret. Whether it was written: another replica may have been faster.
    async fn write(&mut self, generations: &Generations, changes: &[KeyChange]) -> kube::Result<bool> {
        let known = self.seen.secret.as_ref().map(|stored| &stored.metadata);
        let is_new = known.is_none();
        let data = Some(generations.secret_data().into());
        let object = Secret { metadata: metadata(&self.secret_name, known), data, ..Secret::default() };
        let written = if is_new {
            self.secrets.create(&parameters(), &object).await
        } else {
            self.secrets.replace(&self.secret_name, &parameters(), &object).await
        };
        let Some(written) = unless_another_was_faster(written)? else {
            self.state.metrics.key_change("another_was_faster");
            return Ok(false);
        };
        self.seen.secret = Some(Stored::from(written));
        for change in changes {
            self.state.metrics.key_change("made");
            let (kid, what) = match change {
                KeyChange::Made { kid } => (Some(kid), "a key was made"),
                KeyChange::Published { kid } => (Some(kid), "a key is published, and not used yet"),
                KeyChange::Activated { kid } => (Some(kid), "a key is in use"),
                KeyChange::Retired { kid } => (Some(kid), "a key makes no more tokens"),
                KeyChange::Removed { kid } => (Some(kid), "a key is gone, as all of its tokens are"),
                KeyChange::Discarded { .. } => (None, "keys that can't be read are gone, and with them their tokens"),
            };
            info!(kid, "{what}");
        }
        Ok(true)
    }
}

/// What a write tells apart: done, or refused because someone else has written meanwhile.
fn unless_another_was_faster<K>(written: kube::Result<K>) -> kube::Result<Option<K>> {
    match written {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        // It was deleted meanwhile, which is told by the watch.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// Metadata for a write that holds only for this version of the object; whatever else is in them stays.
fn metadata(name: &str, known: Option<&ObjectMeta>) -> ObjectMeta {
    let mut known = known.cloned().unwrap_or_default();
    known.labels.get_or_insert_default().insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    ObjectMeta { name: Some(name.to_owned()), managed_fields: None, ..known }
}

fn new_keys() -> NewKeys {
    let signing = SystemEntropy.private_key(CertificateAlgorithm::EcdsaP256).expect("the library makes keys");
    NewKeys { signing, sealing: Zeroizing::new(random()) }
}

/// A moment that is due and yet brings no change must not keep the processor busy.
const SHORTEST_SLEEP: Duration = Duration::from_millis(100);
