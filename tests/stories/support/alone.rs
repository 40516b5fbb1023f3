//! A cluster for stories that stop the operator, skew its clock or loosen the kinds: one of them at a time.

use std::sync::OnceLock;

use tokio::sync::{Mutex, MutexGuard};

use super::cluster::TestCluster;
use super::declare::Story;

/// Begins a story in a cluster that no other uses meanwhile. No operator runs in it until the story starts one.
pub async fn begin_alone(title: &str) -> (Story, MutexGuard<'static, ()>) {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let start = || CLUSTER.get_or_init(|| tokio::runtime::Runtime::new().unwrap().block_on(TestCluster::start()));
    let cluster = tokio::task::spawn_blocking(start).await.unwrap();
    (Story::begin_in(cluster, title).await, turn)
}
