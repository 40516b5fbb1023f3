use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::{SigningAlgorithm, TokenFormat};
use crate::jwt::testing::{SIGNING_ALGORITHMS, signing_key};
use crate::tokens::Client;
use crate::tokens::DenialReason::*;
use crate::tokens::testing::*;
use crate::tokens::{Minting, client_credentials};

fn claims() -> Value {
    json!({"iss": LOGIN, "sub": "alice", "aud": GATEWAY, "exp": in_seconds(60), "scope": "openid customer"})
}

fn verify_with(graph: &TokenGraph, token: &str) -> Result<ForeignSubject, Denial> {
    let gateway = spiffe_id(GATEWAY);
    verify_foreign(graph.foreign_issuer(&gateway, LOGIN).unwrap(), graph.service(&gateway).unwrap(), token, now())
}

fn verify(token: &str) -> Result<ForeignSubject, Denial> {
    verify_with(&shop(), token)
}

/// A shop whose issuer has these keys.
fn with_keys(keys: &Value) -> TokenGraph {
    let mut storefront = storefront();
    storefront["domain"]["issuers"][0]["jwks"] = json!({"keys": keys});
    graph_of(&[storefront])
}

#[test]
fn a_token_of_a_trusted_issuer_names_its_subject() {
    for (typ, aud) in
        [(Some("JWT"), json!(GATEWAY)), (Some("at+jwt"), json!(["gateway", "x"])), (None, json!("account"))]
    {
        let token = sign(&LOGIN_KEY, typ, &changed(&claims(), &json!({"aud": aud})));
        let subject = verify(&token).unwrap();
        assert_eq!((subject.id.iss.as_str(), subject.id.sub.as_str()), (LOGIN, "alice"));
        assert_eq!((subject.presented_by, subject.exp), (spiffe_id(GATEWAY), in_seconds(60)));
        let Client::Identity(service) = with_key(GATEWAY) else { unreachable!() };
        assert_eq!(foreign_issuer_of(&shop(), &service, &token).unwrap().issuer.name, "login");
    }
}

#[test]
fn an_issuer_is_shown_no_token_that_is_another_issuers() {
    let graph = shop();
    let login = graph.foreign_issuer(&spiffe_id(GATEWAY), LOGIN).unwrap();
    let opaque = Minting { format: TokenFormat::Opaque, ..for_ledger(&graph) };
    let ours = [opaque, Minting { format: TokenFormat::Jwt, ..for_ledger(&graph) }]
        .map(|minting| key_ring().mint(&minting).unwrap());
    let of = |issuer: &str| sign(&LOGIN_KEY, None, &changed(&claims(), &json!({"iss": issuer})));
    let header = json!({"alg": "RS256", "crit": ["b64"], "b64": false});
    let unusual = forged(&header, &json!({"iss": "https://kubernetes.default.svc"}), b"x");
    let others = [of("https://kubernetes.default.svc"), of(ORDER), of(&format!("{LOGIN}/")), unusual];
    for token in ours.iter().chain(&others).map(String::as_str).chain(["rt_", "rt_AAAA"]) {
        assert!(!may_be_shown(login, token), "{token}");
    }
    let nameless = sign(&LOGIN_KEY, None, &changed(&claims(), &json!({"iss": null})));
    for token in ["2YotnFZFEjr1zCsicMWpAA", "a.b.c", "", &of(LOGIN), &nameless] {
        assert!(may_be_shown(login, token), "{token}");
    }
}

fn for_ledger(graph: &TokenGraph) -> Minting {
    client_credentials(graph, &with_key(ORDER), &asking("ledger"), &issuance()).unwrap()
}

#[test]
fn scopes_are_read_wherever_an_issuer_writes_them() {
    let scopes = |changes| verify(&sign(&LOGIN_KEY, None, &changed(&claims(), &changes))).unwrap().scopes;
    let set = |scopes: &[&str]| scopes.iter().map(|&scope| scope.to_owned()).collect();
    assert_eq!(scopes(json!({})), set(&["customer", "openid"]));
    assert_eq!(scopes(json!({"scope": null, "scp": ["a", "b"]})), set(&["a", "b"]));
    assert_eq!(scopes(json!({"scope": null, "scp": "a b"})), set(&["a", "b"]));
    assert_eq!(scopes(json!({"scope": ["a b", "c", ""]})), set(&["c"]), "what is no scope is left out");
    assert_eq!(scopes(json!({"scope": null})), set(&[]));
}

