//! `ringfence operator`: the operator itself.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use kube::Config;
use ringfence_core::pki::is_dns_label;
use ringfence_core::world::Settings;
use tokio_util::sync::CancellationToken;

use super::process::{Observation, duration, namespace, told_to_stop};
use super::token_service_flags::TokenServiceFlags;
use crate::controller::{self, Candidate, LONGEST_LEASE};

/// What the operator is told.
#[derive(Debug, Args)]
pub(super) struct Operator {
    /// Namespace of the operator: CA Secrets, and everything that a TrustDomain names, lie in it.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ringfence-system", value_parser = namespace)]
    namespace: String,
    #[command(flatten)]
    cluster: Cluster,
    /// Roll the workloads that ServiceIdentities name in `restart`. Needs the rights that the chart gives with
    /// `restart.enabled: true`. Without it, those identities say that restarts are off.
    #[arg(long)]
    restart_workloads: bool,
    /// For how long this replica leads after each renewal of its Lease, e.g. `15s`; whole seconds, 1s to 5m. After a crash
    /// the next one takes over when it is over; after an orderly end, at once.
    #[arg(long, default_value = "15s", value_parser = lease_duration)]
    lease_duration: Duration,
    #[command(flatten)]
    observation: Observation,
}

/// What is told about the cluster, where it can't be seen.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local", value_parser = cluster_domain)]
    pub(super) cluster_domain: String,
    /// The cluster's own address ranges (pods, Services, nodes), in place of those detected. May be given several times.
    #[arg(long = "cluster-cidr")]
    pub(super) cluster_cidrs: Vec<ipnet::IpNet>,
    /// Addresses of node-local DNS caches, in place of those detected. May be given several times.
    #[arg(long = "node-local-dns")]
    pub(super) node_local_dns: Vec<IpAddr>,
    #[command(flatten)]
    pub(super) token_service: TokenServiceFlags,
}

impl Cluster {
    /// What the operator is told about the cluster, and about what is installed in it.
    ///
    /// # Errors
    /// When the token service is said to be where it can't be.
    pub(super) fn settings(&self, operator_namespace: &str) -> Result<Settings> {
        Ok(Settings {
            operator_namespace: operator_namespace.to_owned(),
            cluster_domain: self.cluster_domain.clone(),
            cluster_cidrs: (!self.cluster_cidrs.is_empty()).then(|| self.cluster_cidrs.iter().copied().collect()),
            node_local_dns: (!self.node_local_dns.is_empty()).then(|| self.node_local_dns.iter().copied().collect()),
            restart: false,
            token_service: self.token_service.settings(operator_namespace)?,
        })
    }
}

fn cluster_domain(text: &str) -> Result<String, String> {
    let wrong = || "expected a DNS name without a dot at its end, such as cluster.local".to_owned();
    let fits = text.len() <= 253 && text.split('.').all(is_dns_label);
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

/// A duration of the Lease.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    let fits = duration.subsec_nanos() == 0 && (1..=LONGEST_LEASE.as_secs()).contains(&duration.as_secs());
    if fits { Ok(duration) } else { Err("a Lease lasts whole seconds, at least 1s and at most 5m".to_owned()) }
}

impl Operator {
    /// Runs until SIGTERM, Ctrl-C, or the loss of the lead.
    pub(super) fn run(self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.context("the runtime can't be started")?;
        let ended = runtime.block_on(self.operate());
        // Nothing that is still being computed would be written.
        runtime.shutdown_background();
        ended.map(|()| ExitCode::SUCCESS)
    }

    /// Where traces go, if anywhere.
    pub(super) fn otlp_endpoint(&self) -> Option<&str> {
        self.observation.otlp_endpoint.as_deref()
    }

    async fn operate(self) -> Result<()> {
        let settings = Settings { restart: self.restart_workloads, ..self.cluster.settings(&self.namespace)? };
        let config = Config::infer().await.context("no cluster to talk to: set KUBECONFIG, or run in a pod")?;
        let mut operator = controller::Operator::new(config, settings);
        operator.candidate = Some(Candidate::new(self.lease_duration));
        let stop = CancellationToken::new();
        let health = operator.health.clone().serve(self.observation.health_address, stop.clone());
        let address = self.observation.health_address;
        let serving = async {
            health.await.with_context(|| format!("{address} can't be served: choose another --health-address"))
        };
        let (metrics, metrics_address, until) =
            (operator.metrics.clone(), self.observation.metrics_address.0, stop.clone());
        let measuring = async {
            let Some(address) = metrics_address else { return Ok(()) };
            let served = metrics.serve(address, until).await;
            served.with_context(|| format!("{address} can't be served: choose another --metrics-address"))
        };
        let running = async { operator.run(stop.clone()).await.context("the operator could not go on") };
        tokio::try_join!(serving, measuring, running, told_to_stop(stop.clone())).map(drop)
    }
}
