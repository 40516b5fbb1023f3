//! Helm, with nothing of the user's.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cache::tool;
use crate::process::output;
use crate::ringfence::REPOSITORY;
use crate::servers::Tool;

/// Runs Helm in the repository, on a cluster if one is given, and gives what it prints. A line is parted at its spaces.
pub fn helm(kubeconfig: Option<&Path>, line: &str) -> Result<String> {
    let homes = tempfile::tempdir().context("create a folder for Helm")?;
    let mut command = Command::new(tool(Tool::Helm)?);
    command.args(line.split_whitespace()).current_dir(REPOSITORY).env_remove("KUBECONFIG");
    command.envs(kubeconfig.map(|kubeconfig| ("KUBECONFIG", kubeconfig)));
    for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(home, homes.path());
    }
    output(&mut command)
}
