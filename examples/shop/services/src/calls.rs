//! How often each client called the gateway: for whoever sends the bill.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// So many clients are counted by name, and those who come later together: the memory is bounded whoever calls.
const NAMED: usize = 256;
/// What these are called. An issuer gives no client this name.
const OTHERS: &str = "(others)";

/// What a client called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    client: String,
    outcome: &'static str,
}

/// The calls of each client.
#[derive(Default)]
pub(crate) struct Calls {
    named: Mutex<BTreeSet<String>>,
    counted: Family<Call, Counter>,
}

impl Calls {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let calls = Self::default();
        registry.register("calls", "calls by client, and whether they were served", calls.counted.clone());
        calls
    }

    /// A client called; it was served, or has to wait.
    pub(crate) fn count(&self, client: &str, served: bool) {
        let outcome = if served { "Served" } else { "Throttled" };
        self.counted.get_or_create(&Call { client: self.name(client), outcome }).inc();
    }

    fn name(&self, client: &str) -> String {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !named.contains(client) {
            if named.len() >= NAMED {
                return OTHERS.to_owned();
            }
            named.insert(client.to_owned());
        }
        client.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_counted_by_name_until_there_are_too_many() {
        let calls = Calls::default();
        for client in 0..NAMED + 10 {
            calls.count(&format!("client-{client}"), true);
        }
        calls.count("client-0", true);
        calls.count("client-0", false);
        let of =
            |client: &str, outcome| calls.counted.get_or_create(&Call { client: client.to_owned(), outcome }).get();
        assert_eq!([of("client-0", "Served"), of("client-0", "Throttled"), of(OTHERS, "Served")], [2, 1, 10]);
    }
}
