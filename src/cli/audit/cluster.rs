//! The world as a cluster has it, read once.

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::core::DeserializeGuard;
use kube::{Api, Resource, ResourceExt};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use ringfence_core::world::{Change, DNS_NAMESPACE, NamespacedName, PodFacts, Settings, World, service_cidrs};
use serde::de::DeserializeOwned;

use crate::cli::connection::{Cluster, is_not_installed};

/// All that NetworkPolicies depend on, with a sentence for each object that does not fit its schema.
pub(super) async fn world(cluster: &Cluster, settings: Settings) -> Result<(World, Vec<String>)> {
    let mut reader = Reader { cluster, world: World::new(settings), notes: Vec::new() };
    let client = || cluster.client.clone();
    let namespaced = |namespace: &str| Api::namespaced(client(), namespace);
    // What identities and policies are resolved with comes before them.
    reader
        .read::<TrustDomain>(Api::all(client()), "TrustDomains", |key, object| {
            Some(Change::Domain(key.name, Some(Arc::new(object))))
        })
        .await?;
    reader
        .read::<Namespace>(Api::all(client()), "Namespaces", |key, object| {
            Some(Change::Namespace(key.name, Some((&object).into())))
        })
        .await?;
    reader
        .read::<Service>(Api::all(client()), "Services", |key, object| {
            Some(Change::Service(key, Some((&object).into())))
        })
        .await?;
    reader.read::<Pod>(Api::all(client()), "Pods", |key, object| Some(Change::Pod(key, PodFacts::of(&object)))).await?;
    reader
        .read::<Node>(Api::all(client()), "Nodes", |key, object| Some(World::node_change(key.name, Some(&object))))
        .await?;
    reader
        .read::<ServiceCIDR>(Api::all(client()), "ServiceCIDRs", |key, object| {
            Some(Change::ServiceCidr(key.name, Some(service_cidrs(&object))))
        })
        .await?;
    for namespace in ["default", DNS_NAMESPACE] {
        let what = format!("EndpointSlices of {namespace}");
        let change = |_, object: EndpointSlice| World::endpoints_change(&object, false);
        reader.read::<EndpointSlice>(namespaced(namespace), &what, change).await?;
    }
    reader
        .read::<ServiceIdentity>(Api::all(client()), "ServiceIdentities", |key, object| {
            Some(Change::Identity(key, Some(Arc::new(object))))
        })
        .await?;
    reader
        .read::<AccessPolicy>(Api::all(client()), "AccessPolicies", |key, object| {
            Some(Change::Policy(key, Some(Arc::new(object))))
        })
        .await?;
    let Reader { mut world, notes, .. } = reader;
    world.listed();
    Ok((world, notes))
}

struct Reader<'a> {
    cluster: &'a Cluster,
    world: World,
    notes: Vec<String>,
}

impl Reader<'_> {
    async fn read<K>(
        &mut self,
        api: Api<DeserializeGuard<K>>,
        what: &str,
        change: impl Fn(NamespacedName, K) -> Option<Change>,
    ) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let (world, notes) = (&mut self.world, &mut self.notes);
        let read = self.cluster.each(api, |object| match object {
            Ok(object) => {
                let key = NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any());
                if let Some(change) = change(key, object) {
                    world.apply(change);
                }
            }
            Err((key, error)) => {
                let kind = K::kind(&());
                let name = if key.namespace.is_empty() { key.name } else { key.to_string() };
                notes.push(format!("{kind} {name} does not fit the schema and counts as missing: {error}"));
            }
        });
        match read.await {
            Ok(()) => Ok(()),
            Err(error) if is_not_installed(&error) => bail!(
                "the cluster does not have the kinds of Ringfence ({what}): install its chart, use another --context, or name files"
            ),
            Err(error) => Err(self.cluster.explain(what, &error)),
        }
    }
}
