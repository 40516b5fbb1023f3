//! Verifying JWTs (RFC 7519) in their compact form (RFC 7515, section 7.1), by keys that are known beforehand: nothing in a
//! token's header says how it is verified, but for the choice among its issuer's keys.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{MOST_KEYS, PublicJwk};

/// Longest token or assertion that is looked at, in octets.
pub const MAX_TOKEN_LENGTH: usize = 16 * 1024;
/// How far another's clock may differ, in seconds.
pub const LEEWAY_SECONDS: i64 = 30;

/// A JWT that is none, or that does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum JwtFault {
    /// More than is looked at.
    #[error("it is longer than {MAX_TOKEN_LENGTH} octets")]
    TooLarge,
    /// Not three parts of which the first two are JSON in base64url.
    #[error("it is not a JWT in its compact form")]
    Malformed,
    /// The header would say how the token is to be verified, or that it is encrypted.
    #[error("its header has a member that is not accepted, such as crit or a key")]
    HeaderNotAccepted,
    /// The header names no key, or none that the issuer has.
    #[error("its kid names no key of its issuer")]
    UnknownKey,
    /// The key is for another algorithm.
    #[error("its alg is not the one of its key")]
    WrongAlgorithm,
    /// The signature is not that of the key.
    #[error("its signature is wrong")]
    WrongSignature,
    /// Its time is over, or it names none.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
}

/// A JWT whose signature is not verified yet.
pub struct Unverified<'a> {
    header: Header,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// The members of a header (RFC 7515, section 4.1) that matter here.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Present,
    #[serde(default)]
    b64: Present,
    #[serde(default)]
    jwk: Present,
    #[serde(default)]
    jku: Present,
    #[serde(default)]
    x5u: Present,
    #[serde(default)]
    x5c: Present,
    #[serde(default)]
    zip: Present,
    #[serde(default)]
    enc: Present,
}

/// Whether a member is there, whatever its value.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Header {
    fn is_accepted(&self) -> bool {
        let refused = [&self.crit, &self.b64, &self.jwk, &self.jku, &self.x5u, &self.x5c, &self.zip, &self.enc];
        !refused.iter().any(|present| present.0)
    }
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwtFault`].
    pub fn parse(token: &'a str) -> Result<Self, JwtFault> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(JwtFault::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(JwtFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(JwtFault::Malformed)?;
        if payload.contains('.') {
            return Err(JwtFault::Malformed);
        }
        let header: Header = json_of(header)?;
        if !header.is_accepted() {
            return Err(JwtFault::HeaderNotAccepted);
        }
        Ok(Self { header, message, payload, signature })
    }

    /// The header's `typ` in lower case, without the `application/` that may stand before it (RFC 7515, section 4.1.9).
    #[must_use]
    pub fn typ(&self) -> Option<String> {
        let typ = self.header.typ.as_ref()?.to_ascii_lowercase();
        Some(typ.strip_prefix("application/").unwrap_or(&typ).to_owned())
    }

    /// The claims, which may be anybody's: to be asked for nothing but whose key to verify with.
    ///
    /// # Errors
    /// [`JwtFault::Malformed`] if they have another form.
    pub fn unverified_claims<T: DeserializeOwned>(&self) -> Result<T, JwtFault> {
        json_of(self.payload)
    }

    /// The claims, if one of these keys has signed them.
    ///
    /// # Errors
    /// [`JwtFault`].
    pub fn verify<T: DeserializeOwned>(&self, keys: &VerifyingKeys) -> Result<T, JwtFault> {
        let kid = self.header.kid.as_ref().ok_or(JwtFault::UnknownKey)?;
        let key = keys.0.get(kid).ok_or(JwtFault::UnknownKey)?;
        let algorithm = self.header.alg.parse().map_err(|_| JwtFault::WrongAlgorithm)?;
        if !key.algorithms.contains(&algorithm) {
            return Err(JwtFault::WrongAlgorithm);
        }
        match crypto::verify(self.signature, self.message.as_bytes(), &key.key, algorithm) {
            Ok(true) => json_of(self.payload),
            _ => Err(JwtFault::WrongSignature),
        }
    }
}

fn json_of<T: DeserializeOwned>(part: &str) -> Result<T, JwtFault> {
    let octets = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtFault::Malformed)?;
    serde_json::from_slice(&octets).map_err(|_| JwtFault::Malformed)
}

/// Public keys by `kid`, each with the algorithms that it is used with.
#[derive(Clone, Debug, Default)]
pub struct VerifyingKeys(HashMap<String, VerifyingKey>);

#[derive(Clone, Debug)]
struct VerifyingKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl VerifyingKeys {
    /// The keys of a service; none if one of them is not a key.
    #[must_use]
    pub fn of_service(keys: &[PublicJwk]) -> Option<Self> {
        let parsed = keys.iter().map(|key| parse(&serde_json::to_value(key).ok()?));
        parsed.collect::<Option<HashMap<_, _>>>().map(Self)
    }

    /// The keys of an issuer, without those that are not for signatures or of an algorithm that is not known here.
    #[must_use]
    pub fn of_issuer(jwks: &Value) -> Self {
        let keys = jwks.get("keys").and_then(Value::as_array);
        let mut set = HashMap::new();
        for (kid, key) in keys.into_iter().flatten().take(MOST_KEYS).filter_map(parse) {
            set.entry(kid).or_insert(key);
        }
        Self(set)
    }
}

fn parse(jwk: &Value) -> Option<(String, VerifyingKey)> {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    let verifies = jwk.common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify));
    if !verifies || !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let mut algorithms = algorithms(&jwk.algorithm).to_vec();
    if let Some(only) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
    }
    if algorithms.is_empty() {
        return None;
    }
    Some((jwk.common.key_id.clone()?, VerifyingKey { key: DecodingKey::from_jwk(&jwk).ok()?, algorithms }))
}

/// What a public key can verify. A symmetric key verifies nothing.
fn algorithms(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    match parameters {
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => &[],
        },
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        _ => &[],
    }
}

/// The times of a token (RFC 7519, sections 4.1.4 to 4.1.6), in seconds since 1970.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Times {
    #[serde(default, deserialize_with = "numeric_date")]
    /// When it expires.
    pub exp: Option<i64>,
    #[serde(default, deserialize_with = "numeric_date")]
    /// When it begins to be valid.
    pub nbf: Option<i64>,
    #[serde(default, deserialize_with = "numeric_date")]
    /// When it was issued.
    pub iat: Option<i64>,
}

impl Times {
    /// When the token expires, if it has not, and if it is valid already. Clocks may differ by [`LEEWAY_SECONDS`].
    ///
    /// # Errors
    /// [`JwtFault::Expired`] or [`JwtFault::NotYetValid`].
    pub fn check(&self, now: Timestamp) -> Result<i64, JwtFault> {
        let now = now.as_second();
        let exp = self.exp.ok_or(JwtFault::Expired)?;
        if now - LEEWAY_SECONDS >= exp {
            return Err(JwtFault::Expired);
        }
        if [self.nbf, self.iat].into_iter().flatten().any(|begin| begin > now + LEEWAY_SECONDS) {
            return Err(JwtFault::NotYetValid);
        }
        Ok(exp)
    }
}

/// A NumericDate (RFC 7519, section 2): it may have a fraction, which is cut off.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let seconds = number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64));
    // The last second of the year 9999.
    seconds
        .filter(|seconds| (0..=253_402_300_799).contains(seconds))
        .map(Some)
        .ok_or_else(|| D::Error::custom("no date"))
}

/// `aud` (RFC 7519, section 4.1.3): one, or a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audiences {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl Audiences {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}
