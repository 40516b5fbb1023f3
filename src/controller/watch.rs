//! Watches, each folded at once into changes of the world: the objects themselves are dropped.

use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{NetworkPolicy, ServiceCIDR};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::core::{DeserializeGuard, Resource};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use ringfence_core::api::{AccessPolicy, GROUP, ServiceIdentity, TrustDomain};
use ringfence_core::issuers::{CredentialsFacts, RECORD_SUFFIX, recorded_issuers};
use ringfence_core::pki::{CaGenerations, SecretData};
use ringfence_core::world::{
    AUTHORITY_SECRET_TYPE, AuthorityFacts, Change, DNS_NAMESPACE, DNS_SERVICE, ForeignPolicy, MANAGED_BY,
    MANAGED_BY_LABEL, MEMBER_BINDING, NamespaceFacts, NamespacedName, OutputFacts, PodFacts, ServiceFacts,
    TokenService, World, service_cidrs,
};
use serde::de::DeserializeOwned;
use tracing::debug;

use super::clock::Clock;
use crate::process::follow::{Told, follow};

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Seen {
    /// Changes of the world.
    Changed(Vec<Change>),
    /// An object of ours that can't be read: it was stored under a looser schema.
    Malformed {
        /// Plural of its kind.
        plural: &'static str,
        /// Which.
        key: NamespacedName,
        /// Why.
        error: String,
    },
    /// A watch was interrupted, and is resumed.
    Interrupted {
        /// What it is about.
        kind: &'static str,
        /// Why.
        error: watcher::Error,
    },
    /// The first listing of one watch of this kind is complete.
    Listed(&'static str),
    /// All that is in a namespace has been told.
    Entered(String),
    /// The operator's RoleBinding in a namespace has no effect.
    Withheld(String),
}

/// A watch, with the kind that it is about.
pub(super) type Watch = (&'static str, BoxStream<'static, Seen>);

/// Objects in one page of a listing: so many of them, whole, are in memory at once while a watch begins.
const PAGE: u32 = 100;

/// Watches all objects of a kind.
fn everything() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// Objects that carry our label.
fn ours() -> watcher::Config {
    everything().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"))
}

/// The watches of one namespace that the operator has rights in: of the token service's, also of its public keys.
pub(super) fn outputs(client: &Client, namespace: &str, service: Option<&TokenService>, clock: &Clock) -> Vec<Watch> {
    let secrets = folded(Api::<Secret>::namespaced(client.clone(), namespace), ours(), |key, object| {
        vec![Change::Secret(key, object.map(OutputFacts::from))]
    });
    let service = service.filter(|service| service.identity.namespace == namespace);
    let keys = service.map(|service| published_keys(client, service.clone(), clock.clone()));
    [secrets, config_maps(client, namespace)].into_iter().chain(keys).collect()
}

/// The public keys of the token service, in a ConfigMap that it writes itself, without a label of ours.
fn published_keys(client: &Client, service: TokenService, clock: Clock) -> Watch {
    let key = service.key_set();
    let named = everything().fields(&format!("metadata.name={}", key.name));
    folded(Api::<ConfigMap>::namespaced(client.clone(), &key.namespace), named, move |_, object| {
        vec![service.published(object, clock.now())]
    })
}

/// The Secret of this name, whoever wrote it.
pub(super) fn secret_named(
    client: &Client,
    key: &NamespacedName,
    change: impl Fn(Option<&SecretData>) -> Change + Send + 'static,
) -> BoxStream<'static, Seen> {
    let named = everything().fields(&format!("metadata.name={}", key.name));
    folded(Api::<Secret>::namespaced(client.clone(), &key.namespace), named, move |_, secret| {
        let data = secret.map(|secret| secret.data.as_ref().map(SecretData::from).unwrap_or_default());
        vec![change(data.as_ref())]
    })
    .1
}

fn config_maps(client: &Client, namespace: &str) -> Watch {
    folded(Api::<ConfigMap>::namespaced(client.clone(), namespace), ours(), |key, object| {
        vec![Change::ConfigMap(key, object.map(OutputFacts::from))]
    })
}

/// The watches that need no member's rights.
pub(super) fn all(client: &Client, operator_namespace: &str) -> Vec<Watch> {
    let endpoints = |service: &str| everything().labels(&format!("kubernetes.io/service-name={service}"));
    let own = operator_namespace.to_owned();
    let binding = everything().fields(&format!("metadata.name={MEMBER_BINDING}"));
    vec![
        own_kind::<TrustDomain>(client, "trustdomains", |key, object| Change::Domain(key.name, object)),
        own_kind::<ServiceIdentity>(client, "serviceidentities", Change::Identity),
        own_kind::<AccessPolicy>(client, "accesspolicies", Change::Policy),
        folded(Api::<Namespace>::all(client.clone()), everything(), |key, object| {
            vec![Change::Namespace(key.name, object.map(NamespaceFacts::from))]
        }),
        folded(Api::<Service>::all(client.clone()), everything(), |key, object| {
            vec![Change::Service(key, object.map(ServiceFacts::from))]
        }),
        folded(Api::<Pod>::all(client.clone()), everything(), |key, object| {
            vec![Change::Pod(key, object.and_then(PodFacts::of))]
        }),
        folded(Api::<Node>::all(client.clone()), everything(), |key, object| {
            vec![World::node_change(key.name, object)]
        }),
        folded(Api::<ServiceCIDR>::all(client.clone()), everything(), |key, object| {
            vec![Change::ServiceCidr(key.name, object.map(service_cidrs))]
        }),
        folded(Api::<EndpointSlice>::namespaced(client.clone(), "default"), endpoints("kubernetes"), |key, object| {
            vec![Change::ApiServer(key.name, object.map(Into::into))]
        }),
        folded(
            Api::<EndpointSlice>::namespaced(client.clone(), DNS_NAMESPACE),
            endpoints(DNS_SERVICE),
            |key, object| vec![Change::DnsEndpoints(key.name, object.map(Into::into))],
        ),
        folded(Api::<Secret>::namespaced(client.clone(), &own), everything(), |key, object| {
            operator_secret(key, object)
        }),
        folded(Api::<ConfigMap>::namespaced(client.clone(), &own), ours(), |key, object| {
            let domain = key.name.strip_suffix(RECORD_SUFFIX).zip(object.and_then(|object| object.data.as_ref()));
            let recorded =
                domain.map(|(domain, data)| Change::RecordedIssuers(domain.to_owned(), recorded_issuers(data)));
            let told = Change::ConfigMap(key.clone(), object.map(OutputFacts::from));
            recorded.into_iter().chain([told]).collect()
        }),
        folded(Api::<RoleBinding>::all(client.clone()), binding, |key, object| {
            vec![Change::RoleBinding(key, object.map(OutputFacts::from))]
        }),
        folded(Api::<NetworkPolicy>::all(client.clone()), everything(), network_policy),
    ]
}

