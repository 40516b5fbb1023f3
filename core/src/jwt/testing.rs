//! Token-signing keys for tests.

use std::cell::Cell;
use std::sync::LazyLock;

use super::{SigningKey, key_algorithm};
use crate::api::{CertificateAlgorithm, SigningAlgorithm};
use crate::pki::testing::{TestEntropy, key};
use crate::pki::{Entropy, PrivateKey};

pub(crate) const SIGNING_ALGORITHMS: [SigningAlgorithm; 5] = [
    SigningAlgorithm::ES256,
    SigningAlgorithm::ES384,
    SigningAlgorithm::EdDSA,
    SigningAlgorithm::RS256,
    SigningAlgorithm::PS256,
];

/// A fresh key; of RSA, whose generation is slow, one that none of the thread's last three calls gave.
pub(crate) fn signing_key(algorithm: SigningAlgorithm) -> SigningKey {
    let key = match key_algorithm(algorithm) {
        CertificateAlgorithm::Rsa2048 => {
            let turn = TURN.replace(TURN.get() + 1);
            RSA_KEYS[turn % RSA_KEYS.len()].clone()
        }
        other => key(other),
    };
    SigningKey::new(key, algorithm).unwrap()
}

static RSA_KEYS: LazyLock<[PrivateKey; 4]> =
    LazyLock::new(|| [(); 4].map(|()| TestEntropy.private_key(CertificateAlgorithm::Rsa2048).unwrap()));

thread_local! {
    static TURN: Cell<usize> = const { Cell::new(0) };
}
