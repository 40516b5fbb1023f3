//! Which namespace is in which domain, and which domain holds which trust-domain name: the first claim stays.

use std::collections::{BTreeMap, BTreeSet};

use super::NamespaceFacts;
use crate::api::TrustDomain;

/// Namespaces that are never inside.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Who holds what.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Namespace → TrustDomain object.
    pub(super) domain_of: BTreeMap<String, String>,
    /// TrustDomain object → its namespaces.
    pub(super) namespaces_of: BTreeMap<String, BTreeSet<String>>,
    /// SPIFFE trust-domain name → TrustDomain object.
    pub(super) names: BTreeMap<String, String>,
}

impl TrustDomain {
    /// The SPIFFE trust-domain name that it claims.
    pub fn claimed_name(&self) -> &str {
        self.spec.trust_domain.as_deref().unwrap_or_else(|| self.metadata.name.as_deref().unwrap_or_default())
    }

    /// Whether it claims a namespace.
    pub fn claims(&self, namespace: &str, facts: &NamespaceFacts) -> bool {
        self.spec.namespaces.iter().any(|name| name == namespace)
            || self.spec.namespace_selector.as_ref().is_some_and(|selector| {
                let mut labels = facts.labels.clone();
                labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
                self.selector_fault().is_none() && selector.matches(&labels)
            })
    }
}

/// Whether a namespace can be inside any domain.
pub fn may_be_member(namespace: &str, operator_namespace: &str) -> bool {
    !SYSTEM_NAMESPACES.contains(&namespace) && namespace != operator_namespace
}

impl Membership {
    /// Decides anew who holds a namespace; returns whether that changed.
    pub(super) fn settle_namespace(
        &mut self,
        namespace: &str,
        facts: Option<&NamespaceFacts>,
        domains: &BTreeMap<String, std::sync::Arc<TrustDomain>>,
        operator_namespace: &str,
        listed: bool,
    ) -> bool {
        let claimants: Vec<&TrustDomain> = match facts {
            Some(facts) if may_be_member(namespace, operator_namespace) => {
                domains.values().map(AsRef::as_ref).filter(|domain| domain.claims(namespace, facts)).collect()
            }
            _ => Vec::new(),
        };
        let held = |domain: &TrustDomain| {
            domain.status.as_ref().is_some_and(|status| status.namespaces.iter().any(|name| name == namespace))
        };
        let holder = choose(&claimants, self.domain_of.get(namespace).filter(|_| listed), held);
        let old = match &holder {
            Some(holder) => self.domain_of.insert(namespace.to_owned(), holder.clone()),
            None => self.domain_of.remove(namespace),
        };
        if old == holder {
            return false;
        }
        if let Some(namespaces) = old.and_then(|old| self.namespaces_of.get_mut(&old)) {
            namespaces.remove(namespace);
        }
        if let Some(holder) = holder {
            self.namespaces_of.entry(holder).or_default().insert(namespace.to_owned());
        }
        true
    }

    /// Decides anew who holds a trust-domain name; returns the domains for which that changed.
    pub(super) fn settle_name(
        &mut self,
        name: &str,
        domains: &BTreeMap<String, std::sync::Arc<TrustDomain>>,
        listed: bool,
    ) -> BTreeSet<String> {
        let claimants: Vec<&TrustDomain> =
            domains.values().map(AsRef::as_ref).filter(|domain| domain.claimed_name() == name).collect();
        let held = |domain: &TrustDomain| {
            domain.status.as_ref().is_some_and(|status| status.trust_domain.as_deref() == Some(name))
        };
        let holder = choose(&claimants, self.names.get(name).filter(|_| listed), held);
        let old = match &holder {
            Some(holder) => self.names.insert(name.to_owned(), holder.clone()),
            None => self.names.remove(name),
        };
        if old == holder { BTreeSet::new() } else { old.into_iter().chain(holder).collect() }
    }
}

/// The present holder if it still claims, else who held it according to its status, else the oldest.
fn choose(claimants: &[&TrustDomain], present: Option<&String>, held: impl Fn(&TrustDomain) -> bool) -> Option<String> {
    let name = |domain: &TrustDomain| domain.metadata.name.clone().unwrap_or_default();
    if let Some(present) = present.filter(|present| claimants.iter().any(|domain| name(domain) == **present)) {
        return Some(present.clone());
    }
    let age = |domain: &TrustDomain| domain.metadata.creation_timestamp.as_ref().map(|time| time.0);
    claimants.iter().min_by_key(|domain| (!held(domain), age(domain), name(domain))).map(|domain| name(domain))
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
