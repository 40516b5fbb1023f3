//! Started wrongly, or on a machine that has no room.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::NamedTempFile;

use crate::begin::{Room, pair};
use crate::page::section;
use crate::support::{Replica, eventually};

static ROOM: Room = Room::new();

/// A kubeconfig of a cluster that nobody answers for.
fn nobodys() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "x", "user": {}}],
    });
    std::fs::write(file.path(), content.to_string()).unwrap();
    file
}

/// Runs the operator with arguments and an environment with which it can't start; returns what it says.
fn fails(arguments: &[&str], set: &[(&str, &str)]) -> String {
    let kubeconfig = nobodys();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.arg("operator").args(arguments).env("KUBECONFIG", kubeconfig.path()).envs(set.iter().copied());
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{arguments:?} {set:?}: {said}");
    said
}

#[test]
fn wrong_flags_and_wrong_variables_are_named_with_what_is_expected() {
    let cases = [
        ("--namespace=Not_A_Name", "POD_NAMESPACE"),
        ("--log-format=xml", "RINGFENCE_LOG_FORMAT"),
        ("--log=ringfence=loud", "RINGFENCE_LOG"),
        ("--otlp-endpoint=collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("--lease-duration=15", ""),
        ("--lease-duration=1h", ""),
        ("--cluster-domain=cluster.local.", ""),
        ("--cluster-cidr=10.0.0.0/33", ""),
        ("--node-local-dns=dns", ""),
        ("--health-address=8081", ""),
        ("--metrics-address=none", ""),
        ("--no-such-flag", ""),
    ];
    let mut all = Vec::new();
    for (argument, variable) in cases {
        let said = fails(&[argument], &[]);
        let (flag, value) = argument.split_once('=').unwrap_or((argument, argument));
        assert!(said.contains(flag) && said.contains(value), "{argument}: {said}");
        all.push(said);
        if !variable.is_empty() {
            let said = fails(&[], &[(variable, value)]);
            assert!(said.contains(flag) && said.contains(value), "{variable}: {said}");
        }
    }
    let said = fails(&[], &[("KUBECONFIG", "/nowhere/kubeconfig")]);
    all.push(said);
    section("The operator does not start: wrong flags or variables").is_what_they_say(&all);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let said = ["metrics", "health"].map(|which| {
        let other = if which == "metrics" { "--health-address=127.0.0.1:0" } else { "--metrics-address=off" };
        let said = fails(&[&format!("--{which}-address={address}"), other], &[]);
        assert!(said.contains(&address.to_string()), "{said}");
        said
    });
    section("The operator does not start: a port is taken").is_what_they_say(&said);
}

#[tokio::test]
async fn an_operator_whose_log_nobody_can_take_works_all_the_same() {
    let (story, _turn) = ROOM.begin("full").await;
    let mut operator = Replica::start_on_full_disk(story.cluster, 30);
    eventually("it is ready", async || (operator.asks("/readyz").0 == 200).then_some(())).await;
    pair(&story, "shop").await;
    assert!(operator.runs());
    section("The log can't be written").is_silent();
    assert_eq!(operator.asks("/livez").0, 200);
    operator.signal("TERM");
    assert_eq!(operator.ended().await.code(), Some(0));
}
