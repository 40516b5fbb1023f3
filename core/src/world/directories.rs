//! Of which namespaces the token service is told, and where: one ConfigMap of its own namespace for each.
//!
//! A change touches a directory as soon as it touches the identity that it closes: what is not in a directory any more gets
//! no token, so that revoking takes effect with the write of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fold::{Dirty, fold_output};
use super::{
    ContentHash, Identity, IssuerKey, NamespacedName, OutputFacts, ResolvedIdentity, Unit, World, in_namespace,
};
use crate::access::{Grant, JudgedPolicy, Origin, verified_issuers};
use crate::api::{BuiltInIssuer, TokenIssuer, TrustDomain};
use crate::issuers::RECORD_SUFFIX;
use crate::tokens::{DirectoryGrant, directory_config_map, directory_namespace};

impl TrustDomain {
    /// The issuer that stands for the token service of the installation, if the domain names it.
    pub fn built_in_issuer(&self) -> Option<(&TokenIssuer, &BuiltInIssuer)> {
        self.spec.token_issuers.iter().find_map(|issuer| Some((issuer, issuer.built_in.as_ref()?)))
    }
}

impl Identity {
    /// Whether it lists the token service: only then may it talk to it.
    pub fn is_token_client(&self) -> bool {
        self.issuers.iter().any(|listed| listed.key == IssuerKey::BuiltIn)
    }
}

impl World {
    /// The ConfigMap in which the token service is told of a namespace; nothing where the installation runs none.
    pub fn directory_of(&self, namespace: &str) -> Option<NamespacedName> {
        let service = self.settings.token_service.as_ref()?;
        Some(NamespacedName::new(service.identity.namespace.clone(), directory_config_map(namespace)))
    }

