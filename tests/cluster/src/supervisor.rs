//! Keeps the promise that a cluster leaves nothing behind: no process, no file, no mount.
//!
//! A small shell process runs beside each cluster and reads from a pipe whose other end only the owner holds. The
//! kernel closes that end when the owner goes, be it by return, panic, Ctrl-C or SIGKILL, and then the supervisor ends
//! the cluster's processes, takes back what was done outside of its folder and removes the folder. An orderly stop goes
//! the very same way. It is a shell script, not a program of ours, so that a test of any package can start it without
//! knowing where our programs lie.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::layout::Layout;

/// The environment variable by which the supervisor finds a cluster's processes.
const MARK: &str = "RINGFENCE_SUPERVISED";

/// The environment variable that marks a process as the owner of the cluster in a folder.
pub(crate) const OWNER: &str = "RINGFENCE_CLUSTER_OWNER";

/// The environment variable that marks a process as the supervisor of the cluster in a folder.
pub(crate) const SUPERVISOR: &str = "RINGFENCE_CLUSTER_SUPERVISOR";

/// The running supervisor of one cluster; dropping it takes the cluster down.
#[derive(Debug)]
pub(crate) struct Supervisor {
    layout: Layout,
    process: Child,
}

impl Supervisor {
    pub(crate) fn start(layout: &Layout) -> Result<Self> {
        let script = layout.supervisor_script();
        fs::write(&script, include_str!("supervisor.sh")).with_context(|| format!("write {}", script.display()))?;
        let process = shell(layout).stdin(Stdio::piped()).spawn().context("start the supervisor with /bin/sh")?;
        Ok(Self { layout: layout.clone(), process })
    }

    /// A command whose process, with all that it starts, ends with the cluster.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        supervised(&self.layout, program)
    }

    /// Registers shell commands that take back something done outside of the cluster's folder.
    ///
    /// Call it *before* the thing is done, so that there is no moment at which it could be left behind. The commands
    /// must also succeed when there is nothing to take back. Scripts run in the reverse order of their names.
    pub(crate) fn undo(&self, name: &str, commands: &str) -> Result<()> {
        let folder = self.layout.undo();
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let unfinished = self.layout.folder().join(format!("undo-{name}"));
        fs::write(&unfinished, commands)
            .and_then(|()| fs::rename(&unfinished, folder.join(name)))
            .with_context(|| format!("write the undo script {name}"))
    }

    /// Takes the cluster down and returns when nothing is left of it.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        drop(self.process.stdin.take());
        self.process.wait().context("wait for the supervisor")?;
        clean_up(&self.layout)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // There is nobody to tell; a folder that is still there tells it.
        let _ = self.finish();
    }
}

/// A command whose process, with all that it starts, ends with the cluster in a folder, whoever owns that.
pub(crate) fn supervised(layout: &Layout, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove(OWNER)
        .env(MARK, layout.folder())
        .current_dir(layout.folder())
        .stdin(Stdio::null())
        // Out of the terminal's foreground group: Ctrl-C is for the owner, the rest follows in order.
        .process_group(0);
    command
}

/// Removes what is left of a cluster that nobody owns any more.
pub(crate) fn clean_up(layout: &Layout) -> Result<()> {
    if !layout.is_cluster() || layout.is_kept() {
        return Ok(());
    }
    let script = layout.supervisor_script();
    fs::write(&script, include_str!("supervisor.sh")).with_context(|| format!("write {}", script.display()))?;
    shell(layout).stdin(Stdio::null()).status().context("run the supervisor with /bin/sh")?;
    match fs::symlink_metadata(layout.folder()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => bail!(
            "could not remove all of {}: see undo.log there, and whether something is still mounted",
            layout.folder().display()
        ),
    }
}

fn shell(layout: &Layout) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .env_remove(OWNER)
        .env(SUPERVISOR, layout.folder())
        .arg(layout.supervisor_script())
        .arg(layout.folder())
        .current_dir(Path::new("/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    shell
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_was_done_outside_is_taken_back_last_first_and_the_folder_goes() {
        let outside = tempfile::tempdir().unwrap();
        let list = outside.path().join("list");
        let layout = Layout::create(None).unwrap();
        let supervisor = Supervisor::start(&layout).unwrap();
        for name in ["10-first", "20-second"] {
            let commands = format!("echo {name} >> {}", list.display());
            supervisor.undo(name, &commands).unwrap();
        }
        supervisor.stop().unwrap();
        assert_eq!(fs::read_to_string(&list).unwrap(), "20-second\n10-first\n");
        assert!(!layout.folder().exists());
    }

    #[test]
    fn a_process_that_left_its_session_is_ended_too() {
        let layout = Layout::create(None).unwrap();
        let supervisor = Supervisor::start(&layout).unwrap();
        let pid_file = layout.folder().join("pid");
        let mut command = supervisor.command("sh");
        command.args(["-c", "setsid sh -c 'echo $$ > pid.new; mv pid.new pid; sleep 1000' & wait"]);
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        while !pid_file.exists() {
            assert!(started.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(10));
        }
        let pid = fs::read_to_string(&pid_file).unwrap();
        supervisor.stop().unwrap();
        child.wait().unwrap();
        let environment = fs::read(format!("/proc/{}/environ", pid.trim())).unwrap_or_default();
        assert_eq!(environment, b"", "process {pid} still runs");
    }

    #[test]
    fn a_dead_supervisor_does_not_keep_a_cluster_from_being_removed() {
        let layout = Layout::create(None).unwrap();
        let mut supervisor = Supervisor::start(&layout).unwrap();
        supervisor.process.kill().unwrap();
        supervisor.stop().unwrap();
        assert!(!layout.folder().exists());
    }

    #[test]
    fn a_folder_to_be_kept_stays() {
        let parent = tempfile::tempdir().unwrap();
        let layout = Layout::create(Some(&parent.path().join("cluster"))).unwrap();
        let supervisor = Supervisor::start(&layout).unwrap();
        fs::write(layout.keep(), "").unwrap();
        supervisor.stop().unwrap();
        assert!(layout.folder().exists());
    }
}
