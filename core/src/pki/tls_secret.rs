//! The Secret `<identity>-tls` (`kubernetes.io/tls`): a leaf, its key, and the roots that its peers in the same trust
//! domain chain to.
//!
//! | data key | holds |
//! |---|---|
//! | `tls.crt` | PEM: the leaf, then its intermediates, without the root |
//! | `tls.key` | PEM: the leaf's private key, PKCS#8 version 1 |
//! | `ca.crt` | PEM: the roots of all generations that are not retired |

use super::SecretData;
use super::authority::CaGenerations;
use super::bundle::roots_bundle;
use super::certificate::Certificate;
use super::key::PrivateKey;
use super::leaf::IssuedLeaf;
use super::leaf_facts::{LeafFacts, TlsSecretFault, read_tls_secret};

/// The Secret's `data` for a fresh leaf.
#[must_use]
pub fn tls_secret_data(leaf: &IssuedLeaf, generations: &CaGenerations) -> SecretData {
    write(leaf.certificate(), leaf.presented_chain().iter(), leaf.key(), generations)
}

/// The Secret's `data` with leaf and key as they are, and everything around them put back: for
/// [`why_rewrite`](super::why_rewrite). The chain is that of the generation that signed the leaf; if none did, the chain
/// stays too.
///
/// # Errors
/// [`TlsSecretFault`] if there is no leaf with its key to be kept.
pub fn rewrite_tls_secret(data: &SecretData, generations: &CaGenerations) -> Result<SecretData, TlsSecretFault> {
    let parts = read_tls_secret(data)?;
    let facts = LeafFacts::of_secret(data)?;
    Ok(match facts.issuer(generations) {
        Some(authority) => write(&parts.leaf, authority.presented_chain(), &parts.key, generations),
        None => write(&parts.leaf, &parts.chain, &parts.key, generations),
    })
}

fn write<'a>(
    leaf: &'a Certificate,
    chain: impl IntoIterator<Item = &'a Certificate>,
    key: &PrivateKey,
    generations: &CaGenerations,
) -> SecretData {
    let certificates: String = std::iter::once(leaf).chain(chain).map(Certificate::to_pem).collect();
    let mut data = SecretData::default();
    data.put(TLS_CRT, certificates);
    data.put(TLS_KEY, key.to_pkcs8_pem().as_bytes());
    data.put(CA_CRT, roots_bundle(generations));
    data
}

pub(crate) const TLS_CRT: &str = "tls.crt";
pub(crate) const TLS_KEY: &str = "tls.key";
pub(crate) const CA_CRT: &str = "ca.crt";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{OpenSsl, generations, intermediate, key, leaf_profile, now, root, serial};
    use crate::pki::{PeerUsage, Phase, issue_leaf, verify_leaf, why_rewrite};

    #[test]
    fn the_secret_is_what_stock_tls_stacks_take() {
        let parent = root("shop-root");
        let issuing = intermediate("storefront", &parent);
        let all = generations([root("storefront").with_phase(Phase::Prepared), issuing.clone()]);
        let profile = leaf_profile();
        let leaf = issue_leaf(&profile, &issuing, &key(profile.algorithm), &serial(), now()).unwrap();
        let data = tls_secret_data(&leaf, &all);
        assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
        let expected = leaf.certificate().to_pem() + &issuing.certificate().to_pem();
        assert_eq!(data.get(TLS_CRT), Some(expected.as_bytes()), "leaf and intermediate, no root");
        assert_eq!(data.get(CA_CRT), Some(roots_bundle(&all).as_bytes()));
        verify_leaf(data.get(TLS_CRT).unwrap(), data.get(CA_CRT).unwrap(), now(), PeerUsage::Server).unwrap();
        let openssl = OpenSsl::new();
        for key in data.keys() {
            openssl.file(key, data.get(key).unwrap());
        }
        let at = now().as_second();
        openssl.run(&format!("verify -x509_strict -attime {at} -CAfile ca.crt -untrusted tls.crt tls.crt")).unwrap();
        assert!(!format!("{data:?}").contains("BEGIN"));
    }

    #[test]
    fn a_rewrite_keeps_leaf_and_key_and_puts_back_the_rest() {
        let parent = root("shop-root");
        let issuing = intermediate("storefront", &parent);
        let (before, after) = (
            generations([issuing.clone()]),
            generations([issuing.clone(), root("storefront").with_phase(Phase::Prepared)]),
        );
        let profile = leaf_profile();
        let leaf = issue_leaf(&profile, &issuing, &key(profile.algorithm), &serial(), now()).unwrap();
        let mut damaged = tls_secret_data(&leaf, &before);
        damaged.put("extra", "x");
        damaged.put(TLS_CRT, format!("# note\n{}{}", leaf.certificate().to_pem(), parent.certificate().to_pem()));
        let rewritten = rewrite_tls_secret(&damaged, &after).unwrap();
        assert_eq!(rewritten, tls_secret_data(&leaf, &after));
        assert_eq!(why_rewrite(&LeafFacts::of_secret(&rewritten).unwrap(), &after), None);

        let strangers = generations([root("storefront")]);
        let foreign = rewrite_tls_secret(&tls_secret_data(&leaf, &before), &strangers).unwrap();
        assert_eq!(foreign.get(TLS_CRT), tls_secret_data(&leaf, &before).get(TLS_CRT), "whose chain nobody knows");
        assert_eq!(rewrite_tls_secret(&SecretData::default(), &after), Err(TlsSecretFault::Missing { key: TLS_CRT }));
    }
}
