//! What a customer does, and what the pods around need.

use super::attempts::GATEWAY;
use super::ledger::Ledger;
use super::stage::Stage;

/// Both scenarios, as the customer sees them: what came of it, and what each hop presented and verified.
pub fn both_work(stage: &Stage<'_>, ledger: &Ledger, when: &str) {
    let searched =
        |seen: &str| seen.contains("tea") && seen.contains("storefront/inventory") | seen.contains("inventory");
    ledger.comes_to(
        &format!("{when}: scenario 1, a customer searches"),
        || stage.customer(&["search", "tea"]),
        searched,
    );
    let ordered = |seen: &str| {
        ["payment", "delivery", "inventory", "a token that it signed"].iter().all(|word| seen.contains(word))
            && !seen.contains("refused")
    };
    ledger.comes_to(
        &format!("{when}: scenario 2, a customer orders"),
        || stage.customer(&["order", &format!("{}:1", stage.sku)]),
        ordered,
    );
}

/// Names resolve, probes arrive, and monitoring scrapes.
pub fn the_rest_of_the_cluster_goes_on(stage: &Stage<'_>, ledger: &Ledger) {
    let story = stage.story;
    for namespace in ["storefront", "settlement"] {
        let unready = story.kubectl(&format!(
            "get pods --namespace={namespace} --output=jsonpath={{.items[*].status.containerStatuses[*].ready}}"
        ));
        ledger.is(&format!("the kubelet's probes reach {namespace}"), &unready, !unready.contains("false"));
    }
    let resolved = GATEWAY.request(story, &["--insecure", "https://inventory.storefront.svc"], None);
    ledger.is("a fenced pod resolves names", &resolved, !resolved.contains("lookup") && !resolved.contains("resolve"));
    for (namespace, name) in crate::SERVICES {
        let scraped = || stage.scraped(namespace, name);
        ledger.comes_to(&format!("monitoring scrapes {name}"), scraped, |seen| seen.starts_with("answered 200"));
    }
}
