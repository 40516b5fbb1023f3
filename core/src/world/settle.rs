//! What follows from a change: membership, identities and policies are settled in that order, each only where something
//! that it depends on has changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::fold::{Dirty, is_to_stay, replace};
use super::{NamespacedName, ResolvedIdentity, Unit, World, identity, resolve};
use crate::access::{Grant, JudgedPolicy, Origin, from_registered_clients, judge, to_issuers};
use crate::api::TrustDomain;

impl World {
    /// Everything is listed, and from now on whoever comes first comes first. Until now the order in which objects came
    /// said nothing: who holds what is decided by what their statuses say and by their age. It is decided anew here, since
    /// whoever only followed has seen those statuses change, as another one decided.
    pub fn listed(&mut self) {
        if self.claim_sequence.is_some() {
            return;
        }
        let identities: Vec<_> =
            self.identities.iter().map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        self.claims = Claims::default();
        for (key, object) in &identities {
            let (claims, rank) = (resolve::claims_of(object, &self.settings.cluster_domain), self.rank(object));
            self.claims.replace(key, claims, &rank);
        }
        self.settle(Dirty {
            names: self.domains.values().map(|domain| domain.claimed_name().to_owned()).collect(),
            namespaces: self.namespaces.keys().cloned().collect(),
            identities: identities.into_iter().map(|(key, _)| key).collect(),
            ..Dirty::default()
        });
        self.claim_sequence = Some(0);
    }

    /// Settles everything that is dirty; returns what is to be planned again.
    pub(super) fn settle(&mut self, mut dirty: Dirty) -> BTreeSet<Unit> {
        self.settle_membership(&mut dirty);
        self.settle_identities(&mut dirty);
        self.settle_policies(&mut dirty);
        dirty.units
    }

    fn settle_membership(&mut self, dirty: &mut Dirty) {
        let listed = self.claim_sequence.is_some();
        for name in std::mem::take(&mut dirty.names) {
            dirty.domains.extend(self.membership.settle_name(&name, &self.domains, listed));
        }
        for namespace in std::mem::take(&mut dirty.namespaces) {
            let facts = self.namespaces.get(&namespace);
            let before = self.membership.domain_of.get(&namespace).cloned();
            let operator_namespace = &self.settings.operator_namespace;
            let claimants: BTreeSet<String> = self.domains_claiming(&namespace).map(str::to_owned).collect();
            dirty.units.extend(claimants.into_iter().map(Unit::Domain));
            if self.membership.settle_namespace(&namespace, facts, &self.domains, operator_namespace, listed) {
                let after = self.membership.domain_of.get(&namespace).cloned();
                for domain in before.into_iter().chain(after) {
                    dirty.policies.extend(self.index.by_source_domain(&domain));
                    dirty.units.insert(Unit::Domain(domain));
                }
                dirty.policies.extend(self.index.by_pod_namespace(&namespace));
                self.judge_issuers_again(&namespace, dirty);
                dirty.policies.extend(self.index.by_identity_namespace(&namespace));
                dirty.policies.extend(super::in_namespace(&self.policies, &namespace).map(|(key, _)| key.clone()));
                self.resolve_members_again(&namespace, dirty);
                dirty.units.extend(self.units_of_namespace(&namespace));
                self.touch_member_of_tokens(&namespace, dirty);
                dirty.units.insert(Unit::Member(namespace));
            } else if !self.membership.domain_of.contains_key(&namespace) {
                // It may have been refused to another one than before.
                dirty.identities.extend(self.identities_in(&namespace).map(|(key, _)| key.clone()));
            }
        }
        for domain in std::mem::take(&mut dirty.domains) {
            dirty.implied.insert(Origin::Clients(domain.clone()));
            dirty.implied.extend(self.listing_issuers(&domain));
            dirty.policies.extend(self.index.by_source_domain(&domain));
            for namespace in self.namespaces_of(&domain) {
                self.resolve_members_again(&namespace, dirty);
                dirty.policies.extend(super::in_namespace(&self.policies, &namespace).map(|(key, _)| key.clone()));
                dirty.policies.extend(self.identities_in(&namespace).flat_map(|(key, _)| self.index.policies_of(key)));
                dirty.units.extend(self.units_of_namespace(&namespace));
                self.touch_namespace_of_tokens(&namespace, dirty);
            }
            dirty.units.insert(Unit::Domain(domain));
        }
    }

    pub(super) fn units_of_namespace(&self, namespace: &str) -> BTreeSet<Unit> {
        let identities = self.identities_in(namespace).map(|(key, _)| Unit::Identity(key.clone()));
        identities.chain([Unit::Fence(namespace.to_owned())]).collect()
    }

    /// The identities of a namespace are resolved again, and so are those that want what they want: what a domain allows,
    /// and whom it has to do with, decides about both.
    fn resolve_members_again(&self, namespace: &str, dirty: &mut Dirty) {
        for (member, _) in self.identities_in(namespace) {
            dirty.identities.extend(self.claims.rivals(member));
            dirty.identities.insert(member.clone());
        }
    }

