//! What was done, by the order that it was done for: asked again, a service answers what it answered, and does nothing.

use std::collections::{HashMap, VecDeque};

/// Entries that are kept; the oldest go first.
const MOST: usize = 100_000;

/// Entries by order.
#[derive(Debug)]
pub(crate) struct Ledger<T> {
    entries: HashMap<String, T>,
    oldest_first: VecDeque<String>,
    most: usize,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self::keeping(MOST)
    }
}

impl<T> Ledger<T> {
    fn keeping(most: usize) -> Self {
        Self { entries: HashMap::new(), oldest_first: VecDeque::new(), most }
    }

    pub(crate) fn get(&self, order: &str) -> Option<&T> {
        self.entries.get(order)
    }

    /// The entry of an order; it is made if there is none, and stays as it was if there is one.
    pub(crate) fn record(&mut self, order: &str, make: impl FnOnce() -> T) -> &T {
        if !self.entries.contains_key(order) {
            if self.oldest_first.len() >= self.most
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.oldest_first.push_back(order.to_owned());
        }
        self.entries.entry(order.to_owned()).or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_of_an_order_stands() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.record("o-1", || 5), &5);
        assert_eq!(ledger.record("o-1", || panic!("it is there")), &5);
        assert_eq!((ledger.get("o-1"), ledger.get("o-2")), (Some(&5), None));
    }

    #[test]
    fn the_oldest_entry_makes_room() {
        let mut ledger = Ledger::keeping(2);
        for order in ["o-1", "o-2", "o-1", "o-3"] {
            ledger.record(order, || order.to_owned());
        }
        assert_eq!(["o-1", "o-2", "o-3"].map(|order| ledger.get(order).is_some()), [false, true, true]);
        assert_eq!(ledger.oldest_first.len(), 2);
    }
}