    /// Of whom a ConfigMap is to tell: a namespace, and the TrustDomain that lets its members have tokens. Nothing is due
    /// outside every domain, where the operator has no rights; for a domain that is being deleted nothing new is.
    pub fn directory_due<'a>(&'a self, key: &'a NamespacedName) -> Option<(&'a str, &'a Arc<TrustDomain>)> {
        let namespace = directory_namespace(&key.name).filter(|name| self.directory_of(name).as_ref() == Some(key))?;
        self.domain_of(&key.namespace)?;
        let domain = self.domain_of(namespace).filter(|domain| domain.built_in_issuer().is_some())?;
        self.trust_domain_name(domain.metadata.name.as_deref()?)?;
        let stays = domain.metadata.deletion_timestamp.is_none() || self.config_maps.contains_key(key);
        stays.then_some((namespace, domain))
    }

    /// The judged policies of a namespace, which is that of their callees, drafts included.
    pub(crate) fn judged_in<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<JudgedPolicy>> + use<'a> {
        let first = Origin::Policy(NamespacedName::new(namespace, ""));
        let namespace = namespace.to_owned();
        let of_namespace = move |origin: &Origin| matches!(origin, Origin::Policy(key) if key.namespace == namespace);
        self.judged.range(first..).take_while(move |(origin, _)| of_namespace(origin)).map(|(_, judged)| judged)
    }

    /// ConfigMaps of a namespace that have the name of a directory, due or not.
    pub(crate) fn directories_in<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a OutputFacts<ContentHash>)> + use<'a> {
        in_namespace(&self.config_maps, namespace).filter(|(key, _)| self.is_directory(key))
    }

    /// All directories that are due or there.
    pub(super) fn all_directories(&self) -> impl Iterator<Item = Unit> {
        let due = self.membership.domain_of.keys().filter_map(|namespace| self.due_directory(namespace));
        let there = self.config_maps.keys().filter(|key| self.is_directory(key)).cloned().map(Unit::Directory);
        due.chain(there)
    }

    /// What is to be planned when the ConfigMaps of a namespace have come to be seen, or the secrets of those who live in
    /// it: directories there, that of the namespace, and whoever is told the token service's keys.
    pub(super) fn token_units_on_entry(&self, namespace: &str) -> BTreeSet<Unit> {
        let mut units: BTreeSet<Unit> = self.due_directory(namespace).into_iter().collect();
        units.extend(self.directories_in(namespace).map(|(key, _)| Unit::Directory(key.clone())));
        if self.is_token_service_in(namespace) {
            units.extend(self.all_directories());
            units.extend(self.domains_with_token_service().map(Unit::Domain));
            units.extend(self.users_of(&IssuerKey::BuiltIn).into_iter().map(Unit::Identity));
        }
        units
    }

    /// Whether an identity verifies tokens by the token service's keys.
    pub fn verifies_by_token_service(&self, identity: &NamespacedName) -> bool {
        let in_force = self.judged_of(identity).filter(|judged| !judged.draft).flat_map(|judged| &judged.grants);
        let incoming = in_force.filter(|grant| grant.callee() == Some(identity));
        verified_issuers(incoming).any(|issuer| issuer.key == IssuerKey::BuiltIn)
    }

    /// Whether the token service lives in a namespace.
    fn is_token_service_in(&self, namespace: &str) -> bool {
        self.settings.token_service.as_ref().is_some_and(|service| service.identity.namespace == namespace)
    }

    /// Whether a ConfigMap has the name and the place of a directory: perhaps of a token service that was elsewhere before.
    fn is_directory(&self, key: &NamespacedName) -> bool {
        directory_namespace(&key.name).is_some() && key.namespace != self.settings.operator_namespace
    }

    fn due_directory(&self, namespace: &str) -> Option<Unit> {
        let key = self.directory_of(namespace)?;
        let due = self.directory_due(&key).is_some();
        due.then_some(Unit::Directory(key))
    }

    /// The TrustDomains that name the token service.
    pub(super) fn domains_with_token_service(&self) -> impl Iterator<Item = String> {
        self.domains.iter().filter(|(_, domain)| domain.built_in_issuer().is_some()).map(|(name, _)| name.clone())
    }

    /// A namespace has come into a domain, or has left it.
    pub(super) fn touch_member_of_tokens(&self, namespace: &str, dirty: &mut Dirty) {
        self.touch_namespace_of_tokens(namespace, dirty);
        if self.is_token_service_in(namespace) {
            dirty.units.extend(self.token_units_on_entry(namespace));
        }
    }

    /// The domain of a namespace is another than before, or says something else.
    pub(super) fn touch_namespace_of_tokens(&self, namespace: &str, dirty: &mut Dirty) {
        // Due or not: what is due no more may just be on its way.
        dirty.units.extend(self.directory_of(namespace).map(Unit::Directory));
    }

    /// An identity is another than before.
    pub(super) fn touch_identity_of_tokens(
        &self,
        key: &NamespacedName,
        before: Option<&ResolvedIdentity>,
        after: Option<&ResolvedIdentity>,
        dirty: &mut Dirty,
    ) {
        let told = |resolved: Option<&ResolvedIdentity>| {
            resolved.and_then(|resolved| resolved.identity.as_ref()).map(|identity| {
                let Identity { uid, spiffe_id, audiences, signing_key, .. } = identity;
                (uid.clone(), spiffe_id.clone(), audiences.clone(), signing_key.clone(), identity.is_token_client())
            })
        };
        if told(before) != told(after) {
            dirty.units.extend(self.due_directory(&key.namespace));
        }
    }

    /// A policy grants something else than before.
    pub(super) fn touch_grants_of_tokens(
        &self,
        before: Option<&Arc<JudgedPolicy>>,
        after: Option<&Arc<JudgedPolicy>>,
        dirty: &mut Dirty,
    ) {
        let told = |judged: Option<&Arc<JudgedPolicy>>| {
            let grants = judged.filter(|judged| !judged.draft).into_iter().flat_map(|judged| &judged.grants);
            let told = |grant: &Grant| Some((grant.callee()?.namespace.clone(), DirectoryGrant::of(grant)?));
            grants.filter_map(told).collect::<Vec<_>>()
        };
        let (before, after) = (told(before), told(after));
        if before != after {
            let namespaces: BTreeSet<&String> = before.iter().chain(&after).map(|(namespace, _)| namespace).collect();
            dirty.units.extend(namespaces.into_iter().filter_map(|namespace| self.due_directory(namespace)));
        }
    }

    /// What verifies the members of some domains is another than before.
    pub(super) fn touch_domains_of_tokens<'a>(&self, domains: impl Iterator<Item = &'a str>, dirty: &mut Dirty) {
        let namespaces = domains.flat_map(|domain| self.namespaces_of(domain));
        dirty.units.extend(namespaces.filter_map(|namespace| self.due_directory(&namespace)));
    }

    /// The public keys of an identity are others than before.
    pub(super) fn touch_keys_of_tokens(&self, identity: &NamespacedName, dirty: &mut Dirty) {
        dirty.units.extend(self.due_directory(&identity.namespace));
    }

    pub(super) fn fold_config_map(
        &mut self,
        key: &NamespacedName,
        new: Option<OutputFacts<ContentHash>>,
        dirty: &mut Dirty,
    ) {
        let existed = self.config_maps.contains_key(key);
        if !fold_output(&mut self.config_maps, &mut self.gone, key, new) {
            return;
        }
        if key.namespace == self.settings.operator_namespace {
            let owners = ["-trust", RECORD_SUFFIX].into_iter().filter_map(|end| key.name.strip_suffix(end));
            let owners = owners.filter(|name| self.domains.contains_key(*name));
            dirty.units.extend(owners.map(|name| Unit::Domain(name.to_owned())));
        }
        dirty.units.extend(self.identity_named(key, key.name.strip_suffix("-trust")).map(Unit::Identity));
        let Some(namespace) = directory_namespace(&key.name).filter(|_| self.is_directory(key)) else { return };
        dirty.units.insert(Unit::Directory(key.clone()));
        if existed != self.config_maps.contains_key(key) {
            dirty.units.extend(self.membership.domain_of.get(namespace).cloned().map(Unit::Domain));
            if self.domain_of(&key.namespace).is_none() {
                // It may have been the last one in a namespace that left.
                dirty.units.insert(Unit::Member(key.namespace.clone()));
            }
        }
    }
}

#[cfg(test)]
#[path = "directories_tests.rs"]
mod tests;
