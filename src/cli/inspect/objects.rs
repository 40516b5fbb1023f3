//! What is looked at in a cluster.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::core::DeserializeGuard;
use ringfence_core::api::{GROUP, TrustDomain};
use ringfence_core::inspect::Bundle;
use ringfence_core::pki::SecretData;

use super::trust_domain_of;
use crate::cli::connection::{Cluster, is_forbidden};

/// A Secret.
pub(super) struct FoundSecret {
    pub(super) data: SecretData,
    /// The object of Ringfence that it belongs to.
    pub(super) owner: Option<String>,
    /// UID of the identity that it belongs to.
    pub(super) identity_uid: Option<String>,
}

pub(super) async fn secret(cluster: &Cluster, name: &str) -> Result<FoundSecret> {
    let what = format!("Secret {}/{name}", cluster.namespace);
    let found = Api::<Secret>::namespaced(cluster.client.clone(), &cluster.namespace).get_opt(name).await;
    let found = found.map_err(|error| cluster.explain(&what, &error))?;
    let secret = found.with_context(|| format!("there is no {what}: look in another --namespace"))?;
    let owner = controller(&secret.metadata);
    Ok(FoundSecret {
        data: secret.data.as_ref().map(SecretData::from).unwrap_or_default(),
        owner: owner.map(|owner| name_of(owner, &secret.metadata)),
        identity_uid: owner.filter(|owner| owner.kind == "ServiceIdentity").map(|owner| owner.uid.clone()),
    })
}

/// The owner of a ConfigMap and its data.
pub(super) async fn config_map(cluster: &Cluster, name: &str) -> Result<(Option<String>, BTreeMap<String, String>)> {
    let what = format!("ConfigMap {}/{name}", cluster.namespace);
    let found = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace).get_opt(name).await;
    let found = found.map_err(|error| cluster.explain(&what, &error))?;
    let map = found.with_context(|| format!("there is no {what}: look in another --namespace"))?;
    let owner = controller(&map.metadata).map(|owner| name_of(owner, &map.metadata));
    Ok((owner, map.data.unwrap_or_default()))
}

/// The CAs that issue for the trust domain of a SPIFFE ID, as the operator's namespace has them.
pub(super) async fn issuing_bundle(
    cluster: &Cluster,
    operator_namespace: &str,
    spiffe_id: Option<&str>,
) -> Result<Bundle> {
    let trust_domain = trust_domain_of(spiffe_id)?;
    let (domain, current_generation) = holder(cluster, trust_domain).await?;
    let what = format!("ConfigMap {operator_namespace}/{domain}-trust");
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), operator_namespace);
    let found = maps.get_opt(&format!("{domain}-trust")).await.map_err(|error| cluster.explain(&what, &error))?;
    let data = found.and_then(|map| map.data).with_context(|| format!("there is no {what}"))?;
    let text = data.get("issuing.pem").ok_or_else(|| anyhow!("{what} has no issuing.pem"))?;
    let name = format!("the issuing CAs of TrustDomain {domain}");
    let bundle = Bundle::from_pem(name, text.as_bytes()).with_context(|| format!("{what} can't be used"))?;
    Ok(Bundle { current_generation, ..bundle })
}

/// The TrustDomain that holds a trust-domain name, and the CA generation that it signs with. Who may not see TrustDomains
/// goes by the name, which most of them share with their trust domain.
async fn holder(cluster: &Cluster, trust_domain: &str) -> Result<(String, Option<String>)> {
    let mut holder = None;
    let domains = Api::<DeserializeGuard<TrustDomain>>::all(cluster.client.clone());
    let looked = cluster.each(domains, |domain| {
        let Ok(TrustDomain { metadata, status: Some(status), .. }) = domain else { return };
        if status.trust_domain.as_deref() == Some(trust_domain) {
            let generation = status.certificate_authority.map(|authority| authority.generation);
            holder = metadata.name.map(|name| (name, generation));
        }
    });
    match looked.await {
        Ok(()) => holder.ok_or_else(|| anyhow!("no TrustDomain holds the trust domain {trust_domain}")),
        Err(error) if is_forbidden(&error) => Ok((trust_domain.to_owned(), None)),
        Err(error) => Err(cluster.explain("TrustDomains", &error)),
    }
}

/// The owner that controls an object, if it is of our kinds.
fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true) && owner.api_version.split('/').next() == Some(GROUP))
}

fn name_of(owner: &OwnerReference, metadata: &ObjectMeta) -> String {
    match (owner.kind.as_str(), &metadata.namespace) {
        ("ServiceIdentity", Some(namespace)) => format!("ServiceIdentity {namespace}/{}", owner.name),
        (kind, _) => format!("{kind} {}", owner.name),
    }
}
