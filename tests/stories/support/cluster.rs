//! Clusters with an operator: one that most stories share, and ones of their own for those that stop or skew it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use ringfence::controller::{Clock, Failure, Operator};
use ringfence_cluster::{Cluster, Options};
use ringfence_core::world::Settings;
use tokio_util::sync::CancellationToken;

/// A cluster with the three kinds installed, in which the operator has the rights that the chart gives it.
pub struct TestCluster {
    cluster: Cluster,
    operator_kubeconfig: PathBuf,
}

impl TestCluster {
    /// The one that stories share.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceLock<TestCluster> = OnceLock::new();
        Self::kept(&SHARED).await
    }

    /// One that some stories share, with an operator that runs as long as the process does.
    pub async fn kept(cell: &'static OnceLock<Self>) -> &'static Self {
        tokio::task::spawn_blocking(|| {
            cell.get_or_init(|| {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let cluster = runtime.block_on(Self::start());
                let operation = runtime.block_on(cluster.operate());
                std::thread::spawn(move || runtime.block_on(operation.ended()));
                cluster
            })
        })
        .await
        .unwrap()
    }

    /// One of its own, without an operator.
    pub async fn start() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let cluster = Cluster::start(&Options::default()).unwrap();
            cluster.install_kinds().unwrap();
            let operator_kubeconfig = cluster.install_rights().unwrap();
            (cluster, operator_kubeconfig)
        });
        let (cluster, operator_kubeconfig) = started.await.unwrap();
        Self { cluster, operator_kubeconfig }
    }

    /// A client of the administrator.
    pub async fn client(&self) -> Client {
        Client::try_from(config(self.cluster.kubeconfig()).await).unwrap()
    }

    /// A client of anyone else.
    pub async fn client_of(&self, user: &str, groups: &[&str]) -> Client {
        Client::try_from(config(&self.cluster.kubeconfig_for(user, groups).unwrap()).await).unwrap()
    }

    /// The cluster itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The operator's kubeconfig.
    pub fn operator_kubeconfig(&self) -> &Path {
        &self.operator_kubeconfig
    }

    /// An operator that is not started yet.
    pub async fn operator(&self) -> Operator {
        Operator::new(config(&self.operator_kubeconfig).await, Settings::default())
    }

    /// Starts an operator; returns when it is ready.
    pub async fn operate(&self) -> Operation {
        self.operate_by(Clock::system()).await
    }

    /// Starts an operator with a clock of its own.
    pub async fn operate_by(&self, clock: Clock) -> Operation {
        self.operate_with(Settings::default(), clock).await
    }

    /// Starts an operator that was told something about the cluster.
    pub async fn operate_with(&self, settings: Settings, clock: Clock) -> Operation {
        let mut operator = Operator::new(config(&self.operator_kubeconfig).await, settings);
        operator.clock = clock;
        let (health, stop) = (operator.health.clone(), CancellationToken::new());
        let running = tokio::spawn(operator.run(stop.clone()));
        super::eventually("the operator is ready", async || health.is_ready().then_some(())).await;
        Operation { stop, running }
    }
}

/// An operator that runs in this process.
pub struct Operation {
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), Failure>>,
}

impl Operation {
    /// Stops it, as SIGTERM would.
    pub async fn stop(self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Ends it at once, whatever it is doing, as a crash would.
    pub async fn kill(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }

    async fn ended(self) {
        self.running.await.unwrap().unwrap();
    }
}

/// Installs the admission policies in a cluster, as `ringfence admission` prints them.
pub fn guard(cluster: &Cluster) {
    let printed = Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("admission").output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let file = cluster.dir().join("admission.yaml");
    std::fs::write(&file, printed.stdout).unwrap();
    cluster.kubectl(&["apply", "--server-side", &format!("--filename={}", file.display())]).unwrap();
}

async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}
