//! Two independent judges of NetworkPolicies, neither of which has ever heard of us: np-guard's analyzer and cyclonus.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use kube::{Api, Client};
use ringfence_cluster::{Tool, tool};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A pod that the judges are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its one label.
    pub label: (&'static str, &'static str),
}

/// Who may connect to whom: `<namespace>/<pod>` or [`OUTSIDE`], and for instance `TCP 8443`.
pub type Connection = (String, String, String);

/// Any address outside the cluster.
pub const OUTSIDE: &str = "outside";

/// Every NetworkPolicy of a cluster, as the API server has it.
pub async fn network_policies(client: Client) -> Vec<Value> {
    let policies = Api::<NetworkPolicy>::all(client).list(&ListParams::default()).await.unwrap();
    let values = policies.into_iter().map(|mut policy| {
        policy.metadata.managed_fields = None;
        serde_json::to_value(policy).unwrap()
    });
    values
        .map(|mut policy| {
            policy["apiVersion"] = json!("networking.k8s.io/v1");
            policy["kind"] = json!("NetworkPolicy");
            policy
        })
        .collect()
}

/// What np-guard's analyzer makes of them: everything that is open, on whatever port.
pub fn np_guard(policies: &[Value], workloads: &[Workload]) -> BTreeSet<Connection> {
    let folder = folder(policies);
    for (index, pod) in workloads.iter().enumerate() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": pod.namespace, "labels": namespace_labels(pod),
        }});
        write(folder.path(), &format!("namespace-{}", pod.namespace), &namespace);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": labels(pod)},
            "spec": {"containers": [{"name": "main", "image": "main", "ports": [{"containerPort": 8443}]}]},
            "status": {"hostIP": "192.168.0.1", "podIPs": [{"ip": address(index)}]},
        });
        write(folder.path(), &format!("pod-{index}"), &pod);
    }
    let output = run(Tool::Netpolicy, &["list", "--quiet", "--output", "json", "--dirpath", path(folder.path())]);
    let found: Vec<Value> = serde_json::from_str(&output).unwrap();
    let name = |end: &Value| match end.as_str().unwrap() {
        "0.0.0.0-255.255.255.255" => OUTSIDE.to_owned(),
        pod => pod.trim_end_matches("[Pod]").to_owned(),
    };
    let each = found.iter().flat_map(|found| {
        let ports = found["conn"].as_str().unwrap().split(',').map(str::to_owned);
        ports.map(|port| (name(&found["src"]), name(&found["dst"]), port))
    });
    each.collect()
}

/// What cyclonus makes of them: every pair is asked about, on each of these ports.
pub fn cyclonus(policies: &[Value], workloads: &[Workload], ports: &[(&str, u16)]) -> BTreeSet<Connection> {
    let folder = folder(policies);
    let outside = (OUTSIDE.to_owned(), json!({"IP": "198.51.100.7"}));
    let pods = workloads.iter().enumerate().map(|(index, pod)| {
        let internal =
            json!({"Namespace": pod.namespace, "NamespaceLabels": namespace_labels(pod), "PodLabels": labels(pod)});
        (format!("{}/{}", pod.namespace, pod.name), json!({"IP": address(index), "Internal": internal}))
    });
    let ends: Vec<(String, Value)> = pods.chain([outside]).collect();
    let (mut asked, mut traffic) = (Vec::new(), Vec::new());
    for (from, source) in &ends {
        for (to, destination) in ends.iter().filter(|(to, _)| to != from) {
            for (protocol, port) in ports {
                asked.push((from.clone(), to.clone(), format!("{protocol} {port}")));
                traffic.push(json!({
                    "Source": source, "Destination": destination, "Protocol": protocol, "ResolvedPort": port,
                    "ResolvedPortName": "",
                }));
            }
        }
    }
    let questions = TempDir::new().unwrap();
    write(questions.path(), "traffic", &json!(traffic));
    let questions = questions.path().join("traffic.json");
    let arguments = ["analyze", "--mode", "query-traffic", "--policy-path", path(folder.path()), "--traffic-path"];
    let output = run(Tool::Cyclonus, &[arguments.as_slice(), &[path(&questions)]].concat());
    let answers: Vec<bool> =
        output.lines().filter(|line| line.starts_with("| IS ALLOWED?")).map(|line| line.contains("TRUE")).collect();
    assert_eq!(answers.len(), asked.len(), "an answer to every question");
    asked.into_iter().zip(answers).filter(|(_, allowed)| *allowed).map(|(connection, _)| connection).collect()
}

/// Both judges read one document from each file.
fn folder(policies: &[Value]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (index, policy) in policies.iter().enumerate() {
        write(folder.path(), &format!("policy-{index}"), policy);
    }
    folder
}

fn write(folder: &Path, name: &str, document: &Value) {
    std::fs::write(folder.join(format!("{name}.json")), document.to_string()).unwrap();
}

fn run(judge: Tool, arguments: &[&str]) -> String {
    let output = Command::new(tool(judge).unwrap()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{judge:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn namespace_labels(pod: &Workload) -> Value {
    json!({"kubernetes.io/metadata.name": pod.namespace})
}

fn labels(pod: &Workload) -> Value {
    json!({pod.label.0: pod.label.1})
}

fn address(index: usize) -> String {
    format!("10.0.0.{}", index + 1)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
