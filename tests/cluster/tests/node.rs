//! A real node: pods, Services, names, and NetworkPolicies that are really enforced. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says what it skips")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringfence_cluster::{Cluster, NETCHECK_IMAGE, NodeOptions, Options};

#[test]
fn pods_run_names_resolve_and_a_deny_holds() {
    let Some(cluster) = cluster_with_node() else { return };
    let node = cluster.node().unwrap();
    run(&cluster, "server", "8080");
    run(&cluster, "client", "8081");
    cluster.kubectl(&["expose", "pod", "server", "--port=80", "--target-port=8080"]).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]).unwrap();
    let server = cluster.kubectl(&["get", "pod", "server", "-o=jsonpath={.status.podIP}"]).unwrap();
    let direct = format!("{server}:8080");

    // From a pod: by address, by the Service's name, and the API server by its name.
    let from_pod = |address: &str| exec(&cluster, &["dial", "-timeout=200ms", "-until=open", address]);
    assert!(from_pod(&direct).starts_with(&format!("{direct} open server")));
    assert!(from_pod("server:80").starts_with("server:80 open server"));
    assert!(from_pod("kubernetes.default.svc.cluster.local:443").contains(" open "));
    assert!(exec(&cluster, &["resolve", "server.default.svc"]).contains(" 10.96."));

    // From outside, and to outside.
    let pod = SocketAddr::new(server.parse().unwrap(), 8080);
    assert!(ask(pod).unwrap().ends_with("server\n"));
    let listener = TcpListener::bind((node.outside_address(), 0)).unwrap();
    let outside = listener.local_addr().unwrap().to_string();
    let caller = thread::scope(|scope| {
        let caller = scope.spawn(|| listener.accept().unwrap().1.ip());
        let dialled = exec(&cluster, &["dial", &outside]);
        assert!(dialled.contains(" open"), "{dialled}");
        caller.join().unwrap()
    });
    let client = cluster.kubectl(&["get", "pod", "client", "-o=jsonpath={.status.podIP}"]).unwrap();
    assert_eq!(caller, client.parse::<IpAddr>().unwrap());

    // The known deny: what answered above does not any more, and the client itself is free as before.
    let policy = cluster.dir().join("deny.json");
    fs::write(
        &policy,
        r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"},
            "spec": {"podSelector": {"matchLabels": {"run": "server"}}, "policyTypes": ["Ingress"]}}"#,
    )
    .unwrap();
    cluster.kubectl(&["create", "--filename", policy.to_str().unwrap()]).unwrap();
    let denied = exec(&cluster, &["dial", "-timeout=200ms", "-until=closed", &direct]);
    eprintln!("deny: {denied}");
    assert!(denied.contains("i/o timeout"), "{denied}");
    assert!(ask(pod).is_err());
    let client = SocketAddr::new(client.parse().unwrap(), 8081);
    assert!(ask(client).unwrap().ends_with("client\n"));
    cluster.kubectl(&["delete", "networkpolicy", "deny"]).unwrap();
    let allowed = from_pod(&direct);
    eprintln!("allow: {allowed}");
    assert!(allowed.contains(" open server"), "{allowed}");

    let folder = cluster.dir().to_owned();
    cluster.stop().unwrap();
    assert_nothing_left(&folder);
}

#[test]
fn two_nodes_live_side_by_side_and_nothing_is_left_when_their_owners_are_killed() {
    if !is_root() {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let folders = ["one", "other"].map(|name| parent.path().join(name));
    let mut owners = folders.each_ref().map(|folder| Owner::start(folder));
    let clusters = [0, 1].map(|index| {
        owners[index].wait();
        Cluster::attach(&folders[index]).unwrap()
    });
    let nodes = clusters.each_ref().map(|cluster| cluster.node().unwrap());
    assert_ne!(nodes[0].address(), nodes[1].address());
    assert_ne!(nodes[0].pod_cidr(), nodes[1].pod_cidr());
    for cluster in &clusters {
        run(cluster, "client", "8080");
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]).unwrap();
        assert!(exec(cluster, &["dial", "kubernetes.default:443"]).contains(" open"));
    }
    for cluster in &clusters {
        let restarts = "-o=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        assert_eq!(cluster.kubectl(&["get", "pods", "--all-namespaces", restarts]).unwrap(), "0 0");
    }

    drop(owners);
    for folder in &folders {
        let killed = Instant::now();
        while folder.exists() {
            assert!(killed.elapsed() < Duration::from_secs(60), "{} is still there", folder.display());
            thread::sleep(Duration::from_millis(20));
        }
        assert_nothing_left(folder);
    }
}

/// Another process that owns a cluster, killed with this.
struct Owner(Child);

impl Owner {
    fn start(folder: &Path) -> Self {
        let mut owner = Command::new(env!("CARGO_BIN_EXE_ringfence-cluster"));
        Self(owner.args(["own", "--dir"]).arg(folder).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn wait(&mut self) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: a node needs root");
    }
    root
}

fn cluster_with_node() -> Option<Cluster> {
    if !is_root() {
        return None;
    }
    let started = Instant::now();
    let cluster = Cluster::start(&Options { node: Some(NodeOptions::default()), ..Options::default() }).unwrap();
    eprintln!("a cluster with a node started in {:?}", started.elapsed());
    Some(cluster)
}

fn run(cluster: &Cluster, name: &str, port: &str) {
    let image = ["--image", NETCHECK_IMAGE, "--image-pull-policy=Never"];
    cluster.kubectl(&[&["run", name], &image[..], &["--", "serve", port]].concat()).unwrap();
}

/// Runs netcheck in the client's pod. What it prints counts, not whether it found what it looked for.
fn exec(cluster: &Cluster, arguments: &[&str]) -> String {
    let command = [&["exec", "client", "--", "/netcheck"], arguments].concat();
    cluster.kubectl(&command).unwrap()
}

/// Asks a pod from outside of the cluster.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn assert_nothing_left(folder: &Path) {
    assert!(!folder.exists());
    let marked = format!("RINGFENCE_SUPERVISED={}", folder.display());
    for process in fs::read_dir("/proc").unwrap() {
        let environment = fs::read(process.unwrap().path().join("environ")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&environment).contains(&marked));
    }
    let path = folder.to_str().unwrap();
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(path));
    // The claim in /run goes last: what has none has been left.
    let claim = |name: &str| fs::read_to_string(Path::new("/run").join(name)).unwrap_or_default();
    for place in ["/run", "/sys/class/net", "/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"] {
        for entry in fs::read_dir(place).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("ringfence") {
                let left = ["", path].contains(&claim(&name).as_str()) && Path::new(place).join(&name).exists();
                assert!(!left, "{place}/{name} is left");
            }
        }
    }
}
