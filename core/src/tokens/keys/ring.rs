//! Making tokens, and reading them again: JWTs (RFC 9068) that anyone verifies with the published keys, and opaque tokens that
//! nobody else can read. Neither needs a store.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::document::{Generation, GenerationId, GenerationPhase, Generations};
use crate::api::TokenFormat;
use crate::jwt::{MAX_TOKEN_LENGTH, Unverified, VerifyingKeys, base64url};
use crate::tokens::{Claims, Denial, DenialReason, Minting, OAuthError, TokenKind};

/// The keys of all generations, ready for use. `Debug` shows key ids only.
pub struct KeyRing {
    active: Maker,
    verifying: VerifyingKeys,
    opening: HashMap<GenerationId, RandomizedNonceKey>,
    jwks: String,
}

/// A token that the token service itself has made, as is verified. Whether it still holds is another question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnToken {
    /// What it is.
    #[serde(rename = "typ")]
    pub kind: TokenKind,
    /// What it says.
    #[serde(flatten)]
    pub claims: Claims,
}

/// The generation that makes tokens.
struct Maker {
    id: GenerationId,
    kid: String,
    signing: EcdsaKeyPair,
    sealing: RandomizedNonceKey,
}

/// What opaque tokens begin with, so that they are told apart at sight, by people and by secret scanners.
pub(in crate::tokens) const OPAQUE_PREFIX: &str = "rt_";
/// What a sealed text is good for: none for another purpose opens as a token.
const PURPOSE: &[u8] = b"ringfence opaque token";

impl KeyRing {
    /// The keys of these generations; nothing if none of them is active.
    #[must_use]
    pub fn new(generations: &Generations) -> Option<Self> {
        let active =
            generations.iter().find(|generation| matches!(generation.phase, GenerationPhase::Active { .. }))?;
        let keys: Vec<_> = generations.iter().map(|generation| generation.signing().public_jwk().clone()).collect();
        let opening = generations.iter().map(|generation| Some((generation.id(), sealing_key(generation)?)));
        Some(Self {
            active: Maker {
                id: active.id(),
                kid: active.kid().to_owned(),
                signing: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, active.signing().pkcs8_der())
                    .ok()?,
                sealing: sealing_key(active)?,
            },
            verifying: VerifyingKeys::of_service(&keys)?,
            opening: opening.collect::<Option<_>>()?,
            jwks: generations.jwks(),
        })
    }

    /// The public keys, a JWK Set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Makes the token.
    ///
    /// # Errors
    /// `server_error`, if the cryptographic library fails, and `invalid_request`, if the token would be longer than any that
    /// is read again.
    pub fn mint(&self, minting: &Minting) -> Result<String, Denial> {
        let token = match minting.format {
            TokenFormat::Jwt => self.active.sign(minting),
            TokenFormat::Opaque => self.active.seal(minting),
        };
        let token = token.ok_or(Denial::new(OAuthError::ServerError, DenialReason::CryptographyFailed))?;
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(Denial::new(OAuthError::InvalidRequest, DenialReason::TooLarge));
        }
        Ok(token)
    }

    /// Reads a token that this token service has made, of either form.
    ///
    /// # Errors
    /// Why it is none; for the log alone.
    pub fn read(&self, token: &str) -> Result<OwnToken, DenialReason> {
        match token.strip_prefix(OPAQUE_PREFIX) {
            Some(sealed) => self.open(sealed),
            None => self.verify(token),
        }
    }

    fn verify(&self, token: &str) -> Result<OwnToken, DenialReason> {
        let jwt = Unverified::parse(token)?;
        let kind = jwt.typ().as_deref().and_then(TokenKind::of_typ).ok_or(DenialReason::WrongType)?;
        Ok(OwnToken { kind, claims: jwt.verify(&self.verifying)? })
    }

    fn open(&self, sealed: &str) -> Result<OwnToken, DenialReason> {
        if sealed.len() > MAX_TOKEN_LENGTH {
            return Err(DenialReason::TooLarge);
        }
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| DenialReason::Malformed)?;
        let (id, sealed) = sealed.split_first_chunk::<8>().ok_or(DenialReason::Malformed)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(DenialReason::Malformed)?;
        let key = self.opening.get(id).ok_or(DenialReason::UnknownKey)?;
        let mut text = sealed.to_vec();
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), bound_to(*id), &mut text);
        let opened = opened.map_err(|_| DenialReason::WrongSignature)?;
        serde_json::from_slice(opened).map_err(|_| DenialReason::Malformed)
    }
}

impl Maker {
    fn sign(&self, minting: &Minting) -> Option<String> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'static str,
            typ: &'static str,
            kid: &'a str,
        }
        let header = Header { alg: "ES256", typ: minting.kind.typ(), kid: &self.kid };
        let mut token = base64url(&serde_json::to_vec(&header).ok()?);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&minting.claims).ok()?, &mut token);
        let signature = self.signing.sign(&SystemRandom::new(), token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }

    fn seal(&self, minting: &Minting) -> Option<String> {
        let mut text = serde_json::to_vec(&OwnToken { kind: minting.kind, claims: minting.claims.clone() }).ok()?;
        let nonce = self.sealing.seal_in_place_append_tag(bound_to(self.id), &mut text).ok()?;
        let sealed = [&self.id[..], nonce.as_ref(), &text].concat();
        Some(format!("{OPAQUE_PREFIX}{}", base64url(&sealed)))
    }
}

fn sealing_key(generation: &Generation) -> Option<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, generation.sealing()).ok()
}

/// What a seal is bound to besides its text.
fn bound_to(id: GenerationId) -> Aad<Vec<u8>> {
    Aad::from([&id[..], PURPOSE].concat())
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("active", &self.active.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
