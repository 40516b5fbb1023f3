//! A cluster as tests and the command see it.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;

use crate::cache::tool;
use crate::certs::Authority;
use crate::control_plane::{ControlPlane, Server, Settings};
use crate::kubeconfig::{self, Kubectl};
use crate::layout::Layout;
use crate::node::{self, Node, NodeOptions};
use crate::servers::Tool;
use crate::supervisor::{Supervisor, supervised};

/// What a cluster is to be like. The default is a control plane of its own in a temporary folder.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The cluster's folder, which must be empty or not exist yet; by default a temporary one.
    pub state_dir: Option<PathBuf>,
    /// Where the API server listens, and which address it advertises; by default the loopback address, and one that
    /// nobody can reach.
    pub address: Option<IpAddr>,
    /// More names and addresses for the API server's certificate.
    pub extra_names: Vec<String>,
    /// The range from which each node gets its pods' addresses. Setting it also starts a scheduler.
    pub pod_cidr: Option<String>,
    /// Real nodes, on which pods run. They decide about `address` and `pod_cidr`, and need root.
    pub nodes: Vec<NodeOptions>,
    /// Let the nodes remember what their pods' traffic was, for [`Node::flows`].
    pub observe_flows: bool,
    /// More arguments for a server; the last one of a name counts.
    pub extra_arguments: Vec<(Server, String)>,
    /// Keep the folder (logs, audit log, etcd's data) when the cluster ends. Setting `RINGFENCE_KEEP` does the same.
    pub keep: bool,
}

impl Options {
    fn has_scheduler(&self) -> bool {
        !self.nodes.is_empty() || self.pod_cidr.is_some()
    }
}

/// A running cluster. It ends when this is dropped, or when the process that holds it ends in whatever way.
pub struct Cluster {
    layout: Layout,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
    authority: Authority,
    kubectl: Kubectl,
    /// Absent for a cluster that another process runs.
    running: Option<Running>,
}

/// What only the process that runs a cluster has. The order of the fields is the order in which they end.
struct Running {
    _nodes: Vec<node::Running>,
    control_plane: Mutex<ControlPlane>,
    supervisor: Supervisor,
}

impl Cluster {
    /// Starts a cluster and returns when it is ready. Blocks; building the servers, once, takes minutes.
    pub fn start(options: &Options) -> Result<Self> {
        prepare(options)?;
        let layout = Layout::create(options.state_dir.as_deref())?;
        let supervisor = Supervisor::start(&layout)?;
        if options.keep || is_set("RINGFENCE_KEEP") {
            let keep = layout.keep();
            fs::write(&keep, "").with_context(|| format!("write {}", keep.display()))?;
        }
        let authority = Authority::create(&layout.pki())?;
        let (control_plane, nodes) = start_servers(&supervisor, &layout, &authority, options)
            .context("the cluster did not start (set RINGFENCE_KEEP=1 to keep its folder)")?;
        let running = Running { _nodes: nodes, control_plane: Mutex::new(control_plane), supervisor };
        Self::new(layout, authority, Some(running))
    }

    /// Takes up a cluster that another process runs, by its folder. Dropping this leaves the cluster alone.
    pub fn attach(folder: &Path) -> Result<Self> {
        let layout = Layout::of(folder)?;
        if !layout.is_cluster() {
            bail!("{} is not the folder of a cluster", folder.display());
        }
        let authority = Authority::open(&layout.pki())?;
        Self::new(layout, authority, None)
    }

    /// The cluster of the environment variable `KUBECONFIG` if that is set, or else a new one.
    pub fn from_env_or_start(options: &Options) -> Result<Target> {
        let Some(kubeconfig) = env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) else {
            return Ok(Target::Ours(Box::new(Self::start(options)?)));
        };
        Target::of_kubeconfig(Path::new(&kubeconfig))
    }

    fn new(layout: Layout, authority: Authority, running: Option<Running>) -> Result<Self> {
        Ok(Self {
            kubeconfig: layout.kubeconfig(),
            audit_log: layout.audit_log(),
            kubectl: Kubectl::new(&layout.kubeconfig())?,
            layout,
            authority,
            running,
        })
    }

    /// The cluster's folder.
    pub fn dir(&self) -> &Path {
        self.layout.folder()
    }

    /// A command whose process, with all that it starts, ends with the cluster, whichever process runs that. It begins in
    /// the cluster's folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        supervised(&self.layout, program)
    }

    /// The certificate of the authority that signs what the cluster's servers show, in PEM.
    pub fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// Where the servers' logs are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.layout.logs()
    }

    /// A certificate of that authority, and its key, for a server of these names; gives their files.
    pub(crate) fn server_certificate(&self, name: &str, names: &[String]) -> Result<(PathBuf, PathBuf)> {
        self.authority.server(name, names)?.write(&self.layout.pki(), name)
    }

    /// The kubeconfig of a cluster administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's audit log: one JSON object per line and request, at level Metadata, none left out.
    ///
    /// The line of a request may be written a moment after its answer. Where `RINGFENCE_AUDIT_LOGS` names a folder, it is
    /// there, and outlives the cluster.
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// etcd's data; to copy it, stop etcd first.
    pub fn etcd_data(&self) -> PathBuf {
        self.layout.etcd_data()
    }

    /// A kubeconfig for any user, in at most two groups. What the user may do is up to RBAC.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let server = kubeconfig::server(&self.kubeconfig)?;
        let credential = self.authority.client(user, groups)?;
        let name: Vec<String> = [user].iter().chain(groups).map(|name| plain(name)).collect();
        let path = self.layout.kubeconfigs().join(name.join("+"));
        kubeconfig::write(&path, &server, &self.authority, &credential)?;
        Ok(path)
    }

    /// Runs kubectl as the administrator and gives its output.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run(arguments)
    }

    /// Whether the API server answers that it is ready.
    pub fn is_ready(&self) -> bool {
        self.kubectl.is_ready()
    }

    /// Ends a server at once, as a crash would.
    pub fn stop_server(&self, server: Server) -> Result<()> {
        self.running()?.control_plane().stop_server(server)
    }

    /// Starts a stopped server again, at the same address, and waits until the API is ready unless its server is stopped.
    pub fn start_server(&self, server: Server) -> Result<()> {
        let running = self.running()?;
        let mut control_plane = running.control_plane();
        control_plane.start_server(server, &running.supervisor, &self.layout)
    }

    /// Stops a server in its tracks: connections stay open and nothing is answered.
    pub fn pause_server(&self, server: Server) -> Result<()> {
        let mut control_plane = self.running()?.control_plane();
        control_plane.signal_server(server, Signal::STOP)
    }

    /// Lets a paused server go on.
    pub fn resume_server(&self, server: Server) -> Result<()> {
        let mut control_plane = self.running()?.control_plane();
        control_plane.signal_server(server, Signal::CONT)
    }

    /// The first node, which [`Options::nodes`] must have asked for.
    pub fn node(&self) -> Result<Node> {
        self.nodes()?.into_iter().next().context("this cluster has no node")
    }

    /// All nodes, in the order in which [`Options::nodes`] named them.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        Node::all(&self.layout)
    }

    /// Makes an image (an OCI archive, see [`crate::pack_image`]) known to all nodes, of which there must be one. Pods
    /// name it as it was packed, with `imagePullPolicy: Never`.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        self.node()?;
        self.nodes()?.iter().try_for_each(|node| node.import_image(archive))
    }

    /// Ends the cluster and returns when nothing is left of it. Does nothing to a cluster that another process runs.
    pub fn stop(self) -> Result<()> {
        let Some(running) = self.running else {
            return Ok(());
        };
        drop(running.control_plane);
        running.supervisor.stop()
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("this cluster's servers belong to another process")
    }
}

