//! containerd: what runs the node's containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Starting;
use super::images::PAUSE_IMAGE;
use super::sandbox::Sandbox;
use super::search::path_with;
use crate::cache::tool;
use crate::process::{Process, output, wait_until};
use crate::servers::Tool;

/// Where containerd listens, in the node's own `/run`.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Starts containerd and returns when it answers.
pub(super) fn start(node: &Starting<'_>) -> Result<Process> {
    let sandbox = &node.sandbox;
    let folder = sandbox.folder();
    let configuration = folder.join("containerd.toml");
    fs::write(&configuration, configuration_for(folder))
        .with_context(|| format!("write {}", configuration.display()))?;
    for place in [cni_programs(folder), cni_configuration(folder)] {
        fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
    }
    let mut command = sandbox.inside(tool(Tool::Containerd)?, node.supervisor.command("nsenter"));
    command.arg("--config").arg(&configuration).env("PATH", path_with(&tool(Tool::ContainerdShimRuncV2)?)?);
    let mut process = node.run("containerd", command)?;
    wait_until(&mut process, "the start of containerd", LIMIT, || Ok(sandbox.socket(SOCKET).is_ok()))?;
    Ok(process)
}

/// Makes an image (an OCI archive) known to the node.
pub(super) fn import(sandbox: &Sandbox, archive: &Path) -> Result<()> {
    let mut command = sandbox.inside(tool(Tool::Ctr)?, Command::new("nsenter"));
    let archive = archive.canonicalize().with_context(|| format!("find {}", archive.display()))?;
    output(command.args(["--namespace=k8s.io", "images", "import"]).arg(&archive))
        .with_context(|| format!("import the image {}", archive.display()))
        .map(|_| ())
}

/// The folder of the network plugins.
pub(super) fn cni_programs(folder: &Path) -> PathBuf {
    folder.join("cni/bin")
}

/// The folder whose first file says which plugin connects pods.
pub(super) fn cni_configuration(folder: &Path) -> PathBuf {
    folder.join("cni/net.d")
}

fn configuration_for(folder: &Path) -> String {
    // Some machines don't let even root make a process less likely to be killed when memory runs out.
    format!(
        "\
version = 4
root = '{folder}/containerd'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['{programs}']
  conf_dir = '{configuration}'
  use_internal_loopback = true
[plugins.'io.containerd.internal.v1.opt']
  path = '{folder}/opt'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
",
        folder = folder.display(),
        programs = cni_programs(folder).display(),
        configuration = cni_configuration(folder).display(),
    )
}

const LIMIT: Duration = Duration::from_secs(60);
