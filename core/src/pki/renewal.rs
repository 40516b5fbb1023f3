//! When a leaf is issued anew, and when only what surrounds it is put back. Each is an ordered list of small checks; the
//! first that objects gives the reason. Reasons are an API: the same in condition, event, metric and CLI.

use jiff::{SignedDuration, Timestamp};

use super::authority::{CLOCK_TOLERANCE, CaGenerations, Phase};
use super::bundle::roots_bundle;
use super::leaf::{LeafProfile, leaf_not_after};
use super::leaf_facts::{LeafFacts, TlsSecretFault, chain_sha256};
use super::sha256;

/// Why a leaf must be issued anew, with a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReissueReason {
    /// There is no Secret, or it lacks a data key.
    Missing,
    /// The Secret's certificate or key does not parse.
    Malformed,
    /// The key is not the certificate's.
    KeyMismatch,
    /// The leaf names another identity.
    WrongIdentity,
    /// The leaf is not valid yet: it was issued by a clock ahead of ours.
    NotYetValid,
    /// The leaf is not valid any more.
    Expired,
    /// No generation that is still trusted signed it.
    IssuerNotTrusted,
    /// The leaf is on a revocation list.
    Revoked,
    /// Its key may be in other hands: a rotation distrusts it.
    Compromised,
    /// DNS names, IP addresses or common name are not those of the profile.
    NamesChanged,
    /// The extended key usages are not those of the profile.
    UsagesChanged,
    /// The key's algorithm is not that of the profile.
    AlgorithmChanged,
    /// A generation signed it that is still trusted, but another one is active.
    IssuerSuperseded,
    /// The leaf lives longer or shorter than the profile says.
    DurationChanged,
    /// Two thirds of its life are over.
    RenewalDue,
}

/// Why the Secret of a leaf must be written anew, with leaf and key as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RewriteReason {
    /// The certificates after the leaf are not those of its authority.
    ChainOutdated,
    /// `ca.crt` is not the roots of the generations that are trusted.
    RootsOutdated,
    /// The Secret has data keys that Ringfence does not write.
    ExtraKeys,
    /// `tls.crt` or `tls.key` says the right thing in other octets than Ringfence's.
    EncodingChanged,
    /// Another template for labels and annotations is declared.
    TemplateChanged,
    /// The Secret does not have the labels and annotations of the template.
    MetadataChanged,
    /// The keystores are not those of this leaf and this password, or there should be none.
    KeystoresChanged,
    /// It comes from a backup and is not marked as the identity's yet.
    Restored,
}

impl ReissueReason {
    /// The reason for conditions, events and metrics: CamelCase and stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Malformed => "Malformed",
            Self::KeyMismatch => "KeyMismatch",
            Self::WrongIdentity => "WrongIdentity",
            Self::NotYetValid => "NotYetValid",
            Self::Expired => "Expired",
            Self::IssuerNotTrusted => "IssuerNotTrusted",
            Self::Revoked => "Revoked",
            Self::Compromised => "Compromised",
            Self::NamesChanged => "NamesChanged",
            Self::UsagesChanged => "UsagesChanged",
            Self::AlgorithmChanged => "AlgorithmChanged",
            Self::IssuerSuperseded => "IssuerSuperseded",
            Self::DurationChanged => "DurationChanged",
            Self::RenewalDue => "RenewalDue",
        }
    }

    /// Whether the leaf still serves as it is, so that many of the same reason may be spread over time.
    #[must_use]
    pub fn can_wait(self) -> bool {
        matches!(self, Self::AlgorithmChanged | Self::IssuerSuperseded | Self::DurationChanged | Self::RenewalDue)
    }
}

impl RewriteReason {
    /// The reason for conditions, events and metrics: CamelCase and stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChainOutdated => "ChainOutdated",
            Self::RootsOutdated => "RootsOutdated",
            Self::ExtraKeys => "ExtraKeys",
            Self::EncodingChanged => "EncodingChanged",
            Self::TemplateChanged => "TemplateChanged",
            Self::MetadataChanged => "MetadataChanged",
            Self::KeystoresChanged => "KeystoresChanged",
            Self::Restored => "Restored",
        }
    }
}

/// Whether the leaf must be issued anew, and why: the first reason of the chain that applies. `stored` is what is
/// known of the Secret, `None` if there is none; `uid` is the UID of the identity's object.
#[must_use]
pub fn why_reissue(
    stored: Option<Result<&LeafFacts, &TlsSecretFault>>,
    profile: &LeafProfile,
    generations: &CaGenerations,
    uid: &str,
    now: Timestamp,
) -> Option<ReissueReason> {
    let facts = match stored {
        None | Some(Err(TlsSecretFault::Missing { .. })) => return Some(ReissueReason::Missing),
        Some(Err(TlsSecretFault::Certificate(_) | TlsSecretFault::Key(_))) => return Some(ReissueReason::Malformed),
        Some(Err(TlsSecretFault::KeyMismatch)) => return Some(ReissueReason::KeyMismatch),
        Some(Ok(facts)) => facts,
    };
    let input = Input { facts, profile, generations, uid, now };
    CHAIN.iter().find(|(_, objects)| objects(&input)).map(|(reason, _)| *reason)
}

