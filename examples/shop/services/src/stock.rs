//! What the shop sells, and how much of it lies on the shelf.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;

/// Most pieces of one thing in one order.
const MOST_PIECES: u32 = 1000;
/// Most different things in one order.
const MOST_LINES: usize = 50;

/// A thing on sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) cents: u64,
    pub(crate) in_stock: u32,
}

/// So many of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
}

/// Things set aside for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) order: String,
    pub(crate) items: Vec<Line>,
    /// What they cost together.
    pub(crate) cents: u64,
}

/// Why nothing was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The order can't be understood.
    Invalid(String),
    /// There is not enough, or the order was another one before.
    Conflict(String),
}

/// The shelf.
#[derive(Debug)]
pub(crate) struct Stock {
    items: BTreeMap<String, Item>,
    reservations: Ledger<Reservation>,
}

impl Stock {
    /// What the shop begins with.
    pub(crate) fn of_the_shop() -> Self {
        let items = [
            ("tea-green", "Green tea, 100 g", 690, 1_000_000),
            ("tea-black", "Black tea, 250 g", 890, 1_000_000),
            ("tea-white", "White tea, first flush, 50 g", 2450, 3),
            ("teapot", "Teapot of cast iron", 5900, 1_000_000),
            ("coffee", "Coffee, 500 g", 1290, 1_000_000),
            ("mug-blue", "Blue mug", 1450, 0),
        ];
        let item = |(sku, name, cents, in_stock): (&str, &str, _, _)| {
            (sku.to_owned(), Item { sku: sku.to_owned(), name: name.to_owned(), cents, in_stock })
        };
        Self { items: items.map(item).into(), reservations: Ledger::default() }
    }

    /// What has a text in its name or its number, whatever the case; all for an empty text.
    pub(crate) fn search(&self, text: &str) -> Vec<Item> {
        let text = text.to_lowercase();
        let found =
            self.items.values().filter(|item| item.sku.contains(&text) || item.name.to_lowercase().contains(&text));
        found.cloned().collect()
    }

    /// Sets things aside for an order: all of them or nothing, and once, however often it is asked for.
    ///
    /// # Errors
    /// When the order can't be had.
    pub(crate) fn reserve(&mut self, order: &str, lines: &[Line]) -> Result<Reservation, Shortage> {
        if let Some(done) = self.reservations.get(order) {
            let same = done.items == lines;
            let other = || Shortage::Conflict(format!("order {order} was about other items before"));
            return same.then(|| done.clone()).ok_or_else(other);
        }
        let wanted = total(lines)?;
        let mut cents = 0;
        for (sku, quantity) in &wanted {
            let unknown = || Shortage::Invalid(format!("nothing with the number {sku} is on sale"));
            let item = self.items.get(*sku).ok_or_else(unknown)?;
            if item.in_stock < *quantity {
                let message = format!("{quantity} of {sku} are wanted and {} are in stock", item.in_stock);
                return Err(Shortage::Conflict(message));
            }
            cents += item.cents * u64::from(*quantity);
        }
        for (sku, quantity) in wanted {
            if let Some(item) = self.items.get_mut(sku) {
                item.in_stock -= quantity;
            }
        }
        let made = || Reservation { order: order.to_owned(), items: lines.to_vec(), cents };
        Ok(self.reservations.record(order, made).clone())
    }
}

/// How many of each thing an order is about.
fn total(lines: &[Line]) -> Result<BTreeMap<&str, u32>, Shortage> {
    if !(1..=MOST_LINES).contains(&lines.len()) {
        return Err(Shortage::Invalid(format!("an order has 1 to {MOST_LINES} items, not {}", lines.len())));
    }
    let mut wanted = BTreeMap::new();
    for line in lines {
        let sum: &mut u32 = wanted.entry(&*line.sku).or_default();
        *sum = sum.saturating_add(line.quantity);
        if line.quantity == 0 || *sum > MOST_PIECES {
            return Err(Shortage::Invalid(format!("quantities are 1 to {MOST_PIECES}; that of {} is not", line.sku)));
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sku: &str, quantity: u32) -> Line {
        Line { sku: sku.to_owned(), quantity }
    }

    fn left(stock: &Stock, sku: &str) -> u32 {
        stock.items[sku].in_stock
    }

    #[test]
    fn what_is_searched_for_is_found_by_name_and_by_number() {
        let stock = Stock::of_the_shop();
        let found = |text| stock.search(text).into_iter().map(|item| item.sku).collect::<Vec<_>>();
        assert_eq!(found("TEA"), ["tea-black", "tea-green", "tea-white", "teapot"]);
        assert_eq!(found("cast iron"), ["teapot"]);
        assert_eq!(found("").len(), 6);
        assert_eq!(found("motor oil"), [""; 0]);
    }

    #[test]
    fn a_reservation_that_is_repeated_takes_nothing_more_from_the_shelf() {
        let mut stock = Stock::of_the_shop();
        let lines = [line("tea-white", 2), line("teapot", 1)];
        let first = stock.reserve("o-1", &lines).unwrap();
        assert_eq!(first.cents, 2 * 2450 + 5900);
        assert_eq!(stock.reserve("o-1", &lines), Ok(first));
        assert_eq!(left(&stock, "tea-white"), 1);
        let other = stock.reserve("o-1", &[line("tea-white", 1)]);
        assert_eq!(other, Err(Shortage::Conflict("order o-1 was about other items before".to_owned())));
    }

    #[test]
    fn what_is_not_in_stock_is_refused_and_nothing_of_the_order_is_taken() {
        let mut stock = Stock::of_the_shop();
        let refused = stock.reserve("o-1", &[line("teapot", 1), line("tea-white", 2), line("tea-white", 2)]);
        assert_eq!(refused, Err(Shortage::Conflict("4 of tea-white are wanted and 3 are in stock".to_owned())));
        assert_eq!((left(&stock, "teapot"), left(&stock, "tea-white")), (1_000_000, 3));
        assert!(matches!(stock.reserve("o-2", &[line("mug-blue", 1)]), Err(Shortage::Conflict(_))));
    }

    #[test]
    fn an_order_that_makes_no_sense_is_refused() {
        let mut stock = Stock::of_the_shop();
        let many = vec![line("coffee", 1); MOST_LINES + 1];
        for lines in [&[] as &[_], &[line("coffee", 0)], &[line("coffee", u32::MAX)], &[line("oil", 1)], &many] {
            assert!(matches!(stock.reserve("o-1", lines), Err(Shortage::Invalid(_))), "{lines:?}");
        }
    }
}
