//! Which CA a domain had: on record in the TrustDomain itself, so that a CA that is lost is not taken for one that never was.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::World;

/// Annotation of a TrustDomain with the id of the CA generation that signs. It is in every copy of the object, also in one
/// without status: as long as it is there, only a restored CA is used, and no new one is made.
pub const AUTHORITY_ANNOTATION: &str = "ringfence.dev/authority";

/// The CA generation that a TrustDomain is known to have had.
pub(super) fn recorded_authority(metadata: &ObjectMeta) -> Option<&String> {
    metadata.annotations.as_ref()?.get(AUTHORITY_ANNOTATION)
}

impl World {
    /// The CA generation that a domain is known to have had.
    pub fn recorded_authority(&self, domain: &str) -> Option<&String> {
        recorded_authority(&self.domains.get(domain)?.metadata)
    }

    /// Whether a domain had a CA and its Secret is gone, or can't be read.
    pub fn has_lost_authority(&self, domain: &str) -> bool {
        self.recorded_authority(domain).is_some() && self.generations(domain).is_none()
    }

    /// The first of some domains, and of all above them, that has lost its CA: bundles and revocation lists of these can't
    /// be made.
    pub fn lost_authority_of<'a>(&self, domains: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let mut all = domains.into_iter().flat_map(|domain| self.lineage(domain));
        all.find(|domain| self.has_lost_authority(domain))
    }
}
