//! What is known of token issuers comes into the world, and touches those who verify by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fold::{Dirty, replace};
use super::{Identity, IssuerFacts, IssuerFailure, IssuerKey, NamespacedName, Unit, World};
use crate::access::{Grant, ResolvedSigner};

/// What is known of token issuers.
#[derive(Debug, Default)]
pub(super) struct Issuers {
    known: BTreeMap<IssuerKey, Arc<IssuerFacts>>,
    /// Those that this very process has fetched: what is on record of them is older.
    fetched: BTreeSet<IssuerKey>,
    /// Those of which nothing is known, and why.
    unknown: BTreeMap<IssuerKey, IssuerFailure>,
}

impl World {
    /// What is known of a token issuer: the last that was good.
    pub fn issuer(&self, key: &IssuerKey) -> Option<&Arc<IssuerFacts>> {
        self.issuers.known.get(key)
    }

    /// Why nothing is known of a token issuer; nothing when something is, or nobody has asked yet.
    pub fn issuer_failure(&self, key: &IssuerKey) -> Option<&IssuerFailure> {
        self.issuers.unknown.get(key)
    }

    /// Folds what was fetched.
    pub(super) fn fold_issuer(&mut self, key: &IssuerKey, new: Option<Arc<IssuerFacts>>, dirty: &mut Dirty) {
        // The declaration may have gone, or name another one, while it was on its way.
        if new.as_ref().is_some_and(|facts| self.is_declared(key, &facts.issuer) != Some(true)) {
            return;
        }
        self.issuers.unknown.remove(key);
        match &new {
            Some(_) => self.issuers.fetched.insert(key.clone()),
            None => self.issuers.fetched.remove(key),
        };
        self.replace_issuer(key, new, dirty);
    }

    pub(super) fn fold_unknown_issuer(&mut self, key: IssuerKey, failure: IssuerFailure, dirty: &mut Dirty) {
        let IssuerKey::External { domain, .. } = &key else { return self.fold_unpublished_keys(failure, dirty) };
        if self.issuers.known.contains_key(&key) || self.issuers.unknown.get(&key) == Some(&failure) {
            return;
        }
        dirty.units.insert(Unit::Domain(domain.clone()));
        self.issuers.unknown.insert(key, failure);
    }

    /// Folds why the token service's keys can't be read as they are published now. Those that are known stay.
    fn fold_unpublished_keys(&mut self, failure: IssuerFailure, dirty: &mut Dirty) {
        let key = IssuerKey::BuiltIn;
        let known = self.issuers.known.get(&key).map(|facts| facts.as_ref().clone());
        match known {
            Some(facts) if facts.stale.as_ref().is_some_and(|known| known.why == failure.why) => {}
            Some(facts) => {
                let stale = IssuerFacts { stale: Some(failure), ..facts };
                self.replace_issuer(&key, Some(Arc::new(stale)), dirty);
            }
            None => {
                self.issuers.unknown.insert(key, failure);
                dirty.units.extend(self.domains_with_token_service().map(Unit::Domain));
            }
        }
    }

    /// Folds what is on record of a domain's issuers: by this process before a restart, or by the replica that leads.
    pub(super) fn fold_recorded_issuers(
        &mut self,
        domain: &str,
        recorded: Vec<(String, Arc<IssuerFacts>)>,
        dirty: &mut Dirty,
    ) {
        for (name, facts) in recorded {
            let key = IssuerKey::external(domain, name);
            // While everything is listed, the record may come before the TrustDomain.
            if !self.issuers.fetched.contains(&key) && self.is_declared(&key, &facts.issuer) != Some(false) {
                self.replace_issuer(&key, Some(facts), dirty);
            }
        }
    }

    /// Forgets what is known of issuers that a domain does not name any more, or by another URL.
    pub(super) fn forget_undeclared_issuers(&mut self, domain: &str) {
        let is_of = |key: &IssuerKey| matches!(key, IssuerKey::External { domain: of, .. } if of == domain);
        let known = self.issuers.known.iter().filter(|(key, _)| is_of(key));
        let gone = known.filter(|(key, facts)| self.is_declared(key, &facts.issuer) != Some(true));
        let gone: Vec<IssuerKey> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.issuers.known.remove(&key);
            self.issuers.fetched.remove(&key);
        }
        let stays = |key: &IssuerKey| match key {
            IssuerKey::External { domain: of, name } if of == domain => {
                let declared = self.domains.get(domain).and_then(|domain| domain.token_issuer(name));
                declared.is_some_and(|issuer| issuer.built_in.is_none())
            }
            _ => true,
        };
        self.issuers.unknown.retain(|key, _| stays(key));
    }

    fn replace_issuer(&mut self, key: &IssuerKey, new: Option<Arc<IssuerFacts>>, dirty: &mut Dirty) {
        let old = replace(&mut self.issuers.known, key, new);
        let new = self.issuers.known.get(key);
        if old.as_ref() == new {
            return;
        }
        match key {
            IssuerKey::External { domain, .. } => drop(dirty.units.insert(Unit::Domain(domain.clone()))),
            IssuerKey::BuiltIn => dirty.units.extend(self.domains_with_token_service().map(Unit::Domain)),
        }
        let delivered =
            |facts: &Arc<IssuerFacts>| (facts.issuer.clone(), facts.jwks.clone(), facts.introspection_uri.clone());
        if old.as_ref().map(delivered) != new.map(delivered) {
            dirty.units.extend(self.users_of(key).into_iter().map(Unit::Identity));
            if let IssuerKey::External { domain, .. } = key {
                // Its tokens may be exchanged.
                self.touch_domains_of_tokens([domain.as_str()].into_iter(), dirty);
            }
        }
    }

    /// Whether a domain names an issuer like this; nothing while the domain is not known.
    fn is_declared(&self, key: &IssuerKey, url: &str) -> Option<bool> {
        let IssuerKey::External { domain, name } = key else { return Some(true) };
        let issuers = &self.domain(domain)?.spec.token_issuers;
        Some(issuers.iter().any(|issuer| issuer.name == *name && issuer.issuer.as_deref() == Some(url)))
    }

    /// The identities that list an issuer, or are called with its tokens.
    pub(super) fn users_of(&self, key: &IssuerKey) -> BTreeSet<NamespacedName> {
        let domains = self.domains.iter().filter(|(name, object)| match key {
            IssuerKey::External { domain, .. } => domain == *name,
            IssuerKey::BuiltIn => object.built_in_issuer().is_some(),
        });
        let uses = |identity: &&Identity| {
            let is_demanded = |grant: &Grant| grant.is_target(identity) && demands(grant, key);
            identity.issuers.iter().any(|listed| listed.key == *key)
                || self.judged_of(&identity.key).flat_map(|judged| &judged.grants).any(is_demanded)
        };
        let members = domains.flat_map(|(name, _)| self.identities_of(name));
        members.filter(uses).map(|identity| identity.key.clone()).collect()
    }
}

/// Whether a grant asks for a token of an issuer.
fn demands(grant: &Grant, key: &IssuerKey) -> bool {
    let signer = grant.authentication.jwt.as_ref().map(|jwt| &jwt.signer);
    matches!(signer, Some(ResolvedSigner::Issuer(token)) if token.issuer.key == *key)
}

#[cfg(test)]
#[path = "issuer_facts_tests.rs"]
mod tests;
