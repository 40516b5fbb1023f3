//! `ringfence token-service`: the built-in issuer of access tokens.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jiff::SignedDuration;
use kube::Config;
use ringfence_core::pki::is_dns_label;
use ringfence_core::tokens::MAX_TOKEN_LIFETIME_SECONDS;
use ringfence_core::tokens::keys::KeySettings;
use ringfence_core::world::NamespacedName;
use tokio_util::sync::CancellationToken;

use super::process::{Observation, duration, namespace, told_to_stop};
use crate::process::{measurements, probes};
use crate::token_service::{self, Settings, store};

/// For how long after the last token of a key someone may still ask for the key: caches, and clocks that differ.
const CACHES: SignedDuration = SignedDuration::from_mins(10);

/// What the token service is told.
#[derive(Debug, Args)]
pub(super) struct TokenService {
    /// Namespace of the token service: its Secrets, and the documents that the operator writes for it, lie in it.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ringfence-token-service", value_parser = namespace)]
    namespace: String,
    /// Name of its ServiceIdentity: `<identity>-tls`, `<identity>-keys` and `<identity>-jwks` are named after it.
    #[arg(long, default_value = "token-service", value_parser = identity)]
    identity: String,
    /// The issuer's identifier, an `https` URL without a slash at its end, e.g. `https://sts.example.com`; the endpoints lie
    /// below it. What the operator is told with `--token-service-issuer` must be the same. Default:
    /// `https://<identity>.<namespace>.svc:8443`.
    #[arg(long)]
    issuer: Option<String>,
    /// Where it listens, with TLS.
    #[arg(long, default_value = "0.0.0.0:8443")]
    address: SocketAddr,
    /// A member of the store, an etcd that the replicas share, e.g. `https://etcd-0.etcd.ringfence-token-service.svc:2379`. May be
    /// given several times.
    #[arg(long = "store", required = true)]
    stores: Vec<String>,
    /// Name of a Secret of the namespace by which the store is spoken to: with its `tls.crt` and `tls.key`, and the store must
    /// show a certificate that its `ca.crt` verifies. Default: `<identity>-tls`.
    #[arg(long)]
    store_secret: Option<String>,
    /// By how much the clocks of the replicas may differ, e.g. `1m`: so long is remembered what was used, after it has ended.
    #[arg(long, default_value = "1m", value_parser = duration)]
    clock_skew: Duration,
    /// How long a key signs tokens, e.g. `24h`, from `1s`.
    #[arg(long, default_value = "24h", value_parser = key_duration)]
    key_rotation_period: SignedDuration,
    /// How long a key is published before it signs the first token, e.g. `10m`, from `1s`: longer than anyone keeps the key
    /// set, and than a mounted ConfigMap takes to change.
    #[arg(long, default_value = "10m", value_parser = key_duration)]
    key_publish_before: SignedDuration,
    /// How long a key that signs no more is kept, e.g. `70m`, from `1s`. Default: the longest life of a token, and 10 minutes.
    #[arg(long, value_parser = key_duration)]
    key_keep: Option<SignedDuration>,
    /// Requests that one client may make in a second; twice as many in a moment.
    #[arg(long, default_value = "1000")]
    client_rate: NonZeroU32,
    /// Connections that may be open at once; others wait.
    #[arg(long, default_value = "4096", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_connections: u32,
    /// For how long connections are taken still when the process is told to stop and is not ready any more, e.g. `3s`: so long
    /// it takes until nobody is sent here.
    #[arg(long, default_value = "3s", value_parser = duration)]
    stop_delay: Duration,
    /// How long connections may take to end after that, e.g. `20s`; both together less than the pod's
    /// `terminationGracePeriodSeconds`.
    #[arg(long, default_value = "20s", value_parser = duration)]
    drain_timeout: Duration,
    #[command(flatten)]
    observation: Observation,
}

fn identity(text: &str) -> Result<String, String> {
    let wrong = || "an identity's name has lower-case letters, digits and '-', and at most 63 of them".to_owned();
    is_dns_label(text).then(|| text.to_owned()).ok_or_else(wrong)
}

fn key_duration(text: &str) -> Result<SignedDuration, String> {
    let duration = duration(text)?;
    let fits = duration >= Duration::from_secs(1) && duration <= Duration::from_secs(365 * 24 * 3600);
    let signed = SignedDuration::try_from(duration).ok().filter(|_| fits);
    signed.ok_or_else(|| "it takes at least 1s and at most a year (8760h)".to_owned())
}

impl TokenService {
    /// Runs until SIGTERM or Ctrl-C.
    pub(super) fn run(self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("the runtime can't be started")?;
        let ended = runtime.block_on(self.serve());
        runtime.shutdown_background();
        ended.map(|()| ExitCode::SUCCESS)
    }

    /// Where traces go, if anywhere.
    pub(super) fn otlp_endpoint(&self) -> Option<&str> {
        self.observation.otlp_endpoint.as_deref()
    }

    async fn serve(self) -> Result<()> {
        let config = Config::infer().await.context("no cluster to talk to: set KUBECONFIG, or run in a pod")?;
        let service = token_service::TokenService::new(config, self.settings())?;
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (readiness, stopping) = (service.readiness(), stop.clone());
        let ready = move || if stopping.is_cancelled() { Some("it stops".to_owned()) } else { readiness() };
        let Observation { health_address, metrics_address, .. } = self.observation;
        let probing = async {
            let served = probes::serve(health_address, || None, ready, ended.clone()).await;
            served.with_context(|| format!("{health_address} can't be served: choose another --health-address"))
        };
        let metrics = service.metrics();
        let measuring = async {
            let Some(address) = metrics_address.0 else { return Ok(()) };
            let served = measurements::serve(address, metrics, ended.clone()).await;
            served.with_context(|| format!("{address} can't be served: choose another --metrics-address"))
        };
        let running = async {
            let ran = service.run(stop.clone()).await;
            // Probes are answered as long as requests are.
            ended.cancel();
            Ok(ran?)
        };
        tokio::try_join!(probing, measuring, running, told_to_stop(stop.clone())).map(drop)
    }

    fn settings(&self) -> Settings {
        let Self { namespace, identity, .. } = self;
        let longest = SignedDuration::from_secs(i64::try_from(MAX_TOKEN_LIFETIME_SECONDS).unwrap_or(i64::MAX));
        let issuer = self.issuer.clone().unwrap_or_else(|| format!("https://{identity}.{namespace}.svc:8443"));
        Settings {
            identity: NamespacedName::new(namespace.clone(), identity.clone()),
            issuer,
            address: self.address,
            keys: KeySettings {
                publish_before: self.key_publish_before,
                rotation_period: self.key_rotation_period,
                keep: self.key_keep.unwrap_or(longest + CACHES),
            },
            store: store::Settings { endpoints: self.stores.clone(), clock_skew: self.clock_skew },
            store_secret: self.store_secret.clone(),
            client_rate: self.client_rate,
            connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
            stop_delay: self.stop_delay,
            drain: self.drain_timeout,
        }
    }
}
