//! `ringfence status`: what is ready, what was refused, and who is behind, on one screen.

mod text;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use kube::Api;
use kube::core::DeserializeGuard;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use ringfence_core::overview::Overview;

use super::connection::{Cluster, Connection, is_forbidden, is_not_installed, run};
use super::output::Output;

/// Where to look.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  all is well; there may be warnings
  1  something is not ready, refused or behind
  2  it could not be looked

Only the statuses of TrustDomains, ServiceIdentities and AccessPolicies are read, with your own rights; no Secrets.
A finding of severity NotReady, Refused or Behind makes the exit code 1, one of severity Warning does not.")]
pub(super) struct Status {
    /// Look at all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "domain"])]
    all_namespaces: bool,
    /// Look at one TrustDomain and its namespaces.
    #[arg(long, value_name = "NAME", conflicts_with = "namespace")]
    domain: Option<String>,
    /// Print all rows of the text, in place of a screenful. JSON and YAML always have all.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// What is looked at.
enum Scope {
    Everything,
    Domain(String),
    Namespace(String),
}

impl Status {
    /// Looks, and prints what it saw.
    pub(super) fn run(self) -> Result<ExitCode> {
        let overview = run(self.look())?;
        self.output.print(&overview, |overview| text::text(overview, self.full))?;
        Ok(if overview.well { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    async fn look(&self) -> Result<Overview> {
        let cluster = self.connection.open().await?;
        let scope = match &self.domain {
            Some(domain) => Scope::Domain(domain.clone()),
            None if self.all_namespaces => Scope::Everything,
            None => Scope::Namespace(cluster.namespace.clone()),
        };
        let mut overview = Overview::new(Timestamp::now());
        look_at_domains(&cluster, &scope, &mut overview).await?;
        let client = &cluster.client;
        match scope {
            Scope::Everything => {
                look_at(&cluster, Api::all(client.clone()), Api::all(client.clone()), "all namespaces", &mut overview)
                    .await?;
            }
            Scope::Namespace(namespace) => look_into(&cluster, &namespace, &mut overview).await?,
            Scope::Domain(_) => {
                let namespaces: BTreeSet<String> =
                    overview.trust_domains.iter().flat_map(|domain| domain.namespaces.clone()).collect();
                for namespace in namespaces {
                    look_into(&cluster, &namespace, &mut overview).await?;
                }
            }
        }
        Ok(overview.finish())
    }
}

/// The domains of the scope. Who may see only a namespace is told so, and sees that.
async fn look_at_domains(cluster: &Cluster, scope: &Scope, overview: &mut Overview) -> Result<()> {
    let is_in_scope = |domain: &TrustDomain| match scope {
        Scope::Everything => true,
        Scope::Domain(name) => domain.metadata.name.as_ref() == Some(name),
        Scope::Namespace(namespace) => {
            domain.status.as_ref().is_some_and(|status| status.namespaces.contains(namespace))
        }
    };
    let domains = Api::<DeserializeGuard<TrustDomain>>::all(cluster.client.clone());
    let looked = cluster.each(domains, |domain| match domain {
        Ok(domain) if is_in_scope(&domain) => overview.add_domain(&domain),
        Ok(_) => {}
        Err((key, error)) => overview.add_malformed("TrustDomain", &key, &error),
    });
    match looked.await {
        Ok(()) => {}
        Err(error) if is_not_installed(&error) => {
            bail!("the cluster does not have the kinds of Ringfence: install its chart, or use another --context")
        }
        Err(error) if is_forbidden(&error) && matches!(scope, Scope::Namespace(_)) => {
            overview.not_seen.push(format!("{:#}", cluster.explain("TrustDomains", &error)));
        }
        Err(error) => return Err(cluster.explain("TrustDomains", &error)),
    }
    match scope {
        Scope::Domain(name) if overview.trust_domains.is_empty() && overview.findings.is_empty() => {
            Err(anyhow!("there is no TrustDomain {name}: see `kubectl get trustdomains`"))
        }
        _ => Ok(()),
    }
}

async fn look_into(cluster: &Cluster, namespace: &str, overview: &mut Overview) -> Result<()> {
    let client = &cluster.client;
    let (identities, policies) =
        (Api::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace));
    look_at(cluster, identities, policies, &format!("namespace {namespace}"), overview).await
}

async fn look_at(
    cluster: &Cluster,
    identities: Api<DeserializeGuard<ServiceIdentity>>,
    policies: Api<DeserializeGuard<AccessPolicy>>,
    place: &str,
    overview: &mut Overview,
) -> Result<()> {
    let looked = cluster.each(identities, |identity| match identity {
        Ok(identity) => overview.add_identity(&identity),
        Err((key, error)) => overview.add_malformed("ServiceIdentity", &key, &error),
    });
    looked.await.map_err(|error| cluster.explain(&format!("ServiceIdentities of {place}"), &error))?;
    let looked = cluster.each(policies, |policy| match policy {
        Ok(policy) => overview.add_policy(&policy),
        Err((key, error)) => overview.add_malformed("AccessPolicy", &key, &error),
    });
    looked.await.map_err(|error| cluster.explain(&format!("AccessPolicies of {place}"), &error))
}
