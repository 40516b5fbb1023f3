//! The shop, running: five services in real pods on two nodes, which use only what Ringfence delivers. Both scenarios work, and
//! nothing else gets through.
//!
//! It needs root, and is skipped without it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(clippy::print_stderr, reason = "a test says what it skips and what it measured")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(unreachable_pub, reason = "it is all one binary")]

mod attempts;
mod audit;
mod browser;
mod changes;
mod identity;
mod keycloak;
mod ledger;
mod network;
mod scenarios;
mod stage;
#[allow(dead_code, unused_imports, reason = "the stories on one node use more of it")]
#[path = "../node/support/mod.rs"]
mod support;
mod traces;

use changes::{Load, serials};
use keycloak::Login;
use ledger::Ledger;
use stage::Stage;
use support::Story;

/// Two, so that nothing holds only because pods share one.
const NODES: u8 = 2;

/// The services, by namespace.
const SERVICES: [(&str, &str); 5] = [
    ("storefront", "gateway"),
    ("storefront", "inventory"),
    ("storefront", "order"),
    ("settlement", "payment"),
    ("settlement", "delivery"),
];

#[test]
fn both_scenarios_work_and_nothing_else_gets_through() {
    let Some(story) = Story::begin_alone("running") else { return };
    let stage = Stage::set(&story);
    let ledger = Ledger::default();
    scenarios::both_work(&stage, &ledger, "unfenced");
    audit::the_forgotten_policy_is_found(&stage, &ledger);
    network::everything_is_open(&stage, &ledger);

    let (first, load) = (serials(&stage), Load::begin(&stage));
    audit::the_fence_goes_up(&stage);
    network::only_what_is_declared_is_open(&stage, &ledger);
    scenarios::both_work(&stage, &ledger, "fenced");
    scenarios::the_rest_of_the_cluster_goes_on(&stage, &ledger);
    traces::an_order_is_one_trace(&stage, &ledger);
    stage.let_intruders_in();
    identity::certificates_that_are_not_the_callers_are_refused(&stage, &ledger);
    identity::tokens_that_order_did_not_sign_for_payment_are_refused(&stage, &ledger);
    identity::customers_need_a_token_that_is_in_force(&stage, &ledger);
    changes::renewals_lose_nothing(&stage, &ledger, load, &first);
    changes::a_policy_that_goes_closes_and_one_that_comes_back_heals(&stage, &ledger);
    changes::a_suspended_service_is_stopped_everywhere(&stage, &ledger);
    let login = Login::begin(&stage);
    let before = login.takes_over();
    keycloak::tokens_of_keycloak_are_taken(&login, &ledger, &before);
    keycloak::the_front_keeps_the_tokens(&login, &ledger);
    keycloak::each_client_has_its_share(&login, &ledger);
    keycloak::tokens_are_verified_by_key(&login, &ledger);
    drop(login);
    drop(stage);
    story.assert_rights_suffice();
    ledger.finish();
}
