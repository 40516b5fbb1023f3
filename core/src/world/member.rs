//! Namespaces that the operator has rights in, and what it knows of them.

use std::collections::BTreeSet;

use super::{Change, ContentHash, NamespacedName, OutputFacts, Unit, World, in_namespace};

/// Name of the RoleBinding by which the operator has its rights in a namespace.
pub const MEMBER_BINDING: &str = "ringfence";

impl World {
    /// The RoleBinding of that name in a namespace, whoever wrote it.
    pub fn role_binding(&self, namespace: &str) -> Option<&OutputFacts<ContentHash>> {
        self.role_bindings.get(namespace)
    }

    /// Namespaces with such a RoleBinding.
    pub fn bound_namespaces(&self) -> impl Iterator<Item = &String> {
        self.role_bindings.keys()
    }

    /// What is to be planned when the Secrets and ConfigMaps of a namespace have come to be seen: everything in it, and
    /// those who are told its public keys, and the domain.
    pub fn units_on_entry(&self, namespace: &str) -> BTreeSet<Unit> {
        let identities = self.identities_in(namespace).map(|(key, _)| key);
        let peers: BTreeSet<NamespacedName> = identities.flat_map(|key| self.peers_of(key)).collect();
        let domain = self.domain_of(namespace).and_then(|domain| domain.metadata.name.clone()).map(Unit::Domain);
        let units = self.units_of_namespace(namespace).into_iter();
        let units = units.chain(peers.into_iter().map(Unit::Identity)).chain(domain);
        units.chain(self.token_units_on_entry(namespace)).collect()
    }

    /// The changes by which the Secrets and ConfigMaps of a namespace are forgotten, when nothing tells of them any more.
    pub fn outputs_in(&self, namespace: &str) -> Vec<Change> {
        let secrets = in_namespace(&self.secrets, namespace).map(|(key, _)| Change::Secret(key.clone(), None));
        let maps = in_namespace(&self.config_maps, namespace).map(|(key, _)| Change::ConfigMap(key.clone(), None));
        secrets.chain(maps).collect()
    }
}
