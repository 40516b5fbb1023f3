use aws_lc_rs::hmac;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::SigningAlgorithm;
use crate::jwt::testing::signing_key;
use crate::jwt::{JwkParameters, SigningKey};
use crate::tokens::DenialReason::*;
use crate::tokens::testing::*;

const TOKEN_ENDPOINT: &str = "https://token-service.ringfence-token-service.svc:8443/token";

fn claims() -> Value {
    json!({
        "iss": ORDER, "sub": ORDER, "aud": TOKEN_ENDPOINT, "jti": "1", "iat": in_seconds(0), "exp": in_seconds(60),
    })
}

fn verify(assertion: &str) -> Result<VerifiedAssertion, Denial> {
    verify_assertion(&shop(), assertion, &[TOKEN_ENDPOINT, ISSUER], now())
}

#[test]
fn a_service_proves_itself_by_what_its_key_signs_for_the_token_service() {
    for (typ, aud) in [
        (Some("JWT"), json!(TOKEN_ENDPOINT)),
        (None, json!(ISSUER)),
        (Some("client-authentication+jwt"), json!([ISSUER])),
        (Some("application/client-authentication+JWT"), json!([ISSUER, TOKEN_ENDPOINT])),
    ] {
        let assertion = sign(&ORDER_KEY, typ, &changed(&claims(), &json!({"aud": aud})));
        let verified = verify(&assertion).unwrap();
        assert_eq!(verified.client, with_key(ORDER));
        assert_eq!((verified.jti.as_str(), verified.usable_until), ("1", in_seconds(90)));
        assert_eq!(unverified_issuer(&assertion).as_deref(), Some(ORDER));
    }
}

#[test]
fn a_jwt_is_only_for_one_audience_if_it_names_that_one_alone() {
    let only = |aud: Value| is_only_for(&sign(&ORDER_KEY, None, &changed(&claims(), &json!({"aud": aud}))), ISSUER);
    for aud in [json!(ISSUER), json!([ISSUER])] {
        assert!(only(aud.clone()), "{aud}");
    }
    let others = [json!([ISSUER, "https://kubernetes.default.svc"]), json!(["https://kubernetes.default.svc", ISSUER])];
    for aud in others.into_iter().chain([json!([ISSUER, ISSUER]), json!("order"), json!([]), json!(null), json!(1)]) {
        assert!(!only(aud.clone()), "{aud}");
    }
    assert!(!is_only_for("", ISSUER) && !is_only_for("a.b.c", ISSUER));
}

#[test]
fn what_an_assertion_must_say() {
    let cases = [
        ("another audience", json!({"aud": "order"}), WrongAudience),
        ("a further audience, which could use it too", json!({"aud": [ISSUER, "order"]}), WrongAudience),
        ("no audience", json!({"aud": []}), WrongAudience),
        ("the audience as a prefix", json!({"aud": format!("{ISSUER}/")}), WrongAudience),
        ("another subject", json!({"sub": GATEWAY}), WrongSubject),
        ("another issuer", json!({"iss": GATEWAY, "sub": GATEWAY}), UnknownKey),
        ("an issuer that is no service", json!({"iss": "web", "sub": "web"}), WrongIssuer),
        ("an issuer that does not list the token service", json!({"iss": CART, "sub": CART}), UnknownClient),
        ("an unknown service", json!({"iss": "spiffe://x/ns/a/sa/b", "sub": "spiffe://x/ns/a/sa/b"}), UnknownClient),
        ("expired", json!({"exp": in_seconds(-30)}), Expired),
        ("no expiry", json!({"exp": null}), Expired),
        ("a life of more than five minutes", json!({"exp": in_seconds(331)}), LivesTooLong),
        ("issued later than now", json!({"iat": in_seconds(31)}), NotYetValid),
        ("not valid before later", json!({"nbf": in_seconds(31)}), NotYetValid),
        ("no id", json!({"jti": null}), NoId),
        ("an empty id", json!({"jti": ""}), NoId),
        ("a long id", json!({"jti": "x".repeat(257)}), NoId),
        ("an expiry that is no number", json!({"exp": "tomorrow"}), Malformed),
        ("an expiry beyond all dates", json!({"exp": 1e300}), Malformed),
    ];
    for (what, changes, expected) in cases {
        let denial = verify(&sign(&ORDER_KEY, Some("JWT"), &changed(&claims(), &changes))).unwrap_err();
        assert_eq!(denial, Denial::new(OAuthError::InvalidClient, expected), "{what}");
    }
    for changes in [json!({"exp": in_seconds(-29)}), json!({"exp": in_seconds(330)}), json!({"iat": in_seconds(30)})] {
        assert!(verify(&sign(&ORDER_KEY, Some("JWT"), &changed(&claims(), &changes))).is_ok(), "{changes}");
    }
}

