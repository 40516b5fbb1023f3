//! Members come and go, and nothing that was answered is forgotten.

use std::time::{Duration, Instant};

use ringfence::token_service::store::StoreError;
use ringfence_cluster::{Etcd, reserve};

use crate::support::{outsider, replica};

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let mut etcd = Etcd::start(1).unwrap();
    let replica = replica(&etcd, &etcd.endpoints());
    assert!(replica.consume("used").await.unwrap());
    replica.store.revoke("revoked", crate::support::in_five_minutes()).await.unwrap();

    etcd.stop_member(0).unwrap();
    let error = replica.consume("used").await.unwrap_err();
    assert!(error.to_string().contains(&etcd.endpoints()[0]), "{error}");
    assert!(matches!(replica.store.is_revoked(&["revoked"]).await, Err(StoreError::Unavailable(_))));
    assert!(!replica.last().answered && replica.last().failed_requests > 0);

    etcd.start_member(0).unwrap();
    assert!(!replica.consume("used").await.unwrap());
    assert!(replica.store.is_revoked(&["revoked"]).await.unwrap());
    assert!(replica.consume("new").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_of_three_may_be_killed_whichever_it_is() {
    let mut etcd = Etcd::start(3).unwrap();
    let replicas = [replica(&etcd, &etcd.endpoints()), replica(&etcd, &etcd.endpoints())];
    let mut used: Vec<String> = Vec::new();
    // One of them leads when it is killed.
    for member in 0..3 {
        etcd.stop_member(member).unwrap();
        for replica in &replicas {
            let jti = format!("token-{}", used.len());
            assert!(replica.consume(&jti).await.unwrap());
            used.push(jti);
        }
        for jti in &used {
            assert!(!replicas[0].consume(jti).await.unwrap());
            assert!(!replicas[1].consume(jti).await.unwrap());
        }
        etcd.start_member(member).unwrap();
    }

    // Two are no majority: what they would say counts for nothing.
    etcd.stop_member(0).unwrap();
    etcd.stop_member(1).unwrap();
    assert!(replicas[0].consume(&used[0]).await.is_err());
    assert!(replicas[1].store.is_revoked(&["token"]).await.is_err());
    etcd.start_member(0).unwrap();
    etcd.start_member(1).unwrap();
    assert!(!replicas[0].consume(&used[0]).await.unwrap());
}

#[tokio::test]
async fn who_reaches_nobody_hears_so_at_once() {
    let mut etcd = Etcd::start(1).unwrap();
    let nobody = reserve("127.0.0.1".parse().unwrap()).unwrap();
    let endpoints = [etcd.endpoints()[0].clone(), format!("https://127.0.0.1:{nobody}")];
    let replica = replica(&etcd, &endpoints);
    etcd.stop_member(0).unwrap();
    let began = Instant::now();
    let error = replica.consume("token").await.unwrap_err().to_string();
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert!(endpoints.iter().all(|endpoint| error.contains(endpoint)), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn credentials_come_late_and_change_without_a_restart() {
    let (etcd, another) = (Etcd::start(1).unwrap(), Etcd::start(1).unwrap());
    let replica = outsider(&etcd.endpoints(), Duration::ZERO);
    assert!(matches!(replica.consume("token").await, Err(StoreError::NoCredentials)));

    // Of an authority that this one does not know.
    replica.let_in(&etcd, &another.client().unwrap()).unwrap();
    let error = replica.consume("token").await.unwrap_err().to_string();
    assert!(error.contains(&etcd.endpoints()[0]), "{error}");

    // And one that the store does not know.
    replica.let_in(&another, &etcd.client().unwrap()).unwrap();
    let error = replica.consume("token").await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");

    let client = etcd.client().unwrap();
    replica.let_in(&etcd, &client).unwrap();
    assert!(replica.consume("token").await.unwrap());

    // What can't be used changes nothing, and its words hold nothing of the key.
    let mut wrong = etcd.client().unwrap();
    wrong.key = client.key.clone();
    let error = replica.let_in(&etcd, &wrong).unwrap_err().to_string();
    assert!(error.contains("don't belong together"), "{error}");
    for (certificate, key) in [("", &*client.key), (&*client.certificate, ""), (&*client.certificate, "secret words")] {
        let credential = ringfence_cluster::Credential { certificate: certificate.to_owned(), key: key.to_owned() };
        let error = replica.let_in(&etcd, &credential).unwrap_err().to_string();
        assert!(!error.contains("secret words"), "{error}");
    }
    assert!(!replica.consume("token").await.unwrap());
}
