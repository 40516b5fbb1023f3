//! What is declared in files, for the verbs that can do without a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::ResourceExt;
use ringfence_core::world::{
    Change, DNS_NAMESPACE, DNS_SERVICE, NamespaceFacts, NamespacedName, PodFacts, ServiceFacts, Settings, World,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A world in which there is what files, and folders of them, hold, and what goes without saying.
pub(super) fn world(settings: Settings, paths: &[PathBuf]) -> Result<World> {
    let mut world = World::new(settings);
    for document in read(paths)? {
        fold(&mut world, document)?;
    }
    assume(&mut world);
    Ok(world)
}

/// Namespaces that are named but not in the files, and the usual DNS.
fn assume(world: &mut World) {
    let of_domains = world.domains().flat_map(|domain| domain.spec.namespaces.clone());
    let of_pods = world.policies().flat_map(|(_, policy)| policy.spec.pods().flat_map(|pods| pods.namespaces.clone()));
    for name in of_domains.chain(of_pods).collect::<Vec<_>>() {
        if world.namespace(&name).is_none() {
            world.apply(Change::Namespace(name, Some(NamespaceFacts::default())));
        }
    }
    let dns = NamespacedName::new(DNS_NAMESPACE, DNS_SERVICE);
    if world.service(&dns).is_none() {
        let selector = [("k8s-app".to_owned(), "kube-dns".to_owned())].into();
        world.apply(Change::Service(dns, Some(ServiceFacts { selector, ..ServiceFacts::default() })));
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for path in paths {
        for file in files(path)? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
            let parsed = serde_saphyr::from_multiple::<Value>(&text);
            documents.extend(parsed.with_context(|| format!("{} is not YAML", file.display()))?);
        }
    }
    Ok(documents)
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("{} can't be listed", path.display()))?;
    let mut files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    files.sort();
    Ok(files)
}

fn fold(world: &mut World, document: Value) -> Result<()> {
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    let change = match kind.as_str() {
        "TrustDomain" => own(document, |key, object| Change::Domain(key.name, Some(object)))?,
        "ServiceIdentity" => own(document, |key, object| Change::Identity(key, Some(object)))?,
        "AccessPolicy" => own(document, |key, object| Change::Policy(key, Some(object)))?,
        "Namespace" => {
            let namespace: Namespace = typed(document)?;
            Change::Namespace(namespace.name_any(), Some((&namespace).into()))
        }
        "Service" => {
            let service: Service = typed(document)?;
            Change::Service(key_of(&service), Some((&service).into()))
        }
        "Pod" => {
            let pod: Pod = typed(document)?;
            Change::Pod(key_of(&pod), PodFacts::of(&pod))
        }
        _ => return Ok(()),
    };
    world.apply(change);
    Ok(())
}

fn own<K>(document: Value, change: impl FnOnce(NamespacedName, Arc<K>) -> Change) -> Result<Change>
where
    K: kube::Resource + DeserializeOwned,
{
    let mut object: K = typed(document)?;
    let key = key_of(&object);
    // Outputs are owned by UID; offline a name has to do.
    object.meta_mut().uid = Some(key.to_string());
    Ok(change(key, Arc::new(object)))
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T> {
    let name = format!(
        "{} {}",
        document["kind"].as_str().unwrap_or("object"),
        document["metadata"]["name"].as_str().unwrap_or("without a name")
    );
    match serde_json::from_value(document) {
        Ok(object) => Ok(object),
        Err(error) => bail!("{name} does not fit the schema: {error}"),
    }
}

fn key_of<K: kube::Resource>(object: &K) -> NamespacedName {
    NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any())
}
