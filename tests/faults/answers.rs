//! The API server is there, and its answers are refusals, late, or lost on their way.

use std::collections::BTreeSet;
use std::time::Duration;

use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::ServiceIdentity;
use serde_json::json;

use crate::begin::{Room, is_ready, pair};
use crate::page::section;
use crate::proxy::{Proxy, Trouble};
use crate::support::{History, Replica, eventually, identity, versions};

static ROOM: Room = Room::new();

/// Demands that each Secret of a namespace was written once since a moment, and the CA of the domain as often as given.
fn issued_once(history: &History<'_>, namespace: &str, names: &[&str]) {
    for name in names {
        for secret in ["tls", "signing-key"] {
            let object = format!("{namespace}/{name}-{secret}");
            assert_eq!(history.writes_to("secrets", &object), 1, "{object}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_asks_to_come_back_later_is_left_alone_until_then() {
    let (story, _turn) = ROOM.begin("throttled").await;
    let proxy = Proxy::start(story.cluster).await;
    let operator = Replica::start_as(story.cluster, proxy.kubeconfig(), 30);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let before = versions(&story, &trust.namespace).await;
    let (history, pause) = (History::begin(story.cluster), Duration::from_secs(3));
    proxy.make(|asked| (!asked.is_of_lease()).then_some(Trouble::Later(3)));
    proxy.take_asked();
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({"signingKey": {}}))).await;
    let mut asked = Vec::new();
    eventually("it has been refused three times", async || {
        asked.extend(proxy.take_asked().into_iter().filter(|asked| !asked.is_of_lease()));
        let spread = asked.first().map(|first| asked.last().unwrap().at - first.at);
        (spread > Some(pause * 2)).then_some(())
    })
    .await;
    // What was under way together is refused together; after that nothing comes for as long as was asked.
    let mut waves = 1;
    for pair in asked.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart < Duration::from_millis(500) || apart > pause - Duration::from_millis(300), "{asked:#?}");
        waves += u32::from(apart > Duration::from_millis(500));
    }
    assert!((2..=4).contains(&waves) && asked.len() <= 40, "{} requests in {waves} waves", asked.len());
    assert_eq!((operator.asks("/livez").0, operator.asks("/readyz").0), (200, 200));
    proxy.make(|_| None);
    story.wait_identity(&trust.namespace, "late", "become ready", is_ready).await;
    issued_once(&history, &trust.namespace, &["late"]);
    let mut after = versions(&story, &trust.namespace).await;
    after.retain(|name, _| !name.contains("late"));
    assert_eq!(after, before);
    let log = operator.log();
    section("The API server takes no requests").is_what_they_say(std::slice::from_ref(&log));
    assert_eq!(log.matches("takes no requests now").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_api_server_makes_everything_late_and_nothing_twice() {
    let (story, _turn) = ROOM.begin("slow").await;
    let proxy = Proxy::start(story.cluster).await;
    let mut operator = Replica::start_as(story.cluster, proxy.kubeconfig(), 6);
    operator.leads().await;
    let history = History::begin(story.cluster);
    proxy.make(|asked| (!asked.is_watch()).then_some(Trouble::Late(Duration::from_millis(400))));
    let trust = pair(&story, "shop").await;
    issued_once(&history, &trust.namespace, &["callee", "caller"]);
    let authority = format!("{OPERATOR_NAMESPACE}/{}-ca", trust.domain);
    assert_eq!(history.writes_to("secrets", &authority), 1);
    assert!(operator.runs());

    // Slower than a sixth of the Lease: nobody can tell such an API server from one that is away.
    proxy.make(|asked| (!asked.is_watch()).then_some(Trouble::Late(Duration::from_millis(1600))));
    assert_eq!(operator.ended().await.code(), Some(2));
    section("The API server is slow").is_what_they_say(&[operator.log()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_although_its_answer_is_lost_is_not_written_again() {
    let (story, _turn) = ROOM.begin("lost").await;
    let proxy = Proxy::start(story.cluster).await;
    let operator = Replica::start_as(story.cluster, proxy.kubeconfig(), 30);
    operator.leads().await;
    let history = History::begin(story.cluster);
    // The first answer to each request is lost; creations have the path of their collection.
    let mut lost = BTreeSet::new();
    let mut every_third = 0;
    proxy.make(move |asked| {
        let creation = asked.method == http::Method::POST;
        every_third += u32::from(creation);
        let first = lost.insert((asked.method.clone(), asked.path.clone()));
        let loses = asked.is_write() && !asked.is_of_lease() && !asked.path.contains("/events");
        (loses && (first || creation && every_third % 3 == 0)).then_some(Trouble::Lost)
    });
    let trust = pair(&story, "shop").await;
    issued_once(&history, &trust.namespace, &["callee", "caller"]);
    let authority = format!("{OPERATOR_NAMESPACE}/{}-ca", trust.domain);
    assert_eq!(history.writes_to("secrets", &authority), 1, "two CAs");
    proxy.make(|_| None);
    story.ready_identity(&trust.namespace, "late", json!({})).await;
}
