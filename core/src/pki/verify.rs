//! Path validation (RFC 5280, section 6) with webpki: what a peer does with what it was delivered.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::UnixTime;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certificate::Certificate;
use super::pem::{self, PemError};
use super::spiffe::SpiffeId;
use x509_parser::extensions::GeneralName;

/// What the peer that presents the certificate does in the TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerUsage {
    /// It is the server: serverAuth.
    Server,
    /// It is the client: clientAuth.
    Client,
}

impl PeerUsage {
    pub(super) fn key_usage(self) -> KeyUsage {
        match self {
            Self::Server => KeyUsage::server_auth(),
            Self::Client => KeyUsage::client_auth(),
        }
    }
}

/// A leaf that chains to an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLeaf {
    /// The leaf.
    pub certificate: Certificate,
    /// Who it is: its one URI name, if that is a SPIFFE ID of the form that Ringfence gives.
    pub spiffe_id: Option<SpiffeId>,
    /// The trusted certificate that the path ends at.
    pub anchor: Certificate,
}

/// A chain that does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The presented chain does not parse.
    #[error("the presented certificates do not parse")]
    Chain(#[source] PemError),
    /// The anchors do not parse.
    #[error("the trusted certificates do not parse")]
    Anchors(#[source] PemError),
    /// Every path from the leaf fails.
    #[error("the leaf does not verify")]
    Path(#[source] webpki::Error),
}

/// Verifies a presented chain (leaf first, then its intermediates) against trusted certificates, which may be roots or
/// intermediates. An anchor outside its own validity is no anchor: webpki does not look, other TLS stacks do.
///
/// Whether the identity may call is not decided here: that takes `access.json`.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_leaf(
    chain_pem: &[u8],
    anchors_pem: &[u8],
    now: Timestamp,
    usage: PeerUsage,
) -> Result<VerifiedLeaf, VerifyError> {
    let chain = pem::certificates(chain_pem).map_err(VerifyError::Chain)?;
    let anchors = pem::certificates(anchors_pem).map_err(VerifyError::Anchors)?;
    let (leaf, intermediates) = chain.split_first().ok_or(VerifyError::Chain(PemError::NoCertificate))?;
    let intermediates: Vec<&Certificate> = intermediates.iter().collect();
    let anchors: Vec<&Certificate> =
        anchors.iter().filter(|anchor| (anchor.not_before()..=anchor.not_after()).contains(&now)).collect();
    let path = verify_path(leaf, &intermediates, &anchors, now, usage).map_err(VerifyError::Path)?;
    Ok(VerifiedLeaf { certificate: leaf.clone(), spiffe_id: spiffe_id(leaf), anchor: path.anchor })
}

/// A path that verifies.
pub(crate) struct VerifiedPath {
    /// What lies between leaf and anchor, nearest to the leaf first.
    pub(crate) intermediates: Vec<Certificate>,
    /// The anchor.
    pub(crate) anchor: Certificate,
}

/// Finds a path from a leaf to one of the anchors.
pub(crate) fn verify_path(
    leaf: &Certificate,
    intermediates: &[&Certificate],
    anchors: &[&Certificate],
    now: Timestamp,
    usage: PeerUsage,
) -> Result<VerifiedPath, webpki::Error> {
    let anchor_ders: Vec<_> = anchors.iter().map(|anchor| anchor.as_pki_type()).collect();
    let trust_anchors: Vec<_> = anchor_ders.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>()?;
    let intermediate_ders: Vec<_> = intermediates.iter().map(|certificate| certificate.as_pki_type()).collect();
    let leaf_der = leaf.as_pki_type();
    let end_entity = EndEntityCert::try_from(&leaf_der)?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let path = end_entity.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &trust_anchors,
        &intermediate_ders,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        usage.key_usage(),
        None,
        None,
    )?;
    let anchor = trust_anchors
        .iter()
        .position(|anchor| std::ptr::eq(anchor, path.anchor()))
        .map(|place| anchors[place].clone())
        .ok_or(webpki::Error::UnknownIssuer)?;
    let intermediates = path
        .intermediate_certificates()
        .filter_map(|used| intermediates.iter().find(|given| given.der() == used.der().as_ref()))
        .map(|&certificate| certificate.clone())
        .collect();
    Ok(VerifiedPath { intermediates, anchor })
}

