//! What is generated from the definitions of the verbs, and the names that the command goes by.

use std::process::Command;

use ringfence_cluster::{Tool, tool};
use tempfile::TempDir;

use crate::command::{path, ringfence, run};

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = ringfence(&["completions", shell]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.output.contains("inspect") && ran.output.contains("servername"), "{shell}");
    }
    // A shell takes it.
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("completions");
    std::fs::write(&file, ringfence(&["completions", "bash"]).output).unwrap();
    assert_eq!(run(Command::new("bash").arg("-n").arg(&file)).code, 0);
    assert_eq!(ringfence(&["completions", "abacus"]).code, 2);
}

#[test]
fn every_verb_has_a_manual_page_and_says_how_it_exits() {
    let folder = TempDir::new().unwrap();
    let ran = ringfence(&["man", "--directory", path(folder.path())]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("ringfence.1").contains("ringfence\\-status(1)"), "{}", page("ringfence.1"));
    for verb in ["status", "inspect", "audit", "completions", "man"] {
        assert!(page(&format!("ringfence-{verb}.1")).contains("Exit codes"), "{verb}");
        let help = ringfence(&[verb, "--help"]).output;
        assert!(help.contains("Exit codes:\n  0  ") && help.contains("\n  2  "), "{help}");
    }
    let nowhere = ringfence(&["man", "--directory", "/nowhere"]);
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.complaints.contains("/nowhere can't be written to"), "{}", nowhere.complaints);
}

#[test]
fn kubectl_finds_it_as_a_plugin() {
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ringfence"), folder.path().join("kubectl-ringfence")).unwrap();
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new(tool(Tool::Kubectl).unwrap());
        let search = std::env::join_paths([folder.path(), std::path::Path::new("/usr/bin")]).unwrap();
        run(command.args(arguments).env("PATH", search))
    };
    let help = kubectl(&["ringfence", "status", "--help"]);
    assert_eq!(help.code, 0, "{help:?}");
    assert!(help.output.contains("Usage: kubectl ringfence status [OPTIONS]"), "{}", help.output);
    let nowhere = kubectl(&["ringfence", "status", "--context", "nowhere"]);
    assert_eq!(nowhere.code, 2, "the exit code comes through");
    assert!(nowhere.complaints.contains("no cluster to talk to"), "{}", nowhere.complaints);
}
