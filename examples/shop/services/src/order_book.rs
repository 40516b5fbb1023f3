//! Orders that were placed, and what they are called.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::behalf::OnBehalfOf;
use crate::ledger::Ledger;
use crate::protocols::delivery::v1::ScheduleReply;
use crate::protocols::payment::v1::ChargeReply;
use crate::stock::Line;

/// An order that was reserved, paid and scheduled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) items: Vec<Line>,
    pub(crate) cents: u64,
    pub(crate) payment: ChargeReply,
    pub(crate) delivery: ScheduleReply,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct OrderBook(Ledger<Placed>);

impl OrderBook {
    pub(crate) fn enter(&mut self, placed: Placed) -> Placed {
        let id = placed.id.clone();
        self.0.record(&id, || placed).clone()
    }

    /// An order, for the customer who placed it and for nobody else.
    pub(crate) fn look_up(&self, id: &str, customer: &OnBehalfOf) -> Option<Placed> {
        self.0.get(id).filter(|placed| placed.customer == customer.sub).cloned()
    }
}

/// The id of an order. A customer who sends one again under the same key means the same order; another customer who uses
/// that key does not.
pub(crate) fn id(customer: &OnBehalfOf, key: Option<&str>) -> String {
    let mut bytes = [0; 16];
    match key {
        Some(key) => {
            let named = digest(&SHA256, format!("{}\0{key}", customer.sub).as_bytes());
            bytes.copy_from_slice(&named.as_ref()[..16]);
        }
        None => rand::fill(&mut bytes).expect("the system gives random numbers"),
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(sub: &str) -> OnBehalfOf {
        OnBehalfOf { sub: sub.to_owned(), scope: "customer".to_owned(), client_id: "web".to_owned() }
    }

    #[test]
    fn the_same_key_of_the_same_customer_is_the_same_order() {
        let (ada, bob) = (customer("ada"), customer("bob"));
        assert_eq!(id(&ada, Some("k-1")), id(&ada, Some("k-1")));
        assert_ne!(id(&ada, Some("k-1")), id(&ada, Some("k-2")));
        assert_ne!(id(&ada, Some("k-1")), id(&bob, Some("k-1")));
        assert_ne!(id(&ada, None), id(&ada, None));
    }

    #[test]
    fn an_order_is_shown_to_its_customer_only_and_stays_as_it_was() {
        let mut book = OrderBook::default();
        let placed = |cents| Placed {
            id: "o-1".to_owned(),
            customer: "ada".to_owned(),
            items: Vec::new(),
            cents,
            payment: ChargeReply::default(),
            delivery: ScheduleReply::default(),
        };
        book.enter(placed(500));
        assert_eq!(book.enter(placed(900)).cents, 500);
        assert_eq!(book.look_up("o-1", &customer("ada")).map(|placed| placed.cents), Some(500));
        assert_eq!(book.look_up("o-1", &customer("bob")), None);
    }
}
