//! The kubelets, and the node objects that they keep up to date.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::containerd::SOCKET;
use super::sandbox::Sandbox;
use super::{DNS_ADDRESS, STARTING, Starting};
use crate::cache::tool;
use crate::kubeconfig::Kubectl;
use crate::process::Process;
use crate::servers::Tool;

/// Makes the node objects. A kubelet would make its own, but then the controller manager would choose the range of its
/// pods, and it has to be the one that the host knows the way to.
pub(super) fn register(nodes: &[Starting<'_>], kubectl: &Kubectl) -> Result<()> {
    let mut arguments = vec!["create".to_owned(), "--validate=false".to_owned()];
    for node in nodes {
        let manifest = node.sandbox.folder().join("node.yaml");
        fs::write(&manifest, node_object(&node.sandbox)).with_context(|| format!("write {}", manifest.display()))?;
        arguments.push(format!("--filename={}", manifest.display()));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    kubectl.run(&arguments).context("create the nodes").map(|_| ())
}

fn node_object(sandbox: &Sandbox) -> String {
    let (name, range) = (sandbox.name(), sandbox.pod_cidr());
    format!(
        "\
apiVersion: v1
kind: Node
metadata: {{name: {name}}}
spec:
  podCIDR: {range}
  podCIDRs: [{range}]
  taints: [{{key: {STARTING}, effect: NoSchedule}}]
"
    )
}

pub(super) fn start(node: &Starting<'_>) -> Result<Process> {
    let Starting { supervisor, layout, authority, sandbox, .. } = node;
    let (folder, name) = (sandbox.folder(), sandbox.name());
    let address = sandbox.node_address().to_string();
    let kubeconfig = node.kubeconfig(&format!("system:node:{name}"), &["system:nodes"])?;
    authority.server(name, &[name.to_owned(), address.clone()])?.write(folder, "kubelet")?;
    let configuration = folder.join("kubelet.yaml");
    fs::write(&configuration, configuration_for(sandbox, &layout.pki()))
        .with_context(|| format!("write {}", configuration.display()))?;
    // Names outside of the cluster are nobody's business here.
    fs::write(folder.join("resolv.conf"), "").context("write the node's resolv.conf")?;

    let mut command = sandbox.inside(tool(Tool::Kubelet)?, supervisor.command("nsenter"));
    command
        .arg(format!("--config={}", configuration.display()))
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--root-dir={}", folder.join("kubelet").display()))
        .arg(format!("--hostname-override={name}"))
        .arg(format!("--node-ip={address}"));
    node.run("kubelet", command)
}

/// Pods get no more than their names; nothing is evicted from a machine that does other work too. Requests for the
/// kubelet come from the API server only, which shows a certificate. Mounted Secrets and ConfigMaps follow a change in
/// seconds, not in a minute.
fn configuration_for(sandbox: &Sandbox, pki: &Path) -> String {
    format!(
        "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: false}}
  x509: {{clientCAFile: {pki}/ca.crt}}
authorization: {{mode: AlwaysAllow}}
tlsCertFile: {folder}/kubelet.crt
tlsPrivateKeyFile: {folder}/kubelet.key
containerRuntimeEndpoint: unix://{SOCKET}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
syncFrequency: 2s
oomScoreAdj: 0
clusterDNS: [{DNS_ADDRESS}]
clusterDomain: cluster.local
resolvConf: {folder}/resolv.conf
podLogsDir: {folder}/pod-logs
evictionHard: {{memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}}
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
",
        pki = pki.display(),
        folder = sandbox.folder().display(),
        cgroup = sandbox.cgroup(),
    )
}
