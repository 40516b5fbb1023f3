//! Running the command as a user does.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::Story;

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub complaints: String,
}

impl Ran {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The reasons for which a peer would refuse what was inspected.
    pub fn refusals(&self) -> Vec<String> {
        let json = self.json();
        let refusals = json["refusals"].as_array().unwrap().iter();
        refusals.map(|refusal| refusal["reason"].as_str().unwrap().to_owned()).collect()
    }
}

/// Runs the command without a cluster.
pub fn ringfence(arguments: &[&str]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments))
}

/// Runs the command with a kubeconfig; waits for it elsewhere, as the operator runs in this process.
pub async fn ringfence_with(kubeconfig: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig);
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

/// Runs the command as the administrator of a story's cluster.
pub async fn ringfence_in(story: &Story, arguments: &[&str]) -> Ran {
    ringfence_with(story.cluster.cluster().kubeconfig(), arguments).await
}

/// Runs a command in an environment that says nothing about clusters and colours.
pub fn run(command: &mut Command) -> Ran {
    command.env_remove("KUBECONFIG").env_remove("NO_COLOR").env("HOME", "/nowhere");
    let output = command.output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    Ran { code: output.status.code().unwrap(), output: text(output.stdout), complaints: text(output.stderr) }
}

/// A file's path as an argument.
pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
