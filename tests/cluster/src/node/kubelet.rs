//! The kubelet, and the node object it makes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::containerd::SOCKET;
use super::sandbox::Sandbox;
use super::{DNS_ADDRESS, NodeOptions, STARTING, Starting};
use crate::cache::tool;
use crate::process::Process;
use crate::servers::Tool;

pub(super) fn start(node: &Starting<'_>) -> Result<Process> {
    let Starting { supervisor, layout, authority, options: NodeOptions { name, .. }, sandbox, .. } = node;
    let folder = sandbox.folder();
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
    Process::start("kubelet", command, &layout.logs())
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
registerWithTaints: [{{key: {STARTING}, effect: NoSchedule}}]
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
