//! The Secret `<TrustDomain>-ca`: its generations, without their keys.

use jiff::Timestamp;
use serde::Serialize;

use super::chain::because;
use super::facts::CertificateFacts;
use super::refusal::{Refusal, RefusalReason};
use crate::pki::{CaGenerations, CaSource, Phase, SecretData};

/// The generations of a trust domain's certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthoritiesReport {
    /// Oldest first.
    pub generations: Vec<GenerationReport>,
    /// Why nothing can be issued with them. Empty: nothing stands against it.
    pub refusals: Vec<Refusal>,
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationReport {
    /// How far it has come.
    pub phase: Phase,
    /// Where it comes from.
    pub source: CaSource,
    /// Its certificate, then those above it, the root last.
    pub certificates: Vec<CertificateFacts>,
}

pub(super) fn inspect_authorities(data: &SecretData, now: Timestamp) -> AuthoritiesReport {
    let generations = match CaGenerations::from_secret_data(data) {
        Ok(generations) => generations,
        Err(error) => {
            let refusal =
                RefusalReason::Unreadable.because(format!("{}; restore the Secret from a backup", because(&error)));
            return AuthoritiesReport { generations: Vec::new(), refusals: vec![refusal] };
        }
    };
    let refusal = match generations.signing() {
        None => Some(RefusalReason::Unreadable.because("no generation is active: nothing can be issued")),
        Some(signing) => (now > signing.path_not_after()).then(|| {
            RefusalReason::AuthorityExpired
                .because(format!("generation {} or an authority above it is not valid any more", signing.id()))
        }),
    };
    let reports = generations.iter().map(|generation| GenerationReport {
        phase: generation.phase(),
        source: generation.source(),
        certificates: generation.path().into_iter().map(CertificateFacts::of).collect(),
    });
    AuthoritiesReport { generations: reports.collect(), refusals: refusal.into_iter().collect() }
}