#[test]
fn what_is_wrong_with_a_token_of_another_issuer() {
    let cases = [
        ("meant for another service", json!({"aud": ORDER}), WrongAudience),
        ("meant for nobody", json!({"aud": null}), WrongAudience),
        ("of another issuer", json!({"iss": "https://login.example.com/realms/other"}), WrongIssuer),
        ("of almost the same issuer", json!({"iss": format!("{LOGIN}/")}), WrongIssuer),
        ("of no issuer", json!({"iss": null}), WrongIssuer),
        ("expired", json!({"exp": in_seconds(-30)}), Expired),
        ("without an end", json!({"exp": null}), Expired),
        ("not valid yet", json!({"nbf": in_seconds(31)}), NotYetValid),
        ("issued in the future", json!({"iat": in_seconds(31)}), NotYetValid),
        ("about nobody", json!({"sub": null}), WrongSubject),
        ("about the name of one of our services", json!({"sub": ORDER}), WrongSubject),
        ("about a very long name", json!({"sub": "x".repeat(513)}), WrongSubject),
    ];
    for (what, changes, expected) in cases {
        let denial = verify(&sign(&LOGIN_KEY, Some("JWT"), &changed(&claims(), &changes))).unwrap_err();
        assert_eq!(denial, Denial::new(OAuthError::InvalidGrant, expected), "{what}");
    }
}

#[test]
fn what_a_service_signs_itself_is_no_token_of_an_issuer() {
    for typ in [
        "service+jwt",
        "SERVICE+JWT",
        "application/service+jwt",
        "txntoken+jwt",
        "client-authentication+jwt",
        "secevent+jwt",
        "logout+jwt",
    ] {
        assert_eq!(reason(verify(&sign(&LOGIN_KEY, Some(typ), &claims()))), WrongType, "{typ}");
    }
    // An assertion, or a service token without a type: the service is no issuer that anyone trusts.
    let own = sign(&ORDER_KEY, Some("JWT"), &changed(&claims(), &json!({"iss": ORDER})));
    let Client::Identity(service) = with_key(GATEWAY) else { unreachable!() };
    assert!(foreign_issuer_of(&shop(), &service, &own).is_none());
    assert_eq!(key_ring().read(&own), Err(WrongType));
    assert_eq!(reason(verify(&own)), UnknownKey);
    // An API server's token is of an issuer that no domain names.
    let account = changed(&claims(), &json!({"iss": "https://kubernetes.default.svc"}));
    assert!(foreign_issuer_of(&shop(), &service, &sign(&LOGIN_KEY, None, &account)).is_none());
}

#[test]
fn keys_of_all_algorithms_verify_and_each_by_its_own() {
    let keys = SIGNING_ALGORITHMS.map(signing_key);
    let graph = with_keys(&json!(keys.each_ref().map(|key| key.public_jwk())));
    for key in &keys {
        let token = sign(key, Some("JWT"), &claims());
        assert!(verify_with(&graph, &token).is_ok(), "{:?}", key.algorithm());
        for other in keys.iter().filter(|other| other.kid() != key.kid()) {
            let header = json!({"alg": format!("{:?}", key.algorithm()), "kid": other.kid()});
            let signature = token.rsplit('.').next().unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let denied = verify_with(&graph, &forged(&header, &claims(), &signature));
            assert!(matches!(reason(denied), WrongAlgorithm | WrongSignature));
        }
    }
}

#[test]
fn a_key_without_an_algorithm_takes_those_of_its_type_and_never_hmac() {
    let (rsa, ec) = (signing_key(SigningAlgorithm::RS256), signing_key(SigningAlgorithm::ES256));
    let bare = |key: &crate::jwt::SigningKey| {
        changed(&serde_json::to_value(key.public_jwk()).unwrap(), &json!({"alg": null, "use": null}))
    };
    let graph = with_keys(&json!([bare(&rsa), bare(&ec)]));
    assert!(verify_with(&graph, &sign(&rsa, None, &claims())).is_ok());
    assert!(verify_with(&graph, &sign(&ec, None, &claims())).is_ok());
    for key in [&rsa, &ec] {
        for alg in ["HS256", "HS384", "HS512", "none"] {
            let token = forged(&json!({"alg": alg, "kid": key.kid()}), &claims(), &[0; 32]);
            assert_eq!(reason(verify_with(&graph, &token)), WrongAlgorithm, "{alg}");
        }
    }
}

