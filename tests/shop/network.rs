//! What gets through by the network, from real pods to real listeners: first while nothing is fenced, then behind the fence.

use super::attempts::{DELIVERY, From, GATEWAY, INVENTORY, ORDER, PAYMENT};
use super::ledger::Ledger;
use super::stage::Stage;

/// In no domain.
const STRANGER: From = From { namespace: "strangers", pod: "stranger" };
/// In no domain, with order's labels and the name of its account.
const COPY: From = From { namespace: "strangers", pod: "copy" };
/// Among settlement's services, without an identity.
const STRAY: From = From { namespace: "settlement", pod: "stray" };

/// Who calls what, and whether the fence lets it through.
const CALLS: [(From, &str, bool); 20] = [
    (GATEWAY, "inventory.storefront.svc:443", true),
    (GATEWAY, "order.storefront.svc:443", true),
    (ORDER, "inventory.storefront.svc:443", true),
    (ORDER, "payment.settlement.svc:443", true),
    (ORDER, "delivery.settlement.svc:443", true),
    (STRANGER, "gateway.storefront.svc:443", true),
    (GATEWAY, "payment.settlement.svc:443", false),
    (GATEWAY, "delivery.settlement.svc:443", false),
    (INVENTORY, "payment.settlement.svc:443", false),
    (INVENTORY, "delivery.settlement.svc:443", false),
    (INVENTORY, "order.storefront.svc:443", false),
    (DELIVERY, "payment.settlement.svc:443", false),
    (PAYMENT, "delivery.settlement.svc:443", false),
    (PAYMENT, "order.storefront.svc:443", false),
    (STRANGER, "payment.settlement.svc:443", false),
    (STRANGER, "delivery.settlement.svc:443", false),
    (COPY, "payment.settlement.svc:443", false),
    (STRAY, "payment.settlement.svc:443", false),
    (STRAY, "delivery.settlement.svc:443", false),
    (STRANGER, "order.storefront.svc:443", false),
];

/// Every listener answers everyone, so that what does not get through later is the fence's doing.
pub fn everything_is_open(stage: &Stage<'_>, ledger: &Ledger) {
    for (caller, address) in attempts(stage).map(|(caller, address, _)| (caller, address)) {
        let what = format!("unfenced, {} reaches {address}", caller.name());
        ledger.comes_to(&what, || caller.reach(stage.story, &address), |seen| seen == "reached");
    }
}

/// Exactly the declared calls get through.
pub fn only_what_is_declared_is_open(stage: &Stage<'_>, ledger: &Ledger) {
    for (caller, address, open) in attempts(stage) {
        let (wanted, word) = if open { ("reached", "reaches") } else { ("dropped", "does not reach") };
        let what = format!("{} {word} {address}", caller.name());
        ledger.comes_to(&what, || caller.reach(stage.story, &address), |seen| seen == wanted);
    }
}

/// The calls above, those to another port of a service that may be called, and those to outside of the cluster.
fn attempts<'a>(stage: &'a Stage<'_>) -> impl Iterator<Item = (From, String, bool)> + use<'a> {
    let calls = CALLS.into_iter().map(|(caller, address, open)| (caller, address.to_owned(), open));
    let metrics = [(ORDER, "settlement", "payment"), (GATEWAY, "storefront", "order")];
    let other_ports =
        metrics.map(|(caller, namespace, name)| (caller, format!("{}:9090", stage.address_of(namespace, name)), false));
    let outside = [(PAYMENT, stage.outside.to_string(), false), (STRANGER, stage.outside.to_string(), true)];
    calls.chain(other_ports).chain(outside)
}