/// The changes that a Secret of the operator's namespace makes.
pub(super) fn operator_secret(key: NamespacedName, secret: Option<&Secret>) -> Vec<Change> {
    let version = secret.and_then(|secret| secret.metadata.resource_version.clone());
    let mut changes = Vec::new();
    if let Some(domain) = key.name.strip_suffix("-ca") {
        let authority = secret.filter(|secret| secret.type_.as_deref() == Some(AUTHORITY_SECRET_TYPE)).map(|secret| {
            let data = secret.data.as_ref().map(SecretData::from).unwrap_or_default();
            AuthorityFacts {
                uid: secret.metadata.uid.clone().unwrap_or_default(),
                resource_version: version.clone().unwrap_or_default(),
                generations: CaGenerations::from_secret_data(&data).map(Arc::new).map_err(|error| error.to_string()),
            }
        });
        changes.push(Change::Authority(domain.to_owned(), authority));
    }
    let credentials = secret.and_then(|secret| {
        let data = secret.data.as_ref().map(SecretData::from).unwrap_or_default();
        CredentialsFacts::of(&data, version.as_deref().unwrap_or_default()).map(Arc::new)
    });
    changes.push(Change::Credentials(key.name.clone(), credentials));
    changes.push(Change::OperatorSecret(key.name, version));
    changes
}

/// Ours has the name that its owner's has, and the garbage collector removes it when there is no such owner; anything else
/// is foreign, whatever it says about itself.
fn network_policy(key: NamespacedName, policy: Option<&NetworkPolicy>) -> Vec<Change> {
    let output = key.name.strip_prefix("ringfence-");
    let ours = policy.is_some_and(|policy| {
        let owner = policy.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        owner.filter(|owner| owner.api_version.starts_with(GROUP)).is_some_and(|owner| match output {
            Some("baseline") => owner.kind == TrustDomain::kind(&()),
            Some(identity) => owner.kind == ServiceIdentity::kind(&()) && owner.name == identity,
            None => false,
        })
    });
    let foreign = policy.filter(|_| !ours).and_then(|policy| policy.spec.clone());
    vec![
        Change::NetworkPolicy(key.clone(), policy.filter(|_| output.is_some()).map(Into::into)),
        Change::ForeignPolicy(key, foreign.map(|spec| Arc::new(ForeignPolicy { spec }))),
    ]
}

/// Watches one of the three kinds. An object that can't be read counts as missing and is reported.
fn own_kind<K>(client: &Client, plural: &'static str, change: fn(NamespacedName, Option<Arc<K>>) -> Change) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api = Api::<DeserializeGuard<K>>::all(client.clone());
    let kind = std::any::type_name::<K>().rsplit("::").next().unwrap_or_default();
    track(watch(api, everything()), kind, move |key, object| match object {
        None => Seen::Changed(vec![change(key, None)]),
        Some(DeserializeGuard(Ok(mut object))) => {
            object.meta_mut().managed_fields = None;
            Seen::Changed(vec![change(key, Some(Arc::new(object)))])
        }
        Some(DeserializeGuard(Err(error))) => Seen::Malformed { plural, key, error: error.error },
    })
}

fn folded<K>(
    api: Api<K>,
    config: watcher::Config,
    changes: impl Fn(NamespacedName, Option<&K>) -> Vec<Change> + Send + 'static,
) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let kind = std::any::type_name::<K>().rsplit("::").next().unwrap_or_default();
    track(watch(api, config), kind, move |key, object| Seen::Changed(changes(key, object.as_ref())))
}

/// Follows one watch of a kind.
fn track<K>(
    stream: impl futures::Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    kind: &'static str,
    seen: impl Fn(NamespacedName, Option<K>) -> Seen + Send + 'static,
) -> Watch
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let events = follow(stream).map(move |told| match told {
        Told::Object(key, object) => seen(key, object.map(|object| *object)),
        Told::Listed(objects) => {
            debug!(kind, objects, "first list is complete");
            Seen::Listed(kind)
        }
        Told::Interrupted(error) => Seen::Interrupted { kind, error },
    });
    (kind, events.boxed())
}
