//! The chart in a real cluster, and the operator with no more rights than the chart gives it.

use std::path::Path;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use ringfence::controller::{Candidate, Operator};
use ringfence_cluster::{Cluster, OPERATOR_NAMESPACE, OPERATOR_USER, Options};
use ringfence_core::world::Settings;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::helm::{Helm, chart};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_gets_ready_in_a_cluster_that_knows_only_the_chart() {
    let cluster = blocking(|| Cluster::start(&Options::default()).unwrap()).await;
    let cluster = blocking(move || {
        assert!(install(&cluster).contains("kubectl get ringfence -A"));
        cluster
    })
    .await;

    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{OPERATOR_NAMESPACE}")];
    let mut operator =
        Operator::new(config(&cluster.kubeconfig_for(OPERATOR_USER, &groups).unwrap()).await, Settings::default());
    operator.candidate = Some(Candidate::new(Duration::from_secs(15)));
    let stop = CancellationToken::new();
    let running = tokio::spawn(operator.run(stop.clone()));

    let cluster = blocking(move || {
        declare_the_shop(&cluster);
        assert_eq!(refusals(cluster.audit_log(), OPERATOR_USER), Vec::<String>::new());

        // A second time changes nothing, and the release goes without taking what was declared.
        let outputs =
            |cluster: &Cluster| cluster.kubectl(&["get", "networkpolicies,secrets", "-A", "-o=name"]).unwrap();
        let before = outputs(&cluster);
        install(&cluster);
        // There is one Ringfence in a cluster, and a second one does not get in its way.
        for namespace in [OPERATOR_NAMESPACE, "elsewhere"] {
            is_refused_by_the_first_release(&cluster, namespace);
        }
        // No pod runs here, and so no hook: then nothing goes, and one may try again.
        let everything = || cluster.kubectl(&["get", "clusterroles,validatingadmissionpolicies", "-o=name"]).unwrap();
        let installed = everything();
        uninstall("--timeout=2s").cluster(cluster.kubeconfig()).failure();
        let left = everything();
        assert!(installed.contains("ringfence") && installed.lines().all(|name| left.contains(name)), "{left}");
        uninstall("--no-hooks").cluster(cluster.kubeconfig()).success();
        let without_releases = |names: String| {
            names.lines().filter(|name| !name.contains("helm.release")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without_releases(outputs(&cluster)), without_releases(before.clone()));
        let policies = ["get", "validatingadmissionpolicies,validatingadmissionpolicybindings", "-o=name"];
        assert_eq!(cluster.kubectl(&policies).unwrap(), "");
        let declared = cluster.kubectl(&["get", "ringfence", "-A", "-o=name"]).unwrap();
        assert_eq!(declared.lines().count(), 3 + 5 + 5, "{declared}");

        // The kinds that stayed are those of the first release, until another one is told to take them over.
        is_refused_by_the_first_release(&cluster, OPERATOR_NAMESPACE);
        second(&cluster, OPERATOR_NAMESPACE).argument("--take-ownership").success();
        assert_eq!(without_releases(outputs(&cluster)), without_releases(before));
        cluster
    })
    .await;

    stop.cancel();
    running.await.unwrap().unwrap();
    blocking(move || cluster.stop().unwrap()).await;
}

/// Installs the chart, or upgrades the release; gives what the user is told.
fn install(cluster: &Cluster) -> String {
    let chart = chart();
    let install = ["upgrade", "--install", "ringfence", chart.to_str().unwrap()];
    let place = ["--namespace", OPERATOR_NAMESPACE, "--create-namespace"];
    Helm::new(&[install.as_slice(), &place].concat()).cluster(cluster.kubeconfig()).success()
}

fn uninstall(option: &str) -> Helm {
    Helm::new(&["uninstall", "ringfence", option, "--namespace", OPERATOR_NAMESPACE])
}

/// Installs the chart under another name.
fn second(cluster: &Cluster, namespace: &str) -> Helm {
    let chart = chart();
    let install = ["install", "second", chart.to_str().unwrap(), "--namespace", namespace, "--create-namespace"];
    Helm::new(&install).cluster(cluster.kubeconfig())
}

fn is_refused_by_the_first_release(cluster: &Cluster, namespace: &str) {
    let refusal = second(cluster, namespace).failure();
    let because = "annotation validation error: key \"meta.helm.sh/release-name\" must equal \"second\": current value is \"ringfence\"";
    assert!(refusal.contains(because), "{refusal}");
}

/// Applies `examples/shop/policies` and waits until everything in it is ready.
fn declare_the_shop(cluster: &Cluster) {
    // Every cluster has a DNS service; this one had none.
    cluster.kubectl(&["create", "service", "clusterip", "kube-dns", "--namespace=kube-system", "--tcp=53"]).unwrap();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/policies");
    cluster.kubectl(&["apply", "--server-side", &format!("--filename={}", policies.display())]).unwrap();
    for kind in ["trustdomains", "serviceidentities", "accesspolicies"] {
        let ready = ["wait", kind, "--all", "--all-namespaces", "--for=condition=Ready", "--timeout=120s"];
        if let Err(error) = cluster.kubectl(&ready) {
            panic!("{error:#}\n{}", cluster.kubectl(&["get", "ringfence", "-A", "-o=wide"]).unwrap());
        }
    }
}

/// What the API server refused to a user, from the audit log.
fn refusals(audit_log: &Path, user: &str) -> Vec<String> {
    let log = std::fs::read_to_string(audit_log).unwrap();
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let own: Vec<&Value> = events.iter().filter(|event| event["user"]["username"] == user).collect();
    assert!(own.iter().any(|event| event["verb"] == "create"), "the operator did nothing at all");
    let refused = own.into_iter().filter(|event| event["responseStatus"]["code"] == 403);
    refused.map(|event| format!("{} {}", event["verb"], event["objectRef"])).collect()
}

async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
