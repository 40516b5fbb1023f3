//! What the stories share: a cluster and a store, the documents of the operator, replicas, and clients.

mod client;
mod directory;
mod installation;
mod issuer;
mod market;
mod member;
mod replica;
mod shop;

use std::time::Duration;

pub use client::Client;
pub use directory::{directory, grant};
pub use installation::{Installation, apply, cluster};
pub use issuer::ForeignIssuer;
pub use market::{Market, registration};
pub use member::{Domain, Member, now};
pub use replica::Replica;
pub use shop::Shop;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is an answer: for what can't be watched.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut interval = tokio::time::interval(Duration::from_millis(50));
        loop {
            interval.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(found) => found,
        Err(_) => panic!("it did not come to pass that {what}"),
    }
}
