//! Workloads that can't reload are rolled when what they are delivered has changed: once, a few at a time, and only those
//! with pods from before.

use std::collections::BTreeSet;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use ringfence_cluster::OPERATOR_USER;
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use ringfence_core::world::{RESTART_ANNOTATION, Settings};
use serde_json::{Value, json};

use crate::support::{
    Forward, History, Namespaced, Operation, Story, begin_alone, condition, edit, event_reasons, eventually, identity,
    in_namespace, policy, says, wait_for, writes_since,
};

/// An operator that may roll workloads, by a clock that can be put forward.
async fn operate(story: &Story, clock: &Forward) -> Operation {
    story.cluster.operate_with(Settings { restart: true, ..Settings::default() }, clock.clock()).await
}

/// A spec that names workloads.
fn restarting(workloads: &[(&str, &str)]) -> Value {
    let workloads: Vec<Value> = workloads.iter().map(|(kind, name)| json!({"kind": kind, "name": name})).collect();
    json!({"workloads": workloads})
}

/// A workload of the identity `app`, of any kind.
fn workload(name: &str, app: &str) -> Value {
    let labels = json!({"app.kubernetes.io/name": app, "workload": name});
    json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels, "annotations": {"example.com/note": "kept"}}, "spec": {
            "serviceAccountName": app, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none"}],
        }},
    }})
}

/// Waits until all workloads of an identity run with what is delivered now; returns the hash of that.
async fn through(story: &Story, namespace: &str, name: &str, other_than: Option<&str>) -> String {
    let done = |object: &ServiceIdentity| {
        let restart = object.status.as_ref().and_then(|status| status.restart.as_ref());
        restart.is_some_and(|restart| {
            restart.completed_generation == object.metadata.generation && Some(restart.hash.as_str()) != other_than
        })
    };
    let object = story.wait_identity(namespace, name, "run with what is delivered", done).await;
    assert_eq!(condition(&object, "RestartPending").0, "");
    object.status.unwrap().restart.unwrap().hash
}

