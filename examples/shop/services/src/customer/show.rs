//! What the customer sees.

use serde_json::Value;

use crate::hop::Hops;

/// Things on sale.
pub(super) fn items(items: &[Value]) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |item: &Value| [text(&item["sku"]), text(&item["name"]), price(&item["price"]), text(&item["inStock"])];
    table(["sku", "name", "price", "in stock"], items.iter().map(row))
}

/// An order that was placed.
pub(super) fn placed(order: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines =
        format!("order {} for {}, {}\n", text(&order["id"]), text(&order["customer"]), price(&order["cents"]));
    for (what, part) in [("payment", &order["payment"]), ("parcel", &order["delivery"])] {
        let (name, evidence) = (text(&part[what]), &part["evidence"]);
        let (signer, token, customer) = (&evidence["signed_by"], &evidence["token_id"], &evidence["client_id"]);
        lines += &format!("{name}, ordered by {} for {} with token {}\n", text(signer), text(customer), text(token));
    }
    lines
}

/// What each hop presented and verified.
pub(super) fn hops(hops: &Hops) -> String {
    let rows = hops.0.iter().map(|hop| [&hop.caller, &hop.service, &hop.by, &hop.policy].map(|cell| name(cell)));
    table(["caller", "service", "proved by", "let in by policy"], rows)
}

/// A SPIFFE ID as people say it, `<namespace>/<service account>`; anything else as it is.
fn name(text: &str) -> String {
    let parts: Vec<_> = text.strip_prefix("spiffe://").map(|id| id.split('/').collect()).unwrap_or_default();
    match parts[..] {
        [_, "ns", namespace, "sa", account] => format!("{namespace}/{account}"),
        _ => text.to_owned(),
    }
}

fn price(cents: &Value) -> String {
    let cents = cents.as_u64().unwrap_or_default();
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Columns as wide as their widest cell; nothing without rows.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let all: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hop::Hop;

    #[test]
    fn hops_are_a_table() {
        let text = str::to_owned;
        let hops = Hops(vec![Hop {
            service: text("spiffe://storefront/ns/storefront/sa/gateway"),
            caller: text("web"),
            by: text("a token of https://sts with scope customer"),
            policy: text("storefront/gateway"),
        }]);
        let expected = "\
caller  service             proved by                                   let in by policy
web     storefront/gateway  a token of https://sts with scope customer  storefront/gateway
";
        assert_eq!(super::hops(&hops), expected);
        assert_eq!(super::hops(&Hops::default()), "");
    }

    #[test]
    fn things_on_sale_are_a_table_with_prices() {
        let found = [json!({"sku": "tea-green", "name": "Green tea", "price": 690, "inStock": 12})];
        let expected = "sku        name       price  in stock\ntea-green  Green tea  6.90   12\n";
        assert_eq!(items(&found), expected);
    }
}
