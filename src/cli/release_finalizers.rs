//! `ringfence release-finalizers`: before the operator is uninstalled, nothing that was declared is to wait for it any
//! more. The chart runs it as a hook.

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ClusterResourceScope, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Resource, ResourceExt};
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use ringfence_core::plan::{FINALIZER, IDENTITY_FINALIZER};
use serde::de::DeserializeOwned;
use tracing::info;

/// Labels of the operator's pods, as the chart gives them.
const OPERATOR_PODS: &str = "app.kubernetes.io/name=ringfence,app.kubernetes.io/component=operator";
/// Name of the operator's Deployment.
const DEPLOYMENT: &str = "ringfence";
/// How long the operator may take to end: longer than the kubelet waits before it kills.
const PATIENCE: Duration = Duration::from_secs(90);
/// Objects in one page of a listing.
const PAGE: u32 = 500;
/// How often an object that others change meanwhile is looked at.
const ATTEMPTS: usize = 5;

/// Which operator.
#[derive(Debug, Args)]
pub(super) struct ReleaseFinalizers {
    /// Namespace of the operator. Its Deployment is scaled to nothing first, or it would put the finalizers back.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ringfence-system")]
    namespace: String,
}

impl ReleaseFinalizers {
    /// Stops the operator, then takes its finalizers off all TrustDomains and ServiceIdentities.
    pub(super) fn run(self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("the runtime can't be started")?.block_on(self.release())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn release(self) -> Result<()> {
        let client = Client::try_default().await.context("no cluster to talk to: set KUBECONFIG, or run in a pod")?;
        self.stop_operator(&client).await?;
        let identities = Api::<ServiceIdentity>::all(client.clone());
        let in_namespace = |object: &PartialObjectMeta<ServiceIdentity>| namespaced(&client, object);
        let identities = take_off(&identities, IDENTITY_FINALIZER, in_namespace).await?;
        let domains = Api::<TrustDomain>::all(client.clone());
        let cluster_wide = |_: &PartialObjectMeta<TrustDomain>| cluster_wide(&client);
        let domains = take_off(&domains, FINALIZER, cluster_wide).await?;
        info!(identities, domains, "nothing waits for the operator any more");
        Ok(())
    }

    async fn stop_operator(&self, client: &Client) -> Result<()> {
        let deployments = Api::<Deployment>::namespaced(client.clone(), &self.namespace);
        let none = Patch::Merge(serde_json::json!({"spec": {"replicas": 0}}));
        match deployments.patch_scale(DEPLOYMENT, &PatchParams::default(), &none).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("Deployment {}/{DEPLOYMENT} can't be scaled to 0: do it by hand", self.namespace)
                });
            }
        }
        let pods = Api::<Pod>::namespaced(client.clone(), &self.namespace);
        let found = pods.list_metadata(&ListParams::default().labels(OPERATOR_PODS)).await;
        for pod in found.with_context(|| format!("the pods of namespace {} can't be listed", self.namespace))? {
            let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
            let gone = await_condition(pods.clone(), &name, conditions::is_deleted(&uid));
            tokio::time::timeout(PATIENCE, gone)
                .await
                .with_context(|| format!("the operator's pod {}/{name} does not end: delete it", self.namespace))?
                .with_context(|| format!("the operator's pod {}/{name} can't be watched", self.namespace))?;
        }
        Ok(())
    }
}

fn namespaced<K>(client: &Client, object: &PartialObjectMeta<K>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), object.metadata.namespace.as_deref().unwrap_or_default())
}

fn cluster_wide<K: Resource<DynamicType = (), Scope = ClusterResourceScope>>(client: &Client) -> Api<K> {
    Api::all(client.clone())
}

/// Takes a finalizer off all objects of a kind, also off those that can't be read in full; says off how many.
async fn take_off<K>(all: &Api<K>, finalizer: &str, place: impl Fn(&PartialObjectMeta<K>) -> Api<K>) -> Result<usize>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (mut page, mut count) = (ListParams::default().limit(PAGE), 0);
    loop {
        let listed = all.list_metadata(&page).await.with_context(|| format!("{} can't be listed", K::plural(&())))?;
        for object in &listed.items {
            if object.finalizers().iter().any(|found| found == finalizer) {
                let key = format!("{} {}", K::kind(&()), object.name_any());
                release(&place(object), object, finalizer).await.with_context(|| format!("{key} can't be released"))?;
                count += 1;
            }
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(count),
        }
    }
}

/// Takes a finalizer off one object, of which others may change something at the same time.
async fn release<K>(api: &Api<K>, object: &PartialObjectMeta<K>, finalizer: &str) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (name, mut metadata) = (object.name_any(), object.metadata.clone());
    for _ in 0..ATTEMPTS {
        let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|found| found != finalizer);
        let patch = serde_json::json!({"metadata": {
            "finalizers": finalizers, "uid": metadata.uid, "resourceVersion": metadata.resource_version,
        }});
        match api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() => match api.get_metadata_opt(&name).await? {
                Some(found) => metadata = found.metadata,
                None => return Ok(()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    bail!("something else keeps changing it: try again")
}
