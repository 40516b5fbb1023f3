//! What happens while orders come in.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::attempts::ORDER;
use super::ledger::Ledger;
use super::stage::Stage;

/// A steady load of orders.
pub struct Load(Child);

impl Load {
    pub fn begin(stage: &Stage<'_>) -> Self {
        let order = format!("{}:1", stage.sku);
        Self::of(stage.customer_command("web", &["order", &order, "--count", "0", "--interval-ms", "200"]))
    }

    /// Of a customer's command that orders until it is told to stop.
    pub fn of(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Ends it, and tells what became of the orders.
    pub fn end(mut self) -> String {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
        let output = BufReader::new(self.0.stdout.take().unwrap());
        let lines: Vec<String> = output.lines().map(Result::unwrap).collect();
        self.0.wait().unwrap();
        lines.join("; ")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Longer than it takes to renew a certificate of five minutes twice.
const TWO_RENEWALS: Duration = Duration::from_secs(600);

/// Every service of the shop has had two certificates after the one that it began with; no order was lost for it.
pub fn renewals_lose_nothing(stage: &Stage<'_>, ledger: &Ledger, load: Load, first: &[String]) {
    let started = Instant::now();
    let mut seen: Vec<Vec<String>> = first.iter().map(|serial| vec![serial.clone()]).collect();
    while seen.iter().any(|serials| serials.len() < 3) && started.elapsed() < TWO_RENEWALS {
        for (serials, now) in seen.iter_mut().zip(serials(stage)) {
            if serials.last() != Some(&now) {
                serials.push(now);
            }
        }
    }
    let renewed: Vec<usize> = seen.iter().map(|serials| serials.len() - 1).collect();
    ledger.is("every certificate was renewed twice", &format!("{renewed:?}"), renewed.iter().all(|count| *count >= 2));
    let orders = load.end();
    ledger.is("no order was lost meanwhile", &orders, orders.contains(" 0 failed"));
}

/// The serial of each service's certificate, as its identity's status has it.
pub fn serials(stage: &Stage<'_>) -> Vec<String> {
    crate::SERVICES
        .iter()
        .map(|(namespace, name)| {
            let identity = stage.story.get(&format!("serviceidentity {name} --namespace={namespace}"));
            identity["status"]["certificate"]["serial"].as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

/// Without its policy payment is out of reach: new connections are not made, and on open ones nothing gets through any more.
pub fn a_policy_that_goes_closes_and_one_that_comes_back_heals(stage: &Stage<'_>, ledger: &Ledger) {
    let story = stage.story;
    let reach = || ORDER.reach(story, "payment.settlement.svc:443");
    let order = || stage.customer(&["order", &format!("{}:1", stage.sku)]);
    story.kubectl("delete accesspolicy payment --namespace=settlement");
    let closed = ledger.comes_to("order does not reach payment without its policy", reach, |seen| seen == "dropped");
    ledger.comes_to("an order, on the connection that order had open to payment, fails", order, |seen| {
        seen.contains("refused")
    });
    story.apply_file("examples/shop/policies/4-settlement.yaml");
    let opened = ledger.comes_to("order reaches payment again", reach, |seen| seen == "reached");
    ledger.comes_to("orders are taken again", order, |seen| seen.contains("a token that it signed"));
    eprintln!("shop: closed after {closed:?}, opened after {opened:?}");
}

/// A suspended service can call nobody, and its certificate is worth nothing, not even from a pod that may still call.
pub fn a_suspended_service_is_stopped_everywhere(stage: &Stage<'_>, ledger: &Ledger) {
    let story = stage.story;
    let suspend = |suspended: bool| {
        let patch = format!("{{\"spec\":{{\"suspended\":{suspended}}}}}");
        story.kubectl(&format!("patch serviceidentity order --namespace=storefront --type=merge --patch={patch}"));
    };
    // What it has now is stolen.
    stage.let_intruders_in();
    suspend(true);
    for address in ["payment.settlement.svc:443", "inventory.storefront.svc:443"] {
        let what = format!("suspended, order does not reach {address}");
        ledger.comes_to(&what, || ORDER.reach(story, address), |seen| seen == "dropped");
    }
    let stolen = [
        "--insecure",
        "--cert",
        "/loot/order.crt",
        "--key",
        "/loot/order.key",
        "https://inventory.storefront.svc/items",
    ];
    let gateway = stage.intruder("gateway");
    ledger.comes_to(
        "its certificate is refused from the pods of gateway",
        || gateway.request(story, &stolen, None),
        |seen| seen.contains("CertificateRevoked"),
    );
    suspend(false);
    story.all_ready("serviceidentities.ringfence.dev", "storefront");
    let order = || stage.customer(&["order", &format!("{}:1", stage.sku)]);
    ledger.comes_to("back again, orders are taken", order, |seen| seen.contains("a token that it signed"));
}
