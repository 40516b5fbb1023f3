//! Helm, with nothing of the user's.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use ringfence_cluster::{Tool, tool};

/// Runs Helm on a cluster and gives what it prints. A line is parted at its spaces.
pub fn helm(kubeconfig: &Path, line: &str) -> Result<String> {
    let homes = tempfile::tempdir()?;
    let mut command = Command::new(tool(Tool::Helm)?);
    command.args(line.split_whitespace()).env("KUBECONFIG", kubeconfig);
    for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(home, homes.path());
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    if !output.status.success() {
        bail!("helm {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
