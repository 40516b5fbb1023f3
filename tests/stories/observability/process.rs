//! A program beside the test, which ends with it, however that ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Runs a program until the test closes its standard input, be it by dying.
const UNTIL_INPUT_ENDS: &str = r#""$@" & child=$!; read -r _; kill "$child"; wait "$child""#;

/// A running program.
pub struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts a program with a folder of its own, in which its log is kept.
    pub fn start(program: &Path, folder: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", UNTIL_INPUT_ENDS, "sh"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Ends it as SIGTERM does, and waits for that.
    pub fn end(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
