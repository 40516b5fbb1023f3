//! The API server goes away, for real: it is killed and started again.
//!
//! What counts in an outage is how long it is as seen from the Lease. With a Lease of one or two seconds, some seconds are
//! what minutes are for the 15 seconds that are the default: the leader's time is over, and a liveness probe would have
//! lost its patience many times over.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use ringfence_cluster::Server;
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::json;

use crate::begin::{Room, is_ready, pair};
use crate::page::section;
use crate::support::{History, Replica, edit, eventually, identity, in_namespace, versions, wait_for};

static ROOM: Room = Room::new();

#[tokio::test]
async fn an_outage_that_the_lease_outlasts_is_told_once_and_is_over_by_itself() {
    let (story, _turn) = ROOM.begin("outage").await;
    let mut operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let (before, lines) = (versions(&story, &trust.namespace).await, operator.log().lines().count());
    let server = story.cluster.cluster();
    server.stop_server(Server::ApiServer).unwrap();
    // Its next renewal, within ten seconds: until then it has tried all watches again and again.
    eventually("the Lease can't be renewed", async || {
        operator.log().contains("could not be renewed: it is tried again").then_some(())
    })
    .await;
    assert_eq!(operator.asks("/livez"), (200, "ok".to_owned()));
    assert_eq!(operator.asks("/readyz").0, 200, "it knows all that it has to know");
    server.start_server(Server::ApiServer).unwrap();
    eventually("the outage is over", async || operator.log().contains("reached again").then_some(())).await;
    story.ready_identity(&trust.namespace, "late", json!({})).await;

    let log = operator.log();
    let told: Vec<&str> = log.lines().skip(lines).filter(|line| !line.contains("late")).collect();
    assert!(told.len() <= 12, "{} lines about one outage: {told:#?}", told.len());
    section("The API server can't be reached").is_what_they_say(std::slice::from_ref(&log));
    assert_eq!(log.matches("everything waits").count(), 1, "{told:#?}");
    let mut after = versions(&story, &trust.namespace).await;
    after.retain(|name, _| !name.contains("late"));
    assert_eq!(after, before);
    assert!(operator.runs());
}

#[tokio::test]
async fn after_an_outage_of_many_leases_a_restarted_replica_goes_on_where_the_last_one_ended() {
    let (story, _turn) = ROOM.begin("minutes").await;
    let mut leader = Replica::start(story.cluster, 2);
    leader.leads().await;
    let trust = pair(&story, "shop").await;
    let before = versions(&story, &trust.namespace).await;
    let server = story.cluster.cluster();
    server.stop_server(Server::ApiServer).unwrap();
    assert_eq!(leader.ended().await.code(), Some(2));
    section("The operator ends: its Lease could not be renewed").is_what_they_say(&[leader.log()]);

    let next = Replica::start(story.cluster, 1);
    let started = Instant::now();
    eventually("it listens", async || (next.asks("/readyz").0 == 503).then_some(())).await;
    // Longer than the patience of its liveness, which is four Leases.
    eventually("eight Leases are over", async || {
        assert_eq!(next.asks("/livez"), (200, "ok".to_owned()), "no restart brings the API server back");
        (started.elapsed() > Duration::from_secs(8)).then_some(())
    })
    .await;
    let (status, waits_for) = next.asks("/readyz");
    assert_eq!(status, 503);
    section("The operator does not become ready").is_what_they_say(&[waits_for]);
    let lines = next.log().lines().count();
    assert!(lines <= 6, "{lines} lines: {}", next.log());

    server.start_server(Server::ApiServer).unwrap();
    let back = Instant::now();
    next.leads().await;
    eprintln!("it led {:?} after the API server was back", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(27), "pauses end after 25 s");
    let late = story.ready_identity(&trust.namespace, "late", json!({})).await;
    assert!(is_ready(&late));
    let mut after = versions(&story, &trust.namespace).await;
    after.retain(|name, _| !name.contains("late"));
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_happened_while_a_watch_was_too_far_behind_is_made_up_for() {
    let (story, _turn) = ROOM.begin("gone").await;
    let operator = Replica::start(story.cluster, 300);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let callers = |object: &ConfigMap| object.data.as_ref().unwrap()["access.json"].contains("sa/caller");
    let files = in_namespace::<ConfigMap>(&story, &trust.namespace);
    wait_for(&files, "callee-trust", "name the caller", callers).await;
    let history = History::begin(story.cluster);
    operator.signal("STOP");
    let policies = in_namespace::<AccessPolicy>(&story, &trust.namespace);
    policies.delete("callee", &DeleteParams::default()).await.unwrap();
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({}))).await;
    // One that has just started remembers nothing of what was before.
    let server = story.cluster.cluster();
    server.stop_server(Server::ApiServer).unwrap();
    server.start_server(Server::ApiServer).unwrap();
    operator.signal("CONT");
    wait_for(&files, "callee-trust", "not name the caller any more", |object| !callers(object)).await;
    story.wait_identity(&trust.namespace, "late", "become ready", is_ready).await;
    section("Watches fell too far behind").is_what_they_say(&[operator.log()]);
    for (secret, writes) in [("late-tls", 1), ("callee-tls", 0), ("caller-tls", 0)] {
        let object = format!("{}/{secret}", trust.namespace);
        assert_eq!(history.writes_to("secrets", &object), writes, "{secret}");
    }
}

#[tokio::test]
async fn a_lease_that_someone_else_takes_ends_the_operator_with_a_sentence() {
    let (story, _turn) = ROOM.begin("stolen").await;
    let mut leader = Replica::start(story.cluster, 30);
    leader.leads().await;
    edit(&crate::begin::leases(&story), "ringfence", |lease| {
        lease.spec.as_mut().unwrap().holder_identity = Some("thief".to_owned());
    })
    .await;
    assert_eq!(leader.ended().await.code(), Some(2));
    section("The operator ends: its Lease was taken").is_what_they_say(&[leader.log()]);
}
