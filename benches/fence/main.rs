//! How long it takes from `kubectl apply` of a policy to the packet that it lets through, and from `kubectl delete` to the one that
//! it stops: an AccessPolicy with Ringfence beside a NetworkPolicy that is written by hand, on the same node in the same run.
//!
//! The calls come from outside of the cluster, so that this process itself sees the first that gets through and the first that
//! does not. Needs root. Figures are printed, not asserted.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends where it can't go on")]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use ringfence_cluster::{Cluster, NETCHECK_IMAGE, NodeOptions, OPERATOR_NAMESPACE, Options, helm, pack_image};
use serde_json::{Value, json};

const ROUNDS: usize = 20;
/// How long one attempt to connect may take: by far longer than a packet needs on one machine.
const ATTEMPT: Duration = Duration::from_millis(50);
/// Where the pod listens.
const PORT: u16 = 8443;

fn main() {
    // `cargo test` builds benchmarks too, and runs them with this argument: then there is nothing to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_ringfence"));
    let image = pack_image(concat!("ringfence:", env!("CARGO_PKG_VERSION")), program, &[]).unwrap();
    let node = NodeOptions { images: vec![image], ..NodeOptions::default() };
    let cluster = Cluster::start(&Options { nodes: vec![node], ..Options::default() }).unwrap();
    let install = "install ringfence charts/ringfence --create-namespace --wait --timeout 2m";
    helm(Some(cluster.kubeconfig()), &format!("{install} --namespace {OPERATOR_NAMESPACE}")).unwrap();

    let bench = Bench { outside: cluster.node().unwrap().outside_address().to_string(), cluster };
    bench.fence_both();
    let ways = [("NetworkPolicy by hand", bench.by_hand()), ("AccessPolicy with Ringfence", bench.declared())];
    let mut figures: [Figures; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, way), figures) in ways.iter().zip(&mut figures) {
            figures.opened.push(bench.change("apply", way, true));
            figures.closed.push(bench.change("delete", way, false));
        }
    }
    println!("{:<32}{:>16}{:>16}{:>16}{:>16}", "median and slowest, ms", "open", "", "closed", "");
    for ((name, _), figures) in ways.iter().zip(&figures) {
        let [(open, slowest_open), (closed, slowest_closed)] =
            [&figures.opened, &figures.closed].map(|all| summary(all));
        println!("{name:<32}{open:>16.0}{slowest_open:>16.0}{closed:>16.0}{slowest_closed:>16.0}");
    }
    let ratio = |of: fn(&Figures) -> &Vec<Duration>| summary(of(&figures[1])).0 / summary(of(&figures[0])).0;
    println!("{:<32}{:>16.2}{:>16}{:>16.2}", "ratio of the medians", ratio(|f| &f.opened), "", ratio(|f| &f.closed));
    bench.cluster.stop().unwrap();
}

/// From the command to what came of it.
#[derive(Default)]
struct Figures {
    opened: Vec<Duration>,
    closed: Vec<Duration>,
}

/// The median and the largest, in milliseconds.
fn summary(all: &[Duration]) -> (f64, f64) {
    let mut all: Vec<f64> = all.iter().map(|one| one.as_secs_f64() * 1e3).collect();
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[all.len() - 1])
}

struct Bench {
    cluster: Cluster,
    outside: String,
}

/// A policy in a file, and whom it lets one in to.
struct Way {
    file: tempfile::NamedTempFile,
    address: SocketAddr,
}

impl Bench {
    /// Two namespaces, each with a pod that nobody may call.
    fn fence_both(&self) {
        let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let pod = |namespace: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "callee", "namespace": namespace, "labels": {"app.kubernetes.io/name": "callee"}},
                "spec": {"serviceAccountName": "callee", "containers": [
                    {"name": "service", "image": NETCHECK_IMAGE, "args": ["serve", PORT.to_string()]},
                ]},
            })
        };
        let account = |namespace: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "callee", "namespace": namespace}});
        let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        let domain = json!({
            "namespaces": ["declared"], "certificateAuthority": {"selfSigned": {}},
            "inbound": [{"cidrs": [format!("{}/32", self.outside)], "ports": [{"port": PORT}]}],
        });
        let ringfence = |kind: &str, metadata: Value, spec: Value| json!({"apiVersion": "ringfence.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        let objects = [
            namespace("by-hand"),
            namespace("declared"),
            account("by-hand"),
            account("declared"),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "by-hand"}, "spec": deny}),
            ringfence("TrustDomain", json!({"name": "declared"}), domain),
            ringfence("ServiceIdentity", json!({"name": "callee", "namespace": "declared"}), json!({})),
            pod("by-hand"),
            pod("declared"),
        ];
        let file = file(&json!({"apiVersion": "v1", "kind": "List", "items": objects}));
        self.kubectl("apply", &file);
        for namespace in ["by-hand", "declared"] {
            let namespace = format!("--namespace={namespace}");
            let ready = ["wait", "pod/callee", "--for=condition=Ready", "--timeout=120s", &namespace];
            self.cluster.kubectl(&ready).unwrap();
        }
        let ready =
            ["wait", "serviceidentity/callee", "--for=condition=Ready", "--timeout=120s", "--namespace=declared"];
        self.cluster.kubectl(&ready).unwrap();
        for way in [self.by_hand(), self.declared()] {
            until(way.address, false);
        }
    }

    fn by_hand(&self) -> Way {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "callee", "namespace": "by-hand"},
            "spec": {
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "callee"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"ipBlock": {"cidr": format!("{}/32", self.outside)}}], "ports": [{"port": PORT}]}],
            },
        });
        Way { file: file(&policy), address: self.address("by-hand") }
    }

    fn declared(&self) -> Way {
        let policy = json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "callee", "namespace": "declared"},
            "spec": {
                "to": {"identity": "callee", "ports": [{"port": PORT}]},
                "from": [{"cidr": format!("{}/32", self.outside)}],
            },
        });
        Way { file: file(&policy), address: self.address("declared") }
    }

    fn address(&self, namespace: &str) -> SocketAddr {
        let namespace = format!("--namespace={namespace}");
        let address = ["get", "pod/callee", &namespace, "--output=jsonpath={.status.podIP}"];
        SocketAddr::new(self.cluster.kubectl(&address).unwrap().parse().unwrap(), PORT)
    }

    fn change(&self, verb: &str, way: &Way, open: bool) -> Duration {
        let started = Instant::now();
        self.kubectl(verb, &way.file);
        until(way.address, open);
        started.elapsed()
    }

    fn kubectl(&self, verb: &str, file: &tempfile::NamedTempFile) {
        self.cluster.kubectl(&[verb, &format!("--filename={}", file.path().display())]).unwrap();
    }
}

fn file(object: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(&file, object.to_string()).unwrap();
    file
}

/// Tries until connections are made, or are no longer.
fn until(address: SocketAddr, open: bool) {
    while TcpStream::connect_timeout(&address, ATTEMPT).is_ok() != open {}
}
