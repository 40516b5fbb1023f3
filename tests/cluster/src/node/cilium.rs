//! Cilium: gives pods their addresses, leads Services to them, and enforces NetworkPolicies.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Starting;
use super::containerd::{cni_configuration, cni_programs};
use super::hubble;
use super::sandbox::{POD_CIDRS, Sandbox};
use super::search::{path_with, program};
use crate::cache::{self, go, module_folder, tool};
use crate::kubeconfig::Kubectl;
use crate::process::{Process, output, wait_until};
use crate::servers::Tool;

/// Tells containerd of the plugin. The node counts as ready from then on.
pub(super) fn install_plugin(sandbox: &Sandbox) -> Result<()> {
    let folder = sandbox.folder();
    symlink(tool(Tool::CiliumCni)?, cni_programs(folder).join("cilium-cni"))
        .context("install Cilium's network plugin")?;
    let configuration = format!(
        r#"{{"cniVersion": "0.3.1", "name": "cilium", "plugins": [{{"type": "cilium-cni", "log-file": "{}/cilium-cni.log"}}]}}"#,
        folder.display()
    );
    fs::write(cni_configuration(folder).join("05-cilium.conflist"), configuration)
        .context("write the network plugin's configuration")
}

/// Tells the API server of the kinds that the agent waits for. Cilium's operator, which would do that, is not needed
/// otherwise.
pub(super) fn create_kinds(kubectl: &Kubectl) -> Result<()> {
    let folder = sources()?.join(KINDS);
    let files = AGENT_KINDS.map(|kind| format!("--filename={}/{kind}.yaml", folder.display()));
    let mut arguments = vec!["create", "--validate=false"];
    arguments.extend(files.iter().map(String::as_str));
    kubectl.run(&arguments).context("create Cilium's kinds").map(|_| ())
}

/// Starts the agent; [`wait`] returns when it is at work.
pub(super) fn start(node: &Starting<'_>) -> Result<Process> {
    let sandbox = &node.sandbox;
    let datapath = cache::root()?.join("datapath");
    fs::create_dir_all(&datapath).with_context(|| format!("create {}", datapath.display()))?;
    // A name of its own, by which the audit log tells it from the administrator.
    let kubeconfig = node.kubeconfig("cilium", &["system:masters"])?;
    let mut command = sandbox.inside(tool(Tool::CiliumAgent)?, node.supervisor.command("nsenter"));
    command
        .env("K8S_NODE_NAME", sandbox.name())
        .env("CILIUM_K8S_NAMESPACE", "kube-system")
        .env("PATH", path_with(&compiler(sandbox)?)?)
        .env("CLANG", program("clang").context("clang is not installed")?)
        .env("DATAPATH_CACHE", datapath)
        .arg(format!("--k8s-kubeconfig-path={}", kubeconfig.display()))
        .arg(format!("--ipv4-native-routing-cidr={POD_CIDRS}"))
        .arg(format!("--lib-dir={}", sources()?.display()))
        .args(ARGUMENTS)
        .args(hubble::arguments(node.observe_flows));
    node.run("cilium-agent", command)
}

/// A clang that remembers what it made.
fn compiler(sandbox: &Sandbox) -> Result<PathBuf> {
    let folder = sandbox.folder().join("compiler");
    let compiler = folder.join("clang");
    fs::create_dir(&folder)
        .and_then(|()| fs::write(&compiler, include_str!("clang.sh")))
        .and_then(|()| fs::set_permissions(&compiler, Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", compiler.display()))?;
    Ok(compiler)
}

/// Waits until the agent enforces what is asked of it.
pub(super) fn wait(agent: &mut Process, sandbox: &Sandbox) -> Result<()> {
    wait_until(agent, "the health of Cilium's agent", LIMIT, || Ok(is_healthy(sandbox).unwrap_or(false)))
}

fn is_healthy(sandbox: &Sandbox) -> io::Result<bool> {
    let mut stream = sandbox.socket("/run/cilium/cilium.sock")?;
    stream.write_all(b"GET /v1/healthz HTTP/1.0\r\nbrief: true\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.0 200") && answer.contains(r#""state":"Ok""#))
}

/// The parts of Cilium's sources that the agent needs at run time, kept beside its program.
fn sources() -> Result<PathBuf> {
    let agent = tool(Tool::CiliumAgent)?;
    let cache = agent.parent().context("find the folder of the agent")?;
    let sources = cache.join("sources");
    if sources.exists() {
        return Ok(sources);
    }
    let module = output(go().current_dir(module_folder(Tool::CiliumAgent.recipe())).args([
        "list",
        "-m",
        "-f",
        "{{.Dir}}",
        "github.com/cilium/cilium",
    ]))
    .context("find Cilium's sources")?;
    let unfinished = tempfile::Builder::new()
        .prefix(".unfinished-sources-")
        .tempdir_in(cache)
        .with_context(|| format!("create a folder in {}", cache.display()))?;
    for part in ["bpf", KINDS] {
        copy_folder(&Path::new(module.trim_end()).join(part), &unfinished.path().join(part))?;
    }
    match fs::rename(unfinished.path(), &sources) {
        // Somebody else was faster.
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            Err(error).context("move Cilium's sources to the cache")
        }
        _ => Ok(sources),
    }
}

/// Copies contents only: in Go's module cache everything is read-only.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            let content = fs::read(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
            fs::write(&target, content).with_context(|| format!("write {}", target.display()))?;
        }
    }
    Ok(())
}

/// The folder with Cilium's own kinds in its sources, and those without which the agent does not start.
const KINDS: &str = "pkg/k8s/apis/cilium.io/client/crds";
const AGENT_KINDS: [&str; 6] = [
    "v2/ciliumendpoints",
    "v2/ciliumidentities",
    "v2/ciliumloadbalancerippools",
    "v2/ciliumnodes",
    "v2alpha1/ciliuml2announcementpolicies",
    "v2alpha1/ciliumpodippools",
];
const ARGUMENTS: [&str; 21] = [
    "--enable-k8s",
    "--identity-allocation-mode=crd",
    "--ipam=kubernetes",
    "--routing-mode=native",
    "--enable-ipv6=false",
    "--enable-ipv4-masquerade=false",
    // Services of pods work without it.
    "--kube-proxy-replacement=false",
    // Kubernetes' own policies are all that is wanted.
    "--enable-cilium-network-policy=false",
    "--enable-cilium-clusterwide-network-policy=false",
    "--enable-l7-proxy=false",
    "--enable-envoy-config=false",
    "--enable-health-checking=false",
    "--enable-endpoint-health-checking=false",
    "--enable-gops=false",
    "--devices=eth0",
    "--bpf-root=/sys/fs/bpf",
    "--bpf-map-dynamic-size-ratio=0.0025",
    "--cgroup-root=/run/cilium/cgroupv2",
    "--cni-exclusive=false",
    // A pod whose labels change is another one at once, not after half a minute.
    "--identity-change-grace-period=0s",
    "--identity-max-jitter=0s",
];
const LIMIT: Duration = Duration::from_secs(120);
