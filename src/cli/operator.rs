//! `ringfence operator`: the operator itself.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jiff::SignedDuration;
use kube::Config;
use ringfence_core::pki::is_dns_label;
use ringfence_core::world::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

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
    /// Address of `/livez` and `/readyz`.
    #[arg(long, default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,
    /// Address of `/metrics`, for Prometheus; `off` for none.
    #[arg(long, default_value = "0.0.0.0:9090", value_parser = metrics_address)]
    metrics_address: MetricsAddress,
    /// Where traces go, as OTLP over HTTP: a URL to which `/v1/traces` is added, e.g. `http://collector:4318`. Without it
    /// there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

/// Where measurements are served, if they are.
#[derive(Clone, Copy, Debug)]
struct MetricsAddress(Option<SocketAddr>);

fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    if text == "off" {
        return Ok(MetricsAddress(None));
    }
    let address = text.parse().map_err(|_| "expected an address with a port, such as 0.0.0.0:9090, or off".to_owned());
    address.map(|address| MetricsAddress(Some(address)))
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
}

impl Cluster {
    pub(super) fn settings(&self, operator_namespace: &str) -> Settings {
        Settings {
            operator_namespace: operator_namespace.to_owned(),
            cluster_domain: self.cluster_domain.clone(),
            cluster_cidrs: (!self.cluster_cidrs.is_empty()).then(|| self.cluster_cidrs.iter().copied().collect()),
            node_local_dns: (!self.node_local_dns.is_empty()).then(|| self.node_local_dns.iter().copied().collect()),
            restart: false,
        }
    }
}

fn namespace(text: &str) -> Result<String, String> {
    let wrong = || "a namespace's name has lower-case letters, digits and '-', and at most 63 of them".to_owned();
    is_dns_label(text).then(|| text.to_owned()).ok_or_else(wrong)
}

fn cluster_domain(text: &str) -> Result<String, String> {
    let wrong = || "expected a DNS name without a dot at its end, such as cluster.local".to_owned();
    let fits = text.len() <= 253 && text.split('.').all(is_dns_label);
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

/// A duration of the Lease.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|error| format!("{error}; write it like 15s or 1m"))?;
    match Duration::try_from(duration) {
        Ok(duration) if duration.subsec_nanos() == 0 && (1..=LONGEST_LEASE.as_secs()).contains(&duration.as_secs()) => {
            Ok(duration)
        }
        _ => Err("a Lease lasts whole seconds, at least 1s and at most 5m".to_owned()),
    }
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
        self.otlp_endpoint.as_deref()
    }

    async fn operate(self) -> Result<()> {
        let config = Config::infer().await.context("no cluster to talk to: set KUBECONFIG, or run in a pod")?;
        let settings = Settings { restart: self.restart_workloads, ..self.cluster.settings(&self.namespace) };
        let mut operator = controller::Operator::new(config, settings);
        operator.candidate = Some(Candidate::new(self.lease_duration));
        let stop = CancellationToken::new();
        let health = operator.health.clone().serve(self.health_address, stop.clone());
        let address = self.health_address;
        let serving = async {
            health.await.with_context(|| format!("{address} can't be served: choose another --health-address"))
        };
        let (metrics, metrics_address, until) = (operator.metrics.clone(), self.metrics_address.0, stop.clone());
        let measuring = async {
            let Some(address) = metrics_address else { return Ok(()) };
            let served = metrics.serve(address, until).await;
            served.with_context(|| format!("{address} can't be served: choose another --metrics-address"))
        };
        let running = async { operator.run(stop.clone()).await.context("the operator could not go on") };
        let stopping = async {
            let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            info!("told to stop: what is in work is finished");
            stop.cancel();
            Ok(())
        };
        tokio::try_join!(serving, measuring, running, stopping).map(drop)
    }
}