/// The SPIFFE ID of a leaf: its one URI name (X509-SVID, section 2), if it has the form that Ringfence gives.
#[must_use]
pub fn spiffe_id(leaf: &Certificate) -> Option<SpiffeId> {
    let parsed = leaf.parsed();
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => uri.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{generations, intermediate, key, leaf_profile, now, pem_of, root, serial};
    use crate::pki::{CaGeneration, issue_leaf, issuing_bundle, roots_bundle};

    fn chain_below(authority: &CaGeneration) -> String {
        let profile = leaf_profile();
        let leaf = issue_leaf(&profile, authority, &key(profile.algorithm), &serial(), now()).unwrap();
        pem_of(std::iter::once(leaf.certificate()).chain(leaf.presented_chain()))
    }

    fn verify(chain: &str, anchors: &str, now: Timestamp) -> Result<VerifiedLeaf, VerifyError> {
        let as_server = verify_leaf(chain.as_bytes(), anchors.as_bytes(), now, PeerUsage::Server);
        let as_client = verify_leaf(chain.as_bytes(), anchors.as_bytes(), now, PeerUsage::Client);
        assert_eq!(as_server, as_client);
        as_server
    }

    #[test]
    fn a_leaf_verifies_against_its_root_and_against_its_issuing_authority() {
        let parent = root("shop-root");
        let issuing = intermediate("storefront", &parent);
        let all = generations([issuing.clone()]);
        let chain = chain_below(&issuing);
        let by_root = verify(&chain, &roots_bundle(&all), now()).unwrap();
        assert_eq!(&by_root.anchor, parent.certificate());
        assert_eq!(by_root.spiffe_id, Some(leaf_profile().spiffe_id));
        assert_eq!(&verify(&chain, &issuing_bundle(&all), now()).unwrap().anchor, issuing.certificate());
        let leaf_alone = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        assert!(verify(leaf_alone, &issuing_bundle(&all), now()).is_ok());
        assert_eq!(
            verify(leaf_alone, &roots_bundle(&all), now()),
            Err(VerifyError::Path(webpki::Error::UnknownIssuer))
        );
    }

    #[test]
    fn a_sibling_chains_to_the_shared_root_but_not_to_the_domain() {
        let parent = root("shop-root");
        let (ours, sibling) = (intermediate("storefront", &parent), intermediate("settlement", &parent));
        let all = generations([ours]);
        let chain = chain_below(&sibling);
        assert!(verify(&chain, &roots_bundle(&all), now()).is_ok());
        assert_eq!(verify(&chain, &issuing_bundle(&all), now()), Err(VerifyError::Path(webpki::Error::UnknownIssuer)));
    }

    #[test]
    fn outside_its_validity_a_leaf_or_an_anchor_does_not_count() {
        let authority = root("storefront");
        let (chain, anchors) = (chain_below(&authority), authority.certificate().to_pem());
        let at = |seconds| now().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        assert!(verify(&chain, &anchors, at(-60)).is_ok());
        assert!(matches!(
            verify(&chain, &anchors, at(24 * 3600 + 1)),
            Err(VerifyError::Path(webpki::Error::CertExpired { .. }))
        ));
        // The anchor's own notBefore is that of the leaf here, so both are too early.
        assert!(verify(&chain, &anchors, at(-61)).is_err());
        let outlived = root("storefront");
        let late = outlived.not_after().checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
        let forged = crate::pki::testing::leaf_that_outlives(&outlived);
        assert!(verify(&forged, &outlived.certificate().to_pem(), outlived.not_after()).is_ok());
        assert_eq!(
            verify(&forged, &outlived.certificate().to_pem(), late),
            Err(VerifyError::Path(webpki::Error::UnknownIssuer))
        );
    }

    #[test]
    fn text_without_certificates_is_an_error() {
        let pem = root("storefront").certificate().to_pem();
        assert_eq!(verify("", &pem, now()), Err(VerifyError::Chain(PemError::NoCertificate)));
        assert_eq!(verify(&pem, &pem[..99], now()), Err(VerifyError::Anchors(PemError::Truncated)));
        assert_eq!(verify(&pem, &pem, now()), Err(VerifyError::Path(webpki::Error::CaUsedAsEndEntity)));
    }
}
