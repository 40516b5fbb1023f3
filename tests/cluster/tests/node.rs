//! Real nodes: pods, Services, names, and NetworkPolicies that are really enforced. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says what it skips")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringfence_cluster::{Cluster, NETCHECK_IMAGE, Node, NodeOptions, Options};
use serde_json::{Value, json};

#[test]
fn pods_run_names_resolve_and_a_deny_holds() {
    let options = Options { nodes: vec![NodeOptions::default()], ..Options::default() };
    let Some(cluster) = cluster_of(&options) else { return };
    let node = cluster.node().unwrap();
    run(&cluster, "server", "8080", &[]);
    run(&cluster, "client", "8081", &[]);
    cluster.kubectl(&["expose", "pod", "server", "--port=80", "--target-port=8080"]).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]).unwrap();
    let pod = SocketAddr::new(pod_address(&cluster, "server"), 8080);
    let direct = pod.to_string();

    // From a pod: by address, by the Service's name, and the API server by its name.
    let from_pod = |address: &str| exec(&cluster, "client", &["dial", "-timeout=200ms", "-until=open", address]);
    assert!(from_pod(&direct).starts_with(&format!("{direct} open server")));
    assert!(from_pod("server:80").starts_with("server:80 open server"));
    assert!(from_pod("kubernetes.default.svc.cluster.local:443").contains(" open "));
    assert!(exec(&cluster, "client", &["resolve", "server.default.svc"]).contains(" 10.96."));

    // From outside, and to outside.
    assert!(ask(pod).unwrap().ends_with("server\n"));
    let listener = TcpListener::bind((node.outside_address(), 0)).unwrap();
    let outside = listener.local_addr().unwrap().to_string();
    let caller = thread::scope(|scope| {
        let caller = scope.spawn(|| listener.accept().unwrap().1.ip());
        let dialled = exec(&cluster, "client", &["dial", &outside]);
        assert!(dialled.contains(" open"), "{dialled}");
        caller.join().unwrap()
    });
    let client = pod_address(&cluster, "client");
    assert_eq!(caller, client);

    // The known deny: what answered above does not any more, and the client itself is free as before.
    admit_only(&cluster, "server", &json!([]));
    let denied = exec(&cluster, "client", &["dial", "-timeout=200ms", "-until=closed", &direct]);
    eprintln!("deny: {denied}");
    assert!(denied.contains("i/o timeout"), "{denied}");
    assert!(ask(pod).is_err());
    let client = SocketAddr::new(client, 8081);
    assert!(ask(client).unwrap().ends_with("client\n"));
    cluster.kubectl(&["delete", "networkpolicy", "server"]).unwrap();
    let allowed = from_pod(&direct);
    eprintln!("allow: {allowed}");
    assert!(allowed.contains(" open server"), "{allowed}");

    let folder = cluster.dir().to_owned();
    cluster.stop().unwrap();
    assert_nothing_left(&folder);
}

#[test]
fn pods_of_two_nodes_reach_each_other_and_a_policy_holds_between_them() {
    let options = Options { nodes: NodeOptions::several(2, &[]), observe_flows: true, ..Options::default() };
    let Some(cluster) = cluster_of(&options) else { return };
    let nodes = cluster.nodes().unwrap();
    let forwarding = || fs::read_to_string("/proc/sys/net/ipv4/conf/all/forwarding").unwrap();
    let host = forwarding();
    for node in &nodes {
        let selector = json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": node.name()}}}).to_string();
        for (role, port) in [("server", "8080"), ("client", "8081")] {
            run(&cluster, &on(role, node), port, &[&format!("--overrides={selector}")]);
        }
        cluster.kubectl(&["expose", "pod", &on("server", node), "--port=80", "--target-port=8080"]).unwrap();
    }
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]).unwrap();
    let dial = |from: &Node, until: &str, address: &str| {
        let until = format!("-until={until}");
        exec(&cluster, &on("client", from), &["dial", "-timeout=200ms", &until, address])
    };

    // From each node to the other one: by address, by the Service's name; and to what is there once.
    for (from, to) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
        let server = on("server", to);
        let pod = SocketAddr::new(pod_address(&cluster, &server), 8080);
        for address in [pod.to_string(), format!("{server}:80")] {
            let dialled = dial(from, "open", &address);
            assert!(dialled.starts_with(&format!("{address} open {server}")), "{dialled}");
        }
        assert!(dial(from, "open", "kubernetes.default:443").contains(" open"));
        assert!(exec(&cluster, &on("client", from), &["resolve", &server]).contains(" 10.96."));
        assert!(ask(pod).unwrap().ends_with(&format!("{server}\n")));
    }

    // To the server of the second node: nobody, then only the client of the first one.
    let (far, near) = (&nodes[0], &nodes[1]);
    let server = on("server", near);
    let direct = format!("{}:8080", pod_address(&cluster, &server));
    admit_only(&cluster, &server, &json!([]));
    for client in [far, near] {
        let denied = dial(client, "closed", &direct);
        assert!(denied.contains("i/o timeout"), "{denied}");
    }
    let only_far = json!([{"from": [{"podSelector": {"matchLabels": {"run": on("client", far)}}}]}]);
    admit_only(&cluster, &server, &only_far);
    assert!(dial(far, "open", &direct).contains(" open "));
    assert!(dial(near, "closed", &direct).contains("i/o timeout"));

    // What passed between the nodes was seen by both; what was dropped, where it was dropped.
    let client = on("client", far);
    for (node, verdict) in [(far, "FORWARDED"), (near, "FORWARDED"), (near, "DROPPED")] {
        wait_for_flow(node, &client, &server, verdict);
    }

    let folder = cluster.dir().to_owned();
    cluster.stop().unwrap();
    assert_nothing_left(&folder);
    assert_eq!(forwarding(), host);
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let options = Options { nodes: vec![NodeOptions::default(); 2], ..Options::default() };
    if is_root() {
        let error = Cluster::start(&options).unwrap_err().to_string();
        assert!(error.contains("two nodes are called node-1"), "{error}");
    }
}

