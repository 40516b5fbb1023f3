//! Revocation lists (RFC 5280, section 5): one for each generation of an authority, signed with its key.
//!
//! What is revoked is on record beside the generation, with the end of each certificate, which a list does not say: so an
//! entry leaves when there is nothing left to revoke. The list itself is only the signed form of that record.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::authority::{CLOCK_TOLERANCE, CaGeneration, CaGenerations, GenerationsError, Phase, issuer, to_date_time};
use super::pem;
use super::serial::SerialNumber;

/// A list that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It could not be written or signed.
    #[error("a revocation list could not be signed: {0}")]
    Sign(#[from] rcgen::Error),
    /// What was signed does not parse.
    #[error("a revocation list that was signed can't be read")]
    Unreadable,
    /// The generations make no sense together.
    #[error(transparent)]
    Generations(#[from] GenerationsError),
}

/// Why a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RevocationCause {
    /// Its identity is suspended (privilegeWithdrawn).
    Suspended,
    /// Its identity was deleted (cessationOfOperation).
    Deleted,
    /// Its key may be in other hands (keyCompromise).
    Compromised,
    /// So many others took its place that it is not kept on record any longer (superseded).
    Superseded,
}

impl From<RevocationCause> for rcgen::RevocationReason {
    fn from(cause: RevocationCause) -> Self {
        match cause {
            RevocationCause::Suspended => Self::PrivilegeWithdrawn,
            RevocationCause::Deleted => Self::CessationOfOperation,
            RevocationCause::Compromised => Self::KeyCompromise,
            RevocationCause::Superseded => Self::Superseded,
        }
    }
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revoked {
    /// Its serial number.
    pub serial: SerialNumber,
    /// Since when it is revoked.
    pub revoked_at: Timestamp,
    /// Last second in which it would be valid: after that it needs no entry.
    pub not_after: Timestamp,
    /// Why.
    pub cause: RevocationCause,
}

/// A signed revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    pem: String,
    number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    serials: BTreeSet<SerialNumber>,
}

impl RevocationList {
    /// Reads a list; nothing if it is none, or not one that Ringfence writes.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = CertificateRevocationList::from_der(der).ok()?;
        let second = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        let number = parsed.crl_number().map(|number| number.to_u64_digits())?;
        let number = match number.as_slice() {
            [] => 0,
            [number] => *number,
            _ => return None,
        };
        let serials = parsed.iter_revoked_certificates().map(|entry| SerialNumber::from_be_bytes(entry.raw_serial()));
        rest.is_empty().then_some(Self {
            number,
            this_update: second(parsed.last_update())?,
            next_update: second(parsed.next_update()?)?,
            serials: serials.collect(),
            pem: pem::encode(LABEL, der),
        })
    }

    /// The list as one PEM section.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its number, which grows from list to list.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When verifiers begin to miss its successor.
    #[must_use]
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// The serial numbers on it.
    #[must_use]
    pub fn serials(&self) -> &BTreeSet<SerialNumber> {
        &self.serials
    }

    fn life(&self) -> SignedDuration {
        self.next_update.duration_since(self.this_update)
    }

    /// When it is signed anew although nothing changes: after half its life.
    #[must_use]
    pub fn renewal_time(&self) -> Timestamp {
        self.this_update.checked_add(self.life() / 2).unwrap_or(self.next_update)
    }
}

impl CaGenerations {
    /// The generations with revocation lists that are current and have these certificates on them, each with the id of
    /// the generation that issued it; nothing if they have them already. Entries whose certificate has ended leave when a
    /// list is signed. A retired generation has no list any more, and one whose certificate does not allow it never has.
    ///
    /// `life` is how long a list serves, in whole seconds: at least as long as the longest certificate, and as long as
    /// the operator may be away.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn with_revoked(
        &self,
        revoke: &[(String, Revoked)],
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<Self>, ListError> {
        let mut changed = false;
        let mut generations = Vec::new();
        for generation in self.iter().cloned() {
            let revised = revise(&generation, revoke, life, now)?;
            changed |= revised.is_some();
            generations.push(revised.unwrap_or(generation));
        }
        Ok(if changed { Some(Self::new(generations)?) } else { None })
    }

    /// When the first of the lists is signed anew.
    #[must_use]
    pub fn next_list(&self) -> Option<Timestamp> {
        self.issuing_cas().filter_map(CaGeneration::revocation_list).map(RevocationList::renewal_time).min()
    }

    /// All lists, in the order of the generations, as PEM.
    #[must_use]
    pub fn lists_pem(&self) -> String {
        self.issuing_cas().filter_map(CaGeneration::revocation_list).map(RevocationList::pem).collect()
    }
}

/// A generation with a new list, if it needs one.
fn revise(
    generation: &CaGeneration,
    revoke: &[(String, Revoked)],
    life: SignedDuration,
    now: Timestamp,
) -> Result<Option<CaGeneration>, ListError> {
    if generation.phase() == Phase::Retired || !generation.can_sign_crls() {
        return Ok(None);
    }
    let mut revoked = generation.revoked().to_vec();
    for (_, entry) in revoke.iter().filter(|(id, _)| id == generation.id()) {
        if !revoked.iter().any(|known| known.serial == entry.serial) {
            revoked.push(entry.clone());
        }
    }
    let previous = generation.revocation_list();
    let is_current = previous.is_some_and(|list| {
        list.serials.len() == revoked.len()
            && revoked.iter().all(|entry| list.serials.contains(&entry.serial))
            && now < list.renewal_time()
            && list.life() >= life
    });
    if is_current {
        return Ok(None);
    }
    revoked.retain(|entry| entry.not_after >= now);
    // The clock alone makes it grow, even if the last list was lost; two in a second are counted.
    let clock = u64::try_from(now.as_second()).unwrap_or_default();
    let number = previous.map_or(clock, |list| clock.max(list.number.saturating_add(1)));
    let list = sign(generation, &revoked, number, life, now)?;
    Ok(Some(generation.clone().with_revocations(revoked, Some(list))))
}

fn sign(
    generation: &CaGeneration,
    revoked: &[Revoked],
    number: u64,
    life: SignedDuration,
    now: Timestamp,
) -> Result<RevocationList, ListError> {
    let this_update = now.checked_sub(CLOCK_TOLERANCE).map_err(|_| rcgen::Error::Time)?;
    let next_update = now.checked_add(life).map_err(|_| rcgen::Error::Time)?;
    let entry = |entry: &Revoked| {
        Ok(RevokedCertParams {
            serial_number: (&entry.serial).into(),
            revocation_time: to_date_time(entry.revoked_at)?,
            reason_code: Some(entry.cause.into()),
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update: to_date_time(this_update)?,
        next_update: to_date_time(next_update)?,
        crl_number: (&SerialNumber::from_be_bytes(&number.to_be_bytes())).into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect::<Result<_, rcgen::Error>>()?,
        key_identifier_method: KeyIdMethod::PreSpecified(generation.subject_key_id().to_vec()),
    };
    let signed = params.signed_by(&issuer(generation.certificate(), generation.key())?)?;
    RevocationList::from_der(signed.der()).ok_or(ListError::Unreadable)
}

/// Label of the PEM section (RFC 7468, section 6).
pub(crate) const LABEL: &str = "X509 CRL";

#[cfg(test)]
#[path = "crl_tests.rs"]
mod tests;
