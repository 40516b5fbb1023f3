//! The token service with other people's code, as it is: Authlib (Python), oauth4webapi (Node), and Envoy's jwt_authn.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "not every story uses all that they share")]

mod envoy;
mod stage;
#[path = "../tokens/support/mod.rs"]
mod support;

use stage::Stage;

/// A key signs for four seconds, is published two seconds before, which is longer than anyone here keeps the key set, and
/// stays for as long as its tokens.
const ROTATING: [&str; 3] = ["--key-rotation-period=4s", "--key-publish-before=2s", "--key-keep=310s"];

#[tokio::test]
async fn authlib_finds_everything_by_the_metadata_and_takes_them_for_complete() {
    Stage::open("discovery", &[]).await.python("grants", "discovery").await;
}

#[tokio::test]
async fn authlib_gets_tokens_by_certificate() {
    Stage::open("by-certificate", &[]).await.python("grants", "client_credentials_by_certificate").await;
}

#[tokio::test]
async fn authlib_gets_tokens_by_private_key_jwt() {
    Stage::open("by-key", &[]).await.python("grants", "client_credentials_by_private_key_jwt").await;
}

#[tokio::test]
async fn authlib_gets_tokens_by_a_secret_in_the_header_and_in_the_body() {
    let stage = Stage::open("by-secret", &[]).await;
    stage.python("grants", "client_credentials_by_secret_in_the_header").await;
    stage.python("grants", "client_credentials_by_secret_in_the_body").await;
}

#[tokio::test]
async fn authlib_introspects_and_revokes() {
    let stage = Stage::open("introspection", &[]).await;
    stage.python("grants", "introspection_and_revocation").await;
    stage.python("grants", "opaque_tokens").await;
}

#[tokio::test]
async fn authlib_sees_to_which_certificate_a_token_is_bound() {
    Stage::open("bound", &[]).await.python("grants", "tokens_bound_to_a_certificate").await;
}

#[tokio::test]
async fn authlib_exchanges_tokens_from_hop_to_hop() {
    Stage::open("exchange", &[]).await.python("exchange", "two_hops").await;
}

#[tokio::test]
async fn authlib_gets_transaction_tokens_which_are_good_once() {
    Stage::open("transactions", &[]).await.python("exchange", "transaction_tokens").await;
}

#[tokio::test]
async fn authlib_refuses_no_token_while_keys_rotate() {
    Stage::open("rotation", &ROTATING).await.python("rotation", "key_rotation").await;
}

#[tokio::test]
async fn oauth4webapi_does_every_grant_introspects_revokes_and_exchanges() {
    Stage::open("oauth4webapi", &[]).await.node().await;
}

#[tokio::test]
async fn envoy_lets_in_by_its_tokens_and_by_no_others() {
    Stage::open("envoy", &[]).await.behind_envoy().await.python("envoy", "jwt_authn").await;
}

#[tokio::test]
async fn envoy_refuses_a_token_that_has_expired() {
    Stage::open("envoy-expiry", &[]).await.behind_envoy().await.python("envoy", "expiry").await;
}

#[tokio::test]
async fn envoy_refuses_no_token_while_keys_rotate() {
    Stage::open("envoy-rotation", &ROTATING).await.behind_envoy().await.python("envoy", "rotations").await;
}