#[test]
fn keys_that_are_not_for_signatures_verify_nothing() {
    let key = signing_key(SigningAlgorithm::ES256);
    let jwk = serde_json::to_value(key.public_jwk()).unwrap();
    let with = |changes: &Value| with_keys(&json!([changed(&jwk, changes)]));
    let token = sign(&key, None, &claims());
    assert!(verify_with(&with(&json!({})), &token).is_ok());
    assert!(verify_with(&with(&json!({"use": null, "key_ops": ["verify"]})), &token).is_ok());
    for changes in [
        json!({"use": "enc"}),
        json!({"use": null, "key_ops": ["encrypt"]}),
        json!({"alg": "ES384"}),
        json!({"alg": "ECDH-ES"}),
        json!({"kid": null}),
        json!({"crv": "P-521"}),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "unheard"}),
    ] {
        assert_eq!(reason(verify_with(&with(&changes), &token)), UnknownKey, "{changes}");
    }
    let symmetric = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "1", "alg": "HS256"});
    let graph = with_keys(&json!([symmetric]));
    let token = forged(&json!({"alg": "HS256", "kid": "1"}), &claims(), &[0; 32]);
    assert_eq!(reason(verify_with(&graph, &token)), UnknownKey);
    let mut storefront = storefront();
    storefront["domain"]["issuers"][0]["jwks"] = json!(null);
    let graph = graph_of(&[storefront]);
    assert_eq!(reason(verify_with(&graph, &sign(&key, None, &claims()))), IssuerKeysUnknown);
}

#[test]
fn an_introspection_at_the_issuer_is_read_like_a_token() {
    let graph = shop();
    let gateway = spiffe_id(GATEWAY);
    let read = |response: &Value| {
        let issuer = graph.foreign_issuer(&gateway, LOGIN).unwrap();
        read_foreign_introspection(issuer, graph.service(&gateway).unwrap(), response, now())
    };
    let good = changed(&claims(), &json!({"active": true}));
    assert_eq!(read(&good).unwrap().id.sub, "alice");
    assert!(read(&changed(&good, &json!({"iss": null}))).is_ok(), "asked at the issuer, its name is known");
    let cases = [
        (json!({"active": false}), NotActive),
        (json!({"active": "true"}), NotActive),
        (json!({"active": null}), NotActive),
        (json!({"iss": "https://other.example"}), WrongIssuer),
        (json!({"aud": ORDER}), WrongAudience),
        (json!({"aud": null}), WrongAudience),
        (json!({"exp": null}), Expired),
        (json!({"sub": null}), WrongSubject),
        (json!({"sub": 7}), Malformed),
    ];
    for (changes, expected) in cases {
        assert_eq!(reason(read(&changed(&good, &changes))), expected, "{changes}");
    }
    assert_eq!(reason(read(&json!([]))), NotActive);
}

proptest! {
    #[test]
    fn arbitrary_text_is_no_token(text in "\\PC{0,200}") {
        prop_assert!(verify(&text).is_err());
    }

    /// Whatever stands where keys should be.
    #[test]
    fn arbitrary_keys_verify_nothing(kty in "(EC|RSA|OKP|oct|x)", x in "[A-Za-z0-9_=-]{0,50}", crv in "(P-256|P-384|Ed25519|x)") {
        let key = json!({"kty": kty, "crv": crv, "x": x, "y": x, "n": x, "e": x, "k": x, "kid": "1"});
        let graph = with_keys(&json!([key, 7, {}]));
        for alg in ["ES256", "ES384", "EdDSA", "RS256", "PS512", "HS256", "none"] {
            let token = forged(&json!({"alg": alg, "kid": "1"}), &claims(), &[1; 64]);
            prop_assert!(verify_with(&graph, &token).is_err());
        }
    }
}
