//! Tokens that services sign themselves, between both languages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ringfence_core::api::SigningAlgorithm;
use ringfence_core::jwt::SigningKey;
use serde_json::{Value, json};

use crate::issued::now;
use crate::peers::{Client, LANGUAGES, Language, Server, call_on_behalf_of, call_with, pairs};
use crate::shop::{AUDIENCE, By, CART, LIFETIME, ORDER, Shop, signing_key};

#[tokio::test]
async fn each_verifies_what_the_other_signs() {
    use SigningAlgorithm::{ES256, ES384, EdDSA, RS256};
    for algorithm in [ES256, ES384, EdDSA, RS256] {
        let shop = Shop::new(algorithm);
        let (order, payment) = (shop.order(By::Token), shop.payment(By::Token));
        for (server, client) in pairs() {
            let listening = Server::start(server, &payment).await;
            let (status, body) = Client::start(client, &order).call(&listening).await.unwrap();
            assert_eq!(
                (status, body.contains(ORDER)),
                (200, true),
                "{algorithm:?}, {client:?} calls {server:?}: {body}"
            );
        }
    }
}

#[tokio::test]
async fn the_user_arrives_at_the_last_hop() {
    let shop = Shop::new(SigningAlgorithm::ES256);
    let (order, payment) = (shop.order(By::Token), shop.payment(By::Token));
    for server in LANGUAGES {
        let listening = Server::start(server, &payment).await;
        let (_, body) = call_on_behalf_of(&order, &listening, &json!({"sub": "alice"})).await.unwrap();
        let said: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(said, json!({"caller": ORDER, "onBehalfOf": {"sub": "alice"}}), "{server:?}");
    }
}

#[tokio::test]
async fn both_refuse_the_same_tokens() {
    let shop = Shop::new(SigningAlgorithm::ES256);
    // Order's pod without the demand for a token: it sends whatever it is given.
    let (order, payment) = (shop.order(By::Certificate), shop.payment(By::Token));
    let (key, stolen) = (&shop.signing_key, signing_key(SigningAlgorithm::ES256));
    let seconds = now().as_second();
    let good = json!({
        "iss": ORDER, "sub": ORDER, "aud": AUDIENCE, "iat": seconds, "nbf": seconds, "exp": seconds + 60, "jti": "1",
    });
    let with = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        claims
    };
    let aged = |by: i64, lives: i64| {
        let mut claims = with("exp", json!(seconds - by + lives));
        (claims["iat"], claims["nbf"]) = (json!(seconds - by), json!(seconds - by));
        claims
    };
    let longest = i64::try_from(LIFETIME).unwrap();
    let tokens = [
        (200, "what order signs", signed(key, key.kid(), "service+jwt", &good)),
        (401, "another's key under order's key id", signed(&stolen, key.kid(), "service+jwt", &good)),
        (401, "another's key under its own id", signed(&stolen, stolen.kid(), "service+jwt", &good)),
        (401, "order's key for cart's name", signed(key, key.kid(), "service+jwt", &with("iss", json!(CART)))),
        (401, "order's key about cart", signed(key, key.kid(), "service+jwt", &with("sub", json!(CART)))),
        (
            401,
            "another audience",
            signed(key, key.kid(), "service+jwt", &with("aud", json!("delivery.settlement.svc"))),
        ),
        (401, "expired", signed(key, key.kid(), "service+jwt", &aged(longest, 60))),
        (401, "not valid yet", signed(key, key.kid(), "service+jwt", &aged(-longest, 60))),
        (401, "good for too long", signed(key, key.kid(), "service+jwt", &aged(0, longest + 60))),
        (401, "without an id", signed(key, key.kid(), "service+jwt", &with("jti", json!("")))),
        (401, "of another type", signed(key, key.kid(), "JWT", &good)),
        (401, "unsigned", unsigned(key.kid(), &good)),
        (401, "order's public key as a shared secret", by_public_key(key, &good)),
        (401, "no token", "x".to_owned()),
    ];
    for server in LANGUAGES {
        let listening = Server::start(server, &payment).await;
        for (expected, what, token) in &tokens {
            let (status, _) = call_with(&order, &listening, token).await.unwrap();
            assert_eq!(status, *expected, "{what}, to {server:?}");
        }
        let (status, _) = Client::start(Language::Go, &order).call(&listening).await.unwrap();
        assert_eq!(status, 401, "without a token, to {server:?}");
    }
}

fn signed(key: &SigningKey, kid: &str, typ: &str, claims: &Value) -> String {
    let header = Header { typ: Some(typ.to_owned()), kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    encode(&header, claims, &EncodingKey::from_ec_pem(key.to_pkcs8_pem().as_bytes()).unwrap()).unwrap()
}

fn unsigned(kid: &str, claims: &Value) -> String {
    let header = json!({"alg": "none", "typ": "service+jwt", "kid": kid});
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.")
}

fn by_public_key(key: &SigningKey, claims: &Value) -> String {
    let public = serde_json::to_vec(key.public_jwk()).unwrap();
    let header = Header {
        typ: Some("service+jwt".to_owned()),
        kid: Some(key.kid().to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    encode(&header, claims, &EncodingKey::from_secret(&public)).unwrap()
}