impl Running {
    fn control_plane(&self) -> MutexGuard<'_, ControlPlane> {
        self.control_plane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds what is missing, before anything runs: that may take long, or fail.
pub(crate) fn prepare(options: &Options) -> Result<()> {
    if !options.nodes.is_empty() {
        node::prepare(options)?;
    }
    if options.has_scheduler() {
        tool(Tool::KubeScheduler)?;
    }
    Tool::CONTROL_PLANE.into_iter().try_for_each(|program| tool(program).map(|_| ()))
}

/// Starts the control plane, and beside it what of the nodes can go first.
fn start_servers(
    supervisor: &Supervisor,
    layout: &Layout,
    authority: &Authority,
    options: &Options,
) -> Result<(ControlPlane, Vec<node::Running>)> {
    let nodes = node::create(supervisor, layout, authority, options)?;
    let address = nodes.first().map(|node| IpAddr::V4(node.host_address())).or(options.address);
    let settings = Settings {
        bind_address: address.unwrap_or(LOOPBACK),
        advertise_address: address.unwrap_or(NOBODY),
        extra_names: options.extra_names.clone(),
        pod_cidr: options.pod_cidr.clone().filter(|_| nodes.is_empty()),
        scheduler: options.has_scheduler(),
        extra_arguments: options.extra_arguments.clone(),
    };
    let start = || ControlPlane::start(supervisor, layout, authority, &settings);
    if nodes.is_empty() {
        return Ok((start()?, Vec::new()));
    }
    let (control_plane, containerds) = thread::scope(|scope| {
        let containerds = scope.spawn(|| node::start_containerds(&nodes));
        (start(), containerds.join())
    });
    let control_plane = control_plane?;
    let containerds = containerds.map_err(|_| anyhow!("a thread panicked"))??;
    Ok((control_plane, node::join(layout, nodes, containerds)?))
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").field("dir", &self.dir()).finish_non_exhaustive()
    }
}

/// A cluster to test against.
#[derive(Debug)]
pub enum Target {
    /// One that this launcher started, in this process or in another.
    Ours(Box<Cluster>),
    /// Any other, of which no more is known than this.
    Foreign { kubeconfig: PathBuf },
}

impl Target {
    /// The cluster that a kubeconfig leads to.
    pub fn of_kubeconfig(kubeconfig: &Path) -> Result<Self> {
        let folder = kubeconfig.parent().unwrap_or(Path::new("."));
        match Layout::of(folder) {
            Ok(layout) if layout.is_cluster() => Ok(Self::Ours(Box::new(Cluster::attach(folder)?))),
            _ => Ok(Self::Foreign { kubeconfig: kubeconfig.to_owned() }),
        }
    }

    /// The kubeconfig of a cluster administrator.
    pub fn kubeconfig(&self) -> &Path {
        match self {
            Self::Ours(cluster) => cluster.kubeconfig(),
            Self::Foreign { kubeconfig } => kubeconfig,
        }
    }

    /// The cluster, for what only one of ours can do.
    pub fn ours(&self) -> Result<&Cluster> {
        match self {
            Self::Ours(cluster) => Ok(cluster),
            Self::Foreign { kubeconfig } => {
                bail!("this needs a cluster that ringfence-cluster started, and KUBECONFIG is {}", kubeconfig.display())
            }
        }
    }
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// A name as part of a file's name, different for different names.
fn plain(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An address for documentation. The API server can't advertise a loopback one, and without nodes nobody asks; so the
/// Service `kubernetes` has its endpoint, as in any cluster.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