#[test]
fn nothing_else_that_a_service_or_we_sign_is_an_assertion() {
    for typ in ["service+jwt", "Service+JWT", "application/service+jwt", "at+jwt", "txntoken+jwt", "dpop+jwt", ""] {
        assert_eq!(reason(verify(&sign(&ORDER_KEY, Some(typ), &claims()))), WrongType, "{typ}");
    }
    let minting =
        crate::tokens::client_credentials(&shop(), &with_certificate(GATEWAY), &asking("order"), &issuance()).unwrap();
    assert_eq!(reason(verify(&key_ring().mint(&minting).unwrap())), WrongType, "an access token");
}

#[test]
fn a_key_verifies_by_its_own_algorithm_alone() {
    let JwkParameters::EC { x, y, .. } = &ORDER_KEY.public_jwk().parameters else { unreachable!() };
    let kid = ORDER_KEY.kid();
    let header = |alg: &str| json!({"alg": alg, "typ": "JWT", "kid": kid});
    let hmac_by = |secret: &[u8]| {
        let message = forged(&header("HS256"), &claims(), b"");
        let message = message.trim_end_matches('.');
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", crate::jwt::base64url(tag.as_ref()))
    };
    let public_pem = pem_of(&ORDER_KEY);
    let good = sign(&ORDER_KEY, Some("JWT"), &claims());
    let signature = good.rsplit('.').next().unwrap();
    let cases = [
        ("no algorithm", forged(&header("none"), &claims(), b""), WrongAlgorithm),
        ("no algorithm, in capitals", forged(&header("NONE"), &claims(), b""), WrongAlgorithm),
        ("the public key's PEM as a secret", hmac_by(public_pem.as_bytes()), WrongAlgorithm),
        ("the public key's x as a secret", hmac_by(x.as_bytes()), WrongAlgorithm),
        ("the public key's y as a secret", hmac_by(y.as_bytes()), WrongAlgorithm),
        ("another algorithm of the family", forged(&header("ES384"), &claims(), &[0; 96]), WrongAlgorithm),
        ("another spelling", forged(&header("es256"), &claims(), &[0; 64]), WrongAlgorithm),
        ("an RSA algorithm", forged(&header("RS256"), &claims(), &[0; 256]), WrongAlgorithm),
        ("a signature of zeros", forged(&header("ES256"), &claims(), &[0; 64]), WrongSignature),
        ("no signature", forged(&header("ES256"), &claims(), b""), WrongSignature),
        ("a cut signature", good[..good.len() - 2].to_owned(), WrongSignature),
        ("another one's signature", sign_as(kid, &signing_key(SigningAlgorithm::ES256)), WrongSignature),
        (
            "other claims under the signature",
            {
                let other = sign(&ORDER_KEY, Some("JWT"), &changed(&claims(), &json!({"jti": "2"})));
                format!("{}.{signature}", other.rsplit_once('.').unwrap().0)
            },
            WrongSignature,
        ),
    ];
    for (what, assertion, expected) in cases {
        assert_eq!(reason(verify(&assertion)), expected, "{what}");
    }
}

