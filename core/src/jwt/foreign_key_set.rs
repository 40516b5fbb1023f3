//! JWK Sets of token issuers (RFC 7517, section 5), as they come in from elsewhere: what verifies signatures is taken over,
//! and nothing else.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Longest text of a JWK Set, in bytes.
pub const LONGEST_KEY_SET: usize = 65_536;
/// Most keys of a JWK Set, those included that are of no use here.
pub const MOST_KEYS: usize = 64;

/// Members that only a private or a shared key has (RFC 7518, sections 6.2.2, 6.3.2 and 6.4; RFC 8037, section 2).
const SECRET_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Shortest RSA modulus, in bits (RFC 7518, section 3.3).
const SHORTEST_MODULUS: usize = 2048;
/// Longest RSA modulus, in bits: verifying takes time, and an issuer could make it long.
const LONGEST_MODULUS: usize = 8192;

/// Why a JWK Set of an issuer is not taken over. Nothing of the set is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetFault {
    /// More than is read.
    #[error("it is longer than {LONGEST_KEY_SET} bytes")]
    TooLong,
    /// More keys than are looked at.
    #[error("it has more than {MOST_KEYS} keys")]
    TooManyKeys,
    /// Another form.
    #[error("it is no JWK Set: a JSON object with the array keys")]
    NoKeySet,
    /// Whoever reads it could sign tokens.
    #[error("it holds a key that is not public, so that whoever has read it can sign tokens: replace that key")]
    NotPublic,
    /// Nothing in it can be used.
    #[error("it holds no EC, RSA or OKP key that verifies signatures with an algorithm that is supported")]
    NoKey,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Map<String, Value>>,
}

/// Reads a JWK Set: its public keys that verify signatures, each with the members `kty`, `crv`, `x`, `y`, `n`, `e`, `alg`,
/// `kid` and `use` as far as it has them. Keys for something else, or of a kind that is not known, are left out, as RFC 7517,
/// section 5 has it. The same for the same keys, in whatever order they come.
///
/// # Errors
/// [`KeySetFault`] if there is nothing to be taken over, or anything that nobody should have been told.
pub fn parse_public_jwks(text: &str) -> Result<Value, KeySetFault> {
    if text.len() > LONGEST_KEY_SET {
        return Err(KeySetFault::TooLong);
    }
    let KeySet { keys } = serde_json::from_str(text).map_err(|_| KeySetFault::NoKeySet)?;
    if keys.len() > MOST_KEYS {
        return Err(KeySetFault::TooManyKeys);
    }
    let is_secret = |key: &Map<String, Value>| {
        key.get("kty").is_some_and(|kind| kind == "oct")
            || SECRET_MEMBERS.iter().any(|member| key.contains_key(*member))
    };
    if keys.iter().any(is_secret) {
        return Err(KeySetFault::NotPublic);
    }
    // As text they have an order.
    let keys: BTreeSet<String> = keys.iter().filter_map(public_key).map(|key| Value::Object(key).to_string()).collect();
    if keys.is_empty() {
        return Err(KeySetFault::NoKey);
    }
    let keys: Vec<Value> = keys.iter().filter_map(|key| serde_json::from_str(key).ok()).collect();
    Ok(json!({ "keys": keys }))
}

