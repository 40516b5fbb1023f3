//! Several replicas: one leads and the others follow, until it ends, in whatever way.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use ringfence_cluster::{OPERATOR_NAMESPACE, Server};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{
    History, Replica, Story, TestCluster, Trust, Write, condition, edit, eventually, identity, in_namespace,
    is_question, policy, versions, wait_for,
};

mod kills;
mod pair;

/// Begins a story in a cluster for replicas, which no other story uses meanwhile. None runs in it, and there is no Lease.
async fn begin(title: &str) -> (Story, MutexGuard<'static, ()>) {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let start = || CLUSTER.get_or_init(|| tokio::runtime::Runtime::new().unwrap().block_on(TestCluster::start()));
    let cluster = tokio::task::spawn_blocking(start).await.unwrap();
    let story = Story::begin_in(cluster, title).await;
    match leases(&story).delete("ringfence", &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        deleted => drop(deleted.unwrap()),
    }
    (story, turn)
}

fn leases(story: &Story) -> Api<Lease> {
    in_namespace(story, OPERATOR_NAMESPACE)
}

/// A domain with services that call each other in a ring, all of it in force.
async fn ring(story: &Story, suffix: &str, services: &[&str]) -> Trust {
    let trust = story.trust(suffix, json!({})).await;
    for name in services {
        story.create::<ServiceIdentity>(&trust.namespace, identity(name, json!({"signingKey": {}}))).await;
    }
    for (name, next) in services.iter().zip(services.iter().cycle().skip(1)) {
        let spec = json!({
            "to": {"identity": next, "ports": [{"port": 8443}]}, "from": [{"identity": {"name": name}}],
            "authentication": {"mtls": {}, "jwt": {}},
        });
        story.ready_policy(&trust.namespace, name, spec).await;
    }
    for name in services {
        story.wait_identity(&trust.namespace, name, "be ready", is_ready).await;
    }
    story.wait_domain(&trust.domain, "be ready", is_ready).await;
    trust
}

/// Whether an object is ready as it is declared now.
fn is_ready<K: serde::Serialize>(object: &K) -> bool {
    let value = serde_json::to_value(object).unwrap();
    condition(object, "Ready").0 == "True" && value["status"]["observedGeneration"] == value["metadata"]["generation"]
}

/// Waits until whoever leads has looked at everything: policies come last, and this one after all others.
async fn has_looked(story: &Story) {
    let nobody =
        json!({"to": {"identity": "nobody", "ports": [{"port": 1}]}, "from": [{"identity": {"name": "nobody"}}]});
    let namespace = format!("zzz-{}", story.name);
    story.create_cluster_wide::<k8s_openapi::api::core::v1::Namespace>(json!({"metadata": {"name": namespace}})).await;
    story.judged_policy(&namespace, "zzz", nobody).await;
}

