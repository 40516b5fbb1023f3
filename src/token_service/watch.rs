//! What the token service sees of the cluster: its own namespace, and of that the documents that the operator writes, its
//! certificate, that for the store where it is another one, and the Secrets with registered clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use futures::FutureExt;
use futures::stream::{AbortHandle, BoxStream, SelectAll, StreamExt, abortable};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::{NamespaceResourceScope, Resource};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use ringfence_core::pki::SecretData;
use ringfence_core::tokens::{DIRECTORY_FILE, directory_config_map, directory_namespace};
use ringfence_core::world::{MANAGED_BY, MANAGED_BY_LABEL, NamespacedName, client_secret_name};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::graph::{DocumentFault, Folding};
use super::state::State;
use super::store::Credentials;
use crate::controller::Interruptions;
use crate::process::follow::{Told, follow};

/// Documents in one page of a listing: each may have a megabyte.
const PAGE: u32 = 50;

/// What the watches tell.
enum Seen {
    Document { namespace: String, object: Option<Box<ConfigMap>> },
    Certificate(Option<SecretData>),
    StoreCertificate(Option<SecretData>),
    Clients { secret_name: String, data: Option<SecretData> },
    Trust(Option<Box<ConfigMap>>),
    Credentials { issuer: String, data: Option<SecretData> },
    Listed(&'static str),
    Interrupted { kind: &'static str, error: watcher::Error },
    Nothing,
}

/// All watches, and what they have told.
pub(super) struct Watches {
    client: Client,
    namespace: String,
    state: Arc<State>,
    streams: SelectAll<BoxStream<'static, Seen>>,
    identity: String,
    /// The watches of Secrets with clients, by name.
    clients: BTreeMap<String, AbortHandle>,
    /// The watches of Secrets with credentials, by the issuer's name.
    credentials: BTreeMap<String, AbortHandle>,
    folding: Folding,
    interruptions: Interruptions,
    /// Whether the store is spoken to with another certificate than its own.
    store_has_its_own: bool,
}

impl Watches {
    /// Begins to watch. The store's Secret is named where it is not that of the identity.
    pub(super) fn new(
        client: Client,
        identity: &NamespacedName,
        store_secret: Option<&str>,
        state: Arc<State>,
    ) -> Self {
        let NamespacedName { namespace, name: identity } = identity;
        let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}")).page_size(PAGE);
        let documents = watcher(Api::<ConfigMap>::namespaced(client.clone(), namespace), ours);
        let trust = format!("{identity}-trust");
        let documents = seen(documents, DOCUMENTS, move |name, object| match directory_namespace(&name) {
            Some(namespace) => Seen::Document { namespace: namespace.to_owned(), object },
            None if name == trust => Seen::Trust(object),
            None => Seen::Nothing,
        });
        let certificate =
            secret(&client, namespace, &format!("{identity}-tls"), CERTIFICATE, |_, data| Seen::Certificate(data));
        let store = store_secret
            .map(|name| secret(&client, namespace, name, STORE_CERTIFICATE, |_, data| Seen::StoreCertificate(data)));
        Self {
            client,
            namespace: namespace.clone(),
            state,
            streams: SelectAll::from_iter([documents, certificate].into_iter().chain(store)),
            store_has_its_own: store_secret.is_some(),
            identity: identity.clone(),
            clients: BTreeMap::new(),
            credentials: BTreeMap::new(),
            folding: Folding::default(),
            interruptions: Interruptions::default(),
        }
    }

    /// Folds what they tell until told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.fold()).await;
    }

    async fn fold(&mut self) {
        let mut unlisted = BTreeSet::from([DOCUMENTS, CERTIFICATE]);
        while let Some(seen) = self.streams.next().await {
            let mut changed = self.apply(seen, &mut unlisted);
            // Whatever else is there already makes the same snapshot.
            while let Some(Some(seen)) = self.streams.next().now_or_never() {
                changed |= self.apply(seen, &mut unlisted);
            }
            if changed && !unlisted.contains(DOCUMENTS) {
                self.show();
            }
        }
    }

    /// Whether the graph is another one now.
    fn apply(&mut self, seen: Seen, unlisted: &mut BTreeSet<&'static str>) -> bool {
        match seen {
            Seen::Document { namespace, object } => {
                let text = object.as_ref().map(|object| {
                    let files = object.data.as_ref();
                    files
                        .and_then(|files| files.get(DIRECTORY_FILE))
                        .map(String::as_bytes)
                        .ok_or(DocumentFault::Missing)
                });
                if let Err(fault) = self.folding.document(&namespace, text) {
                    let configmap = directory_config_map(&namespace);
                    warn!(configmap, %fault, "a document can't be read: the last one stays in force");
                }
                true
            }
            Seen::Clients { secret_name, data } => {
                for (client, fault) in self.folding.clients(&secret_name, data.as_ref()) {
                    warn!(secret = secret_name, client, %fault, "a client is not registered: print its entry anew with ringfence client");
                }
                true
            }
            Seen::Trust(object) => {
                if let Some(object) = &object {
                    self.state.events.learn_uid(object);
                }
                self.follow_issuers(object.as_deref());
                false
            }
            Seen::Credentials { issuer, data } => {
                self.state.issuers.credentials(&issuer, data);
                false
            }
            Seen::Certificate(data) => {
                self.certificate(data.as_ref());
                false
            }
            Seen::StoreCertificate(Some(data)) => {
                self.store_certificate(&data);
                false
            }
            Seen::StoreCertificate(None) => {
                warn!("the Secret with the certificate for the store is not there: the last one stays in use");
                false
            }
            Seen::Listed(what) => unlisted.remove(what) && what == DOCUMENTS,
            Seen::Interrupted { kind, error } => {
                self.state.metrics.interrupted(kind);
                self.interruptions.tell(kind, &error);
                false
            }
            Seen::Nothing => false,
        }
    }

