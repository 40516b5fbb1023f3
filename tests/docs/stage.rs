//! Clusters in which readers find themselves.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use ringfence_cluster::{Cluster, NodeOptions, OPERATOR_NAMESPACE, Options, helm, pack_image};

/// A cluster with a node that knows the operator's image, and nothing else: the page installs what it needs. None
/// without root.
pub fn node() -> Option<Cluster> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: a cluster with a node needs root");
        return None;
    }
    let name = concat!("ringfence:", env!("CARGO_PKG_VERSION"));
    let image = pack_image(name, Path::new(env!("CARGO_BIN_EXE_ringfence")), &[]).unwrap();
    let node = NodeOptions { images: vec![image], ..NodeOptions::default() };
    Some(Cluster::start(&Options { nodes: vec![node], ..Options::default() }).unwrap())
}

/// A cluster without a node, in which the chart is installed and the operator runs beside it as a process, with the
/// rights that the chart gives it. Pods are stored there and never start.
pub struct ControlPlane {
    pub cluster: Cluster,
    operator: Child,
}

impl ControlPlane {
    pub fn start() -> Self {
        let cluster = Cluster::start(&Options::default()).unwrap();
        let dns = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/dns-service.yaml");
        cluster.kubectl(&["create", &format!("--filename={}", dns.display())]).unwrap();
        let install = format!(
            "install ringfence charts/ringfence --namespace {OPERATOR_NAMESPACE} --create-namespace \
             --set tokenService.enabled=true --set tokenService.createNamespace=true"
        );
        helm(Some(cluster.kubeconfig()), &install).unwrap();
        let kubeconfig = cluster.operator_kubeconfig().unwrap();
        let mut command = cluster.command(env!("CARGO_BIN_EXE_ringfence"));
        command.args(["operator", "--metrics-address=off", "--health-address=127.0.0.1:0"]);
        command.arg("--token-service=ringfence-token-service/token-service");
        let operator = command.env("KUBECONFIG", kubeconfig).stderr(Stdio::null()).spawn().unwrap();
        let this = Self { cluster, operator };
        // It asks for the lead when it has seen everything.
        let own = format!("--namespace={OPERATOR_NAMESPACE}");
        this.cluster.kubectl(&["wait", "lease/ringfence", "--for=create", "--timeout=60s", &own]).unwrap();
        this
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // One that has ended already is just what is wanted.
        let _ = self.operator.kill();
        let _ = self.operator.wait();
    }
}