/// Whether the Secret must be written anew around a leaf that stays, and why.
#[must_use]
pub fn why_rewrite(facts: &LeafFacts, generations: &CaGenerations) -> Option<RewriteReason> {
    let chain_outdated = facts
        .issuer(generations)
        .is_some_and(|authority| facts.chain_sha256 != chain_sha256(authority.presented_chain()));
    if chain_outdated {
        Some(RewriteReason::ChainOutdated)
    } else if facts.ca_sha256 != Some(sha256(&[roots_bundle(generations).as_bytes()])) {
        Some(RewriteReason::RootsOutdated)
    } else if !facts.extra_keys.is_empty() {
        Some(RewriteReason::ExtraKeys)
    } else if !facts.canonical {
        Some(RewriteReason::EncodingChanged)
    } else {
        None
    }
}

/// When a certificate is renewed: after two thirds of its life, give or take 5 % of it. Where within that window is
/// decided by the UID alone: the same at every look, spread over all identities.
#[must_use]
pub fn renewal_time(not_before: Timestamp, not_after: Timestamp, uid: &str) -> Timestamp {
    let life = not_after.duration_since(not_before).max(SignedDuration::ZERO);
    let [a, b, c, d, ..] = sha256(&[uid.as_bytes()]);
    // A whole number of millionths of the life, from 616 667 to 716 667.
    let share = 616_667 + i128::from(u32::from_be_bytes([a, b, c, d])) * 100_000 / i128::from(u32::MAX);
    let nanoseconds = life.as_nanos() * share / 1_000_000;
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX);
    not_before.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(not_after)
}

/// When the leaf is to be renewed, or `None` if renewing gains nothing because it already ends with its authority: then
/// the authority must be rolled over first.
#[must_use]
pub fn next_renewal(facts: &LeafFacts, generations: &CaGenerations, uid: &str) -> Option<Timestamp> {
    let signing = generations.signing()?;
    (facts.not_after < signing.path_not_after()).then(|| renewal_time(facts.not_before, facts.not_after, uid))
}

struct Input<'a> {
    facts: &'a LeafFacts,
    profile: &'a LeafProfile,
    generations: &'a CaGenerations,
    uid: &'a str,
    now: Timestamp,
}

fn is_for_another_identity(input: &Input<'_>) -> bool {
    input.facts.spiffe_id.as_ref() != Some(&input.profile.spiffe_id)
}

fn is_not_yet_valid(input: &Input<'_>) -> bool {
    input.now < input.facts.not_before
}

fn has_expired(input: &Input<'_>) -> bool {
    input.now > input.facts.not_after
}

fn has_no_trusted_issuer(input: &Input<'_>) -> bool {
    input.facts.issuer(input.generations).is_none()
}

fn is_revoked(input: &Input<'_>) -> bool {
    input.facts.issuer(input.generations).is_some_and(|authority| authority.is_revoked(&input.facts.serial))
}

fn has_other_names(input: &Input<'_>) -> bool {
    let Input { facts, profile, .. } = input;
    facts.other_names
        || facts.dns_names != profile.dns_names
        || facts.ip_addresses != profile.ip_addresses
        || facts.common_name != profile.common_name
}

fn has_other_usages(input: &Input<'_>) -> bool {
    input.facts.usages != Some(input.profile.usages)
}

fn has_another_algorithm(input: &Input<'_>) -> bool {
    input.facts.algorithm != Some(input.profile.algorithm)
}

fn has_a_superseded_issuer(input: &Input<'_>) -> bool {
    input.facts.issuer(input.generations).is_some_and(|authority| authority.phase() != Phase::Active)
}

/// The end is compared with the one that the same authority would give at the same moment; it may lie earlier than the
/// profile's duration would have it, because the authority ends.
fn has_another_duration(input: &Input<'_>) -> bool {
    let Some(authority) = input.facts.issuer(input.generations) else { return false };
    let Ok(issued_at) = input.facts.not_before.checked_add(CLOCK_TOLERANCE) else { return true };
    leaf_not_after(input.profile.duration, authority, issued_at) != Some(input.facts.not_after)
}

fn is_due(input: &Input<'_>) -> bool {
    next_renewal(input.facts, input.generations, input.uid).is_some_and(|time| input.now >= time)
}

type Objection = fn(&Input<'_>) -> bool;

/// From "cannot serve" to "serves, but not for long".
const CHAIN: [(ReissueReason, Objection); 11] = [
    (ReissueReason::WrongIdentity, is_for_another_identity),
    (ReissueReason::NotYetValid, is_not_yet_valid),
    (ReissueReason::Expired, has_expired),
    (ReissueReason::IssuerNotTrusted, has_no_trusted_issuer),
    (ReissueReason::Revoked, is_revoked),
    (ReissueReason::NamesChanged, has_other_names),
    (ReissueReason::UsagesChanged, has_other_usages),
    (ReissueReason::AlgorithmChanged, has_another_algorithm),
    (ReissueReason::IssuerSuperseded, has_a_superseded_issuer),
    (ReissueReason::DurationChanged, has_another_duration),
    (ReissueReason::RenewalDue, is_due),
];

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
