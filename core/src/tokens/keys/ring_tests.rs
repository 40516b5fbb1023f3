use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tokens::testing::*;
use crate::tokens::{MAX_TOKEN_LIFETIME_SECONDS, client_credentials};

fn access() -> Minting {
    client_credentials(&shop(), &with_certificate(GATEWAY), &asking("order"), &issuance()).unwrap()
}

fn opaque() -> Minting {
    client_credentials(&shop(), &with_key(ORDER), &asking_once("payment"), &issuance()).unwrap()
}

#[test]
fn both_forms_are_read_as_they_were_made() {
    let ring = key_ring();
    for minting in [access(), opaque(), Minting { format: TokenFormat::Jwt, ..opaque() }] {
        let token = ring.mint(&minting).unwrap();
        assert_eq!(token.starts_with("rt_"), minting.format == TokenFormat::Opaque);
        assert_eq!(ring.read(&token), Ok(made(minting)));
    }
}

#[test]
fn another_library_verifies_a_token_by_the_published_keys() {
    let ring = key_ring();
    let minting = access();
    let token = ring.mint(&minting).unwrap();
    let header = decode_header(&token).unwrap();
    assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), Algorithm::ES256));
    let keys: JwkSet = serde_json::from_str(ring.jwks()).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["order"]);
    validation.set_issuer(&[ISSUER]);
    validation.validate_exp = false;
    let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!(claims, json_of(&minting.claims));
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert!(text.starts_with(r#"{"alg":"ES256","typ":"at+jwt","kid":""#), "{text}");
}

#[test]
fn nothing_can_be_read_in_an_opaque_token() {
    let ring = key_ring();
    let [one, other] = [(); 2].map(|()| ring.mint(&opaque()).unwrap());
    assert_ne!(one, other, "not even whether two are the same");
    let octets = URL_SAFE_NO_PAD.decode(one.strip_prefix("rt_").unwrap()).unwrap();
    let text = String::from_utf8_lossy(&octets);
    assert!(!text.contains("payment") && !text.contains("charge"));
}

#[test]
fn a_token_of_a_retired_generation_is_read_and_of_a_removed_one_not() {
    let old = generations();
    let (old_ring, new_ring) = (KeyRing::new(&old).unwrap(), key_ring());
    let mut both = generations();
    for generation in old.iter() {
        let last_used = now();
        let mut retired = generation.clone();
        retired.phase = GenerationPhase::Retired { last_used };
        both.generations.push(retired);
    }
    let both = KeyRing::new(&both).unwrap();
    for minting in [access(), opaque()] {
        let token = old_ring.mint(&minting).unwrap();
        assert!(both.read(&token).is_ok());
        assert_eq!(new_ring.read(&token), Err(DenialReason::UnknownKey));
    }
}

#[test]
fn kinds_and_forms_do_not_pass_for_each_other() {
    let ring = key_ring();
    let token = ring.mint(&access()).unwrap();
    let (header, rest) = token.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let with = |changes: Value| format!("{}.{rest}", base64url(changed(&header, &changes).to_string().as_bytes()));
    let cases = [
        (with(json!({"typ": "txntoken+jwt"})), DenialReason::WrongSignature),
        (with(json!({"typ": "JWT"})), DenialReason::WrongType),
        (with(json!({"typ": "service+jwt"})), DenialReason::WrongType),
        (with(json!({"typ": null})), DenialReason::WrongType),
        (with(json!({"alg": "none"})), DenialReason::WrongAlgorithm),
        (with(json!({"alg": "HS256"})), DenialReason::WrongAlgorithm),
        (with(json!({"kid": "unknown"})), DenialReason::UnknownKey),
        (with(json!({"kid": null})), DenialReason::UnknownKey),
        (with(json!({"crit": ["x"]})), DenialReason::HeaderNotAccepted),
        (with(json!({"jwk": {}})), DenialReason::HeaderNotAccepted),
        (format!("rt_{token}"), DenialReason::Malformed),
        (token.replacen('.', "..", 1), DenialReason::Malformed),
        (String::new(), DenialReason::Malformed),
        ("rt_".to_owned(), DenialReason::Malformed),
        (format!("rt_{}", base64url(&[0; 64])), DenialReason::UnknownKey),
        (format!("rt_{}", "A".repeat(17 * 1024)), DenialReason::TooLarge),
        ("A".repeat(17 * 1024), DenialReason::TooLarge),
    ];
    for (token, expected) in cases {
        assert_eq!(ring.read(&token), Err(expected), "{token:.60}");
    }
}

#[test]
fn a_token_that_could_not_be_read_again_is_not_made() {
    let ring = key_ring();
    for mut minting in [access(), opaque()] {
        minting.claims.aud = "x".repeat(MAX_TOKEN_LENGTH);
        assert_eq!(reason(ring.mint(&minting)), DenialReason::TooLarge);
    }
}

#[test]
fn without_an_active_generation_nothing_is_made() {
    assert!(KeyRing::new(&Generations::default()).is_none());
    let mut generations = generations();
    generations.generations.retain(|generation| !matches!(generation.phase, GenerationPhase::Active { .. }));
    assert_eq!(generations.iter().count(), 1);
    assert!(KeyRing::new(&generations).is_none());
}

#[test]
fn debug_shows_no_secret() {
    let generations = generations();
    let text = format!("{generations:?} {:?} {:?}", KeyRing::new(&generations).unwrap(), new_keys());
    for generation in generations.iter() {
        assert!(text.contains(generation.kid()));
        let pem = generation.signing().to_pkcs8_pem();
        let octets = format!("{:?}", generation.sealing());
        assert!(!text.contains(pem.lines().nth(1).unwrap()) && !text.contains(&octets));
    }
}

/// What is said about the time that keys are kept holds only if no token lives longer.
#[test]
fn no_token_outlives_its_key() {
    let settings = crate::tokens::keys::KeySettings::default();
    assert!(settings.keep.as_secs() >= i64::try_from(MAX_TOKEN_LIFETIME_SECONDS).unwrap() + 600);
}

proptest! {
    #[test]
    fn arbitrary_text_is_no_token(text in "(rt_)?\\PC{0,200}") {
        prop_assert!(key_ring().read(&text).is_err());
    }

    #[test]
    fn arbitrary_octets_do_not_open(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let generations = generations();
        let ring = KeyRing::new(&generations).unwrap();
        let known = [&ring.active.id[..], &octets].concat();
        for octets in [octets, known] {
            let read = ring.read(&format!("rt_{}", base64url(&octets)));
            prop_assert!(read.is_err());
        }
    }

    /// One bit of a good token is another.
    #[test]
    fn a_changed_token_is_none(place in any::<prop::sample::Index>(), bit in 0u8..8, jwt: bool) {
        let ring = key_ring();
        let minting = if jwt { access() } else { opaque() };
        let token = ring.mint(&minting).unwrap();
        let mut octets = token.clone().into_bytes();
        let place = place.index(octets.len());
        octets[place] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(octets) {
            prop_assert!(ring.read(&changed).is_err());
        }
    }
}
