//! A program beside the test, which ends with the cluster at the latest.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ringfence_cluster::Cluster;
use tempfile::TempDir;

/// A running program; dropping it ends it.
pub struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts a program with a folder of its own, in which its log is kept.
    pub fn start(cluster: &Cluster, program: &Path, folder: TempDir, arguments: &[&str], set: &[(&str, &str)]) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = cluster.command(program);
        command.args(arguments).envs(set.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().unwrap(), folder }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Ends it in order, and waits for that.
    pub fn end(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let ended = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
            assert!(ended.success());
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
