//! A first use is told from a second one, by whichever replica.

use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use ringfence::token_service::store::{LEASE_WIDTH, LONGEST, Once, Operation, StoreError};
use ringfence_cluster::Etcd;

use crate::support::{etcdctl, eventually, in_five_minutes, outsider, replica};

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uses_at_once_over_two_replicas_one_is_the_first() {
    let etcd = Etcd::start(1).unwrap();
    let replicas = [replica(&etcd, &etcd.endpoints()), replica(&etcd, &etcd.endpoints())];
    for round in 0..20 {
        let jti = format!("token-{round}");
        let uses = (0..64).map(|index| replicas[index % 2].consume(&jti));
        let first = join_all(uses).await.into_iter().filter(|first| *first.as_ref().unwrap()).count();
        assert_eq!(first, 1, "round {round}");
    }
    let last = replicas[0].last();
    assert!(last.operation == Operation::Consume && last.answered && last.failed_requests == 0, "{last:?}");
}

#[tokio::test]
async fn what_a_client_numbers_is_its_own() {
    let etcd = Etcd::start(1).unwrap();
    let store = replica(&etcd, &etcd.endpoints()).store;
    let until = in_five_minutes();
    for (once, first) in [
        (Once::Assertion { client: "spiffe://a/ns/x/sa/order", jti: "1" }, true),
        (Once::Assertion { client: "spiffe://a/ns/x/sa/gateway", jti: "1" }, true),
        (Once::Token { jti: "1" }, true),
        (Once::Assertion { client: "spiffe://a/ns/x/sa/order", jti: "1" }, false),
        (Once::Token { jti: "1" }, false),
        (Once::Exchange { jti: "1", callee: "spiffe://a/ns/x/sa/order" }, true),
        (Once::Exchange { jti: "1", callee: "spiffe://a/ns/x/sa/gateway" }, true),
        (Once::Exchange { jti: "1", callee: "spiffe://a/ns/x/sa/order" }, false),
        // IDs come from outside.
        (Once::Token { jti: "" }, true),
        (Once::Token { jti: "../revoked/\0\u{ffff}\"}" }, true),
        (Once::Token { jti: &"x".repeat(60_000) }, true),
    ] {
        assert_eq!(store.consume(once, until).await.unwrap(), first, "{once:?}");
    }
}

#[tokio::test]
async fn what_one_replica_revokes_is_revoked_for_the_other() {
    let etcd = Etcd::start(1).unwrap();
    let (one, other) = (replica(&etcd, &etcd.endpoints()).store, replica(&etcd, &etcd.endpoints()).store);
    // More than etcd takes in one transaction.
    let jtis: Vec<String> = (0..300).map(|number| format!("token-{number}")).collect();
    let jtis: Vec<&str> = jtis.iter().map(String::as_str).collect();
    assert!(!other.is_revoked(&jtis).await.unwrap());
    one.revoke(jtis[299], in_five_minutes()).await.unwrap();
    assert!(other.is_revoked(&jtis).await.unwrap());
    assert!(!other.is_revoked(&jtis[..299]).await.unwrap());
    assert!(!other.is_revoked(&[]).await.unwrap());
    // A second time does no harm, and using is something else.
    other.revoke(jtis[299], in_five_minutes()).await.unwrap();
    assert!(one.is_revoked(&[jtis[299]]).await.unwrap());
    assert!(one.consume(Once::Token { jti: jtis[299] }, in_five_minutes()).await.unwrap());
}

