//! What verifies the certificates of a trust domain's members, parsed once for many handshakes.

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, ExpirationPolicy, OwnedCertRevocationList,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::pem::{self, PemError};
use super::verify::PeerUsage;

/// The issuing CAs of a trust domain with their revocation lists.
#[derive(Debug)]
pub struct PeerAnchors {
    anchors: Vec<Anchor>,
    lists: Vec<CertRevocationList<'static>>,
}

#[derive(Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    not_before: u64,
    not_after: u64,
}

/// Anchors or lists that don't parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerAnchorsError {
    /// The anchors are not certificates.
    #[error("the trusted certificates do not parse: {0}")]
    Anchors(#[from] PemError),
    /// A certificate can't be an anchor.
    #[error("a trusted certificate can't be one: {0}")]
    Anchor(webpki::Error),
    /// A revocation list does not parse.
    #[error("revocation list {position} does not parse")]
    List {
        /// Its place in the text, from 1.
        position: usize,
    },
}

impl PeerAnchors {
    /// Reads issuing CAs and revocation lists, both PEM. There may be no list: a CA that can't sign one has none.
    ///
    /// # Errors
    /// [`PeerAnchorsError`].
    pub fn from_pem(bundle: &str, revocation_lists: &str) -> Result<Self, PeerAnchorsError> {
        let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or_default();
        let mut anchors = Vec::new();
        for certificate in pem::certificates(bundle.as_bytes())? {
            let der = certificate.as_pki_type();
            let anchor = anchor_from_trusted_cert(&der).map_err(PeerAnchorsError::Anchor)?.to_owned();
            let (not_before, not_after) = (seconds(certificate.not_before()), seconds(certificate.not_after()));
            anchors.push(Anchor { anchor, not_before, not_after });
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(revocation_lists.as_bytes()).enumerate();
        let lists = lists.map(|(index, der)| {
            let list = der.ok().and_then(|der| OwnedCertRevocationList::from_der(&der).ok());
            list.map(Into::into).ok_or(PeerAnchorsError::List { position: index + 1 })
        });
        Ok(Self { anchors, lists: lists.collect::<Result<_, _>>()? })
    }

    /// Verifies the certificate of a peer: a path to an anchor that is valid itself, and not on a list. A list past
    /// its time proves nothing, so that nothing passes by it.
    ///
    /// # Errors
    /// What webpki says of it.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: PeerUsage,
    ) -> Result<(), webpki::Error> {
        let seconds = now.as_secs();
        let valid = self.anchors.iter().filter(|anchor| (anchor.not_before..=anchor.not_after).contains(&seconds));
        let anchors: Vec<TrustAnchor<'_>> = valid.map(|anchor| anchor.anchor.clone()).collect();
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let options = options.with_status_policy(UnknownStatusPolicy::Allow);
            options.with_expiration_policy(ExpirationPolicy::Enforce).build()
        });
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, intermediates, now, usage.key_usage(), revocation, None)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::pki::testing::{generations, key, leaf_profile, now, root, serial};
    use crate::pki::{CaGenerations, IssuedLeaf, RevocationCause, Revoked, issue_leaf, issuing_bundle};

    fn leaf(authority: &CaGenerations) -> IssuedLeaf {
        let profile = leaf_profile();
        issue_leaf(&profile, authority.signing().unwrap(), &key(profile.algorithm), &serial(), now()).unwrap()
    }

    fn verify(anchors: &PeerAnchors, leaf: &IssuedLeaf, at: Timestamp) -> Result<(), webpki::Error> {
        let seconds = Duration::from_secs(u64::try_from(at.as_second()).unwrap());
        let time = UnixTime::since_unix_epoch(seconds);
        anchors.verify(&leaf.certificate().as_pki_type(), &[], time, PeerUsage::Client)
    }

    #[test]
    fn a_member_passes_and_a_stranger_a_revoked_one_and_one_under_an_old_list_do_not() {
        let ours = generations([root("storefront")]);
        let (good, bad, stranger) = (leaf(&ours), leaf(&ours), leaf(&generations([root("storefront")])));
        let without_list = PeerAnchors::from_pem(&issuing_bundle(&ours), "").unwrap();
        assert_eq!(verify(&without_list, &good, now()), Ok(()));
        assert_eq!(verify(&without_list, &stranger, now()), Err(webpki::Error::UnknownIssuer));

        let not_after = bad.certificate().not_after();
        let revoked = Revoked {
            serial: bad.certificate().serial(),
            revoked_at: now(),
            not_after,
            cause: RevocationCause::Deleted,
        };
        let generation = ours.signing().unwrap().id().to_owned();
        let life = SignedDuration::from_hours(12);
        let listed = ours.with_revoked(&[(generation, revoked)], life, now()).unwrap().unwrap();
        let anchors = PeerAnchors::from_pem(&issuing_bundle(&listed), &listed.lists_pem()).unwrap();
        assert_eq!(verify(&anchors, &good, now()), Ok(()));
        assert_eq!(verify(&anchors, &bad, now()), Err(webpki::Error::CertRevoked));
        let late = now().checked_add(SignedDuration::from_hours(13)).unwrap();
        assert!(matches!(verify(&anchors, &good, late), Err(webpki::Error::CrlExpired { .. })));
    }

    #[test]
    fn what_does_not_parse_is_an_error() {
        let bundle = issuing_bundle(&generations([root("storefront")]));
        let broken = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        assert_eq!(PeerAnchors::from_pem("", "").unwrap_err(), PeerAnchorsError::Anchors(PemError::NoCertificate));
        assert_eq!(PeerAnchors::from_pem(&bundle, broken).unwrap_err(), PeerAnchorsError::List { position: 1 });
    }
}
