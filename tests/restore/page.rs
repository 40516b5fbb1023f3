//! The page for users: its commands are run as they stand there.

use std::path::{Path, PathBuf};
use std::process::Command;

use ringfence_cluster::{Tool, tool};

use crate::support::TestCluster;

/// The blocks of shell commands under a heading of the page, up to the next heading of whatever level.
pub fn commands(heading: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/backup.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (mut here, mut blocks, mut block) = (false, Vec::new(), None::<String>);
    for line in page.lines() {
        match &mut block {
            Some(_) if line == "```" => blocks.extend(block.take()),
            Some(text) => *text += &format!("{line}\n"),
            None if line.starts_with('#') => here = line.trim_start_matches('#').trim() == heading,
            None if here && line == "```sh" => block = Some(String::new()),
            None => {}
        }
    }
    assert!(!blocks.is_empty(), "the page has no commands under {heading:?}");
    blocks
}

/// Runs commands as the administrator, in a folder; each of them must succeed.
pub async fn run(cluster: &TestCluster, folder: &Path, commands: &str, environment: &[(&str, &str)]) {
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .env("KUBECONFIG", cluster.cluster().kubeconfig())
        .env("KUBECACHEDIR", cluster.cluster().dir().join("kubectl-cache"))
        .env("PATH", path().await)
        .envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{commands}\n{}{}", text(&output.stdout), text(&output.stderr));
}

/// Where kubectl and etcd's tools are, and after these whatever the machine has.
async fn path() -> String {
    let tools = [Tool::Kubectl, Tool::Etcdctl, Tool::Etcdutl];
    let tools = tokio::task::spawn_blocking(move || tools.map(|program| tool(program).unwrap())).await.unwrap();
    let folders = tools.iter().map(|program: &PathBuf| program.parent().unwrap().display().to_string());
    folders.chain(std::env::var("PATH")).collect::<Vec<_>>().join(":")
}