#[test]
fn a_header_can_bring_no_key_and_no_rule() {
    let attacker = signing_key(SigningAlgorithm::ES256);
    let good = json!({"alg": "ES256", "typ": "JWT", "kid": ORDER_KEY.kid()});
    let cases = [
        (json!({"jwk": attacker.public_jwk()}), HeaderNotAccepted),
        (json!({"jku": "https://evil.example/keys"}), HeaderNotAccepted),
        (json!({"x5u": "https://evil.example/certificate"}), HeaderNotAccepted),
        (json!({"x5c": ["AAAA"]}), HeaderNotAccepted),
        (json!({"crit": ["exp"]}), HeaderNotAccepted),
        (json!({"crit": []}), HeaderNotAccepted),
        (json!({"b64": false}), HeaderNotAccepted),
        (json!({"zip": "DEF"}), HeaderNotAccepted),
        (json!({"enc": "A128GCM"}), HeaderNotAccepted),
        (json!({"kid": attacker.kid()}), UnknownKey),
        (json!({"kid": LOGIN_KEY.kid()}), UnknownKey),
        (json!({"kid": null}), UnknownKey),
        (json!({"kid": 7}), Malformed),
        (json!({"alg": null}), Malformed),
        (json!({"alg": ["ES256"]}), Malformed),
    ];
    for (changes, expected) in cases {
        let header = changed(&good, &changes);
        assert_eq!(reason(verify(&forged(&header, &claims(), &[0; 64]))), expected, "{changes}");
    }
    // Whoever reads another value than we do must not be led astray.
    let twice = format!(r#"{{"alg":"none","alg":"ES256","kid":"{}"}}"#, ORDER_KEY.kid());
    let part = |text: &str| crate::jwt::base64url(text.as_bytes());
    let assertion = format!("{}.{}.{}", part(&twice), part(&claims().to_string()), part("x"));
    assert_eq!(reason(verify(&assertion)), Malformed);
    let crit = format!(r#"{{"alg":"ES256","crit":null,"kid":"{}"}}"#, ORDER_KEY.kid());
    let assertion = format!("{}.{}.{}", part(&crit), part(&claims().to_string()), part("x"));
    assert_eq!(reason(verify(&assertion)), HeaderNotAccepted, "whatever its value");
}

#[test]
fn what_is_no_compact_jwt_is_refused() {
    let good = sign(&ORDER_KEY, Some("JWT"), &claims());
    let long = format!("{good}{}", "A".repeat(crate::jwt::MAX_TOKEN_LENGTH));
    assert_eq!(reason(verify(&long)), TooLarge);
    let padded = format!("{good}=");
    let spaced = format!(" {good}");
    let more = format!("{good}.");
    for text in ["", ".", "..", "...", "a.b.c", "e30.e30.e30", &padded, &spaced, &more] {
        let reason = reason(verify(text));
        assert!(matches!(reason, Malformed | WrongSignature), "{text}: {reason}");
    }
}

/// Signed by another key, under this key's id.
fn sign_as(kid: &str, key: &SigningKey) -> String {
    let header =
        jsonwebtoken::Header { kid: Some(kid.to_owned()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256) };
    let encoding = jsonwebtoken::EncodingKey::from_ec_pem(key.to_pkcs8_pem().as_bytes()).unwrap();
    jsonwebtoken::encode(&header, &claims(), &encoding).unwrap()
}

/// The public key as PEM, as it lies about in many places.
fn pem_of(key: &SigningKey) -> String {
    let private = crate::pki::PrivateKey::from_pem(key.to_pkcs8_pem().as_bytes()).unwrap();
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, private.public_key_spki());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

proptest! {
    #[test]
    fn arbitrary_text_is_no_assertion(text in "\\PC{0,200}") {
        prop_assert!(verify(&text).is_err());
        prop_assert!(unverified_issuer(&text).is_none());
    }

    #[test]
    fn arbitrary_parts_are_no_assertion(header in "\\PC{0,40}", payload in "\\PC{0,40}", signature in any::<[u8; 64]>()) {
        let [header, payload] = [header, payload].map(|text| crate::jwt::base64url(text.as_bytes()));
        let assertion = format!("{header}.{payload}.{}", crate::jwt::base64url(&signature));
        prop_assert!(verify(&assertion).is_err());
    }

    /// One octet of a good assertion is another.
    #[test]
    fn a_changed_assertion_is_none(place in any::<prop::sample::Index>(), octet in 0x20u8..0x7f) {
        let good = sign(&ORDER_KEY, Some("JWT"), &claims());
        let mut changed = good.clone().into_bytes();
        let place = place.index(changed.len());
        changed[place] = octet;
        let changed = String::from_utf8(changed).unwrap();
        prop_assume!(changed != good);
        prop_assert!(verify(&changed).is_err());
    }
}
