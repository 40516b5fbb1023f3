//! The chart, installed with Helm into a namespace that lets in nothing but restricted pods.

use std::process::Command;

use ringfence_cluster::Node;

use crate::support::{OPERATOR_NAMESPACE, Story};

#[test]
fn the_operator_runs_from_its_chart_with_no_rights_on_its_node() {
    let Some(story) = Story::begin("install") else { return };
    let namespace = story.get(&format!("namespace {OPERATOR_NAMESPACE}"));
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let deployment = story.get(&format!("deployment ringfence --namespace={OPERATOR_NAMESPACE}"));
    assert_eq!(deployment["status"]["readyReplicas"], 2);
    let pods = story.kubectl(&format!("get pods --namespace={OPERATOR_NAMESPACE} --output=name"));
    let leader = story.leader();
    assert!(pods.lines().any(|pod| pod == format!("pod/{leader}")), "{leader} leads, of\n{pods}");

    let processes = operator_processes(&story);
    assert_eq!(processes.len(), 2, "one for each replica: {processes:?}");
    for (node, process) in processes {
        is_confined(&node, &process);
    }

    // Nothing but the operator could get in there.
    let refused =
        story.try_kubectl(&format!("run intruder --image=any --dry-run=server --namespace={OPERATOR_NAMESPACE}"));
    assert!(refused.unwrap_err().contains("violates PodSecurity"));
    story.assert_rights_suffice();
}

/// Looks at a process itself, as the node's kernel sees it.
fn is_confined(node: &Node, process: &str) {
    let status = inside(node, &["cat", &format!("{process}/status")]);
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!((line("Uid:").as_str(), line("Gid:").as_str()), ("65532 65532 65532 65532", "65532 65532 65532 65532"));
    assert_eq!((line("CapEff:").as_str(), line("CapBnd:").as_str()), ("0000000000000000", "0000000000000000"));
    assert_eq!((line("NoNewPrivs:").as_str(), line("Seccomp:").as_str()), ("1", "2"));
    let mounts = inside(node, &["cat", &format!("{process}/mounts")]);
    let root = mounts.lines().find(|mount| mount.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"), "{root}");
}

/// The processes on all nodes that are called so, by their folders in /proc.
fn operator_processes(story: &Story) -> Vec<(Node, String)> {
    let nodes = story.cluster().nodes().unwrap();
    let on = |node: Node| {
        let find = "grep --files-with-matches '^Name:.ringfence$' /proc/[0-9]*/status || true";
        let found = inside(&node, &["sh", "-c", find]);
        let processes: Vec<_> =
            found.lines().map(|line| (node.clone(), line.trim_end_matches("/status").to_owned())).collect();
        processes
    };
    nodes.into_iter().flat_map(on).collect()
}

fn inside(node: &Node, command: &[&str]) -> String {
    let mut command_on_node: Command = node.command(command[0]);
    let output = command_on_node.args(&command[1..]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
