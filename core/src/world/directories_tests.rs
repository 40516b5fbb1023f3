//! What comes of the keys that the token service publishes.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::*;
use crate::api::SigningAlgorithm;
use crate::jwt::testing::signing_key;
use crate::pki::testing::now;
use crate::plan::testing::token_shop;
use crate::testing::{in_words, key};
use crate::world::Change;

fn published(world: &World, files: Option<Value>) -> Change {
    let config_map = files.map(|files| serde_json::from_value::<ConfigMap>(json!({"data": files})).unwrap());
    world.settings.token_service.as_ref().unwrap().published(config_map.as_ref(), now())
}

fn key_set(algorithm: SigningAlgorithm) -> Value {
    json!({"keys": [signing_key(algorithm).public_jwk()]})
}

#[test]
fn the_keys_that_are_published_touch_those_who_verify_by_them() {
    let mut world = token_shop();
    let keys = key_set(SigningAlgorithm::ES256);
    let change = published(&world, Some(json!({"jwks.json": keys.to_string()})));
    let touched = in_words(&world.apply(change));
    assert_eq!(touched, ["domain shop", "identity back/payment", "identity front/order"]);
    let facts = world.issuer(&IssuerKey::BuiltIn).unwrap();
    assert_eq!((&facts.jwks, facts.issuer.as_str()), (&keys, "https://tokens.example"));
    assert_eq!(facts.introspection_uri.as_deref(), Some("https://tokens.example/introspect"));
    assert!(world.verifies_by_token_service(&key("back/payment")));
    assert!(!world.verifies_by_token_service(&key("front/order")), "it is a caller");
    let again = published(&world, Some(json!({"jwks.json": format!(" {keys}"), "more": ""})));
    assert_eq!(in_words(&world.apply(again)), [""; 0], "it says nothing new");
    let told: Vec<_> =
        world.judged_in("back").flat_map(|judged| &judged.grants).filter_map(DirectoryGrant::of).collect();
    assert_eq!(told.len(), 3);
}

#[test]
fn a_key_set_that_can_not_be_used_leaves_the_last_one_and_says_why() {
    let cases = [
        ("gone", None, "ConfigMap sts/tokens-jwks is gone"),
        ("empty", Some(json!({})), "ConfigMap sts/tokens-jwks has no jwks.json"),
        ("no keys", Some(json!({"jwks.json": r#"{"keys": []}"#})), "holds no EC, RSA or OKP key"),
        ("a private one", Some(json!({"jwks.json": r#"{"keys": [{"kty": "EC", "d": "secret"}]}"#})), "is not public"),
    ];
    for (what, files, why) in cases {
        let mut world = token_shop();
        let unknown = published(&world, files.clone());
        assert_eq!(in_words(&world.apply(unknown)), ["domain shop"], "{what}");
        assert!(world.issuer_failure(&IssuerKey::BuiltIn).unwrap().why.contains(why), "{what}");
        let keys = key_set(SigningAlgorithm::EdDSA);
        let good = published(&world, Some(json!({"jwks.json": keys.to_string()})));
        world.apply(good);
        assert_eq!(world.issuer_failure(&IssuerKey::BuiltIn), None, "{what}");
        let bad = published(&world, files.clone());
        assert_eq!(in_words(&world.apply(bad)), ["domain shop"], "{what}");
        let facts = world.issuer(&IssuerKey::BuiltIn).unwrap();
        let stale = facts.stale.as_ref().unwrap();
        assert!(facts.jwks == keys && stale.why.contains(why) && !stale.why.contains("secret"), "{what}: {facts:?}");
        let bad = published(&world, files);
        assert_eq!(in_words(&world.apply(bad)), [""; 0], "{what}: it is told once");
        let good = published(&world, Some(json!({"jwks.json": keys.to_string()})));
        assert_eq!(in_words(&world.apply(good)), ["domain shop"], "{what}: the keys are the same");
    }
}