#[test]
fn two_clusters_live_side_by_side_and_nothing_is_left_when_their_owners_are_killed() {
    if !is_root() {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let folders = ["one", "other"].map(|name| parent.path().join(name));
    let mut owners = [Owner::start(&folders[0], 1), Owner::start(&folders[1], 2)];
    let clusters = [0, 1].map(|index| {
        owners[index].wait();
        Cluster::attach(&folders[index]).unwrap()
    });
    let nodes: Vec<Node> = clusters.iter().flat_map(|cluster| cluster.nodes().unwrap()).collect();
    assert_eq!(nodes.len(), 3);
    assert_eq!(nodes.iter().map(Node::address).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(nodes.iter().map(Node::pod_cidr).collect::<BTreeSet<_>>().len(), 3);
    for cluster in &clusters {
        run(cluster, "client", "8080", &[]);
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]).unwrap();
        assert!(exec(cluster, "client", &["dial", "kubernetes.default:443"]).contains(" open"));
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
    fn start(folder: &Path, nodes: u8) -> Self {
        let mut owner = Command::new(env!("CARGO_BIN_EXE_ringfence-cluster"));
        owner.arg("own").arg(format!("--nodes={nodes}")).arg("--dir").arg(folder);
        Self(owner.stdout(Stdio::piped()).spawn().unwrap())
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

fn cluster_of(options: &Options) -> Option<Cluster> {
    if !is_root() {
        return None;
    }
    let started = Instant::now();
    let cluster = Cluster::start(options).unwrap();
    eprintln!("a cluster with {} nodes started in {:?}", options.nodes.len(), started.elapsed());
    Some(cluster)
}

/// A pod that answers on a port and is found by the label `run`.
fn run(cluster: &Cluster, name: &str, port: &str, more: &[&str]) {
    let image = ["--image", NETCHECK_IMAGE, "--image-pull-policy=Never"];
    cluster.kubectl(&[&["run", name], &image[..], more, &["--", "serve", port]].concat()).unwrap();
}

/// What the pod of a role on a node is called.
fn on(role: &str, node: &Node) -> String {
    format!("{role}-{}", node.name())
}

fn pod_address(cluster: &Cluster, name: &str) -> IpAddr {
    cluster.kubectl(&["get", "pod", name, "-o=jsonpath={.status.podIP}"]).unwrap().parse().unwrap()
}

/// Runs netcheck in a pod. What it prints counts, not whether it found what it looked for.
fn exec(cluster: &Cluster, pod: &str, arguments: &[&str]) -> String {
    let command = [&["exec", pod, "--", "/netcheck"], arguments].concat();
    cluster.kubectl(&command).unwrap()
}

/// A NetworkPolicy that lets nothing in to a pod but what these rules say.
fn admit_only(cluster: &Cluster, pod: &str, rules: &Value) {
    let file = cluster.dir().join("policy.json");
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": pod},
        "spec": {"podSelector": {"matchLabels": {"run": pod}}, "policyTypes": ["Ingress"], "ingress": rules},
    });
    fs::write(&file, policy.to_string()).unwrap();
    cluster.kubectl(&["apply", "--filename", file.to_str().unwrap()]).unwrap();
}

/// Waits until a node knows of a flow: the agent tells a moment after the packet.
fn wait_for_flow(node: &Node, from: &str, to: &str, verdict: &str) {
    let is_it = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let flow = &line["flow"];
        flow["verdict"] == verdict
            && flow["source"]["pod_name"] == from
            && flow["destination"]["pod_name"] == to
            && flow["l4"]["TCP"]["destination_port"] == 8080
    };
    let started = Instant::now();
    loop {
        let flows = node.flows().unwrap();
        if flows.lines().any(is_it) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "no {verdict} from {from} to {to} among\n{flows}");
    }
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