/// Writes about anything but the Lease, and but what [`has_looked`] asked for.
fn writes(history: &History<'_>) -> Vec<Write> {
    let mut writes = history.writes();
    writes.retain(|write| write.resource != "leases" && !write.object.starts_with("zzz-"));
    writes
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_at_once_and_only_the_lease_is_written() {
    let (story, _turn) = begin("handover").await;
    let mut leader = Replica::start(story.cluster, 30);
    let first = leader.leads().await;
    let trust = ring(&story, "shop", &["gateway", "order", "inventory"]).await;
    let follower = Replica::start(story.cluster, 30);
    follower.follows().await;
    assert_eq!(follower.asks("/livez"), (200, "ok".to_owned()));
    let before = versions(&story, &trust.namespace).await;
    let history = History::begin(story.cluster);

    let told = Instant::now();
    leader.signal("TERM");
    let second = follower.leads().await;
    let took = told.elapsed();
    eprintln!("the follower led {took:?} after the leader was told to stop");
    assert!(took < Duration::from_secs(10), "it waited {took:?}, as if for the end of the Lease");
    assert_eq!(leader.ended().await.code(), Some(0), "{}", leader.log());

    let lease = leases(&story).get("ringfence").await.unwrap().spec.unwrap();
    assert_eq!(lease.holder_identity.as_ref(), Some(&second));
    assert_ne!(first, second);
    assert_eq!(lease.lease_transitions, Some(1));
    has_looked(&story).await;
    assert_eq!(writes(&history), []);
    assert_eq!(versions(&story, &trust.namespace).await, before);
    let late = story.ready_identity(&trust.namespace, "late", json!({})).await;
    assert!(is_ready(&late));
}

#[tokio::test]
async fn after_a_kill_the_follower_takes_over_and_makes_up_for_the_time_between() {
    let (story, _turn) = begin("crash").await;
    let mut leader = Replica::start(story.cluster, 3);
    leader.leads().await;
    let trust = ring(&story, "shop", &["gateway", "order"]).await;
    let follower = Replica::start(story.cluster, 3);
    follower.follows().await;
    let before = versions(&story, &trust.namespace).await;

    let killed = Instant::now();
    leader.signal("KILL");
    assert!(!leader.ended().await.success());
    story.create::<ServiceIdentity>(&trust.namespace, identity("meanwhile", json!({}))).await;
    follower.leads().await;
    let took = killed.elapsed();
    eprintln!("the follower led {took:?} after the leader was killed");
    assert!(took > Duration::from_secs(1), "the Lease was not over after {took:?}");
    story.wait_identity(&trust.namespace, "meanwhile", "become ready", is_ready).await;
    has_looked(&story).await;
    let mut after = versions(&story, &trust.namespace).await;
    after.retain(|name, _| !name.contains("meanwhile"));
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_ends_and_writes_no_more() {
    let (story, _turn) = begin("stolen").await;
    let mut leader = Replica::start(story.cluster, 30);
    leader.leads().await;
    let trust = ring(&story, "shop", &["gateway", "order"]).await;
    edit(&leases(&story), "ringfence", |lease| {
        let spec = lease.spec.as_mut().unwrap();
        (spec.holder_identity, spec.lease_duration_seconds) = (Some("thief".to_owned()), Some(2));
    })
    .await;
    assert_eq!(leader.ended().await.code(), Some(2));
    assert!(leader.log().contains("was taken by thief"), "{}", leader.log());

    let history = History::begin(story.cluster);
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({}))).await;
    let next = Replica::start(story.cluster, 30);
    next.follows().await;
    assert_eq!(writes(&history), []);
    // The thief does not renew it.
    next.leads().await;
    story.wait_identity(&trust.namespace, "late", "become ready", is_ready).await;
}

#[tokio::test]
async fn a_lease_that_is_deleted_is_made_again_by_whoever_holds_it() {
    let (story, _turn) = begin("deleted").await;
    let leader = Replica::start(story.cluster, 30);
    let name = leader.leads().await;
    let follower = Replica::start(story.cluster, 30);
    follower.follows().await;
    let old = leases(&story).get("ringfence").await.unwrap().metadata.uid;
    leases(&story).delete("ringfence", &DeleteParams::default()).await.unwrap();
    let is_new = |lease: &Lease| lease.metadata.uid != old;
    let new = wait_for(&leases(&story), "ringfence", "be made again", is_new).await;
    assert_eq!(new.spec.unwrap().holder_identity, Some(name));
    assert_eq!(follower.leads_as(), None);
    assert_eq!(leader.asks("/livez").0, 200);
}

#[tokio::test]
async fn a_leader_that_stands_still_ends_when_it_goes_on_and_has_written_nothing() {
    let (story, _turn) = begin("frozen").await;
    let mut leader = Replica::start(story.cluster, 2);
    leader.leads().await;
    let trust = ring(&story, "shop", &["gateway", "order"]).await;
    let others = story.cluster.cluster().kubeconfig_for("other-replica", &["system:masters"]).unwrap();
    let follower = Replica::start_as(story.cluster, &others, 2);
    follower.follows().await;
    leader.signal("STOP");
    follower.leads().await;
    let history = History::begin(story.cluster);
    // What comes in meanwhile waits for it in its sockets.
    for name in ["one", "two", "three"] {
        story.create::<ServiceIdentity>(&trust.namespace, identity(name, json!({"signingKey": {}}))).await;
        story.wait_identity(&trust.namespace, name, "become ready", is_ready).await;
    }
    leader.signal("CONT");
    assert_eq!(leader.ended().await.code(), Some(2));
    let log = leader.log();
    assert!(log.contains("could not be renewed") || log.contains("was taken by"), "{log}");
    assert_eq!(history.writes(), [], "the one that had stood still wrote");
}

#[tokio::test]
async fn a_leader_that_gets_no_answer_ends_and_a_follower_waits_for_the_api_server() {
    let (story, _turn) = begin("silence").await;
    let mut leader = Replica::start(story.cluster, 2);
    leader.leads().await;
    let trust = ring(&story, "shop", &["gateway", "order"]).await;
    let mut follower = Replica::start(story.cluster, 2);
    follower.follows().await;
    let before = versions(&story, &trust.namespace).await;
    let server = story.cluster.cluster();
    server.pause_server(Server::ApiServer).unwrap();
    let silent = Instant::now();
    assert_eq!(leader.ended().await.code(), Some(2));
    let took = silent.elapsed();
    // Its last renewal was before that; the rest is for the process to go.
    assert!(took < Duration::from_secs(4), "it believed to lead for {took:?}");
    assert!(leader.log().contains("could not be renewed"), "{}", leader.log());
    eventually("the follower tries", async || follower.log().contains("could not be taken").then_some(())).await;
    assert!(follower.runs());
    assert_eq!(follower.asks("/livez").0, 200, "a restart would not help");

    server.resume_server(Server::ApiServer).unwrap();
    follower.leads().await;
    has_looked(&story).await;
    assert_eq!(versions(&story, &trust.namespace).await, before);
}

