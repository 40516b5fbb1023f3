//! Which policies have to do with what, by the spec alone.

use std::collections::{BTreeMap, BTreeSet};

use super::NamespacedName;
use crate::api::AccessPolicy;

/// Anything that a policy can name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mention {
    Identity(NamespacedName),
    SourceDomain(String),
    PodNamespace(String),
    ClusterAddresses,
}

/// Policies by what they mention. Most things are mentioned by one or two, so that lists take less room than sets.
#[derive(Debug, Default)]
pub(super) struct Index {
    policies: BTreeMap<Mention, Vec<NamespacedName>>,
}

impl Index {
    /// Replaces what a policy mentions.
    pub(super) fn replace(&mut self, key: &NamespacedName, old: Option<&AccessPolicy>, new: Option<&AccessPolicy>) {
        for mention in old.map(|policy| mentions(key, policy)).unwrap_or_default() {
            if let Some(policies) = self.policies.get_mut(&mention) {
                policies.retain(|other| other != key);
                if policies.is_empty() {
                    self.policies.remove(&mention);
                }
            }
        }
        for mention in new.map(|policy| mentions(key, policy)).unwrap_or_default() {
            self.policies.entry(mention).or_insert_with(|| Vec::with_capacity(1)).push(key.clone());
        }
    }

    /// Policies that name an identity as callee or caller.
    pub(super) fn policies_of(&self, identity: &NamespacedName) -> BTreeSet<NamespacedName> {
        self.get(&Mention::Identity(identity.clone()))
    }

    /// Policies that name an identity of a namespace, whether it exists or not.
    pub(super) fn by_identity_namespace(&self, namespace: &str) -> BTreeSet<NamespacedName> {
        let first = Mention::Identity(NamespacedName::new(namespace, ""));
        let named = self.policies.range(first..);
        let named =
            named.take_while(|(mention, _)| matches!(mention, Mention::Identity(key) if key.namespace == namespace));
        named.flat_map(|(_, policies)| policies).cloned().collect()
    }

    /// Policies that admit a whole domain.
    pub(super) fn by_source_domain(&self, domain: &str) -> BTreeSet<NamespacedName> {
        self.get(&Mention::SourceDomain(domain.to_owned()))
    }

    /// Policies that name pods of a namespace.
    pub(super) fn by_pod_namespace(&self, namespace: &str) -> BTreeSet<NamespacedName> {
        self.get(&Mention::PodNamespace(namespace.to_owned()))
    }

    /// Policies that depend on the cluster's own addresses.
    pub(super) fn by_cluster_addresses(&self) -> BTreeSet<NamespacedName> {
        self.get(&Mention::ClusterAddresses)
    }

    fn get(&self, mention: &Mention) -> BTreeSet<NamespacedName> {
        self.policies.get(mention).into_iter().flatten().cloned().collect()
    }
}

fn mentions(key: &NamespacedName, policy: &AccessPolicy) -> BTreeSet<Mention> {
    let identity = |name: &str, namespace: Option<&str>| {
        Mention::Identity(NamespacedName::new(namespace.unwrap_or(&key.namespace), name))
    };
    let mut mentions = BTreeSet::new();
    let to = &policy.spec.to;
    mentions.extend(to.identity.as_deref().map(|name| identity(name, None)));
    mentions.extend(to.pods.iter().flat_map(|pods| &pods.pods.namespaces).cloned().map(Mention::PodNamespace));
    if to.external.is_some() || to.kubernetes_api.is_some() {
        mentions.insert(Mention::ClusterAddresses);
    }
    for source in &policy.spec.from {
        mentions.extend(source.identity.as_ref().map(|source| identity(&source.name, source.namespace.as_deref())));
        mentions.extend(source.trust_domain.clone().map(Mention::SourceDomain));
        mentions.extend(source.pods.iter().flat_map(|pods| &pods.namespaces).cloned().map(Mention::PodNamespace));
        if source.cidr.is_some() || source.kubernetes_api.is_some() {
            mentions.insert(Mention::ClusterAddresses);
        }
    }
    mentions
}
