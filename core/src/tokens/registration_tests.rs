use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tokens::testing::{ISSUER, registered, shop, web_secret};
use crate::tokens::{Denial, DenialReason, OAuthError, TokenGraph};

fn parse(value: &Value) -> Result<Registration, RegistrationError> {
    Registration::parse("web", value.to_string().as_bytes())
}

fn digest() -> String {
    base64url(&sha256(&[b"secret"]))
}

#[test]
fn a_new_registration_is_read_back_and_its_secret_is_right() {
    let new =
        NewRegistration::new(&[9; 32], ["customer".to_owned()].into(), ["203.0.113.0/24".parse().unwrap()].into());
    let registration = Registration::parse("web", new.registration.as_bytes()).unwrap();
    assert_eq!(new.secret.len(), 43);
    assert!(registration.verify(&new.secret));
    for wrong in ["", "secret", &new.secret[1..], &format!("{} ", *new.secret), &new.secret.to_uppercase()] {
        assert!(!registration.verify(wrong), "{wrong}");
    }
    let members: Value = serde_json::from_str(&new.registration).unwrap();
    assert_eq!(members["secretSha256"], base64url(&sha256(&[new.secret.as_bytes()])));
    assert_eq!((&members["scopes"], &members["cidrs"]), (&json!(["customer"]), &json!(["203.0.113.0/24"])));
}

#[test]
fn two_registrations_have_two_secrets() {
    let secret = |entropy| NewRegistration::new(&[entropy; 32], [].into(), [].into()).secret;
    assert_ne!(secret(1), secret(2));
}

#[test]
fn what_is_no_registration_is_refused_without_repeating_it() {
    let good = json!({"secretSha256": digest()});
    assert!(parse(&good).is_ok());
    let secret = "correct-horse-battery-staple";
    let cases = [
        json!({"secret": secret}),
        json!({"secretSha256": secret}),
        json!({"secretSha256": digest(), "secret": secret}),
        json!({"secretSha256": digest(), "scopes": secret}),
        json!({"secretSha256": digest(), "cidrs": [secret]}),
        json!({"secretSha256": digest(), "scopes": [format!("{secret} ")]}),
        json!([secret]),
        json!(secret),
    ];
    for case in cases {
        let error = parse(&case).unwrap_err();
        assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret), "{error:?}");
    }
    assert_eq!(Registration::parse("web", b""), Err(RegistrationError::Json { line: 1, column: 0 }));
    let long = format!(r#"{{"secretSha256": "{}", "scopes": ["{}"]}}"#, digest(), "a".repeat(MAX_REGISTRATION_LENGTH));
    assert_eq!(Registration::parse("web", long.as_bytes()), Err(RegistrationError::Length { length: long.len() }));
    for id in ["", "spiffe://storefront.example/ns/a/sa/b", "a b", "ä", &"a".repeat(254)] {
        assert_eq!(Registration::parse(id, good.to_string().as_bytes()), Err(RegistrationError::Id), "{id}");
    }
}

#[test]
fn debug_shows_neither_secret_nor_hash() {
    let new = NewRegistration::new(&[9; 32], [].into(), [].into());
    let registration = Registration::parse("web", new.registration.as_bytes()).unwrap();
    assert!(!format!("{new:?}").contains(&*new.secret));
    assert!(!format!("{registration:?}").contains(&String::from(registration.secret_sha256.clone())));
    assert!(!format!("{:?}", shop()).contains(&web_secret()));
}

#[test]
fn a_registered_client_proves_itself_by_its_secret_and_its_address() {
    let graph = shop();
    let authenticate = |graph: &TokenGraph, id: &str, secret: &str, address: &str| {
        graph.authenticate_registered(id, secret, address.parse().unwrap())
    };
    let from = |address: &str| Ok(registered("web", "shop-clients", Some(address.parse().unwrap())));
    let secret = web_secret();
    assert_eq!(authenticate(&graph, "web", &secret, "203.0.113.7"), from("203.0.113.7"));
    let mapped = "::ffff:203.0.113.7";
    assert_eq!(authenticate(&graph, "web", &secret, mapped), from(mapped), "on a socket for both families");
    let cases = [
        ("web", secret.as_str(), "198.51.100.1", DenialReason::AddressNotRegistered),
        ("web", "guess", "203.0.113.7", DenialReason::WrongSecret),
        ("web", "", "203.0.113.7", DenialReason::WrongSecret),
        ("app", secret.as_str(), "203.0.113.7", DenialReason::UnknownClient),
        (ISSUER, secret.as_str(), "203.0.113.7", DenialReason::UnknownClient),
    ];
    for (id, secret, address, reason) in cases {
        let denial = authenticate(&graph, id, secret, address).unwrap_err();
        assert_eq!(denial, Denial::new(OAuthError::InvalidClient, reason), "{id} {address}");
    }
    let mut without = graph.clone();
    without.replace("storefront", None).unwrap();
    let denial = authenticate(&without, "web", &secret, "203.0.113.7").unwrap_err();
    assert_eq!(denial.reason, DenialReason::UnknownClient, "no domain names the Secret any more");
}

#[test]
fn one_bad_registration_spoils_no_other() {
    let mut graph = shop();
    let data = [("web", json!({"secretSha256": digest()})), ("app", json!({"secretSha256": "x"}))];
    let data = data.map(|(id, value)| (id.to_owned(), value.to_string().into_bytes())).into_iter().collect();
    let bad = graph.replace_clients("shop-clients", Some(&data));
    assert_eq!(bad.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["app"]);
    assert!(graph.authenticate_registered("web", "secret", [203, 0, 113, 7].into()).is_ok());
}

proptest! {
    #[test]
    fn arbitrary_octets_are_no_registration(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Registration::parse("web", &octets).is_err());
    }

    /// What parses has a whole hash, so that there is a secret to know.
    #[test]
    fn text_like_a_registration_is_one_or_refused(
        hash in "[A-Za-z0-9_-]{40,46}",
        scopes in proptest::collection::vec("[ -~]{0,5}", 0..3),
        cidr in "[0-9.:/]{0,12}",
    ) {
        let value = json!({"secretSha256": hash, "scopes": scopes, "cidrs": [cidr]});
        if let Ok(registration) = parse(&value) {
            prop_assert_eq!(String::from(registration.secret_sha256.clone()), hash);
            prop_assert!(scopes.iter().all(|scope| !scope.contains(' ') && !scope.is_empty()));
            prop_assert!(!registration.verify(""));
        }
    }
}
