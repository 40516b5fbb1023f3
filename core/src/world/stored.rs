//! What the schema refuses, looked for once more: an object may have been stored under a looser one.

use jiff::SignedDuration;

use super::signed;
use crate::api::{LabelSelector, ServiceIdentity, TrustDomain};
use crate::pki::TrustDomainName;

/// Shortest life of a certificate.
pub(super) const SHORTEST_CERTIFICATE: SignedDuration = SignedDuration::from_mins(5);
/// The label of a namespace that the API server keeps equal to its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Prefix of the labels of namespaces that admission guards.
const GUARDED_PREFIX: &str = "ringfence.dev/";

impl TrustDomain {
    /// Everything in the spec that the schema would refuse, with what to do. Each part of it is left out.
    pub fn faults(&self) -> Vec<String> {
        let name = self.claimed_name();
        let name = name.parse::<TrustDomainName>().err().map(|error| {
            format!("the trust-domain name {name:?} can't be used: {error}; create the object anew with another")
        });
        let duration = self.spec.certificates.duration.as_ref().map(signed);
        let duration = duration
            .filter(|duration| *duration < SHORTEST_CERTIFICATE)
            .map(|_| "certificates.duration is below 5m, which is used instead: set it to at least 5m".to_owned());
        let selector = self.selector_fault().map(|fault| format!("namespaceSelector selects nothing: {fault}"));
        [name, self.authority_fault(), selector, duration].into_iter().flatten().collect()
    }

    /// Why no CA can be made of what is declared.
    pub(crate) fn authority_fault(&self) -> Option<String> {
        let source = &self.spec.certificate_authority;
        let set = [source.self_signed.is_some(), source.secret.is_some(), source.parent.is_some()];
        (set.into_iter().filter(|set| *set).count() != 1)
            .then(|| "certificateAuthority must have exactly one of selfSigned, secret and parent".to_owned())
    }

    /// Why nothing can be selected. Labels that are not guarded would let tenants choose their domain.
    pub(super) fn selector_fault(&self) -> Option<String> {
        let selector = self.spec.namespace_selector.as_ref()?;
        if selector.is_empty() {
            return Some("an empty one would take in every namespace: name labels, or leave it out".to_owned());
        }
        let keys = selector.match_labels.keys().chain(selector.match_expressions.iter().map(|e| &e.key));
        let unguarded = keys.into_iter().find(|key| *key != NAMESPACE_NAME && !key.starts_with(GUARDED_PREFIX));
        let unguarded =
            unguarded.map(|key| format!("it may use only the keys {NAMESPACE_NAME} and {GUARDED_PREFIX}*, not {key}"));
        unguarded.or_else(|| selector.fault())
    }
}

impl ServiceIdentity {
    /// Why there can be no such identity, with what to do.
    pub(super) fn fault(&self) -> Option<String> {
        let selector: LabelSelector = self.pod_selector();
        if self.metadata.name.as_deref() == Some("baseline") {
            return Some(
                "the name baseline is taken by the NetworkPolicy ringfence-baseline: choose another".to_owned(),
            );
        }
        if selector.is_empty() {
            return Some("podSelector must not be empty, it would take in every pod: name labels".to_owned());
        }
        if self.signing_key_secret().is_some_and(|secret| secret == self.tls_secret()) {
            return Some(format!(
                "certificate and signingKey need a Secret each, not both {}: name another",
                self.tls_secret()
            ));
        }
        selector.fault().map(|fault| format!("podSelector can't be used: {fault}; correct it"))
    }
}
