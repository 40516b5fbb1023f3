//! What the replicas of the token service have to remember together: what was used, and what is revoked.
//!
//! # Why etcd
//! A one-time token is worth what the memory of its first use is worth. That memory must say "first" exactly once, whichever
//! replica is asked, whatever was restarted meanwhile. So it needs a majority of members that agree on each write, a
//! create-if-absent that is one transaction, reads that see every write that was answered before, and entries that go by
//! themselves. etcd has exactly these, keeps nothing else busy, and whoever runs a cluster has backed up and restored one. A
//! cache with asynchronous replicas forgets a use when it fails over; a relational database has all this but asks for a schema,
//! a sweep for what expired and a failover of its own; the API server would do it in the cluster's own etcd, with an object of
//! a kilobyte or more for each token, and a busy token service would slow the whole cluster.
//!
//! It is spoken to by its JSON gateway, which every etcd since 3.4 serves at its client port, with the HTTP and TLS stack that
//! is in the program already: its gRPC clients need a protobuf compiler to be built.
//!
//! # What is kept
//! `ringfence/<kind>/<64 hexadecimal digits>`: the digest of an ID, since IDs come from outside and may be of any length, and so
//! that nobody reads one there. Its value is the random number of the attempt that wrote it: an attempt whose answer was lost
//! finds its own number when it asks again, and knows that it was first. No other can ever take it for a second use, nor a
//! second use for a first.
//!
//! Beside them, `ringfence/revocations` has the value of the last revocation, see [`reads`].
//!
//! Entries that end in the same [`LEASE_WIDTH`] seconds share a lease. A lease for each would double the writes, cost etcd
//! some hundred bytes and a timer for each, and it ends no more than a thousand leases a second: at a high rate they would
//! pile up. With shared ones a replica has at most one for each ten seconds ahead.

mod gateway;
mod leases;
mod reads;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use gateway::{Call, Gateway};
use jiff::{SignedDuration, Timestamp};
use leases::Leases;
use reads::Reads;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

pub use gateway::Credentials;
pub use leases::LEASE_WIDTH;

use crate::controller::{Now, random};

/// The longest that anything is kept, ahead of now: a day, many times what a token lives.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// Something that may be used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once<'a> {
    /// A client's assertion. Clients number theirs each for itself, so that none can use up another's.
    Assertion { client: &'a str, jti: &'a str },
    /// A one-time token of ours.
    Token { jti: &'a str },
    /// The exchange of a one-time token of ours for one for this callee, by its SPIFFE ID.
    Exchange { jti: &'a str, callee: &'a str },
}

/// How the store is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URLs of etcd's members, `https` alone, e.g. `https://etcd-0.etcd.storage.svc:2379`. Any of them will do; they are
    /// asked in turn until one answers.
    pub endpoints: Vec<String>,
    /// How far the clocks of two replicas may differ: for so long an entry outlives what it is about.
    pub clock_skew: Duration,
}

/// What was asked of the store, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Consume,
    Revoke,
    IsRevoked,
}

impl Operation {
    /// As a label of a metric has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Revoke => "revoke",
            Self::IsRevoked => "is_revoked",
        }
    }
}

/// One operation and how it went.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    pub operation: Operation,
    /// Whether the store said anything, be it yes or no.
    pub answered: bool,
    /// Requests that failed on the way, to whichever endpoint.
    pub failed_requests: u32,
    pub took: Duration,
}

/// Is told of each operation as it ends.
pub type Observe = Box<dyn Fn(&Observation) + Send + Sync>;

/// Why something could not be asked of the store. Nothing may be taken for unused, or for not revoked, then.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A setting.
    #[error("the store has no endpoint: give at least one, such as https://etcd-0.etcd.storage.svc:2379")]
    NoEndpoint,
    /// A setting.
    #[error(
        "the store's endpoint {0:?} is not https://, a host and a port, such as https://etcd-0.etcd.storage.svc:2379"
    )]
    Endpoint(String),
    /// What was given to speak TLS with. The ones before stay in use.
    #[error("the store can't be asked with these credentials: {0}")]
    Credentials(String),
    /// None were given yet.
    #[error("the store can't be asked yet: there is no certificate to ask it with")]
    NoCredentials,
    /// An end too far ahead.
    #[error("it would have to be remembered until {0}, more than a day ahead")]
    TooLong(Timestamp),
    /// No endpoint gave an answer in time; what was to be written may have been.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
}

