//! Tokens that services sign themselves, for one callee at a time: a JWT (RFC 7519) in its compact form with the `typ`
//! `service+jwt`. Its `iss` and `sub` are the caller's SPIFFE ID; it says nothing that the caller could deny later.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::signing_key_secret::{SigningKeyFault, StoredKeys};
use super::verify::{Audiences, JwtFault, Times, Unverified, VerifyingKeys};
use super::{LEEWAY_SECONDS, SigningKey};
use crate::api::SigningAlgorithm;
use crate::pki::{SecretData, SpiffeId};

/// Signs the tokens of one service. `Debug` shows the key's id only.
pub struct TokenSigner {
    key: EncodingKey,
    header: Header,
}

/// A token to be signed.
#[derive(Clone, Debug)]
pub struct ServiceToken<'a> {
    /// Who calls.
    pub caller: &'a SpiffeId,
    /// An audience of the callee.
    pub audience: &'a str,
    /// How long it may be used. It is valid from the moment that it is signed.
    pub lifetime: SignedDuration,
    /// A value that no other token has.
    pub id: &'a str,
    /// On whose behalf the caller calls, as the caller asserts it.
    pub on_behalf_of: Option<&'a Value>,
}

/// What a verified token says. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceTokenClaims {
    /// Who signed it.
    pub iss: String,
    /// The same.
    pub sub: String,
    /// Whom it is meant for.
    pub aud: Audiences,
    /// When it was signed.
    pub iat: i64,
    /// When it begins to be valid.
    pub nbf: i64,
    /// When it expires.
    pub exp: i64,
    /// Its id.
    pub jti: String,
    /// On whose behalf the caller calls, as the caller asserts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obo: Option<Value>,
}

/// A token that is not accepted as a caller's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ServiceTokenFault {
    /// It is no JWT, or does not verify.
    #[error(transparent)]
    Jwt(#[from] JwtFault),
    /// The header says that it is something else.
    #[error("its typ is not {TYP}")]
    WrongType,
    /// Another one signed it, or it speaks of another.
    #[error("its iss and sub are not its signer")]
    WrongIssuer,
    /// It is for someone else.
    #[error("its aud is none of the audiences that are accepted")]
    WrongAudience,
    /// It is good for longer than tokens may be.
    #[error("it lives longer than it may")]
    LivesTooLong,
    /// It can't be told from another one.
    #[error("it has no jti")]
    NoId,
}

const TYP: &str = "service+jwt";

impl TokenSigner {
    /// Takes the key that is in use out of a Secret `<identity>-signing-key`. An RSA key signs with RS256.
    ///
    /// # Errors
    /// [`SigningKeyFault`].
    pub fn of_secret(data: &SecretData) -> Result<Self, SigningKeyFault> {
        Ok(Self::new(&StoredKeys::read(data)?.current))
    }

    /// Signs with a key.
    #[must_use]
    pub fn new(key: &SigningKey) -> Self {
        let (algorithm, der) = match key.algorithm() {
            SigningAlgorithm::ES256 => (Algorithm::ES256, EncodingKey::from_ec_der(key.pkcs8_der())),
            SigningAlgorithm::ES384 => (Algorithm::ES384, EncodingKey::from_ec_der(key.pkcs8_der())),
            SigningAlgorithm::EdDSA => (Algorithm::EdDSA, EncodingKey::from_ed_der(key.pkcs8_der())),
            SigningAlgorithm::RS256 => (Algorithm::RS256, rsa(key)),
            SigningAlgorithm::PS256 => (Algorithm::PS256, rsa(key)),
        };
        let mut header = Header::new(algorithm);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(key.kid().to_owned());
        Self { key: der, header }
    }

