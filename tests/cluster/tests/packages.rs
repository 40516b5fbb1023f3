//! Programs from other languages' registries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use ringfence_cluster::Python;

#[test]
fn packages_of_python_and_node_are_installed_and_run() {
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance");
    let python = Python::with(&lists.join("requirements.txt")).unwrap();
    let node_packages = python.node_packages(&lists.join("node")).unwrap();
    for (mut command, arguments) in [
        (Command::new(python.interpreter()), vec!["-c", "import authlib, joserfc, requests"]),
        (Command::new(python.file("envoy/_bin/envoy").unwrap()), vec!["--version"]),
        (Command::new(python.node().unwrap()), vec!["--eval", "import('oauth4webapi').then(() => import('undici'))"]),
    ] {
        let output = command.args(arguments).current_dir(&node_packages).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
