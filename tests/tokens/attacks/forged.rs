//! Tokens and assertions that the token service, or the client, never signed.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ringfence_core::jwt::SigningKey;
use serde_json::{Value, json};

use super::forge::{Signer, jwt, parts, with};
use super::shop::{Shop, inactive};

/// Each way to forge a JWT that one key signed: what it is called, and the forgery.
fn forgeries(token: &str, public_jwk: &Value, foreign_key: &SigningKey) -> Vec<(&'static str, String)> {
    let (header, claims) = parts(token);
    let [head, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let hs256 = with(&header, json!({"alg": "HS256"}));
    let none = |alg| jwt(&with(&header, json!({"alg": alg})), &claims, &Signer::None);
    let foreign = |more| jwt(&with(&header, more), &claims, &Signer::Es256(foreign_key));
    let mut other = claims.clone();
    other["sub"] = json!("spiffe://elsewhere/ns/a/sa/b");
    vec![
        ("alg none", none("none")),
        ("alg none in other letters", none("nOnE")),
        ("alg none with the signature", format!("{}{signature}", none("none"))),
        ("no alg", foreign(json!({"alg": null}))),
        ("the public key as a secret, PEM", jwt(&hs256, &claims, &Signer::Hs256(spki_pem(public_jwk).as_bytes()))),
        ("the public key as a secret, JWK", jwt(&hs256, &claims, &Signer::Hs256(public_jwk.to_string().as_bytes()))),
        (
            "the public key's coordinate as a secret",
            jwt(&hs256, &claims, &Signer::Hs256(public_jwk["x"].as_str().unwrap().as_bytes())),
        ),
        ("an empty secret", jwt(&hs256, &claims, &Signer::Hs256(b""))),
        ("another algorithm of the same family", foreign(json!({"alg": "ES384"}))),
        ("a foreign key under the kid", foreign(json!({}))),
        ("an unknown kid", foreign(json!({"kid": "unknown"}))),
        ("no kid", foreign(json!({"kid": null}))),
        ("a kid that is a path", foreign(json!({"kid": "../../dev/null"}))),
        ("a kid that is a number", foreign(json!({"kid": 0}))),
        ("a key of its own", foreign(json!({"jwk": foreign_key.public_jwk()}))),
        ("a key from elsewhere", foreign(json!({"jku": "https://127.0.0.1:1/jwks"}))),
        ("a certificate from elsewhere", foreign(json!({"x5u": "https://127.0.0.1:1/cert", "x5c": ["AAAA"]}))),
        ("an extension to be understood", foreign(json!({"crit": ["exp"], "b64": false}))),
        ("no signature", format!("{head}.{payload}.")),
        ("no signature and no dot", format!("{head}.{payload}")),
        ("other claims", {
            let changed = jwt(&header, &other, &Signer::None);
            format!("{changed}{signature}")
        }),
        ("zeros for a signature", format!("{head}.{payload}.{}", "A".repeat(86))),
        ("a signature in DER", format!("{head}.{payload}.MEQCIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAiAAAAAA")),
        ("padding", format!("{head}.{payload}.{signature}==")),
        ("five parts", format!("{token}.AAAA.AAAA")),
        ("another part after it", format!("{token}.")),
        ("nothing at all", "..".to_owned()),
    ]
}

/// A public key of P-256 as PEM, the form in which servers keep keys to verify by.
fn spki_pem(jwk: &Value) -> String {
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let der = [SPKI_OF_P256, &[4], &coordinate("x"), &coordinate("y")].concat();
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// What stands before the point in a public key of P-256, in DER (RFC 5480).
const SPKI_OF_P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[tokio::test]
async fn a_token_with_alg_none_or_a_confused_algorithm_or_an_unknown_kid_is_no_subject_token_and_never_active() {
    let shop = Shop::open("forged-tokens").await;
    let token = shop.token("gateway", "order").await;
    let public = shop.issuer_key(&token).await;
    for (what, forged) in forgeries(&token, &public, &shop["stranger"].signing_key) {
        assert_eq!(shop.introspect("order", &forged).await, inactive(), "{what}");
        let answer = shop.exchange("order", &forged, "delivery", &[]).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant"), "{what}");
    }
    assert_eq!(shop.introspect("order", &token).await["active"], true, "the token itself is good");
    assert_eq!(shop.exchange("order", &token, "delivery", &[]).await.status, 200);
}

#[tokio::test]
async fn an_assertion_with_alg_none_or_a_confused_algorithm_or_an_unknown_kid_is_no_proof() {
    let shop = Shop::open("forged-assertions").await;
    let public = json!(shop["gateway"].signing_key.public_jwk());
    // Each of a fresh assertion, which nothing else is wrong with.
    let forge = || forgeries(&shop.assertion("gateway"), &public, &shop["stranger"].signing_key);
    for number in 0..forge().len() {
        let (what, forged) = forge().swap_remove(number);
        // And from an address of its own, so that it is looked at.
        let answer = shop.from(number).by_assertion(&forged, "order").await;
        assert_eq!((what, answer.refusal()), (what, (401, "invalid_client")));
    }
    assert_eq!(shop.by_assertion(&shop.assertion("gateway"), "order").await.status, 200);
}

#[tokio::test]
async fn an_opaque_token_that_was_changed_or_made_up_is_not_active() {
    let shop = Shop::open("forged-opaque").await;
    let token = shop.token("order", "delivery").await;
    let mut forged =
        vec!["rt_".to_owned(), "rt_AAAA".to_owned(), format!("rt_{}", "A".repeat(400)), token.replace("rt_", "")];
    for place in [3, 10, token.len() / 2, token.len() - 2] {
        let mut octets = token.clone().into_bytes();
        octets[place] = if octets[place] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(octets).unwrap());
    }
    forged.push(token[..token.len() - 4].to_owned());
    forged.push(format!("{token}AAAA"));
    for forged in forged {
        assert_eq!(shop.introspect("delivery", &forged).await, inactive(), "{forged}");
    }
    assert_eq!(shop.introspect("delivery", &token).await["active"], true);
}