    /// Signs a token.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn sign(&self, token: &ServiceToken<'_>, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        let (iat, caller) = (now.as_second(), token.caller.to_string());
        let claims = ServiceTokenClaims {
            sub: caller.clone(),
            iss: caller,
            aud: Audiences::One(token.audience.to_owned()),
            iat,
            nbf: iat,
            exp: iat.saturating_add(token.lifetime.as_secs()),
            jti: token.id.to_owned(),
            obo: token.on_behalf_of.cloned(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

impl ServiceTokenClaims {
    /// Who says that it signed a token: to choose the keys to verify it with, and for nothing else.
    ///
    /// # Errors
    /// [`ServiceTokenFault`] if it is no such token.
    pub fn unverified_signer(token: &str) -> Result<SpiffeId, ServiceTokenFault> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        let jwt = parse(token)?;
        jwt.unverified_claims::<Issuer>()?.iss.parse().map_err(|_| ServiceTokenFault::WrongIssuer)
    }

    /// Verifies the token of a caller with that caller's own keys. `lifetime` is the longest time from `iat` to `exp`.
    ///
    /// # Errors
    /// [`ServiceTokenFault`].
    pub fn verify(
        token: &str,
        signer: &SpiffeId,
        keys: &VerifyingKeys,
        audiences: &BTreeSet<String>,
        lifetime: Option<SignedDuration>,
        now: Timestamp,
    ) -> Result<Self, ServiceTokenFault> {
        let claims: Self = parse(token)?.verify(keys)?;
        let signer = signer.to_string();
        if claims.iss != signer || claims.sub != signer {
            return Err(ServiceTokenFault::WrongIssuer);
        }
        if !claims.aud.as_slice().iter().any(|audience| audiences.contains(audience)) {
            return Err(ServiceTokenFault::WrongAudience);
        }
        let times = Times { exp: Some(claims.exp), nbf: Some(claims.nbf), iat: Some(claims.iat) };
        times.check(now)?;
        let lives = claims.exp.saturating_sub(claims.iat.min(claims.nbf));
        if lifetime.is_some_and(|longest| lives > longest.as_secs().saturating_add(LEEWAY_SECONDS)) {
            return Err(ServiceTokenFault::LivesTooLong);
        }
        if claims.jti.is_empty() {
            return Err(ServiceTokenFault::NoId);
        }
        Ok(claims)
    }
}

fn parse(token: &str) -> Result<Unverified<'_>, ServiceTokenFault> {
    let jwt = Unverified::parse(token)?;
    if jwt.typ().as_deref() != Some(TYP) {
        return Err(ServiceTokenFault::WrongType);
    }
    Ok(jwt)
}

/// The library takes the inner structure of a PKCS#8 document (RFC 8017, appendix A.1.2) here, and finds it by itself only
/// in PEM.
fn rsa(key: &SigningKey) -> EncodingKey {
    EncodingKey::from_rsa_pem(key.to_pkcs8_pem().as_bytes()).expect("a signing key is a key that parses")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwt::testing::{SIGNING_ALGORITHMS, signing_key};
    use crate::jwt::{jwks_json, signing_key_secret_data};

    const PAYMENT: &str = "payment.settlement.svc";
    const MINUTE: SignedDuration = SignedDuration::from_mins(1);

    fn order() -> SpiffeId {
        "spiffe://storefront/ns/storefront/sa/order".parse().unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn token<'a>(caller: &'a SpiffeId) -> ServiceToken<'a> {
        ServiceToken { caller, audience: PAYMENT, lifetime: MINUTE, id: "1", on_behalf_of: None }
    }

    fn audiences() -> BTreeSet<String> {
        [PAYMENT.to_owned(), "payment".to_owned()].into()
    }

    fn keys(key: &SigningKey) -> VerifyingKeys {
        VerifyingKeys::of_issuer(
            &serde_json::from_str(&jwks_json(&[(order(), vec![key.public_jwk().clone()])])).unwrap(),
        )
    }

    fn verify(token: &str, keys: &VerifyingKeys, at: Timestamp) -> Result<ServiceTokenClaims, ServiceTokenFault> {
        ServiceTokenClaims::verify(token, &order(), keys, &audiences(), Some(MINUTE), at)
    }

