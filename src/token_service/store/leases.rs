//! Leases by which entries end, each for all entries that end in the same few seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use super::StoreError;
use super::gateway::{Call, Gateway};

/// Entries share a lease whose ends lie in the same span of so many seconds.
pub const LEASE_WIDTH: i64 = 10;

/// The leases that this process holds, by the span that they are for.
#[derive(Debug)]
pub(super) struct Leases {
    clock_skew: Duration,
    held: Mutex<BTreeMap<i64, Arc<OnceCell<String>>>>,
}

/// A lease that is there, as far as anybody knows.
#[derive(Debug)]
pub(super) struct Lease {
    span: i64,
    id: String,
}

impl Lease {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Leases {
    pub(super) fn new(clock_skew: Duration) -> Self {
        Self { clock_skew, held: Mutex::default() }
    }

    /// A lease that does not end before this time has come by any replica's clock. Who asks for the same one meanwhile waits
    /// for it.
    pub(super) async fn get(
        &self,
        gateway: &Gateway,
        until: Timestamp,
        now: Timestamp,
        call: &mut Call,
    ) -> Result<Lease, StoreError> {
        let span = until.as_second().div_euclid(LEASE_WIDTH);
        let cell = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            // What ends now is asked for by nobody any more.
            held.retain(|&span, _| end(span) > now.as_second());
            Arc::clone(held.entry(span).or_default())
        };
        let seconds = (end(span) - now.as_second()).saturating_add_unsigned(self.clock_skew.as_secs());
        let deadline = call.deadline();
        let grant = async || {
            let granted: Granted = gateway.ask("/v3/lease/grant", &json!({"TTL": seconds.to_string()}), call).await?;
            Ok::<_, StoreError>(granted.id)
        };
        // The others wait for the first one's answer no longer than for one of their own.
        let waited = || StoreError::Unavailable("another request has been waiting for a lease all the time".to_owned());
        let id = timeout_at(deadline, cell.get_or_try_init(grant)).await.map_err(|_| waited())??.clone();
        Ok(Lease { span, id })
    }

    /// The lease has ended, against all expectation: the next one who asks gets another.
    pub(super) fn forget(&self, lease: &Lease) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless somebody else has replaced it already.
        if held.get(&lease.span).is_some_and(|cell| cell.get() == Some(&lease.id)) {
            held.remove(&lease.span);
        }
    }
}

/// The second at which a span is over.
fn end(span: i64) -> i64 {
    (span + 1) * LEASE_WIDTH
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "ID")]
    id: String,
}