/// The public members of a key that verifies signatures; nothing of any other.
fn public_key(key: &Map<String, Value>) -> Option<Map<String, Value>> {
    let text = |member: &str| key.get(member).and_then(Value::as_str);
    let octets = |member: &str| text(member).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let has_length = |member: &str, length: usize| octets(member).is_some_and(|octets| octets.len() == length);
    let (members, algorithms): (&[&str], &[&str]) = match (text("kty")?, text("crv")) {
        ("EC", Some("P-256")) if has_length("x", 32) && has_length("y", 32) => (&["crv", "x", "y"], &["ES256"]),
        ("EC", Some("P-384")) if has_length("x", 48) && has_length("y", 48) => (&["crv", "x", "y"], &["ES384"]),
        ("OKP", Some("Ed25519")) if has_length("x", 32) => (&["crv", "x"], &["EdDSA"]),
        ("RSA", None) if is_modulus(&octets("n")?) && is_exponent(&octets("e")?) => {
            (&["n", "e"], &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
        }
        _ => return None,
    };
    let is_for_signatures = key.get("use").is_none_or(|usage| usage == "sig")
        && key.get("key_ops").is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")))
        && key.get("alg").is_none_or(|alg| alg.as_str().is_some_and(|alg| algorithms.contains(&alg)))
        && key.get("kid").is_none_or(Value::is_string);
    let kept = || members.iter().chain(&["kty", "alg", "kid", "use"]).filter_map(|member| key.get_key_value(*member));
    is_for_signatures.then(|| kept().map(|(member, value)| (member.clone(), value.clone())).collect())
}

fn is_modulus(octets: &[u8]) -> bool {
    let leading_zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let octets = &octets[leading_zeros..];
    let bits = octets.first().map_or(0, |first| octets.len() * 8 - first.leading_zeros() as usize);
    (SHORTEST_MODULUS..=LONGEST_MODULUS).contains(&bits)
}

/// Odd, and more than 1; no longer than verifiers take.
fn is_exponent(octets: &[u8]) -> bool {
    let is_one = octets.iter().rev().skip(1).all(|octet| *octet == 0) && octets.last() == Some(&1);
    octets.last().is_some_and(|last| last % 2 == 1) && !is_one && octets.len() <= 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jwt::testing::{SIGNING_ALGORITHMS, signing_key};
    use crate::jwt::{JwkParameters, jwks_json};

    fn set(keys: &[Value]) -> String {
        json!({ "keys": keys }).to_string()
    }

    fn keys() -> Vec<Value> {
        SIGNING_ALGORITHMS.map(|algorithm| serde_json::to_value(signing_key(algorithm).public_jwk()).unwrap()).to_vec()
    }

    #[test]
    fn the_keys_of_every_algorithm_are_taken_over_in_one_order() {
        let mut keys = keys();
        let read = parse_public_jwks(&set(&keys)).unwrap();
        assert_eq!(read["keys"].as_array().unwrap().len(), keys.len());
        for key in &keys {
            assert!(read["keys"].as_array().unwrap().contains(key), "{key}");
        }
        keys.reverse();
        keys.push(keys[0].clone());
        assert_eq!(parse_public_jwks(&set(&keys)).unwrap(), read, "the same, and each once");
        assert_eq!(parse_public_jwks(&read.to_string()).unwrap(), read);
    }

    #[test]
    fn what_ringfence_delivers_itself_can_be_read() {
        let key = signing_key(SIGNING_ALGORITHMS[0]).public_jwk().clone();
        let text = jwks_json(&[("spiffe://shop/ns/a/sa/b".parse().unwrap(), vec![key.clone()])]);
        assert_eq!(parse_public_jwks(&text).unwrap(), json!({"keys": [key]}), "without what only Ringfence knows");
    }

    #[test]
    fn one_key_that_is_not_public_spoils_the_set() {
        let good = keys();
        for (what, bad) in [
            ("an EC key with d", {
                let mut key = good[0].clone();
                key["d"] = json!("AAAA");
                key
            }),
            ("a shared key", json!({"kty": "oct", "k": "c2VjcmV0"})),
            ("a shared key without its value", json!({"kty": "oct"})),
            ("a factor of an RSA key", json!({"kty": "RSA", "n": "AQ", "e": "AQAB", "p": "AQ"})),
            ("a private member of a key of an unknown kind", json!({"kty": "AKP", "d": "AQ"})),
        ] {
            let mut keys = good.clone();
            keys.push(bad);
            assert_eq!(parse_public_jwks(&set(&keys)), Err(KeySetFault::NotPublic), "{what}");
        }
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let mut good = keys();
        let rsa = good.iter().find(|key| key["kty"] == "RSA").unwrap().clone();
        let ec = good.iter().find(|key| key["crv"] == "P-256").unwrap().clone();
        let with = |key: &Value, member: &str, value: Value| {
            let mut key = key.clone();
            key[member] = value;
            key
        };
        let useless = [
            ("for encryption", with(&rsa, "use", json!("enc"))),
            ("for encryption, by its algorithm", with(&rsa, "alg", json!("RSA-OAEP"))),
            ("for signing alone", with(&ec, "key_ops", json!(["sign"]))),
            ("operations that are no list", with(&ec, "key_ops", json!("verify"))),
            ("another key's algorithm", with(&ec, "alg", json!("RS256"))),
            ("the algorithm of a larger curve", with(&ec, "alg", json!("ES384"))),
            ("no algorithm at all", with(&ec, "alg", json!("none"))),
            ("shared", with(&rsa, "alg", json!("HS256"))),
            ("an unknown curve", with(&ec, "crv", json!("P-521"))),
            ("a coordinate that is too short", with(&ec, "x", json!("AAAA"))),
            ("a coordinate that is no base64url", with(&ec, "y", json!("+/=="))),
            ("a kid that is no text", with(&ec, "kid", json!(1))),
            ("a short modulus", with(&rsa, "n", json!(URL_SAFE_NO_PAD.encode([0xff; 128])))),
            ("a short modulus behind zeros", {
                with(&rsa, "n", json!(URL_SAFE_NO_PAD.encode([[0; 128], [0xff; 128]].concat())))
            }),
            ("a huge modulus", with(&rsa, "n", json!(URL_SAFE_NO_PAD.encode([0xff; 1025])))),
            ("an exponent of one", with(&rsa, "e", json!("AAE"))),
            ("an even exponent", with(&rsa, "e", json!("Ag"))),
            ("no exponent", with(&rsa, "e", Value::Null)),
            ("an unknown kind", json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AQ"})),
            ("no kind", json!({})),
        ];
        for (what, key) in &useless {
            assert_eq!(parse_public_jwks(&set(std::slice::from_ref(key))), Err(KeySetFault::NoKey), "{what}");
        }
        let expected = parse_public_jwks(&set(&good)).unwrap();
        good.extend(useless.into_iter().map(|(_, key)| key));
        assert_eq!(parse_public_jwks(&set(&good)).unwrap(), expected);
    }

    #[test]
    fn certificates_and_unknown_members_are_dropped_and_a_bare_key_is_enough() {
        let ec = keys().into_iter().find(|key| key["crv"] == "P-256").unwrap();
        let bare = json!({"kty": "EC", "crv": "P-256", "x": ec["x"], "y": ec["y"]});
        assert_eq!(parse_public_jwks(&set(std::slice::from_ref(&bare))).unwrap(), json!({"keys": [bare]}));
        let mut more = bare.clone();
        more["x5c"] = json!(["MIIB"]);
        more["x5u"] = json!("https://elsewhere.example/");
        assert_eq!(parse_public_jwks(&set(&[more])).unwrap(), json!({"keys": [bare]}));
    }

    #[test]
    fn what_is_no_set_or_too_much_is_refused() {
        let many = vec![keys()[0].clone(); MOST_KEYS + 1];
        let long = format!("{}{}", " ".repeat(LONGEST_KEY_SET), set(&keys()));
        for (what, text, fault) in [
            ("nothing", String::new(), KeySetFault::NoKeySet),
            ("a list", "[]".to_owned(), KeySetFault::NoKeySet),
            ("keys that are no list", r#"{"keys": {}}"#.to_owned(), KeySetFault::NoKeySet),
            ("keys that are no objects", r#"{"keys": [1]}"#.to_owned(), KeySetFault::NoKeySet),
            ("two lists of keys", r#"{"keys": [], "keys": []}"#.to_owned(), KeySetFault::NoKeySet),
            ("an empty set", r#"{"keys": []}"#.to_owned(), KeySetFault::NoKey),
            ("many keys", set(&many), KeySetFault::TooManyKeys),
            ("a long text", long, KeySetFault::TooLong),
        ] {
            assert_eq!(parse_public_jwks(&text), Err(fault), "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_text_brings_more_than_public_members(text in "\\PC{0,200}", member in "[a-z0-9_]{1,3}", value in "\\PC{0,20}") {
            drop(parse_public_jwks(&text));
            let JwkParameters::EC { x, y, .. } = ec() else { return Ok(()) };
            let mut key = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
            key[&member] = json!(value);
            if let Ok(read) = parse_public_jwks(&set(&[key])) {
                let members = read["keys"][0].as_object().unwrap();
                prop_assert!(members.keys().all(|member| ["alg", "crv", "kid", "kty", "use", "x", "y"].contains(&member.as_str())));
            }
        }
    }

    fn ec() -> JwkParameters {
        signing_key(crate::api::SigningAlgorithm::ES256).public_jwk().parameters.clone()
    }
}
