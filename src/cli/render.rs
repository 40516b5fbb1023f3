//! `ringfence render`: what the operator would write, without a cluster. Certificate profiles stand in place of
//! certificates, and keys are left out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::ResourceExt;
use ringfence_core::pki::Usages;
use ringfence_core::plan::{
    BASELINE, FenceStep, MemberStep, Outcome, Step, directory_step, fence_step, identity_plan, identity_status,
    leaf_profile, member_step, policy_status,
};
use ringfence_core::world::{
    Change, DNS_NAMESPACE, DNS_SERVICE, NamespaceFacts, NamespacedName, PasswordRef, PodFacts, ServiceFacts, Unit,
    World,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::warn;

use super::operator::Cluster;

/// Which files, and what is told about the cluster.
#[derive(Debug, Args)]
pub(super) struct Render {
    /// YAML files, or folders of them: TrustDomains, ServiceIdentities, AccessPolicies, and what they name (Namespaces,
    /// Services, Pods).
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Namespace of the operator.
    #[arg(long, default_value = "ringfence-system")]
    namespace: String,
    #[command(flatten)]
    cluster: Cluster,
}

impl Render {
    /// Prints the outputs; what was refused goes to the log and makes the exit code 1.
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut world = World::new(self.cluster.settings(&self.namespace)?);
        for document in read(&self.paths)? {
            fold(&mut world, document)?;
        }
        assume(&mut world);
        let mut documents = Vec::new();
        let mut refused = false;
        for unit in world.all_units() {
            match &unit {
                Unit::Member(namespace) => {
                    if let MemberStep { step: Step::Write { desired, .. }, .. } = member_step(&world, namespace) {
                        documents.push(serde_json::to_value(&desired)?);
                    }
                }
                Unit::Fence(namespace) => {
                    if let FenceStep { step: Step::Write { desired, .. }, .. } = fence_step(&world, namespace) {
                        documents.push(serde_json::to_value(&desired)?);
                        let key = NamespacedName::new(namespace, BASELINE);
                        world.apply(Change::NetworkPolicy(key, Some(desired.as_ref().into())));
                    }
                }
                Unit::Directory(key) => {
                    if let Step::Write { desired, .. } = directory_step(&world, key).step {
                        documents.push(serde_json::to_value(&desired)?);
                    }
                }
                Unit::Identity(key) => {
                    refused |= complain(
                        identity_status(&world, key, &Outcome::default(), Timestamp::UNIX_EPOCH).map(|s| s.conditions),
                        "ServiceIdentity",
                        key,
                    );
                    documents.extend(identity(&world, key)?);
                }
                Unit::Policy(key) => {
                    refused |= complain(
                        policy_status(&world, key, &|_| false, Timestamp::UNIX_EPOCH).map(|s| s.conditions),
                        "AccessPolicy",
                        key,
                    );
                }
                Unit::Domain(_) => {}
            }
        }
        super::print(&super::yaml_stream(documents)?)?;
        Ok(if refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}

fn identity(world: &World, key: &NamespacedName) -> Result<Vec<Value>> {
    let Some(plan) = identity_plan(world, key, Timestamp::UNIX_EPOCH) else { return Ok(Vec::new()) };
    let profile = leaf_profile(&plan.identity);
    let mut documents = vec![json!({
        "apiVersion": "render.ringfence.dev/v1", "kind": "CertificateProfile",
        "metadata": { "namespace": key.namespace, "name": plan.identity.tls_secret },
        "spiffeID": profile.spiffe_id.to_string(), "dnsNames": profile.dns_names, "ipAddresses": profile.ip_addresses,
        "algorithm": profile.algorithm, "duration": format!("{:#}", profile.duration),
    })];
    // Only what is declared beside names, algorithm and duration.
    let options = &plan.identity.options;
    let named = |password: &PasswordRef| json!({"name": password.secret.name, "key": password.key});
    let declared = [
        ("commonName", options.common_name.as_ref().map(|name| json!(name))),
        ("usages", (profile.usages != Usages::BOTH).then(|| json!(profile.usages.to_list()))),
        ("secretTemplate", options.template.as_deref().map(|template| json!(template))),
        ("pkcs12", options.keystores.as_deref().map(|password| json!({"passwordSecretRef": named(password)}))),
    ];
    for (field, value) in declared {
        if let Some(value) = value {
            documents[0][field] = value;
        }
    }
    if let Some((algorithm, name)) = &plan.identity.signing_key {
        documents.push(json!({
            "apiVersion": "render.ringfence.dev/v1", "kind": "SigningKeyProfile",
            "metadata": { "namespace": key.namespace, "name": name }, "algorithm": algorithm,
        }));
    }
    if let Step::Write { desired, .. } = plan.trust {
        documents.push(serde_json::to_value(&desired)?);
    }
    if let Step::Write { desired, .. } = plan.network_policy {
        documents.push(serde_json::to_value(&desired)?);
    }
    Ok(documents)
}

/// Says what was refused or is missing. Nothing is ever programmed without a cluster.
fn complain(
    conditions: Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>>,
    kind: &str,
    key: &NamespacedName,
) -> bool {
    let bad = |type_: &str| type_ == "Accepted" || type_ == "ResolvedRefs";
    let refused: Vec<_> = conditions.into_iter().flatten().filter(|c| bad(&c.type_) && c.status == "False").collect();
    for condition in &refused {
        warn!("{kind} {key}: {} ({})", condition.message, condition.reason);
    }
    !refused.is_empty()
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