    /// Shows the graph to requests, and follows the Secrets that it names.
    fn show(&mut self) {
        let named: BTreeSet<String> = self.folding.graph().client_secrets().into_iter().map(str::to_owned).collect();
        let gone: Vec<String> = self.clients.keys().filter(|known| !named.contains(*known)).cloned().collect();
        for secret_name in gone {
            if let Some(watch) = self.clients.remove(&secret_name) {
                watch.abort();
            }
            self.folding.clients(&secret_name, None);
        }
        for secret_name in named {
            if self.clients.contains_key(&secret_name) {
                continue;
            }
            let clients = secret(&self.client, &self.namespace, &secret_name, CLIENTS, |secret_name, data| {
                Seen::Clients { secret_name, data }
            });
            let (clients, watch) = abortable(clients);
            self.streams.push(clients.boxed());
            self.clients.insert(secret_name, watch);
        }
        for client in self.folding.new_ambiguous_clients() {
            warn!(client, "several Secrets register a client of this id, which is nobody's: leave it in one of them");
        }
        let (documents, registrations) = self.folding.refused();
        self.state.metrics.graph(self.folding.graph().namespaces().count(), documents, registrations);
        self.state.snapshot.store(self.folding.snapshot());
    }

    /// Follows the Secrets with credentials for the issuers that the token service itself lists.
    fn follow_issuers(&mut self, trust: Option<&ConfigMap>) {
        let listed = self.state.issuers.trust(trust);
        let gone: Vec<String> = self.credentials.keys().filter(|known| !listed.contains(*known)).cloned().collect();
        for issuer in gone {
            if let Some(watch) = self.credentials.remove(&issuer) {
                watch.abort();
            }
            self.state.issuers.credentials(&issuer, None);
        }
        for issuer in listed {
            if self.credentials.contains_key(&issuer) {
                continue;
            }
            let (name, of) = (client_secret_name(&self.identity, &issuer), issuer.clone());
            let credentials = secret(&self.client, &self.namespace, &name, CREDENTIALS, move |_, data| {
                Seen::Credentials { issuer: of.clone(), data }
            });
            let (credentials, watch) = abortable(credentials);
            self.streams.push(credentials.boxed());
            self.credentials.insert(issuer, watch);
        }
    }

    /// Speaks TLS with another certificate from now on. Nothing is forgotten when the Secret goes: it comes back.
    fn certificate(&self, data: Option<&SecretData>) {
        let Some(data) = data else {
            return warn!("the Secret with the certificate is gone: the last one stays in use");
        };
        if let Err(fault) = self.state.certificate.replace(data, &self.state.provider) {
            return warn!(%fault, "the Secret's certificate can't be used: the last one stays in use");
        }
        info!("the certificate is in use");
        self.state.issuers.certificate(data);
        if !self.store_has_its_own {
            self.store_certificate(data);
        }
    }

    /// Speaks to the store with another certificate from now on.
    fn store_certificate(&self, data: &SecretData) {
        let file = |name| data.get(name).unwrap_or_default();
        let credentials =
            Credentials { authorities: file("ca.crt"), certificate: file("tls.crt"), key: file("tls.key") };
        if let Err(error) = self.state.store.set_credentials(&credentials) {
            warn!(%error, "the certificate can't be used for the store");
        }
    }
}

/// The watch of one Secret, of whose name nothing is known to be there.
fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    kind: &'static str,
    told: impl Fn(String, Option<SecretData>) -> Seen + Send + 'static,
) -> BoxStream<'static, Seen> {
    seen(one::<Secret>(client, namespace, name), kind, move |name, object| {
        let data = object.map(|secret| secret.data.as_ref().map(SecretData::from).unwrap_or_default());
        told(name, data)
    })
}

/// The watch of one object.
pub(super) fn one<K>(
    client: &Client,
    namespace: &str,
    name: &str,
) -> impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let named = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(Api::<K>::namespaced(client.clone(), namespace), named)
}

fn seen<K>(
    stream: impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    kind: &'static str,
    told: impl Fn(String, Option<Box<K>>) -> Seen + Send + 'static,
) -> BoxStream<'static, Seen>
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let stream = follow(stream).map(move |event| match event {
        Told::Object(key, object) => told(key.name, object),
        Told::Listed(_) => Seen::Listed(kind),
        Told::Interrupted(error) => Seen::Interrupted { kind, error },
    });
    stream.boxed()
}

/// What the watches are about, for the log and the metrics.
const DOCUMENTS: &str = "documents";
const CERTIFICATE: &str = "certificate";
const STORE_CERTIFICATE: &str = "certificate for the store";
const CLIENTS: &str = "clients";
const CREDENTIALS: &str = "credentials";
