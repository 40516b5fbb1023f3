//! The launcher against the real servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringfence_cluster::{Cluster, Options, Server, Target, Tool, tool};

#[test]
fn clusters_run_side_by_side_and_know_their_users() {
    let start = || Cluster::start(&Options::default()).unwrap();
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(start);
        let other = scope.spawn(start);
        (one.join().unwrap(), other.join().unwrap())
    });
    for cluster in [&one, &other] {
        let version = cluster.kubectl(&["get", "--raw=/version"]).unwrap();
        let version: serde_json::Value = serde_json::from_str(&version).unwrap();
        assert_eq!(version["gitVersion"], "v1.37.2");
        assert_eq!((&version["major"], &version["minor"]), (&"1".into(), &"37".into()));
        let discovery = cluster.kubectl(&["get", "--raw=/.well-known/openid-configuration"]).unwrap();
        assert!(discovery.contains("https://127.0.0.1:"), "{discovery}");
        let endpoints =
            cluster.kubectl(&["get", "endpointslices/kubernetes", "-o=jsonpath={.endpoints[*].addresses[*]}"]).unwrap();
        assert_eq!(endpoints, "192.0.2.1");
    }
    one.kubectl(&["create", "namespace", "only-here"]).unwrap();
    other.kubectl(&["get", "namespace", "only-here"]).unwrap_err();

    let nobody = one.kubeconfig_for("nobody", &[]).unwrap();
    let refused = kubectl(&nobody, &["get", "secrets", "--namespace=only-here"]);
    assert!(text(&refused.stderr).contains("User \"nobody\" cannot list resource \"secrets\""));

    let member = one.kubeconfig_for("member", &["first", "second"]).unwrap();
    let groups = kubectl(&member, &["auth", "whoami", "-o=jsonpath={.status.userInfo.groups}"]);
    assert_eq!(text(&groups.stdout), r#"["first","second","system:authenticated"]"#);
    one.kubeconfig_for("member", &["1", "2", "3"]).unwrap_err();

    let refusal = until("the refused request in the audit log", || {
        audit_events(one.audit_log())
            .into_iter()
            .find(|event| event["user"]["username"] == "nobody" && event["objectRef"]["resource"] == "secrets")
    });
    assert_eq!(refusal["verb"], "list");
    assert_eq!(refusal["stage"], "ResponseComplete");
    assert_eq!(refusal["responseStatus"]["code"], 403);

    let folders = [one.dir().to_owned(), other.dir().to_owned()];
    one.stop().unwrap();
    drop(other);
    for folder in &folders {
        assert_gone(folder);
    }
}

#[test]
fn servers_can_be_stopped_and_paused() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    cluster.kubectl(&["create", "configmap", "remembered"]).unwrap();

    cluster.stop_server(Server::ApiServer).unwrap();
    assert!(!cluster.is_ready());
    cluster.start_server(Server::ApiServer).unwrap();
    cluster.kubectl(&["get", "configmap", "remembered"]).unwrap();

    cluster.pause_server(Server::ApiServer).unwrap();
    assert!(!cluster.is_ready());
    cluster.resume_server(Server::ApiServer).unwrap();
    until("readiness after the pause", || cluster.is_ready().then_some(()));

    // As after a restore of a backup: etcd is put back to where it was.
    cluster.stop_server(Server::ApiServer).unwrap();
    cluster.stop_server(Server::Etcd).unwrap();
    let backup = tempfile::tempdir().unwrap();
    copy(&cluster.etcd_data(), backup.path());
    cluster.start_server(Server::Etcd).unwrap();
    cluster.start_server(Server::ApiServer).unwrap();
    cluster.kubectl(&["delete", "configmap", "remembered"]).unwrap();
    cluster.stop_server(Server::ApiServer).unwrap();
    cluster.stop_server(Server::Etcd).unwrap();
    fs::remove_dir_all(cluster.etcd_data()).unwrap();
    copy(backup.path(), &cluster.etcd_data());
    cluster.start_server(Server::Etcd).unwrap();
    cluster.start_server(Server::ApiServer).unwrap();
    cluster.kubectl(&["get", "configmap", "remembered"]).unwrap();
}

#[test]
fn a_cluster_with_room_for_nodes_schedules_pods() {
    let cluster =
        Cluster::start(&Options { pod_cidr: Some("10.200.0.0/16".to_owned()), ..Options::default() }).unwrap();
    let objects = cluster.dir().join("objects.yaml");
    fs::write(&objects, NODE_AND_POD).unwrap();
    let objects = objects.display().to_string();
    cluster.kubectl(&["create", "-f", &objects]).unwrap();
    let scheduled = "--for=jsonpath={.spec.nodeName}=paper";
    cluster.kubectl(&["wait", scheduled, "pod/bound", "--timeout=60s"]).unwrap();
    let addressed = "--for=jsonpath={.spec.podCIDR}=10.200.0.0/24";
    cluster.kubectl(&["wait", addressed, "node/paper", "--timeout=60s"]).unwrap();
}