/// What a workload was last rolled for.
fn rolled_for<K: Namespaced>(workload: &K) -> Option<String> {
    let object = serde_json::to_value(workload).unwrap();
    let annotations = &object["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["example.com/note"], "kept");
    annotations[RESTART_ANNOTATION].as_str().map(str::to_owned)
}

/// UIDs of the pods of a namespace that run.
async fn running(story: &Story, namespace: &str) -> BTreeSet<String> {
    let pods = in_namespace::<Pod>(story, namespace).list(&ListParams::default()).await.unwrap();
    let runs = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    pods.into_iter().filter(runs).filter_map(|pod| pod.uid()).collect()
}

async fn run(story: &Story, namespace: &str, count: usize) -> BTreeSet<String> {
    eventually(&format!("{count} pods run"), async || {
        let pods = running(story, namespace).await;
        (pods.len() == count).then_some(pods)
    })
    .await
}

/// Asks for another certificate.
async fn replace_certificate(story: &Story, namespace: &str, name: &str, id: &str) {
    let rotation = json!({"rotation": {"id": id, "target": "Certificate", "mode": "Compromised"}});
    story.change(in_namespace::<ServiceIdentity>(story, namespace), name, rotation).await;
}

/// Patches of workloads in a namespace.
fn patches(history: &History<'_>, namespace: &str) -> Vec<String> {
    let kinds = ["deployments", "statefulsets", "daemonsets"];
    let writes = history.writes().into_iter().filter(|write| kinds.contains(&write.resource.as_str()));
    let own = writes.filter(|write| write.object.starts_with(&format!("{namespace}/")));
    let mut patches: Vec<String> = own.map(|write| format!("{} {}", write.verb, write.resource)).collect();
    patches.sort();
    patches
}

/// How often the operator has asked for a workload of a namespace, since a number of lines of the audit log.
fn questions(story: &Story, namespace: &str, lines: usize) -> usize {
    let log = std::fs::read_to_string(story.cluster.cluster().audit_log()).unwrap();
    let events = log.lines().skip(lines).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = events.filter(|event| event["user"]["username"] == OPERATOR_USER);
    own.filter(|event| event["objectRef"]["apiGroup"] == "apps" && event["objectRef"]["namespace"] == namespace).count()
}

#[tokio::test]
async fn a_renewed_certificate_rolls_workloads_of_all_three_kinds_once() {
    let (story, _turn) = begin_alone("rolled").await;
    let clock = Forward::default();
    let operation = operate(&story, &clock).await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    // Here a DaemonSet has a pod.
    story.create_cluster_wide::<Node>(json!({"metadata": {"name": story.name}})).await;
    let all = [("Deployment", "main"), ("StatefulSet", "main"), ("DaemonSet", "main")];
    let spec = json!({"certificate": {"duration": "5m"}, "signingKey": {}, "restart": restarting(&all)});
    let history = History::begin(story.cluster);
    story.run_as(namespace, "order").await;
    // Helm creates an identity last: pods wait for its Secret.
    story.create::<Deployment>(namespace, workload("main", "order")).await;
    story.create::<StatefulSet>(namespace, workload("main", "order")).await;
    let mut daemon = workload("main", "order");
    let labels = json!({"app.kubernetes.io/name": "order", "workload": "daemon"});
    daemon["spec"]["selector"]["matchLabels"] = labels.clone();
    daemon["spec"]["template"]["metadata"]["labels"] = labels;
    story.create::<DaemonSet>(namespace, daemon).await;
    let order = story.ready_identity(namespace, "order", spec).await;
    let _kubelet = story.start_pods_by(namespace, &clock);
    let before = run(&story, namespace, 3).await;
    clock.to(12);
    let first = through(&story, namespace, "order", None).await;
    assert_eq!(patches(&history, namespace), Vec::<String>::new(), "what pods start with needs no restart");

    clock.to(250);
    let deployments = in_namespace::<Deployment>(&story, namespace);
    wait_for(&deployments, "main", "be rolled", |object| rolled_for(object).is_some()).await;
    let second = through(&story, namespace, "order", Some(&first)).await;
    let hash = Some(second.clone());
    assert_eq!(rolled_for(&deployments.get("main").await.unwrap()), hash);
    assert_eq!(rolled_for(&in_namespace::<StatefulSet>(&story, namespace).get("main").await.unwrap()), hash);
    assert_eq!(rolled_for(&in_namespace::<DaemonSet>(&story, namespace).get("main").await.unwrap()), hash);
    let after = run(&story, namespace, 3).await;
    assert!(before.is_disjoint(&after), "each pod is another one");
    let once = ["patch daemonsets", "patch deployments", "patch statefulsets"];
    eventually("each is told of once", async || {
        let reasons = event_reasons(&story, &order).await;
        (reasons.iter().filter(|reason| *reason == "Restarted").count() == 3).then_some(())
    })
    .await;
    assert_eq!(patches(&history, namespace), once);
    assert!(questions(&story, namespace, 0) > 0);

    // Whoever replaces a workload, and takes the annotation off, replaces its pods with that.
    edit(&deployments, "main", |object| {
        let template = object.spec.as_mut().unwrap().template.metadata.as_mut().unwrap();
        template.annotations.as_mut().unwrap().remove(RESTART_ANNOTATION);
    })
    .await;
    eventually("the pod of the Deployment is replaced", async || {
        let now = running(&story, namespace).await;
        (now.len() == 3 && now.difference(&after).count() == 1).then_some(())
    })
    .await;
    operation.stop().await;

    // Who takes over has nothing to do.
    let history = History::begin(story.cluster);
    let (_, lines) = writes_since(story.cluster, 0);
    let operation = operate(&story, &clock).await;
    story.ready_identity(namespace, "zzz", json!({})).await;
    let mut writes = history.writes();
    let others = ["zzz", "/ringfence", "/."];
    writes.retain(|write| write.object.contains(&story.name) && !others.iter().any(|o| write.object.contains(o)));
    writes.retain(|write| write.resource != "events");
    assert_eq!(writes, []);
    assert_eq!(questions(&story, namespace, lines), 0, "no workload is looked at");
    operation.stop().await;
    Api::<Node>::all(story.client.clone()).delete(&story.name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_and_a_bundle_that_change_together_roll_once() {
    let (story, _turn) = begin_alone("together").await;
    let clock = Forward::default();
    let operation = operate(&story, &clock).await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    let namespace = &right.namespace;
    let spec = json!({"restart": restarting(&[("Deployment", "payment")])});
    story.ready_identity(namespace, "payment", spec).await;
    story.ready_identity(&left.namespace, "order", json!({"signingKey": {}})).await;
    story.run_as(namespace, "payment").await;
    let _kubelet = story.start_pods_by(namespace, &clock);
    let history = History::begin(story.cluster);
    story.create::<Deployment>(namespace, workload("payment", "payment")).await;
    let before = run(&story, namespace, 1).await;
    clock.to(15);
    let first = through(&story, namespace, "payment", None).await;

    let grant = json!({
        "to": {"identity": "payment", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order", "namespace": left.namespace}}], "authentication": {"mtls": {}, "jwt": {}},
    });
    story.create::<AccessPolicy>(namespace, policy("pay", grant)).await;
    replace_certificate(&story, namespace, "payment", "once").await;
    let is_other = |object: &ServiceIdentity| {
        let status = object.status.as_ref();
        status.and_then(|status| status.restart.as_ref()).is_some_and(|restart| restart.hash != first)
    };
    story.wait_identity(namespace, "payment", "be delivered something else", is_other).await;
    story.wait_policy(namespace, "pay", "be in force", |object| condition(object, "Ready").0 == "True").await;
    clock.to(30);
    through(&story, namespace, "payment", Some(&first)).await;
    assert!(before.is_disjoint(&run(&story, namespace, 1).await));
    assert_eq!(patches(&history, namespace), ["patch deployments"]);
    operation.stop().await;
}

#[tokio::test]
async fn without_the_opt_in_nothing_is_rolled_and_a_condition_says_what_to_set() {
    let (story, _turn) = begin_alone("optin").await;
    let clock = Forward::default();
    let operation = story.cluster.operate_by(clock.clock()).await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    story.run_as(namespace, "order").await;
    let _kubelet = story.start_pods_by(namespace, &clock);
    let history = History::begin(story.cluster);
    story.create::<Deployment>(namespace, workload("main", "order")).await;
    let spec = json!({"restart": restarting(&[("Deployment", "main")])});
    story.ready_identity(namespace, "order", spec).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    let off = ["restarts are off", "Deployment main", "restart.enabled: true"];
    let before = says(&identities, "order", ("RestartPending", "True", "RestartDisabled"), &off)
        .await
        .status
        .unwrap()
        .certificate;
    replace_certificate(&story, namespace, "order", "once").await;
    let renewed = |object: &ServiceIdentity| object.status.as_ref().is_some_and(|status| status.certificate != before);
    let object = story.wait_identity(namespace, "order", "get another certificate", renewed).await;
    assert_eq!(condition(&object, "Programmed").0, "True");
    clock.to(60);
    story.ready_identity(namespace, "late", json!({})).await;
    let object = identities.get("order").await.unwrap();
    assert_eq!(condition(&object, "Ready").0, "True");
    assert_eq!(object.status.unwrap().restart, None);
    assert_eq!(patches(&history, namespace), Vec::<String>::new());
    operation.stop().await;

    // Once it is on, pods from before the certificate are replaced after all.
    let operation = operate(&story, &clock).await;
    through(&story, namespace, "order", None).await;
    assert_eq!(patches(&history, namespace), ["patch deployments"]);
    operation.stop().await;
}

#[tokio::test]
async fn a_workload_that_does_not_exist_is_named_and_one_that_comes_later_needs_no_restart() {
    let (story, _turn) = begin_alone("absent").await;
    let clock = Forward::default();
    let operation = operate(&story, &clock).await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    let history = History::begin(story.cluster);
    let spec = json!({"restart": restarting(&[("StatefulSet", "main")])});
    story.ready_identity(namespace, "order", spec).await;
    clock.to(15);
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    let words =
        [&*format!("there is no StatefulSet {namespace}/main"), "create it, or take it out of restart.workloads"];
    let object = says(&identities, "order", ("RestartPending", "True", "WorkloadNotFound"), &words).await;
    assert_eq!(condition(&object, "Ready").0, "True", "credentials are delivered all the same");

    story.run_as(namespace, "order").await;
    let _kubelet = story.start_pods_by(namespace, &clock);
    story.create::<StatefulSet>(namespace, workload("main", "order")).await;
    through(&story, namespace, "order", None).await;
    assert_eq!(patches(&history, namespace), Vec::<String>::new());
    operation.stop().await;
}

/// More than may be rolled at a time.
const SERVICES: usize = 12;

#[tokio::test]
async fn no_more_than_three_workloads_of_a_namespace_are_rolled_at_a_time_and_the_others_take_their_turns() {
    let (story, _turn) = begin_alone("turns").await;
    let clock = Forward::default();
    let operation = operate(&story, &clock).await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    let _kubelet = story.start_pods_by(namespace, &clock);
    let names: Vec<String> = (0..SERVICES).map(|number| format!("service-{number:02}")).collect();
    join_all(names.iter().map(async |name| {
        let spec = json!({"restart": restarting(&[("Deployment", name)])});
        story.create::<ServiceIdentity>(namespace, identity(name, spec)).await;
        story.run_as(namespace, name).await;
        story.create::<Deployment>(namespace, workload(name, name)).await;
    }))
    .await;
    let before = run(&story, namespace, SERVICES).await;
    clock.to(15);
    for name in &names {
        through(&story, namespace, name, None).await;
    }
    // Their pods stay as long as they are paused.
    let deployments = in_namespace::<Deployment>(&story, namespace);
    for name in &names {
        story.change(deployments.clone(), name, json!({"paused": true})).await;
        replace_certificate(&story, namespace, name, "once").await;
    }
    let saying = async |words: &str| {
        let all = in_namespace::<ServiceIdentity>(&story, namespace).list(&ListParams::default()).await.unwrap();
        let said = all.iter().map(|object| condition(object, "RestartPending"));
        said.filter(|(_, reason, message)| reason == "Restarting" && message.contains(words)).count()
    };
    clock.to(40);
    eventually("three are rolled and the others wait", async || {
        let rolled = saying("is being rolled").await;
        let waiting = saying("waits until others are rolled").await;
        assert!(rolled <= 3, "{rolled} at a time");
        (rolled == 3 && waiting == SERVICES - 3).then_some(())
    })
    .await;
    let rolled = deployments.list(&ListParams::default()).await.unwrap();
    let rolled: Vec<String> =
        rolled.into_iter().filter(|object| rolled_for(object).is_some()).map(|object| object.name_any()).collect();
    assert_eq!(rolled.len(), 3);
    for name in &names {
        story.change(deployments.clone(), name, json!({"paused": false})).await;
    }
    for name in &names {
        wait_for(&deployments, name, "be rolled", |object| rolled_for(object).is_some()).await;
        through(&story, namespace, name, None).await;
    }
    assert!(before.is_disjoint(&run(&story, namespace, SERVICES).await));
    operation.stop().await;
}
