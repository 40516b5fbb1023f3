//! Real nodes beside the control plane, each with containerd, a kubelet and Cilium in namespaces of its own; CoreDNS runs
//! on one of them.
//!
//! Needs root, and what `tests/cluster/install-packages` installs.

mod cilium;
mod containerd;
mod hubble;
mod images;
mod kubelet;
mod sandbox;
mod search;
mod slot;
mod start;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

pub use self::images::{NETCHECK_IMAGE, pack_image};
use self::sandbox::Sandbox;
pub(crate) use self::start::{Running, Starting, create, join, start_containerds};
use crate::cache::tool;
use crate::cluster::Options;
use crate::layout::Layout;
use crate::servers::Tool;

/// What a node of a cluster is to be like.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// No two nodes of a cluster have the same.
    pub name: String,
    /// More images (OCI archives, see [`pack_image`]) that the node knows from its start.
    pub images: Vec<PathBuf>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { name: "node-1".to_owned(), images: Vec::new() }
    }
}

impl NodeOptions {
    /// Nodes of the names `node-1`, `node-2` and so on that know the same images.
    pub fn several(count: u8, images: &[PathBuf]) -> Vec<Self> {
        (1..=count).map(|number| Self { name: format!("node-{number}"), images: images.to_vec() }).collect()
    }
}

/// A node of a running cluster.
///
/// Pods are reached from three places, and it matters which:
/// - from other pods: what NetworkPolicies are about; `kubectl exec` with `netcheck dial` ([`NETCHECK_IMAGE`]) asks.
/// - from their node ([`Self::command`]): always allowed by Cilium, so it proves nothing.
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
    /// The nodes of the cluster in this folder, in the order in which they were asked for.
    pub(crate) fn all(layout: &Layout) -> Result<Vec<Self>> {
        let folders = (0..).map(|index| layout.node(index)).take_while(|folder| folder.exists());
        folders.map(|folder| Ok(Self { sandbox: Sandbox::open(folder)? })).collect()
    }

    /// The name of its node object.
    pub fn name(&self) -> &str {
        self.sandbox.name()
    }

    /// The node's own address.
    pub fn address(&self) -> Ipv4Addr {
        self.sandbox.node_address()
    }

    /// The address of the host that is outside of the cluster: connections from the host to this node's pods come from
    /// it, and nothing listens there but what a test starts.
    pub fn outside_address(&self) -> Ipv4Addr {
        self.sandbox.outside_address()
    }

    /// The range of its pods' addresses.
    pub fn pod_cidr(&self) -> String {
        self.sandbox.pod_cidr()
    }

    /// A command that runs inside of the node: its network, its mounts, its processes.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.sandbox.inside(program, Command::new("nsenter"))
    }

    /// The flows that Cilium's agent on this node saw lately, one JSON object per line, as `hubble observe` prints them.
    /// Those of a connection between two nodes are seen by both.
    ///
    /// Only in a cluster that was started with [`Options::observe_flows`].
    pub fn flows(&self) -> Result<String> {
        hubble::flows(&self.sandbox)
    }

    pub(crate) fn observes_flows(&self) -> bool {
        hubble::is_observing(&self.sandbox)
    }

    pub(crate) fn import_image(&self, archive: &Path) -> Result<()> {
        containerd::import(&self.sandbox, archive)
    }
}

/// Fails early and clearly on a machine that can't have these nodes; builds what is missing.
pub(crate) fn prepare(options: &Options) -> Result<()> {
    let mut names = BTreeSet::new();
    if let Some(node) = options.nodes.iter().find(|node| !names.insert(&node.name)) {
        bail!("two nodes are called {}: each needs a name of its own", node.name);
    }
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
    if options.observe_flows {
        tool(Tool::Hubble)?;
    }
    Ok(())
}

/// What is taken from the machine; everything else is built.
const PROGRAMS: [&str; 7] = ["buildah", "clang", "ip", "iptables", "nsenter", "runc", "unshare"];
/// Keeps pods from a node that can't connect them yet.
const STARTING: &str = "ringfence.dev/starting";
/// The Service of CoreDNS, as its manifest has it.
const DNS_ADDRESS: &str = "10.96.0.10";