#[test]
fn a_failed_start_says_why_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("cluster");
    let options = Options {
        state_dir: Some(folder.clone()),
        extra_arguments: vec![(Server::ApiServer, "--no-such-flag".to_owned())],
        ..Options::default()
    };
    let error = format!("{:#}", Cluster::start(&options).unwrap_err());
    assert!(error.contains("kube-apiserver ended with exit status: 1"), "{error}");
    assert!(error.contains("logs/kube-apiserver.log"), "{error}");
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
    assert_gone(&folder);
}

#[test]
fn a_folder_with_other_things_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious");
    fs::write(&precious, "").unwrap();
    let options = Options { state_dir: Some(folder.path().to_owned()), ..Options::default() };
    let error = format!("{:#}", Cluster::start(&options).unwrap_err());
    assert!(error.contains("is not empty"), "{error}");
    assert!(launcher("down", folder.path()).status.success());
    assert!(precious.exists());
}

#[test]
fn nothing_is_left_when_the_owner_is_killed() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("cluster");
    let mut owner = Command::new(env!("CARGO_BIN_EXE_ringfence-cluster"))
        .args(["own", "--control-plane-only", "--dir"])
        .arg(&folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = owner.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(supervised(&folder).len(), 3);

    owner.kill().unwrap();
    owner.wait().unwrap();
    until("the end of the cluster", || (!folder.exists()).then_some(()));
    assert_gone(&folder);
}

#[test]
fn a_cluster_in_the_background_stays_until_it_is_taken_down() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("cluster");
    assert!(!launcher("status", &folder).status.success());

    let first = launcher("up", &folder);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let export = format!("export KUBECONFIG={}\n", folder.join("kubeconfig").display());
    assert_eq!(text(&first.stdout), export);
    let servers = supervised(&folder);

    let second = launcher("up", &folder);
    assert_eq!(text(&second.stdout), export);
    assert_eq!(supervised(&folder), servers);
    assert!(text(&launcher("status", &folder).stdout).contains("v1.37.2"));

    // An empty place: what ran there goes, and something new comes.
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(text(&launcher("up", &folder).stdout), export);
    assert_eq!(supervised(&folder).len(), 3);
    assert!(supervised(&folder).iter().all(|server| !servers.contains(server)));

    let cluster = Cluster::attach(&folder).unwrap();
    assert!(cluster.is_ready());
    cluster.stop_server(Server::ApiServer).unwrap_err();
    drop(cluster);

    let target = Target::of_kubeconfig(&folder.join("kubeconfig")).unwrap();
    assert_eq!(target.ours().unwrap().dir(), folder);
    let elsewhere = parent.path().join("kubeconfig");
    let target = Target::of_kubeconfig(&elsewhere).unwrap();
    assert_eq!(target.kubeconfig(), elsewhere);
    target.ours().unwrap_err();

    assert!(launcher("down", &folder).status.success());
    assert_gone(&folder);
    assert_eq!(text(&launcher("down", &folder).stdout), format!("no cluster in {}\n", folder.display()));
}

fn launcher(command: &str, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence-cluster"))
        .arg(command)
        .args((command == "up").then_some("--control-plane-only"))
        .arg("--dir")
        .arg(folder)
        .output()
        .unwrap()
}

fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Output {
    Command::new(tool(Tool::Kubectl).unwrap())
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("KUBECACHEDIR", kubeconfig.with_extension("cache"))
        .output()
        .unwrap()
}

fn audit_events(log: &Path) -> Vec<serde_json::Value> {
    let log = fs::read_to_string(log).unwrap();
    // The last line may be half written.
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn assert_gone(folder: &Path) {
    assert!(!folder.exists(), "{} is still there", folder.display());
    assert_eq!(supervised(folder), Vec::<PathBuf>::new());
}

/// The processes of the cluster in this folder.
fn supervised(folder: &Path) -> Vec<PathBuf> {
    let mark = format!("RINGFENCE_SUPERVISED={}", folder.display());
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = processes
        .filter(|process| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .collect();
    found.sort();
    found
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(result) = condition() {
            return result;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node without a kubelet behind it, and a pod that takes any.
const NODE_AND_POD: &str = "
apiVersion: v1
kind: Node
metadata: {name: paper}
status:
  capacity: {cpu: 1, memory: 1Gi, pods: 10}
  allocatable: {cpu: 1, memory: 1Gi, pods: 10}
---
apiVersion: v1
kind: Pod
metadata: {name: bound}
spec:
  tolerations: [{operator: Exists}]
  containers: [{name: only, image: none}]
";
