//! Building programs into the cache, shown with the smallest of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

const PROGRAM: &str = "netcheck";

#[test]
fn of_two_builders_one_builds_and_both_get_the_program() {
    let cache = tempfile::tempdir().unwrap();
    let build = || build(cache.path()).output().unwrap();
    let outputs = thread::scope(|scope| {
        let builders = [scope.spawn(build), scope.spawn(build)];
        builders.map(|builder| builder.join().unwrap())
    });
    let messages: String = outputs.iter().map(|output| text(&output.stderr)).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{messages}");
    assert_eq!(messages.matches("building netcheck").count(), 1, "{messages}");
    assert_eq!(outputs[0].stdout, outputs[1].stdout);
    let program = text(&outputs[0].stdout);
    assert!(Path::new(program.trim()).starts_with(cache.path()));
    assert!(Command::new(program.trim()).stderr(Stdio::null()).status().is_ok());

    // What is there is not built again, and what a killed builder left goes with the next build.
    let again = build();
    assert_eq!((text(&again.stdout), text(&again.stderr)), (program.clone(), String::new()));
    fs::remove_file(program.trim()).unwrap();
    let leftover = Path::new(program.trim()).with_file_name(".unfinished-1");
    fs::create_dir(&leftover).unwrap();
    assert_eq!(text(&build().stdout), program);
    assert!(!leftover.exists());
}

#[test]
fn without_go_the_message_says_what_to_install() {
    let cache = tempfile::tempdir().unwrap();
    let output = build(cache.path()).env("PATH", cache.path()).output().unwrap();
    assert!(!output.status.success());
    let message = text(&output.stderr);
    assert!(message.contains("install Go 1.26 or newer"), "{message}");
}

fn build(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence-cluster"));
    command
        .args(["build", "--print", PROGRAM])
        .env("XDG_CACHE_HOME", cache)
        // Go's own cache stays where it is, or it would compile its standard library anew.
        .env("GOCACHE", go_cache());
    command
}

fn go_cache() -> String {
    let Output { stdout, .. } = Command::new("go").args(["env", "GOCACHE"]).output().unwrap();
    text(&stdout).trim().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