    #[test]
    fn what_a_service_signs_its_callee_verifies_with_every_algorithm() {
        for algorithm in SIGNING_ALGORITHMS.into_iter().filter(|algorithm| *algorithm != SigningAlgorithm::PS256) {
            let key = signing_key(algorithm);
            let signer = TokenSigner::of_secret(&signing_key_secret_data(&key, None)).unwrap();
            let obo = json!({"sub": "customer", "scope": "customer"});
            let text = signer.sign(&ServiceToken { on_behalf_of: Some(&obo), ..token(&order()) }, now()).unwrap();
            assert_eq!(ServiceTokenClaims::unverified_signer(&text), Ok(order()));
            let claims = verify(&text, &keys(&key), now()).unwrap();
            assert_eq!((claims.iss.as_str(), claims.exp - claims.iat), (order().to_string().as_str(), 60));
            assert_eq!(claims.obo, Some(obo), "{algorithm:?}");
        }
        let key = signing_key(SigningAlgorithm::PS256);
        let text = TokenSigner::new(&key).sign(&token(&order()), now()).unwrap();
        verify(&text, &keys(&key), now()).unwrap();
    }

    #[test]
    fn what_is_not_for_this_callee_from_this_signer_at_this_time_is_refused() {
        let (key, other) = (signing_key(SigningAlgorithm::ES256), signing_key(SigningAlgorithm::ES256));
        let inventory: SpiffeId = "spiffe://storefront/ns/storefront/sa/inventory".parse().unwrap();
        let signed = |key, wanted: ServiceToken<'_>| TokenSigner::new(key).sign(&wanted, now()).unwrap();
        let order = order();
        let good = signed(&key, token(&order));
        let later = |seconds| now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let cases = [
            ("another's key", signed(&other, token(&order)), now(), JwtFault::UnknownKey.into()),
            ("another's name", signed(&key, token(&inventory)), now(), ServiceTokenFault::WrongIssuer),
            (
                "another audience",
                signed(&key, ServiceToken { audience: "delivery.settlement.svc", ..token(&order) }),
                now(),
                ServiceTokenFault::WrongAudience,
            ),
            (
                "a long life",
                signed(&key, ServiceToken { lifetime: SignedDuration::from_mins(2), ..token(&order) }),
                now(),
                ServiceTokenFault::LivesTooLong,
            ),
            ("no id", signed(&key, ServiceToken { id: "", ..token(&order) }), now(), ServiceTokenFault::NoId),
            ("expired", good.clone(), later(60 + LEEWAY_SECONDS), JwtFault::Expired.into()),
            ("not yet valid", good.clone(), later(-LEEWAY_SECONDS - 1), JwtFault::NotYetValid.into()),
            ("a part less", good.rsplit_once('.').unwrap().0.to_owned(), now(), JwtFault::Malformed.into()),
        ];
        for (what, text, at, fault) in cases {
            assert_eq!(verify(&text, &keys(&key), at), Err(fault), "{what}");
        }
        assert!(verify(&good, &keys(&key), later(60 + LEEWAY_SECONDS - 1)).is_ok(), "clocks differ");
    }

    #[test]
    fn no_other_kind_of_token_is_taken_for_one() {
        let key = signing_key(SigningAlgorithm::ES256);
        let signer = TokenSigner::new(&key);
        for typ in [None, Some("JWT"), Some("at+jwt")] {
            let mut header = signer.header.clone();
            header.typ = typ.map(str::to_owned);
            let claims =
                json!({"iss": order(), "sub": order(), "aud": PAYMENT, "iat": 1, "nbf": 1, "exp": 2, "jti": "1"});
            let text = jsonwebtoken::encode(&header, &claims, &signer.key).unwrap();
            assert_eq!(verify(&text, &keys(&key), now()), Err(ServiceTokenFault::WrongType), "{typ:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let key = signing_key(SigningAlgorithm::ES256);
        assert_eq!(
            format!("{:?}", TokenSigner::new(&key)),
            format!("TokenSigner {{ kid: Some({:?}), .. }}", key.kid())
        );
    }
}