#[tokio::test]
async fn a_follower_writes_nothing_whatever_happens() {
    let (story, _turn) = begin("follower").await;
    let mut leader = Replica::start(story.cluster, 30);
    leader.leads().await;
    let me = "follower-of-this-story";
    let kubeconfig = story.cluster.cluster().kubeconfig_for(me, &["system:masters"]).unwrap();
    let follower = Replica::start_as(story.cluster, &kubeconfig, 30);
    follower.follows().await;
    let trust = ring(&story, "shop", &["gateway", "order", "inventory"]).await;
    in_namespace::<Secret>(&story, &trust.namespace).delete("order-tls", &DeleteParams::default()).await.unwrap();
    wait_for(&in_namespace::<Secret>(&story, &trust.namespace), "order-tls", "come back", |_| true).await;
    in_namespace::<AccessPolicy>(&story, &trust.namespace).delete("order", &DeleteParams::default()).await.unwrap();
    in_namespace::<ServiceIdentity>(&story, &trust.namespace).delete("order", &DeleteParams::default()).await.unwrap();
    story
        .create::<ServiceIdentity>(&trust.namespace, identity("refused", json!({"serviceAccountName": "gateway"})))
        .await;
    story
        .wait_identity(&trust.namespace, "refused", "be refused", |object| condition(object, "Ready").0 == "False")
        .await;

    assert_eq!(verbs_of(&story, me), ["list", "watch"].map(str::to_owned).into());
    leader.signal("TERM");
    follower.leads().await;
    story.ready_identity(&trust.namespace, "late", json!({})).await;
    assert!(verbs_of(&story, me).contains("create"), "the audit log would have told");
    assert!(leader.ended().await.success());
}

/// The verbs of a user's requests.
fn verbs_of(story: &Story, user: &str) -> std::collections::BTreeSet<String> {
    let log = std::fs::read_to_string(story.cluster.cluster().audit_log()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = events.filter(|event| event["user"]["username"] == user && !is_question(event));
    own.filter_map(|event| event["verb"].as_str().map(str::to_owned)).collect()
}

/// Waits until all that is declared in these namespaces is ready.
async fn all_ready(story: &Story, namespaces: &[String]) {
    let mut last = BTreeMap::new();
    let looking = eventually("everything is ready", async || {
        last = unready(story, namespaces).await;
        last.is_empty().then_some(())
    });
    if tokio::time::timeout(Duration::from_secs(50), looking).await.is_err() {
        panic!("not ready: {last:#?}");
    }
}

/// What is declared in these namespaces and not ready.
async fn unready(story: &Story, namespaces: &[String]) -> BTreeMap<String, Value> {
    let mut unready = BTreeMap::new();
    for namespace in namespaces {
        let params = kube::api::ListParams::default();
        for object in story.api::<ServiceIdentity>(namespace).list(&params).await.unwrap() {
            if !is_ready(&object) {
                unready.insert(format!("{namespace}/{}", object.metadata.name.clone().unwrap()), json!(object.status));
            }
        }
        for object in story.api::<AccessPolicy>(namespace).list(&params).await.unwrap() {
            if !is_ready(&object) {
                unready.insert(format!("{namespace}/{}", object.metadata.name.clone().unwrap()), json!(object.status));
            }
        }
    }
    for domain in story.all::<TrustDomain>().list(&kube::api::ListParams::default()).await.unwrap() {
        if domain.spec.namespaces.iter().any(|name| namespaces.contains(name)) && !is_ready(&domain) {
            unready.insert(domain.metadata.name.clone().unwrap(), json!(domain.status));
        }
    }
    unready
}

/// Demands that whoever looks at everything for the first time finds nothing to write.
async fn nothing_is_left_to_write(story: &Story, namespaces: &[String]) {
    let history = History::begin(story.cluster);
    let operation = story.cluster.operate().await;
    has_looked(story).await;
    let mut left = writes(&history);
    left.retain(|write| namespaces.iter().any(|namespace| write.object.contains(namespace)));
    assert_eq!(left, []);
    operation.stop().await;
}
