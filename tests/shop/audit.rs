//! A running, unfenced shop is adopted: what would close is seen before it closes.

use std::fs;
use std::process::Command;

use super::ledger::Ledger;
use super::stage::Stage;

/// One policy was forgotten. Of the flows that Hubble saw, exactly its edge would close; with the policy, none would.
pub fn the_forgotten_policy_is_found(stage: &Stage<'_>, ledger: &Ledger) {
    stage.story.kubectl("delete accesspolicy delivery --namespace=settlement");
    let edge = "closes storefront/order -> settlement/delivery 8443/TCP";
    ledger.comes_to(
        "audit finds the one edge that would close",
        || closing(stage),
        |told| told.contains(edge) && told.matches("closes ").count() == 1,
    );
    stage.story.apply_file("examples/shop/policies/4-settlement.yaml");
    ledger.comes_to(
        "with the policy that was forgotten, none would",
        || closing(stage),
        |told| told.contains("none would close"),
    );
}

/// The baseline comes last, so that nobody is interrupted.
pub fn the_fence_goes_up(stage: &Stage<'_>) {
    stage.story.apply(&stage.domains("Enforce"));
    for namespace in ["storefront", "settlement"] {
        stage.story.all_ready("accesspolicies.ringfence.dev", namespace);
        stage.story.kubectl(&format!(
            "wait networkpolicy/ringfence-baseline --for=create --timeout=60s --namespace={namespace}"
        ));
    }
}

/// What `ringfence audit` says of the flows that the nodes saw.
fn closing(stage: &Stage<'_>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.json");
    let flows: Vec<String> = stage.story.cluster().nodes().unwrap().iter().map(|node| node.flows().unwrap()).collect();
    fs::write(&file, flows.concat()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.arg("audit").arg("--kubeconfig").arg(stage.story.cluster().kubeconfig());
    command.args(["--token-service", "ringfence-token-service/token-service", "--flows"]).arg(&file);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
