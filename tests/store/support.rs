//! Replicas of the token service, as far as the store knows them.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ringfence::token_service::store::{Credentials, Observation, Once, Settings, Store, StoreError};
use ringfence_cluster::{Credential, Etcd, Tool, tool};

/// A store as one replica has it, and what it told of itself.
pub(crate) struct Replica {
    pub(crate) store: Store,
    seen: Arc<Mutex<Vec<Observation>>>,
}

/// A replica that may ask these endpoints.
pub(crate) fn replica(etcd: &Etcd, endpoints: &[String]) -> Replica {
    let replica = outsider(endpoints, Duration::from_secs(300));
    replica.let_in(etcd, &etcd.client().unwrap()).unwrap();
    replica
}

/// One that has no certificate yet.
pub(crate) fn outsider(endpoints: &[String], clock_skew: Duration) -> Replica {
    let seen: Arc<Mutex<Vec<Observation>>> = Arc::default();
    let settings = Settings { endpoints: endpoints.to_vec(), clock_skew };
    let log = Arc::clone(&seen);
    let observe = Box::new(move |observation: &Observation| log.lock().unwrap().push(*observation));
    Replica { store: Store::new(&settings, Arc::new(Timestamp::now), observe).unwrap(), seen }
}

impl Replica {
    pub(crate) fn let_in(&self, etcd: &Etcd, credential: &Credential) -> Result<(), StoreError> {
        self.store.set_credentials(&Credentials {
            authorities: etcd.authority().as_bytes(),
            certificate: credential.certificate.as_bytes(),
            key: credential.key.as_bytes(),
        })
    }

    /// Uses a one-time token that lives for five minutes more.
    pub(crate) async fn consume(&self, jti: &str) -> Result<bool, StoreError> {
        self.store.consume(Once::Token { jti }, in_five_minutes()).await
    }

    pub(crate) fn last(&self) -> Observation {
        *self.seen.lock().unwrap().last().unwrap()
    }
}

pub(crate) fn in_five_minutes() -> Timestamp {
    Timestamp::now() + SignedDuration::from_mins(5)
}

/// What etcd's own client answers.
pub(crate) fn etcdctl(etcd: &Etcd, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let client = etcd.client().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let output = Command::new(tool(Tool::Etcdctl).unwrap())
        .arg(format!("--endpoints={}", etcd.endpoints().join(",")))
        .arg(format!("--cacert={}", file("ca", etcd.authority()).display()))
        .arg(format!("--cert={}", file("certificate", &client.certificate).display()))
        .arg(format!("--key={}", file("key", &client.key).display()))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Looks again and again until it is so: for what can't be watched.
pub(crate) async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let looking = async {
        let mut interval = tokio::time::interval(Duration::from_millis(50));
        while !look().await {
            interval.tick().await;
        }
    };
    let looked = tokio::time::timeout(Duration::from_secs(60), looking).await;
    assert!(looked.is_ok(), "it did not come to pass that {what}");
}
