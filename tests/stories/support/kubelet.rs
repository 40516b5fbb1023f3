//! What a kubelet says about pods, where there is none: each one starts as soon as it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use ringfence::controller::Clock;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::declare::Story;

/// A clock that can be put forward, for the operator and for pods.
#[derive(Clone, Default)]
pub struct Forward(Arc<AtomicI64>);

impl Forward {
    /// Puts it forward by so many seconds against the clock of the system.
    pub fn to(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }

    /// The operator's view of it.
    pub fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::new(Arc::new(move || this.now()))
    }
}

impl Story {
    /// Starts every pod of a namespace, until the guard is dropped.
    pub fn start_pods_by(&self, namespace: &str, clock: &Forward) -> DropGuard {
        let stop = CancellationToken::new();
        let (api, clock) = (Api::<Pod>::namespaced(self.client.clone(), namespace), clock.clone());
        let (pods, until) = (watcher(api.clone(), watcher::Config::default()), stop.clone());
        let starting = async move {
            let mut pods = pods.default_backoff().applied_objects().boxed();
            while let Some(pod) = pods.next().await {
                let Ok(pod) = pod else { continue };
                let running = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
                if !running && pod.metadata.deletion_timestamp.is_none() {
                    start(&api, &pod.name_any(), clock.now()).await;
                }
            }
        };
        tokio::spawn(async move { until.run_until_cancelled(starting).await });
        stop.drop_guard()
    }
}

/// The pod's files are there, and it is ready. It may have gone meanwhile.
async fn start(api: &Api<Pod>, name: &str, now: Timestamp) {
    let is = |condition: &str| json!({"type": condition, "status": "True", "lastTransitionTime": now.to_string()});
    let conditions = ["PodReadyToStartContainers", "ContainersReady", "Ready"].map(is);
    let status = json!({"phase": "Running", "startTime": now.to_string(), "conditions": conditions});
    let patch = Patch::Merge(json!({"status": status}));
    drop(api.patch_status(name, &PatchParams::default(), &patch).await);
}
