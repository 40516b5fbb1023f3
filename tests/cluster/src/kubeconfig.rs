//! Kubeconfig files, and the one client that the launcher itself uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cache::tool;
use crate::certs::{Authority, Credential, write_private};
use crate::process::output;
use crate::servers::Tool;

/// Writes a kubeconfig that holds all it needs, so that it may be copied anywhere.
pub(crate) fn write(path: &Path, server: &str, authority: &Authority, credential: &Credential) -> Result<()> {
    let authority = STANDARD.encode(authority.certificate());
    let certificate = STANDARD.encode(&credential.certificate);
    let key = STANDARD.encode(&credential.key);
    let content = format!(
        "\
apiVersion: v1
kind: Config
current-context: ringfence
contexts:
- name: ringfence
  context: {{cluster: ringfence, user: ringfence}}
clusters:
- name: ringfence
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: ringfence
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    );
    write_private(path, &content)
}

/// The API server's address in a kubeconfig that [`write`] wrote.
pub(crate) fn server(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("read {}", path.display()))?
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: "))
        .map(str::to_owned)
        .with_context(|| format!("{} names no server", path.display()))
}

/// kubectl, speaking to one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self { program: tool(Tool::Kubectl)?, kubeconfig: kubeconfig.to_owned() })
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        output(self.command().args(arguments))
    }

    /// Whether the API server says that it is ready to serve.
    pub(crate) fn is_ready(&self) -> bool {
        self.succeeds(&["get", "--raw=/readyz", "--request-timeout=2s"])
    }

    pub(crate) fn succeeds(&self, arguments: &[&str]) -> bool {
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // The discovery cache is keyed by address and port, which another cluster may have had before.
        let cache = self.kubeconfig.with_file_name("kubectl-cache");
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", cache);
        command
    }
}
