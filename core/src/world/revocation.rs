//! Which certificates are to be revoked: those of identities that are suspended or being deleted.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::fold::Dirty;
use super::{NamespacedName, SecretFacts, Unit, World};
use crate::api::{IssuedCertificate, RotationTarget, ServiceIdentity, ServiceIdentityStatus};
use crate::pki::{CaGeneration, LeafFacts, Phase, RevocationCause, SerialNumber};

/// Earlier certificates of an identity that stay on record, and valid, at once; any before them is revoked, so that the
/// record is bounded however often an identity changes.
pub const KEPT_CERTIFICATES: usize = 32;

/// A certificate that is to be revoked and is not yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unrevoked {
    /// TrustDomain whose CA issued it.
    pub domain: String,
    /// Id of the generation that did.
    pub authority: String,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Last second in which it is valid.
    pub not_after: Timestamp,
    /// Why it is to be revoked.
    pub cause: RevocationCause,
    /// Whether its CA can sign a list at all.
    pub possible: bool,
}

impl World {
    /// The certificates of an identity that are to be revoked, are still valid, and are on no list yet.
    pub fn unrevoked(&self, key: &NamespacedName, now: Timestamp) -> Vec<Unrevoked> {
        let Some(object) = self.identities.get(key) else { return Vec::new() };
        let issued: BTreeSet<(String, String, Timestamp)> = match cause_of(object) {
            Some(_) => self.issued_to(key, object).into_iter().map(parts).collect(),
            None => superseded(object.status.as_ref()).iter().cloned().map(parts).collect(),
        };
        let cause = cause_of(object).unwrap_or(RevocationCause::Superseded);
        let unrevoked = issued.into_iter().filter(|(.., not_after)| *not_after >= now);
        let mut found = Vec::new();
        for (authority, serial, not_after) in unrevoked {
            let Ok(serial) = serial.parse::<SerialNumber>() else { continue };
            let lacking = self
                .generations_of_id(&authority)
                .filter(|(_, generation)| generation.phase() != Phase::Retired && !generation.is_revoked(&serial));
            found.extend(lacking.map(|(domain, generation)| Unrevoked {
                domain: domain.to_owned(),
                authority: authority.clone(),
                serial: serial.clone(),
                not_after,
                cause,
                possible: generation.can_sign_crls(),
            }));
        }
        found
    }

    /// The certificates that the CA of a domain is to revoke and can, with whose they are.
    pub fn unrevoked_by(&self, domain: &str, now: Timestamp) -> Vec<(&NamespacedName, Unrevoked)> {
        let all = self.withdrawn.iter().flat_map(|key| self.unrevoked(key, now).into_iter().map(move |one| (key, one)));
        all.filter(|(_, unrevoked)| unrevoked.possible && unrevoked.domain == domain).collect()
    }

    /// A domain and those above it, whose CAs sign its chain.
    pub fn lineage(&self, domain: &str) -> BTreeSet<String> {
        let mut lineage = BTreeSet::new();
        let mut next = Some(domain.to_owned());
        while let Some(name) = next.filter(|name| !lineage.contains(name)) {
            let parent = self.domains.get(&name).and_then(|domain| domain.spec.certificate_authority.parent.as_ref());
            next = parent.map(|parent| parent.name.clone());
            lineage.insert(name);
        }
        lineage
    }