    fn settle_identities(&mut self, dirty: &mut Dirty) {
        while let Some(key) = dirty.identities.pop_first() {
            let object = self.identities.get(&key).filter(|object| is_to_stay(object));
            let new = object.map(|object| resolve::resolve(self, object));
            let old = self.resolved.get(&key);
            if old == new.as_ref() {
                continue;
            }
            let members = |resolved: Option<&ResolvedIdentity>| {
                resolved.and_then(|r| r.identity.as_ref()).map(|i| (i.domain.clone(), i.spiffe_id.clone()))
            };
            if members(old) != members(new.as_ref()) {
                let domains = members(old).into_iter().chain(members(new.as_ref())).map(|(domain, _)| domain);
                for domain in domains.collect::<BTreeSet<_>>() {
                    dirty.policies.extend(self.index.by_source_domain(&domain));
                }
                // A fence may have waited for its NetworkPolicy.
                dirty.units.insert(Unit::Fence(key.namespace.clone()));
            }
            // Whoever wants a name that this one lets go of may have it now, or must let go of it in turn.
            let names = |resolved: Option<&ResolvedIdentity>| {
                resolved.and_then(|r| r.identity.as_ref()).map(identity::Identity::extra_names).unwrap_or_default()
            };
            let (before, after) = (names(old), names(new.as_ref()));
            for name in before.symmetric_difference(&after) {
                let claim = Claim::Name(name.clone());
                let rivals = self.claims.claimants(&claim);
                dirty.identities.extend(rivals.filter(|rival| **rival != key).cloned());
            }
            self.touch_identity_of_tokens(&key, old, new.as_ref(), dirty);
            dirty.policies.extend(self.index.policies_of(&key));
            dirty.implied.insert(Origin::Identity(key.clone()));
            if self.is_token_service(&key) {
                dirty.implied.extend(self.all_implied().map(|(origin, _)| origin.clone()));
                self.judge_clients_again(dirty);
            }
            dirty.units.insert(Unit::Identity(key.clone()));
            replace(&mut self.resolved, &key, new);
        }
    }

    fn settle_policies(&mut self, dirty: &mut Dirty) {
        let policies = std::mem::take(&mut dirty.policies).into_iter().map(Origin::Policy);
        for origin in policies.chain(std::mem::take(&mut dirty.implied)).collect::<Vec<_>>() {
            let new = self.judge(&origin).map(Arc::new);
            let old = self.judged.get(&origin).cloned();
            if old == new {
                continue;
            }
            let grants = |judged: &Option<Arc<JudgedPolicy>>| match judged {
                Some(judged) if !judged.draft => judged.grants.clone(),
                _ => Vec::new(),
            };
            let (before, after) = (grants(&old), grants(&new));
            let changed =
                before.iter().filter(|g| !after.contains(g)).chain(after.iter().filter(|g| !before.contains(g)));
            let ends: BTreeSet<NamespacedName> = changed.flat_map(|grant| self.ends_of(grant)).collect();
            dirty.units.extend(ends.into_iter().map(Unit::Identity));
            dirty.units.insert(match &origin {
                Origin::Policy(key) => Unit::Policy(key.clone()),
                Origin::Identity(key) => Unit::Identity(key.clone()),
                Origin::Clients(domain) => Unit::Domain(domain.clone()),
            });
            if let Origin::Policy(_) = origin {
                self.touch_grants_of_tokens(old.as_ref(), new.as_ref(), dirty);
                // A grant may now be weaker than another one for the same callee, and its policy says so.
                let callees = old.iter().chain(&new).flat_map(|judged| &judged.grants).filter_map(Grant::callee);
                let callees: BTreeSet<&NamespacedName> = callees.collect();
                let siblings = callees.into_iter().flat_map(|callee| self.index.policies_of(callee));
                dirty.units.extend(siblings.map(Unit::Policy));
            }
            replace(&mut self.judged, &origin, new);
        }
    }

    fn judge(&self, origin: &Origin) -> Option<JudgedPolicy> {
        match origin {
            Origin::Policy(key) => {
                self.policies.get(key).filter(|policy| is_to_stay(policy)).map(|policy| judge(self, key, policy))
            }
            Origin::Identity(key) => to_issuers(self, self.identity(key)?),
            Origin::Clients(domain) => {
                from_registered_clients(self, self.domains.get(domain).filter(|domain| is_to_stay(domain))?)
            }
        }
    }

    /// The identities of a domain that list token issuers.
    fn listing_issuers(&self, domain: &str) -> BTreeSet<Origin> {
        let listing = self.identities_of(domain).filter(|identity| !identity.issuers.is_empty());
        listing.map(|identity| Origin::Identity(identity.key.clone())).collect()
    }

    /// The clients of the built-in token issuer are let in anew, and their domains say so.
    pub(super) fn judge_clients_again(&self, dirty: &mut Dirty) {
        for (name, _) in self.domains.iter().filter(|(_, domain)| domain.built_in_issuer().is_some()) {
            dirty.implied.insert(Origin::Clients(name.clone()));
            dirty.units.insert(Unit::Domain(name.clone()));
        }
    }

    /// Whoever goes to a token issuer in a namespace does so only while that is outside of every domain.
    fn judge_issuers_again(&self, namespace: &str, dirty: &mut Dirty) {
        let is_there = |domain: &TrustDomain| {
            let endpoints =
                domain.spec.token_issuers.iter().filter_map(|issuer| issuer.endpoint.as_ref()?.pods.as_ref());
            endpoints.flat_map(|pods| &pods.namespaces).any(|named| named == namespace)
        };
        for name in self.domains.iter().filter(|(_, domain)| is_there(domain)).map(|(name, _)| name) {
            dirty.implied.extend(self.listing_issuers(name));
            dirty.units.insert(Unit::Domain(name.clone()));
        }
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
