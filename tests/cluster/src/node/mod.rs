//! A real node beside the control plane: containerd, a kubelet, Cilium and CoreDNS, in namespaces of their own.
//!
//! Needs root, and what `tests/cluster/install-packages` installs.

mod cilium;
mod containerd;
mod images;
mod kubelet;
mod sandbox;
mod search;
mod slot;

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

pub use self::images::{NETCHECK_IMAGE, pack_image};
use self::sandbox::Sandbox;
use crate::cache::tool;
use crate::certs::Authority;
use crate::kubeconfig::{self, Kubectl};
use crate::layout::Layout;
use crate::process::{Process, wait_until};
use crate::servers::Tool;
use crate::supervisor::Supervisor;

/// What a cluster's node is to be like.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub name: String,
    /// More images (OCI archives, see [`pack_image`]) that the node knows from its start.
    pub images: Vec<PathBuf>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { name: "node-1".to_owned(), images: Vec::new() }
    }
}

/// The node of a running cluster.
///
/// Pods are reached from three places, and it matters which:
/// - from other pods: what NetworkPolicies are about; `kubectl exec` with `netcheck dial` ([`NETCHECK_IMAGE`]) asks.
/// - from the node ([`Self::command`]): always allowed by Cilium, so it proves nothing.
/// - from outside: any process of the host, a test itself for one. It connects to a pod's address from
///   [`Self::outside_address`], and pods reach what it listens on at that address.
///
/// What a NetworkPolicy denies is dropped in silence: a connection times out. An agent that does not work denies
/// nothing, so a test that expects a denial should have seen the connection succeed before.
#[derive(Clone, Debug)]
pub struct Node {
    sandbox: Sandbox,
}

impl Node {
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let sandbox = Sandbox::open(layout).context("this cluster has no node")?;
        Ok(Self { sandbox })
    }

    /// The node's own address.
    pub fn address(&self) -> Ipv4Addr {
        self.sandbox.node_address()
    }

    /// The address of the host that is outside of the cluster: connections from the host to pods come from it, and
    /// nothing listens there but what a test starts.
    pub fn outside_address(&self) -> Ipv4Addr {
        self.sandbox.outside_address()
    }

    /// The range of the pods' addresses.
    pub fn pod_cidr(&self) -> String {
        self.sandbox.pod_cidr()
    }

    /// A command that runs inside of the node: its network, its mounts, its processes.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.sandbox.inside(program, Command::new("nsenter"))
    }

    pub(crate) fn import_image(&self, archive: &Path) -> Result<()> {
        containerd::import(&self.sandbox, archive)
    }
}

/// Fails early and clearly on a machine that can't have a node; builds what is missing.
pub(crate) fn prepare() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a cluster with a node needs root; one without (--control-plane-only) does not");
    }
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| search::program(name).is_none()).collect();
    if !missing.is_empty() {
        bail!("a cluster with a node needs {}: run tests/cluster/install-packages", missing.join(", "));
    }
    for program in Tool::NODE {
        tool(program)?;
    }
    Ok(())
}

/// The processes of a node. The order of the fields is the order in which they end.
#[derive(Debug)]
pub(crate) struct Running {
    _kubelet: Process,
    _agent: Process,
    _containerd: Process,
    _sandbox: Process,
}

/// A node on its way up: its namespaces are there.
pub(crate) struct Starting<'a> {
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) layout: &'a Layout,
    pub(crate) authority: &'a Authority,
    pub(crate) options: &'a NodeOptions,
    sandbox: Sandbox,
    process: Process,
}

impl<'a> Starting<'a> {
    pub(crate) fn create(
        supervisor: &'a Supervisor,
        layout: &'a Layout,
        authority: &'a Authority,
        options: &'a NodeOptions,
    ) -> Result<Self> {
        let (sandbox, process) = Sandbox::create(supervisor, layout)?;
        Ok(Self { supervisor, layout, authority, options, sandbox, process })
    }

    /// Where the API server has to listen, so that the node and its pods reach it.
    pub(crate) fn host_address(&self) -> Ipv4Addr {
        self.sandbox.host_address()
    }

    pub(crate) fn pod_cidr(&self) -> String {
        self.sandbox.pod_cidr()
    }

    /// Starts the part that needs no control plane: containerd, with the images.
    pub(crate) fn start_containerd(&self) -> Result<Process> {
        let containerd = containerd::start(self)?;
        for archive in images::basic()?.iter().chain(&self.options.images) {
            containerd::import(&self.sandbox, archive)?;
        }
        cilium::install_plugin(&self.sandbox)?;
        Ok(containerd)
    }

    /// Joins the cluster and returns when pods run, Services lead to them and names resolve.
    pub(crate) fn join(self, containerd: Process) -> Result<Running> {
        let kubectl = Kubectl::new(&self.layout.kubeconfig())?;
        let mut kubelet = kubelet::start(&self)?;
        let mut agent = cilium::start(&self)?;
        thread::scope(|scope| {
            let dns = scope.spawn(|| self.create_name_server(&kubectl));
            cilium::create_kinds(&kubectl)?;
            dns.join().map_err(|_| anyhow!("a thread panicked"))?
        })?;
        cilium::wait(&mut agent, &self.sandbox)?;
        kubectl.run(&["taint", "node", &self.options.name, &format!("{STARTING}-")])?;
        wait_until(&mut kubelet, "the start of CoreDNS", LIMIT, || {
            Ok(kubectl.succeeds(&[
                "wait",
                "--for=condition=Available",
                "--namespace=kube-system",
                "--timeout=5s",
                "deployment/coredns",
            ]))
        })?;
        Ok(Running { _kubelet: kubelet, _agent: agent, _containerd: containerd, _sandbox: self.process })
    }

    fn create_name_server(&self, kubectl: &Kubectl) -> Result<()> {
        let manifest = self.sandbox.folder().join("coredns.yaml");
        fs::write(&manifest, include_str!("coredns.yaml")).with_context(|| format!("write {}", manifest.display()))?;
        let filename = format!("--filename={}", manifest.display());
        kubectl.run(&["create", "--validate=false", &filename]).context("create CoreDNS").map(|_| ())
    }

    /// Writes a kubeconfig for one of the node's programs.
    fn kubeconfig(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let path = self.sandbox.folder().join(format!("{}.kubeconfig", user.replace(':', "-")));
        let server = kubeconfig::server(&self.layout.kubeconfig())?;
        let credential = self.authority.client(user, groups)?;
        kubeconfig::write(&path, &server, self.authority, &credential)?;
        Ok(path)
    }
}

/// What is taken from the machine; everything else is built.
const PROGRAMS: [&str; 7] = ["buildah", "clang", "ip", "iptables", "nsenter", "runc", "unshare"];
/// Keeps pods from a node that can't connect them yet.
const STARTING: &str = "ringfence.dev/starting";
/// The Service of CoreDNS, as its manifest has it.
const DNS_ADDRESS: &str = "10.96.0.10";
const LIMIT: Duration = Duration::from_secs(120);
