//! Bundles: trusted certificates as one PEM text, the same octets whenever the certificates are the same.

use super::authority::{CaGeneration, CaGenerations};
use super::certificate::Certificate;

/// The certificates as PEM, each once, in the order of their DER, without comments: every stock parser reads it.
#[must_use]
pub fn bundle_pem<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    let mut certificates: Vec<_> = certificates.into_iter().collect();
    certificates.sort_unstable();
    certificates.dedup();
    certificates.into_iter().map(Certificate::to_pem).collect()
}

/// What verifies this trust domain's leaves and no other's: the authorities that sign them, whether root or not.
#[must_use]
pub fn issuing_bundle(generations: &CaGenerations) -> String {
    bundle_pem(generations.issuing_cas().map(CaGeneration::certificate))
}

/// The roots above this trust domain's leaves, for TLS stacks that want a root. Where the root is shared, it proves only
/// the root: every trust domain below it chains there.
#[must_use]
pub fn roots_bundle(generations: &CaGenerations) -> String {
    bundle_pem(generations.roots())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Phase;
    use crate::pki::testing::{OpenSsl, generations, intermediate, root};

    #[test]
    fn order_and_repetition_do_not_matter() {
        let certificates: Vec<_> = ["a", "b", "c"].iter().map(|name| root(name).certificate().clone()).collect();
        let [a, b, c] = [&certificates[0], &certificates[1], &certificates[2]];
        let text = bundle_pem([a, b, c]);
        assert_eq!(bundle_pem([c, b, a, b, c]), text);
        assert_eq!(text.matches("-----BEGIN CERTIFICATE-----\n").count(), 3);
        assert_eq!(bundle_pem([]), "");
        let openssl = OpenSsl::new();
        let read = openssl.file("bundle", &text).run("storeutl -noout -certs bundle").unwrap();
        assert!(read.contains("Total found: 3"), "{read}");
    }

    #[test]
    fn bundles_hold_what_is_not_retired() {
        let parent = root("shop-root");
        let (active, retired) = (intermediate("a", &parent), root("a").with_phase(Phase::Retired));
        let all = generations([retired, active.clone()]);
        assert_eq!(issuing_bundle(&all), active.certificate().to_pem());
        assert_eq!(roots_bundle(&all), parent.certificate().to_pem());
    }
}
