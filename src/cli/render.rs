//! `ringfence render`: what the operator would write, without a cluster. Certificate profiles stand in place of
//! certificates, and keys are left out.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use ringfence_core::pki::Usages;
use ringfence_core::plan::{
    BASELINE, FenceStep, MemberStep, Outcome, Step, directory_step, fence_step, identity_plan, identity_status,
    leaf_profile, member_step, policy_status,
};
use ringfence_core::world::{Change, NamespacedName, PasswordRef, Unit, World};
use serde_json::{Value, json};
use tracing::warn;

use super::declared;
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
        let mut world = declared::world(self.cluster.settings(&self.namespace)?, &self.paths)?;
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
