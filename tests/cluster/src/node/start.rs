//! How the nodes of a cluster come up: what needs no control plane beside it, the rest when it is there.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::sandbox::Sandbox;
use super::{NodeOptions, STARTING, cilium, containerd, images, kubelet};
use crate::certs::Authority;
use crate::cluster::Options;
use crate::kubeconfig::{self, Kubectl};
use crate::layout::Layout;
use crate::process::{Process, wait_until};
use crate::supervisor::Supervisor;

/// The processes of a node. The order of the fields is the order in which they end.
#[derive(Debug)]
pub(crate) struct Running {
    kubelet: Process,
    agent: Process,
    _containerd: Process,
    _first_process: Process,
    sandbox: Sandbox,
}

/// A node on its way up: its namespaces are there.
pub(crate) struct Starting<'a> {
    pub(super) supervisor: &'a Supervisor,
    pub(super) layout: &'a Layout,
    pub(super) authority: &'a Authority,
    pub(super) observe_flows: bool,
    pub(super) sandbox: Sandbox,
    options: &'a NodeOptions,
    first_process: Process,
}

/// Makes the namespaces of all nodes, and the ways between them.
pub(crate) fn create<'a>(
    supervisor: &'a Supervisor,
    layout: &'a Layout,
    authority: &'a Authority,
    options: &'a Options,
) -> Result<Vec<Starting<'a>>> {
    let create = |(index, node): (usize, &'a NodeOptions)| {
        let (sandbox, first_process) = Sandbox::create(supervisor, layout, index, &node.name)?;
        if options.nodes.len() > 1 {
            sandbox.forward()?;
        }
        let observe_flows = options.observe_flows;
        Ok(Starting { supervisor, layout, authority, observe_flows, sandbox, options: node, first_process })
    };
    options.nodes.iter().enumerate().map(create).collect()
}

/// Starts the part that needs no control plane: containerd, with the images.
pub(crate) fn start_containerds(nodes: &[Starting<'_>]) -> Result<Vec<Process>> {
    let basic = images::basic()?;
    thread::scope(|scope| {
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(|| node.start_containerd(&basic))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    })
}

/// Lets the nodes, each with its containerd, join the cluster and returns when pods run, Services lead to them and names
/// resolve.
pub(crate) fn join(layout: &Layout, nodes: Vec<Starting<'_>>, containerds: Vec<Process>) -> Result<Vec<Running>> {
    let kubectl = Kubectl::new(&layout.kubeconfig())?;
    let mut nodes = thread::scope(|scope| {
        let others =
            [scope.spawn(|| create_name_server(layout, &kubectl)), scope.spawn(|| cilium::create_kinds(&kubectl))];
        kubelet::register(&nodes, &kubectl)?;
        let started = nodes.into_iter().zip(containerds).map(|(node, containerd)| node.join(containerd));
        let nodes = started.collect::<Result<Vec<_>>>()?;
        others.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)?;
        anyhow::Ok(nodes)
    })?;
    for node in &mut nodes {
        cilium::wait(&mut node.agent, &node.sandbox)?;
    }
    kubectl.run(&["taint", "nodes", "--all", &format!("{STARTING}-")])?;
    if let Some(node) = nodes.first_mut() {
        wait_until(&mut node.kubelet, "the start of CoreDNS", LIMIT, || {
            Ok(kubectl.succeeds(&[
                "wait",
                "--for=condition=Available",
                "--namespace=kube-system",
                "--timeout=5s",
                "deployment/coredns",
            ]))
        })?;
    }
    Ok(nodes)
}

impl Starting<'_> {
    /// Where the API server has to listen, so that nodes and their pods reach it.
    pub(crate) fn host_address(&self) -> Ipv4Addr {
        self.sandbox.host_address()
    }

    fn start_containerd(&self, basic: &[PathBuf]) -> Result<Process> {
        let containerd = containerd::start(self)?;
        for archive in basic.iter().chain(&self.options.images) {
            containerd::import(&self.sandbox, archive)?;
        }
        cilium::install_plugin(&self.sandbox)?;
        Ok(containerd)
    }

    /// Starts the part that needs the control plane.
    fn join(self, containerd: Process) -> Result<Running> {
        Ok(Running {
            kubelet: kubelet::start(&self)?,
            agent: cilium::start(&self)?,
            _containerd: containerd,
            _first_process: self.first_process,
            sandbox: self.sandbox,
        })
    }

    /// Starts one of the node's programs.
    pub(super) fn run(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(&format!("{name}-{}", self.sandbox.name()), command, &self.layout.logs())
    }

    /// Writes a kubeconfig for one of the node's programs.
    pub(super) fn kubeconfig(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let path = self.sandbox.folder().join(format!("{}.kubeconfig", user.replace(':', "-")));
        let server = kubeconfig::server(&self.layout.kubeconfig())?;
        let credential = self.authority.client(user, groups)?;
        kubeconfig::write(&path, &server, self.authority, &credential)?;
        Ok(path)
    }
}

fn create_name_server(layout: &Layout, kubectl: &Kubectl) -> Result<()> {
    let manifest = layout.folder().join("coredns.yaml");
    fs::write(&manifest, include_str!("coredns.yaml")).with_context(|| format!("write {}", manifest.display()))?;
    let filename = format!("--filename={}", manifest.display());
    kubectl.run(&["create", "--validate=false", &filename]).context("create CoreDNS").map(|_| ())
}

const LIMIT: Duration = Duration::from_secs(120);
