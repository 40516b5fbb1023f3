//! The namespaces that a node lives in, and its link to the host.
//!
//! Mounts, network and processes are the node's own: nothing of it is seen outside but a pair of links, cgroups and the
//! cluster's folder. So ending the first process ends it all, however deep a container lies.
//!
//! The host is also the router between the nodes of a cluster: each has a range of addresses for its pods, and the host
//! knows the way to all of them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::slot;
use crate::layout::Layout;
use crate::process::{Process, output, wait_until};
use crate::supervisor::Supervisor;

/// Where a node is and what its addresses are.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    folder: PathBuf,
    name: String,
    slot: u8,
    first_process: u32,
}

impl Sandbox {
    /// Makes the namespaces and the link; they last as long as the process.
    pub(crate) fn create(
        supervisor: &Supervisor,
        layout: &Layout,
        index: usize,
        name: &str,
    ) -> Result<(Self, Process)> {
        check_place(layout.folder())?;
        let folder = layout.node(index);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        write(&folder.join("name"), name)?;
        let slot = slot::claim(supervisor, layout)?;
        write(&folder.join("slot"), &slot.to_string())?;

        let script = folder.join("namespaces.sh");
        write(&script, include_str!("namespaces.sh"))?;
        let mut command = supervisor.command("unshare");
        command
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
            .args(["--propagation", "private", "--", "sh"])
            .arg(&script)
            .arg(&folder);
        let mut process = Process::start(name, command, &layout.logs())?;
        let started = folder.join("init.pid");
        wait_until(&mut process, "setting up the node's namespaces", LIMIT, || Ok(started.exists()))?;
        let sandbox = Self::open(folder)?;
        sandbox.connect().with_context(|| format!("connect {name} to the host"))?;
        sandbox.create_cgroups()?;
        Ok((sandbox, process))
    }

    /// The sandbox that [`Self::create`] made in this folder.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let number = |name: &str| -> Result<u32> {
            text(name)?.trim().parse().with_context(|| format!("{} holds no number", folder.join(name).display()))
        };
        Ok(Self {
            name: text("name")?,
            slot: u8::try_from(number("slot")?).context("read the node's slot")?,
            first_process: number("init.pid")?,
            folder,
        })
    }

    /// Lets the host pass on what comes from this node to the other nodes of its cluster.
    ///
    /// The setting is that of the link and goes with it, so clusters that come and go don't take it from each other, and
    /// the machine's own `net.ipv4.ip_forward` is left alone. A firewall of the host that drops what is forwarded has to
    /// except the links (`ringfence*`).
    pub(crate) fn forward(&self) -> Result<()> {
        write(&Path::new("/proc/sys/net/ipv4/conf").join(slot::name(self.slot)).join("forwarding"), "1")
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The host's end of the link.
    pub(crate) fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.slot, 1)
    }

    pub(crate) fn node_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.slot, 2)
    }

    /// Another address of the host's end, where nothing of the cluster listens.
    pub(crate) fn outside_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.slot, 3)
    }

    /// A part of [`POD_CIDRS`].
    pub(crate) fn pod_cidr(&self) -> String {
        format!("198.19.{}.0/24", self.slot)
    }

    /// The cgroup below which everything of the node's kubelet is.
    pub(crate) fn cgroup(&self) -> String {
        slot::name(self.slot)
    }

    /// A command inside of the node.
    pub(crate) fn inside(&self, program: impl AsRef<OsStr>, mut outer: Command) -> Command {
        outer
            .arg("--target")
            .arg(self.first_process.to_string())
            .args(["--mount", "--net", "--pid", "--"])
            .arg(program);
        outer
    }

    /// Connects to a socket in the node's own file system.
    pub(crate) fn socket(&self, path: &str) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(format!("/proc/{}/root{path}", self.first_process))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    fn connect(&self) -> Result<()> {
        let link = slot::name(self.slot);
        let (host, node) = (self.host_address(), self.node_address());
        let outside = self.outside_address();
        ip(&format!("link add {link} type veth peer name eth0 netns {}", self.first_process))?;
        ip(&format!("address add {host}/24 dev {link}"))?;
        ip(&format!("address add {outside}/24 dev {link}"))?;
        ip(&format!("link set {link} up"))?;
        // What asks a pod from the host is "outside": to Cilium, a node's own address may always reach its pods.
        ip(&format!("route add {} via {node} src {outside}", self.pod_cidr()))?;
        for arguments in [
            format!("address add {node}/24 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {host}"),
        ] {
            let mut command = self.inside("ip", Command::new("nsenter"));
            output(command.args(arguments.split(' ')))?;
        }
        Ok(())
    }

    /// The kubelet wants its root to be there, in every hierarchy.
    fn create_cgroups(&self) -> Result<()> {
        for hierarchy in cgroup_hierarchies()? {
            let cgroup = hierarchy.join(self.cgroup());
            fs::create_dir(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
        }
        Ok(())
    }
}

/// Where cgroups are made: one place with cgroup v2, one for each controller with v1.
fn cgroup_hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut hierarchies = Vec::new();
    for entry in fs::read_dir(root).context("list /sys/fs/cgroup")? {
        let path = entry?.path();
        // Some are there a second time, under another name.
        if path.join("cgroup.procs").exists() && !path.is_symlink() {
            hierarchies.push(path);
        }
    }
    Ok(hierarchies)
}

/// The node sees folders of its own in the place of some of the host's.
fn check_place(folder: &Path) -> Result<()> {
    match ["/run", "/var/lib", "/var/log"].iter().find(|hidden| folder.starts_with(hidden)) {
        None => Ok(()),
        Some(hidden) => bail!("{}: a cluster with a node can't have its folder below {hidden}", folder.display()),
    }
}

fn ip(arguments: &str) -> Result<()> {
    output(Command::new("ip").args(arguments.split(' '))).map(|_| ())
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

/// All pods of all nodes have addresses of this range.
pub(super) const POD_CIDRS: &str = "198.19.0.0/16";
const LIMIT: Duration = Duration::from_secs(20);