/// A store that any number of processes share.
pub struct Store {
    gateway: Arc<Gateway>,
    revocations: Arc<Reads>,
    leases: Leases,
    now: Now,
    observe: Observe,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl Store {
    /// A store at these endpoints. Nothing is sent before [`Self::set_credentials`].
    ///
    /// # Errors
    /// When there is no endpoint, or one of them is no URL of an `https` server.
    pub fn new(settings: &Settings, now: Now, observe: Observe) -> Result<Self, StoreError> {
        let gateway = Arc::new(Gateway::new(&settings.endpoints)?);
        let revocations = Arc::new(Reads::new(Arc::clone(&gateway)));
        Ok(Self { gateway, revocations, leases: Leases::new(settings.clock_skew), now, observe })
    }

    /// Uses these from the next request on. What is under way goes on with the ones before.
    ///
    /// # Errors
    /// When they are not in PEM, empty, or a key that does not belong to its certificate: those before stay.
    pub fn set_credentials(&self, credentials: &Credentials<'_>) -> Result<(), StoreError> {
        self.gateway.set_credentials(credentials)
    }

    /// Whether this is the first use. It is true exactly once over all replicas, until the time at which the thing has ended
    /// by itself, which the caller checks.
    ///
    /// # Errors
    /// When the store gave no answer, in which case this use, or none, counts as the first: refuse it.
    pub async fn consume(&self, once: Once<'_>, until: Timestamp) -> Result<bool, StoreError> {
        let key = match once {
            Once::Assertion { client, jti } => key("assertion", &[client, jti]),
            Once::Token { jti } => key("token", &[jti]),
            Once::Exchange { jti, callee } => key("exchange", &[jti, callee]),
        };
        self.observed(Operation::Consume, async |call| self.create(&key, &[], until, call).await).await
    }

    /// Remembers that a token is revoked, until it ends.
    ///
    /// # Errors
    /// When the store gave no answer: say so, it may not be revoked.
    pub async fn revoke(&self, jti: &str, until: Timestamp) -> Result<(), StoreError> {
        let key = key("revoked", &[jti]);
        let generation = reads::generation_key();
        let revoke = async |call: &mut Call| self.create(&key, &[&generation], until, call).await.map(|_| ());
        self.observed(Operation::Revoke, revoke).await
    }

    /// Whether any of these tokens is revoked: what was answered to any replica's [`Self::revoke`] is seen.
    ///
    /// # Errors
    /// When the store gave no answer: none of them may count as good.
    pub async fn is_revoked(&self, jtis: &[&str]) -> Result<bool, StoreError> {
        let keys = jtis.iter().map(|jti| key("revoked", &[jti])).collect();
        self.observed(Operation::IsRevoked, async |call| self.revocations.is_any_there(keys, call).await).await
    }

    /// Writes a key unless it is there, and says whether this call wrote it. With it, others get the same value for good.
    async fn create(&self, key: &str, others: &[&str], until: Timestamp, call: &mut Call) -> Result<bool, StoreError> {
        let now = (self.now)();
        if until.duration_since(now) > LONGEST {
            return Err(StoreError::TooLong(until));
        }
        let value = gateway::encode(&random::<16>());
        let mut lost_lease = false;
        loop {
            let lease = self.leases.get(&self.gateway, until.max(now), now, call).await?;
            let mut puts = vec![json!({"requestPut": {"key": key, "value": value, "lease": lease.id()}})];
            puts.extend(others.iter().map(|other| json!({"requestPut": {"key": other, "value": value}})));
            let create = json!({
                "compare": [{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
                "success": puts,
                "failure": [{"requestRange": {"key": key}}],
            });
            match self.gateway.ask::<Transaction>("/v3/kv/txn", &create, call).await {
                Ok(answer) if answer.succeeded => return Ok(true),
                // Whose it is decides: a first answer of ours may have been lost.
                Ok(answer) => return Ok(answer.ranges().flat_map(|range| &range.kvs).any(|kv| kv.value == value)),
                // Somebody ended it, or etcd was set up anew. Another is had, once.
                Err(gateway::Failed::NotFound) if !lost_lease => {
                    lost_lease = true;
                    self.leases.forget(&lease);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn observed<T>(
        &self,
        operation: Operation,
        ask: impl AsyncFnOnce(&mut Call) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let mut call = Call::starting(started);
        let answer = ask(&mut call).await;
        let (answered, failed_requests) = (answer.is_ok(), call.failed_requests());
        (self.observe)(&Observation { operation, answered, failed_requests, took: started.elapsed() });
        answer
    }
}

/// A key, as the gateway takes it.
fn key(kind: &str, id: &[&str]) -> String {
    let mut digest = Digest::new(&SHA256);
    for part in id {
        // With its length, so that no two lists of parts read the same.
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let digits: String = digest.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    gateway::encode(format!("ringfence/{kind}/{digits}").as_bytes())
}

/// What etcd answers to a transaction. It leaves out what is false or empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Transaction {
    succeeded: bool,
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    response_range: Option<Range>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Range {
    kvs: Vec<KeyValue>,
    /// As JSON has numbers of 64 bits: a text.
    count: String,
}

impl Range {
    fn is_empty(&self) -> bool {
        matches!(self.count.as_str(), "" | "0")
    }
}

#[derive(Deserialize)]
struct KeyValue {
    value: String,
}

impl Transaction {
    fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.responses.iter().filter_map(|response| response.response_range.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_of_one_length_and_no_two_ids_share_one() {
        let long = "x".repeat(100_000);
        let keys = [
            key("assertion", &["a", "bc"]),
            key("assertion", &["ab", "c"]),
            key("assertion", &["abc", ""]),
            key("assertion", &[&long, "../revoked"]),
        ];
        let different: BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert!(keys.iter().all(|key| key.len() == keys[0].len()));
        assert_ne!(key("token", &["a"]), key("revoked", &["a"]));
    }
}