    /// The revocation lists of the CAs of some domains and of all above them, as PEM: what a verifier needs that checks
    /// the whole chain.
    pub fn revocation_lists<'a>(&self, domains: impl IntoIterator<Item = &'a str>) -> String {
        let lineage: BTreeSet<String> = domains.into_iter().flat_map(|domain| self.lineage(domain)).collect();
        lineage
            .iter()
            .filter_map(|domain| self.generations(domain))
            .map(|generations| generations.lists_pem())
            .collect()
    }

    /// What an identity had before the certificate that it has now, as its status is to remember it: until that ends or is
    /// on a list. Nothing is left out because of the time alone.
    pub fn previous_certificates(
        &self,
        status: &ServiceIdentityStatus,
        current: Option<&LeafFacts>,
        now: Timestamp,
    ) -> Vec<IssuedCertificate> {
        let mut previous = status.previous_certificates.clone();
        let replaced = status
            .certificate
            .as_ref()
            .filter(|recorded| current.is_none_or(|current| current.serial.to_string() != recorded.serial));
        if let Some(replaced) = replaced {
            previous.retain(|issued| issued.not_after.0 >= now);
            previous.extend(replaced.authority.clone().map(|authority| IssuedCertificate {
                serial: replaced.serial.clone(),
                authority,
                not_after: replaced.not_after.clone(),
            }));
        }
        previous.retain(|issued| !self.is_revoked(issued));
        previous
    }

    /// Whether what is known of a leaf would outlive the leaf's Secret: its identity's status has it, or a list. One that
    /// no CA of ours issued is nobody's to revoke.
    pub fn is_on_record(&self, key: &NamespacedName, leaf: &LeafFacts) -> bool {
        let Some(issued) = self.issued(leaf) else { return true };
        let status = self.identities.get(key).and_then(|object| object.status.as_ref());
        let current = status.and_then(|status| status.certificate.as_ref());
        let is_known = current.is_some_and(|current| {
            current.serial == issued.serial && current.authority.as_ref() == Some(&issued.authority)
        });
        is_known
            || status.is_some_and(|status| status.previous_certificates.contains(&issued))
            || self.is_revoked(&issued)
    }

    /// A leaf as one that a CA of ours has issued.
    pub fn issued(&self, leaf: &LeafFacts) -> Option<IssuedCertificate> {
        let mut generations = self.authorities.values().filter_map(|facts| facts.generations.as_ref().ok());
        let authority = generations.find_map(|generations| leaf.issuer(generations))?.id().to_owned();
        Some(IssuedCertificate { serial: leaf.serial.to_string(), authority, not_after: Time(leaf.not_after) })
    }

    /// All certificates that an identity is known to have.
    fn issued_to(&self, key: &NamespacedName, object: &ServiceIdentity) -> Vec<IssuedCertificate> {
        let mut issued = Vec::new();
        if let Some(status) = &object.status {
            issued.extend(status.previous_certificates.iter().cloned());
            issued.extend(status.certificate.as_ref().and_then(|certificate| {
                Some(IssuedCertificate {
                    serial: certificate.serial.clone(),
                    authority: certificate.authority.clone()?,
                    not_after: certificate.not_after.clone(),
                })
            }));
        }
        // One may have been issued that the status does not tell of yet.
        let found = self.secrets.get(&NamespacedName::new(key.namespace.clone(), object.tls_secret()));
        let found = found.filter(|found| object.metadata.uid.as_ref().is_some_and(|uid| found.is_of(uid)));
        if let Some(SecretFacts::Certificate(Ok(leaf))) = found.map(|found| &found.content) {
            issued.extend(self.issued(leaf));
        }
        issued
    }

    fn is_revoked(&self, issued: &IssuedCertificate) -> bool {
        let serial: Option<SerialNumber> = issued.serial.parse().ok();
        let mut generations = self.generations_of_id(&issued.authority).peekable();
        serial.is_some_and(|serial| {
            generations.peek().is_some() && generations.all(|(_, generation)| generation.is_revoked(&serial))
        })
    }

    /// The generation with this id, and whose it is: of several domains, if they were brought the same CA.
    fn generations_of_id<'a>(&'a self, id: &str) -> impl Iterator<Item = (&'a str, &'a CaGeneration)> {
        self.authorities.iter().filter_map(move |(domain, facts)| {
            let generation = facts.generations.as_ref().ok()?.get(id)?;
            Some((domain.as_str(), generation))
        })
    }

    /// Notes whether an identity has certificates to be revoked, and lets their CAs know.
    pub(super) fn note_withdrawn(&mut self, key: &NamespacedName, dirty: &mut Dirty) {
        let is_withdrawn =
            |object: &ServiceIdentity| cause_of(object).is_some() || !superseded(object.status.as_ref()).is_empty();
        if !self.identities.get(key).is_some_and(|object| is_withdrawn(object)) {
            self.withdrawn.remove(key);
            return;
        }
        self.withdrawn.insert(key.clone());
        let unrevoked = self.unrevoked(key, Timestamp::MIN).into_iter();
        dirty.units.extend(unrevoked.filter(|one| one.possible).map(|one| Unit::Domain(one.domain)));
    }

    /// The identities that wait for a list of this domain.
    pub(super) fn withdrawn_from(&self, domain: &str) -> Vec<NamespacedName> {
        let Some(generations) = self.generations(domain) else { return Vec::new() };
        let concerns = |key: &&NamespacedName| {
            let object = self.identities.get(key);
            let issued = object.map(|object| self.issued_to(key, object)).unwrap_or_default();
            issued.iter().any(|issued| generations.get(&issued.authority).is_some())
        };
        self.withdrawn.iter().filter(concerns).cloned().collect()
    }
}

fn parts(issued: IssuedCertificate) -> (String, String, Timestamp) {
    (issued.authority, issued.serial, issued.not_after.0)
}

/// Certificates, lists and statuses count whole seconds.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Whether a rotation is asked for that has not begun. What is new has nothing to rotate.
pub(crate) fn is_to_rotate(object: &ServiceIdentity, target: RotationTarget) -> bool {
    object.spec.rotation.as_ref().filter(|wanted| wanted.target == target).is_some_and(|wanted| {
        let begun =
            |status: &ServiceIdentityStatus| status.rotation.as_ref().is_some_and(|begun| begun.id == wanted.id);
        object.status.as_ref().is_some_and(|status| !begun(status))
    })
}

/// Why all certificates of an identity are to be revoked.
fn cause_of(object: &ServiceIdentity) -> Option<RevocationCause> {
    if object.metadata.deletion_timestamp.is_some() {
        Some(RevocationCause::Deleted)
    } else {
        let compromised = is_to_rotate(object, RotationTarget::Certificate).then_some(RevocationCause::Compromised);
        compromised.or_else(|| object.spec.suspended.then_some(RevocationCause::Suspended))
    }
}

/// The earliest certificates, if there are more than are kept.
fn superseded(status: Option<&ServiceIdentityStatus>) -> &[IssuedCertificate] {
    let previous = status.map(|status| status.previous_certificates.as_slice()).unwrap_or_default();
    &previous[..previous.len().saturating_sub(KEPT_CERTIFICATES)]
}
