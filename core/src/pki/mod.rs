//! X.509: keys, certificate authorities, leaves, the Secrets and bundles that carry them, and how a peer
//! verifies them (RFC 5280, with SPIFFE IDs as the names of workloads).

mod authority;
mod authority_profile;
mod authority_secret;
mod bundle;
mod certificate;
mod crl;
mod key;
mod keystore;
mod leaf;
mod leaf_facts;
mod peer_anchors;
mod pem;
mod renewal;
mod secret_data;
mod serial;
mod spiffe;
mod supplied_authority;
mod tls_secret;
mod usages;
mod verify;

#[cfg(test)]
pub(crate) mod testing;

pub use authority::{CaGeneration, CaGenerations, CaSource, GenerationsError, Phase, SignError};
pub use authority_profile::{AuthorityError, AuthorityProfile, new_intermediate, new_root};
pub use authority_secret::AuthoritySecretError;
pub use bundle::{bundle_pem, issuing_bundle, roots_bundle};
pub use certificate::{Certificate, CertificateError};
pub use crl::{ListError, RevocationCause, RevocationList, Revoked};
pub use key::{Entropy, KeyError, PrivateKey};
pub use keystore::{KeystoreContent, KeystorePassword, PasswordFault, keystore_record};
pub use leaf::{IssueError, IssuedLeaf, LeafProfile, issue_leaf};
pub use leaf_facts::{LeafFacts, TlsSecretFault};
pub use peer_anchors::{PeerAnchors, PeerAnchorsError};
pub use pem::PemError;
pub use renewal::{ReissueReason, RewriteReason, next_renewal, renewal_time, why_reissue, why_rewrite};
pub use secret_data::SecretData;
pub use serial::{SerialNumber, SerialNumberError};
pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomainName, TrustDomainNameError, is_dns_label};
pub use supplied_authority::{RefusedCa, adopt_secret, probe};
pub use tls_secret::{rewrite_tls_secret, tls_secret_data};
pub use usages::Usages;
pub use verify::{PeerUsage, VerifiedLeaf, VerifyError, spiffe_id, verify_leaf};

pub(crate) use authority::generation_id;
pub(crate) use authority_secret::INDEX as AUTHORITY_INDEX;
pub(crate) use certificate::without_leading_zeros;
pub(crate) use leaf_facts::Names;
pub(crate) use pem::certificates;
pub(crate) use tls_secret::{TLS_CRT, TLS_KEY};
pub(crate) use verify::verify_path;

/// SHA-256 (FIPS 180-4) of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
