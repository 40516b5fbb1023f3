//! JOSE: the keys with which services sign their own tokens, and the key sets that verify them (RFC 7515, RFC 7517).

mod foreign_key_set;
mod jwk;
mod key_set;
mod service_token;
mod signing_key;
mod signing_key_facts;
mod signing_key_secret;
mod verify;

#[cfg(test)]
pub(crate) mod testing;

pub use foreign_key_set::{KeySetFault, LONGEST_KEY_SET, MOST_KEYS, parse_public_jwks};
pub(crate) use jwk::base64url;
pub use jwk::{JwkParameters, KeyUse, PublicJwk};
pub use key_set::jwks_json;
pub use service_token::{ServiceToken, ServiceTokenClaims, ServiceTokenFault, TokenSigner};
pub use signing_key::{SigningKey, SigningKeyError, key_algorithm};
pub use signing_key_facts::{
    KeyFacts, RegenerateReason, SigningKeyFacts, SigningKeyRewriteReason, why_regenerate, why_rewrite,
};
pub(crate) use signing_key_secret::{KID, PRIVATE};
pub use signing_key_secret::{SigningKeyFault, rewrite_signing_key_secret, signing_key_secret_data};
pub use verify::{Audiences, JwtFault, LEEWAY_SECONDS, MAX_TOKEN_LENGTH, Times, Unverified, VerifyingKeys};
