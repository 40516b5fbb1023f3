//! The key algorithms that the kinds offer, under the names that the standards give them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Algorithm of a certificate's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum CertificateAlgorithm {
    /// ECDSA over NIST P-256 (FIPS 186-5): understood by every TLS stack.
    #[default]
    #[serde(rename = "ECDSA-P256")]
    EcdsaP256,
    /// ECDSA over NIST P-384 (FIPS 186-5).
    #[serde(rename = "ECDSA-P384")]
    EcdsaP384,
    /// Ed25519 (RFC 8032): works with Go, OpenSSL and rustls, but not with Envoy.
    Ed25519,
    /// RSA with a modulus of 2048 bits.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
}

/// Algorithm (`alg`, RFC 7518 and RFC 8037) with which a service signs its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// ECDSA over P-256 with SHA-256.
    #[default]
    ES256,
    /// ECDSA over P-384 with SHA-384.
    ES384,
    /// Ed25519 (RFC 8037).
    EdDSA,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048-bit key.
    RS256,
    /// RSASSA-PSS with SHA-256, 2048-bit key.
    PS256,
}
