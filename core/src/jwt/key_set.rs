//! JWK Sets (RFC 7517, section 5): the keys of the services that may call.

use serde::Serialize;

use super::jwk::PublicJwk;
use crate::pki::SpiffeId;

/// The JWK Set of these signers as JSON: the same octets whenever the keys are the same, in order of SPIFFE ID and `kid`,
/// each key once. Every key carries the member `spiffe_id`: the only signer that it may speak for. A verifier that looks
/// a key up by `kid` must compare it with the token's `iss`.
#[must_use]
pub fn jwks_json(signers: &[(SpiffeId, Vec<PublicJwk>)]) -> String {
    let mut keys: Vec<SignerJwk<'_>> =
        signers.iter().flat_map(|(spiffe_id, keys)| keys.iter().map(move |key| SignerJwk { key, spiffe_id })).collect();
    keys.sort_by_key(|signer| (signer.spiffe_id, &signer.key.kid));
    keys.dedup();
    serde_json::to_string(&KeySet { keys }).expect("a key set of strings always serializes")
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: Vec<SignerJwk<'a>>,
}

#[derive(PartialEq, Serialize)]
struct SignerJwk<'a> {
    #[serde(flatten)]
    key: &'a PublicJwk,
    spiffe_id: &'a SpiffeId,
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
    use serde_json::{Value, json};

    use super::*;
    use crate::api::SigningAlgorithm;
    use crate::jwt::SigningKey;
    use crate::jwt::testing::{SIGNING_ALGORITHMS, signing_key};

    fn id(service_account: &str) -> SpiffeId {
        format!("spiffe://storefront/ns/shop/sa/{service_account}").parse().unwrap()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let [a, b, c] = [(); 3].map(|()| signing_key(SigningAlgorithm::ES256).public_jwk().clone());
        let (x, y) = (id("x"), id("y"));
        let text = jwks_json(&[(x.clone(), vec![a.clone(), b.clone()]), (y.clone(), vec![c.clone()])]);
        let shuffled = [(y.clone(), vec![c.clone()]), (x.clone(), vec![b.clone()]), (x.clone(), vec![a.clone(), b])];
        assert_eq!(jwks_json(&shuffled), text);
        let set: Value = serde_json::from_str(&text).unwrap();
        let signers: Vec<_> = set["keys"].as_array().unwrap().iter().map(|key| &key["spiffe_id"]).collect();
        assert_eq!(signers, [&json!(x.to_string()), &json!(x.to_string()), &json!(y.to_string())]);
        assert_eq!(jwks_json(&[]), r#"{"keys":[]}"#);
        // One key of two signers is twice there: each speaks for itself.
        assert_eq!(jwks_json(&[(x, vec![a.clone()]), (y, vec![a])]).matches("spiffe_id").count(), 2);
    }

    #[test]
    fn no_private_member_gets_into_a_key_set() {
        let keys = SIGNING_ALGORITHMS.map(|algorithm| signing_key(algorithm).public_jwk().clone());
        let set: Value = serde_json::from_str(&jwks_json(&[(id("x"), keys.to_vec())])).unwrap();
        let allowed = ["alg", "crv", "e", "kid", "kty", "n", "spiffe_id", "use", "x", "y"];
        for key in set["keys"].as_array().unwrap() {
            assert!(key.as_object().unwrap().keys().all(|member| allowed.contains(&member.as_str())), "{key}");
        }
    }

    /// A service signs with what is in its Secret, another verifies with the key set, both with an unmodified library.
    #[test]
    fn tokens_of_every_algorithm_verify_against_the_key_set() {
        let signers = SIGNING_ALGORITHMS.map(signing_key);
        let others = SIGNING_ALGORITHMS.map(signing_key);
        let entry = |name: &str, keys: &[SigningKey]| (id(name), keys.iter().map(|k| k.public_jwk().clone()).collect());
        let set: JwkSet =
            serde_json::from_str(&jwks_json(&[entry("order", &signers), entry("cart", &others)])).unwrap();
        for signer in &signers {
            let token = sign(signer);
            let jwk = set.find(&decode_header(&token).unwrap().kid.unwrap()).unwrap();
            let algorithm = jwk.common.key_algorithm.unwrap().to_string().parse().unwrap();
            assert_eq!(algorithm, theirs(signer.algorithm()));
            let verify = |token: &str| {
                let mut validation = Validation::new(algorithm);
                validation.set_audience(&["payment"]);
                decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation)
            };
            assert_eq!(verify(&token).unwrap().claims["iss"], "order", "{algorithm:?}");
            let (message, _) = token.rsplit_once('.').unwrap();
            let other = sign(others.iter().find(|other| other.algorithm() == signer.algorithm()).unwrap());
            let forged = format!("{message}.{}", other.rsplit('.').next().unwrap());
            verify(&forged).expect_err("signed with another key");
            verify(&token.replacen("eyJ", "eyK", 2)).expect_err("changed");
        }
    }

    fn sign(signer: &SigningKey) -> String {
        let pem = signer.to_pkcs8_pem();
        let key = match signer.algorithm() {
            SigningAlgorithm::ES256 | SigningAlgorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            SigningAlgorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            SigningAlgorithm::RS256 | SigningAlgorithm::PS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        let header = Header { kid: Some(signer.kid().to_owned()), ..Header::new(theirs(signer.algorithm())) };
        // Far enough: the library looks at the clock.
        let claims = json!({ "iss": "order", "aud": "payment", "exp": 10_000_000_000_u64 });
        encode(&header, &claims, &key.unwrap()).unwrap()
    }

    fn theirs(algorithm: SigningAlgorithm) -> Algorithm {
        match algorithm {
            SigningAlgorithm::ES256 => Algorithm::ES256,
            SigningAlgorithm::ES384 => Algorithm::ES384,
            SigningAlgorithm::EdDSA => Algorithm::EdDSA,
            SigningAlgorithm::RS256 => Algorithm::RS256,
            SigningAlgorithm::PS256 => Algorithm::PS256,
        }
    }
}