#[tokio::test]
async fn what_was_looked_up_before_is_known_to_be_revoked_later() {
    let etcd = Etcd::start(1).unwrap();
    let (one, other) = (replica(&etcd, &etcd.endpoints()).store, replica(&etcd, &etcd.endpoints()).store);
    for round in 0..20 {
        let jtis = ["kept".to_owned(), format!("revoked-{round}"), format!("kept-{round}")];
        let [kept, revoked, also_kept] = [0, 1, 2].map(|index| jtis[index].as_str());
        // Twice, so that it is asked, and then known.
        for _ in 0..2 {
            assert!(!one.is_revoked(&[kept, revoked, also_kept]).await.unwrap());
            assert!(!other.is_revoked(&[revoked]).await.unwrap());
        }
        other.revoke(revoked, in_five_minutes()).await.unwrap();
        for store in [&one, &other] {
            assert!(store.is_revoked(&[revoked]).await.unwrap());
            assert!(!store.is_revoked(&[kept, also_kept]).await.unwrap());
            assert!(store.is_revoked(&[kept, revoked]).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_are_each_answered_about_their_own() {
    let etcd = Etcd::start(1).unwrap();
    let replica = replica(&etcd, &etcd.endpoints());
    let jtis: Vec<String> = (0..600).map(|number| format!("token-{number}")).collect();
    let revoked = |number: usize| number.is_multiple_of(7);
    join_all((0..600).filter(|number| revoked(*number)).map(async |number| {
        replica.store.revoke(&jtis[number], in_five_minutes()).await.unwrap();
    }))
    .await;
    // Some go away before they have their answer, and the others have theirs.
    join_all((0..600).map(async |number| {
        let asked = [jtis[number].as_str(), jtis[(number + 1) % 600].as_str()];
        let asking = replica.store.is_revoked(&asked);
        if number % 5 == 4 {
            drop(tokio::time::timeout(Duration::from_micros(100), asking).await);
            return;
        }
        assert_eq!(asking.await.unwrap(), revoked(number) || revoked((number + 1) % 600), "{asked:?}");
    }))
    .await;
    assert!(!replica.store.is_revoked(&[&jtis[1]]).await.unwrap());
}

#[tokio::test]
async fn what_ended_is_forgotten_and_not_before() {
    let etcd = Etcd::start(1).unwrap();
    let replica = outsider(&etcd.endpoints(), Duration::ZERO);
    replica.let_in(&etcd, &etcd.client().unwrap()).unwrap();
    let until = Timestamp::now() + SignedDuration::from_secs(2);
    replica.store.revoke("token", until).await.unwrap();
    eventually("it is forgotten", async || !replica.store.is_revoked(&["token"]).await.unwrap()).await;
    let late = Timestamp::now().duration_since(until);
    assert!(late.is_positive() && late.as_secs() <= LEASE_WIDTH + 5, "{late:?} after its end");
    eventually("its lease is gone", async || !etcdctl(&etcd, &["lease", "list"]).contains("694d")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_end_together_share_a_lease_that_outlives_them() {
    let etcd = Etcd::start(1).unwrap();
    let replica = replica(&etcd, &etcd.endpoints());
    // The middle of a span.
    let span = Timestamp::now().as_second() / LEASE_WIDTH + 6;
    let until = Timestamp::from_second(span * LEASE_WIDTH + LEASE_WIDTH / 2).unwrap();
    let jtis: Vec<String> = (0..200).map(|number| format!("token-{number}")).collect();
    let uses = jtis.iter().map(|jti| replica.store.consume(Once::Token { jti }, until));
    assert!(join_all(uses).await.into_iter().all(|first| first.unwrap()));
    let listed = etcdctl(&etcd, &["lease", "list"]);
    let leases: Vec<&str> = listed.lines().skip(1).collect();
    assert_eq!(leases.len(), 1, "{listed}");
    let facts = etcdctl(&etcd, &["lease", "timetolive", leases[0], "--keys", "--write-out=json"]);
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["keys"].as_array().unwrap().len(), 200);
    let left = facts["ttl"].as_i64().unwrap();
    let end = (span + 1) * LEASE_WIDTH - Timestamp::now().as_second() + 300;
    assert!((end - 3..=end + 3).contains(&left), "{left} s are left, not {end}");

    // Somebody ends it: another one takes its place.
    etcdctl(&etcd, &["lease", "revoke", leases[0]]);
    assert!(replica.store.consume(Once::Token { jti: "another" }, until).await.unwrap());
    assert!(!replica.store.consume(Once::Token { jti: "another" }, until).await.unwrap());
}

#[tokio::test]
async fn nothing_is_kept_for_longer_than_a_day() {
    let etcd = Etcd::start(1).unwrap();
    let store = replica(&etcd, &etcd.endpoints()).store;
    let once = Once::Token { jti: "token" };
    let error = store.consume(once, Timestamp::now() + LONGEST + SignedDuration::from_mins(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLong(_)), "{error}");
    // What has ended by this replica's clock may not have by the other's.
    let ended = Timestamp::now() - SignedDuration::from_mins(4);
    assert!(store.consume(once, ended).await.unwrap());
    assert!(!store.consume(once, ended).await.unwrap());
}
