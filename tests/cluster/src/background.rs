//! A cluster that stays up after the command that started it, until it is taken down.
//!
//! A process of its own session owns it, as a test would, and sleeps. Ending that process is all that it takes to end
//! the cluster. It is known by its environment, not by a stored process id, which could belong to anyone later.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, kill_process, setsid};

use crate::cache;
use crate::cluster::{Cluster, Options, prepare};
use crate::layout::Layout;
use crate::node::{Node, NodeOptions};
use crate::supervisor::{OWNER, SUPERVISOR, clean_up};

/// What of a cluster in the background can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How many nodes it has.
    pub nodes: u8,
    /// As [`Options::observe_flows`].
    pub observe_flows: bool,
}

/// Makes sure that a healthy cluster runs in this folder, with as many nodes as are wanted at least, and gives its
/// kubeconfig.
pub fn up(folder: &Path, wish: Wish) -> Result<PathBuf> {
    let folder = absolute(folder)?;
    let _lock = lock(&folder)?;
    if let Some(cluster) = healthy(&folder) {
        expect(&cluster, wish)?;
        return Ok(cluster.kubeconfig().to_owned());
    }
    remove(&folder)?;
    // Here, where the user sees how it goes.
    prepare(&options(&folder, wish))?;
    start_owner(&folder, wish)?;
    Ok(Cluster::attach(&folder)?.kubeconfig().to_owned())
}

/// Ends the cluster in this folder; tells whether there was one.
pub fn down(folder: &Path) -> Result<bool> {
    let folder = absolute(folder)?;
    let _lock = lock(&folder)?;
    remove(&folder)
}

/// The cluster in this folder, if one runs there and answers.
pub fn status(folder: &Path) -> Result<Option<Cluster>> {
    Ok(healthy(&absolute(folder)?))
}

/// Owns a cluster until the end of this process; called in the process that [`up`] starts.
pub fn own(folder: &Path, wish: Wish) -> Result<()> {
    setsid().context("leave the terminal's session")?;
    let _cluster = Cluster::start(&options(folder, wish))?;
    // If nobody waits for this any more, the cluster isn't wanted.
    writeln!(std::io::stdout(), "{READY}").context("report that the cluster is ready")?;
    loop {
        thread::park();
    }
}

fn options(folder: &Path, wish: Wish) -> Options {
    Options {
        state_dir: Some(folder.to_owned()),
        nodes: NodeOptions::several(wish.nodes, &[]),
        observe_flows: wish.observe_flows,
        ..Options::default()
    }
}

/// Fails if a running cluster is not what is wished for.
fn expect(cluster: &Cluster, wish: Wish) -> Result<()> {
    let nodes = cluster.nodes()?;
    let folder = cluster.dir().display();
    if nodes.len() < usize::from(wish.nodes) {
        bail!("the cluster in {folder} has {} of {} nodes: take it down first", nodes.len(), wish.nodes);
    }
    if wish.observe_flows && !nodes.iter().all(Node::observes_flows) {
        bail!("the cluster in {folder} does not observe flows: take it down first");
    }
    Ok(())
}

fn start_owner(folder: &Path, wish: Wish) -> Result<()> {
    let program = env::current_exe().context("find this program")?;
    let mut owner = Command::new(program)
        .args(["own", "--dir"])
        .arg(folder)
        .arg(format!("--nodes={}", wish.nodes))
        .args(wish.observe_flows.then_some("--observe-flows"))
        .env(OWNER, folder)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the process that owns the cluster")?;
    let mut first_line = String::new();
    if let Some(output) = owner.stdout.take() {
        BufReader::new(output).read_line(&mut first_line).context("wait for the cluster")?;
    }
    if first_line.trim() == READY {
        return Ok(());
    }
    let mut complaint = String::new();
    if let Some(mut errors) = owner.stderr.take() {
        errors.read_to_string(&mut complaint).context("read why the cluster did not start")?;
    }
    owner.wait().context("wait for the cluster's owner")?;
    bail!("{}", complaint.trim_start_matches("error: ").trim_end())
}

fn healthy(folder: &Path) -> Option<Cluster> {
    let cluster = Cluster::attach(folder).ok()?;
    (!marked(OWNER, folder).is_empty() && cluster.is_ready()).then_some(cluster)
}

fn remove(folder: &Path) -> Result<bool> {
    let owners = marked(OWNER, folder);
    let layout = Layout::of(folder).ok().filter(|layout| layout.is_cluster());
    if let Some(layout) = &layout {
        let keep = layout.keep();
        if keep.exists() {
            fs::remove_file(&keep).with_context(|| format!("remove {}", keep.display()))?;
        }
    }
    for owner in &owners {
        // One that ends by itself meanwhile is as good.
        let _ = kill_process(*owner, Signal::TERM);
    }
    let started = Instant::now();
    while !(marked(OWNER, folder).is_empty() && marked(SUPERVISOR, folder).is_empty()) {
        if started.elapsed() > SUPERVISOR_LIMIT {
            bail!("the cluster in {} does not end", folder.display());
        }
        thread::sleep(POLL);
    }
    if let Some(layout) = &layout {
        clean_up(layout)?;
    }
    Ok(layout.is_some() || !owners.is_empty())
}

/// The processes that bear a mark of the cluster in this folder.
fn marked(variable: &str, folder: &Path) -> Vec<Pid> {
    let mark = format!("{variable}={}", folder.display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| variable == mark.as_bytes()).then_some(pid)
        })
        .collect()
}

/// Two commands for one folder wait for each other. The lock lies elsewhere, since the folder comes and goes.
fn lock(folder: &Path) -> Result<File> {
    let name = digest(&SHA256, folder.as_os_str().as_encoded_bytes());
    let name: String = name.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let locks = cache::root()?.join("locks");
    fs::create_dir_all(&locks).with_context(|| format!("create {}", locks.display()))?;
    let path = locks.join(name);
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// The folder's path, free of symbolic links, whether it exists or not.
fn absolute(folder: &Path) -> Result<PathBuf> {
    if let Ok(path) = folder.canonicalize() {
        return Ok(path);
    }
    let folder = std::path::absolute(folder).with_context(|| format!("find the folder {}", folder.display()))?;
    match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) => {
            Ok(parent.canonicalize().with_context(|| format!("find the folder {}", parent.display()))?.join(name))
        }
        _ => bail!("{} can't be a cluster's folder", folder.display()),
    }
}

const READY: &str = "ready";
const POLL: Duration = Duration::from_millis(20);
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(60);
