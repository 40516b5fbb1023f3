//! Things that only one identity may have, and who had them first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::NamespacedName;

/// Something that only one identity may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// A service account: the SPIFFE ID.
    ServiceAccount(NamespacedName),
    /// A Service, with its names.
    Service(NamespacedName),
    /// A Secret to write to.
    Secret(NamespacedName),
    /// A DNS name or an IP address.
    Name(String),
    /// A name under which tokens are accepted; only among domains that have to do with each other.
    Audience(String),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(account) => write!(f, "service account {account}"),
            Self::Service(service) => write!(f, "Service {service}"),
            Self::Secret(secret) => write!(f, "Secret {secret}"),
            Self::Name(name) => write!(f, "the name {name}"),
            Self::Audience(audience) => write!(f, "the audience {audience}"),
        }
    }
}

/// When a claim was made. Claims seen at the first listing rank by what became of them before, then by the age of the
/// object; later ones by when they were made. So a restart hands nothing to another, and nobody takes a name away
/// from someone by editing an older object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) sequence: u64,
    pub(super) created: i64,
    pub(super) uid: String,
}

/// All claims. Hardly any has more than one claimant, so that lists take less room than maps.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Who claims it, earliest first.
    by_claim: BTreeMap<Claim, Vec<(Rank, NamespacedName)>>,
    by_claimant: BTreeMap<NamespacedName, Box<[Claim]>>,
}

impl Claims {
    /// Whoever made the claim before this one.
    pub(super) fn holder_before<'a>(
        &'a self,
        claim: &Claim,
        claimant: &'a NamespacedName,
    ) -> Option<&'a NamespacedName> {
        self.holders_before(claim, claimant).next()
    }

    /// All who made the claim before this one.
    pub(super) fn holders_before<'a>(
        &'a self,
        claim: &Claim,
        claimant: &'a NamespacedName,
    ) -> impl Iterator<Item = &'a NamespacedName> + use<'a> {
        self.claimants(claim).take_while(move |other| *other != claimant)
    }

    /// All who claim something, earliest first.
    pub(super) fn claimants<'a>(&'a self, claim: &Claim) -> impl Iterator<Item = &'a NamespacedName> + use<'a> {
        self.by_claim.get(claim).into_iter().flatten().map(|(_, claimant)| claimant)
    }

    /// All who claim a name or an audience that this one claims too: who has it is not only a matter of who came first,
    /// but also of the domains of all of them.
    pub(super) fn rivals(&self, claimant: &NamespacedName) -> BTreeSet<NamespacedName> {
        let claims = self.by_claimant.get(claimant).into_iter().flatten();
        let contended = claims.filter(|claim| matches!(claim, Claim::Name(_) | Claim::Audience(_)));
        contended.flat_map(|claim| self.claimants(claim)).filter(|rival| *rival != claimant).cloned().collect()
    }

    /// All who claim a name like this for their certificate.
    pub(super) fn claimants_of_names(&self, wanted: impl Fn(&str) -> bool) -> BTreeSet<NamespacedName> {
        let names = self.by_claim.range(Claim::Name(String::new())..);
        let names = names.map_while(|(claim, claimants)| match claim {
            Claim::Name(name) => Some((name, claimants)),
            _ => None,
        });
        let wanted = names.filter(|(name, _)| wanted(name)).flat_map(|(_, claimants)| claimants);
        wanted.map(|(_, claimant)| claimant.clone()).collect()
    }

    /// Replaces what one identity claims; returns the others whose standing this may change.
    pub(super) fn replace(
        &mut self,
        claimant: &NamespacedName,
        claims: BTreeSet<Claim>,
        rank: &Rank,
    ) -> BTreeSet<NamespacedName> {
        let old: BTreeSet<Claim> = self.by_claimant.remove(claimant).unwrap_or_default().into_iter().collect();
        let mut affected = BTreeSet::new();
        for claim in old.difference(&claims) {
            if let Some(claimants) = self.by_claim.get_mut(claim) {
                claimants.retain(|(_, other)| other != claimant);
                affected.extend(claimants.iter().map(|(_, other)| other.clone()));
                if claimants.is_empty() {
                    self.by_claim.remove(claim);
                }
            }
        }
        for claim in claims.difference(&old) {
            let claimants = self.by_claim.entry(claim.clone()).or_insert_with(|| Vec::with_capacity(1));
            affected.extend(claimants.iter().map(|(_, other)| other.clone()));
            let place = claimants.partition_point(|(other, _)| other <= rank);
            claimants.insert(place, (rank.clone(), claimant.clone()));
        }
        if !claims.is_empty() {
            self.by_claimant.insert(claimant.clone(), claims.into_iter().collect());
        }
        affected
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
