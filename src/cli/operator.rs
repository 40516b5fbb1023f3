//! `ringfence operator`: the operator itself.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use kube::Config;
use ringfence_core::world::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::controller;

/// What the operator is told.
#[derive(Debug, Args)]
pub(super) struct Operator {
    /// Namespace of the operator: CA Secrets, and everything that a TrustDomain names, lie in it.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ringfence-system")]
    namespace: String,
    #[command(flatten)]
    cluster: Cluster,
    /// Address of `/livez` and `/readyz`.
    #[arg(long, default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,
}

/// What is told about the cluster, where it can't be seen.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    pub(super) cluster_domain: String,
    /// The cluster's own address ranges (pods, Services, nodes), in place of those detected. May be given several times.
    #[arg(long = "cluster-cidr")]
    pub(super) cluster_cidrs: Vec<ipnet::IpNet>,
    /// Addresses of node-local DNS caches, in place of those detected. May be given several times.
    #[arg(long = "node-local-dns")]
    pub(super) node_local_dns: Vec<IpAddr>,
}

impl Cluster {
    pub(super) fn settings(&self, operator_namespace: &str) -> Settings {
        Settings {
            operator_namespace: operator_namespace.to_owned(),
            cluster_domain: self.cluster_domain.clone(),
            cluster_cidrs: (!self.cluster_cidrs.is_empty()).then(|| self.cluster_cidrs.iter().copied().collect()),
            node_local_dns: (!self.node_local_dns.is_empty()).then(|| self.node_local_dns.iter().copied().collect()),
        }
    }
}

impl Operator {
    /// Runs until SIGTERM or Ctrl-C.
    pub(super) fn run(self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.context("the runtime can't be started")?.block_on(self.operate())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn operate(self) -> Result<()> {
        let config = Config::infer().await.context("no cluster to talk to: set KUBECONFIG, or run in a pod")?;
        let operator = controller::Operator::new(config, self.cluster.settings(&self.namespace));
        let stop = CancellationToken::new();
        let health = operator.health.clone().serve(self.health_address, stop.clone());
        let address = self.health_address;
        let serving = async {
            health.await.with_context(|| format!("{address} can't be served: choose another --health-address"))
        };
        let running = async { operator.run(stop.clone()).await.context("the operator could not start") };
        let stopping = async {
            let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            info!("told to stop: what is in work is finished");
            stop.cancel();
            Ok(())
        };
        tokio::try_join!(serving, running, stopping).map(drop)
    }
}
