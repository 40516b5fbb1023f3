//! Waiting for conditions, never for time.

use std::fmt::Debug;

use kube::Api;
use kube::core::Resource;
use kube::runtime::wait::await_condition;
use serde::de::DeserializeOwned;

use super::eventually::PATIENCE;

/// Waits, by a watch, until an object is as wanted.
pub async fn wait_for<K>(api: &Api<K>, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let condition = |object: Option<&K>| object.is_some_and(&wanted);
    match tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition)).await {
        Ok(found) => found.unwrap().unwrap(),
        Err(_) => panic!("{name} did not {what}; it is now {:#?}", api.get_opt(name).await),
    }
}

/// Waits until an object is gone.
pub async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let condition = |object: Option<&K>| object.is_none();
    let waited = tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition)).await;
    assert!(waited.is_ok(), "{name} did not go; it is still {:#?}", api.get_opt(name).await);
}
