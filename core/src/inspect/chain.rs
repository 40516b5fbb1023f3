//! A certificate with what is presented after it, seen with the eyes of a peer.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls_pki_types::ServerName;
use serde::Serialize;
use webpki::EndEntityCert;

use super::facts::{CertificateFacts, generation_of};
use super::refusal::{Refusal, RefusalReason};
use crate::pki::{
    Certificate, Names, PeerUsage, PemError, PrivateKey, SecretData, SpiffeId, TLS_CRT, TLS_KEY, certificates,
    renewal_time, verify_path,
};

/// A certificate with what is presented after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    /// The certificates as they are presented, the leaf first. Empty if they can't be read.
    pub certificates: Vec<CertificateFacts>,
    /// Who it is; absent if the leaf does not have exactly one SPIFFE ID of a service account.
    #[serde(rename = "spiffeID", skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<SpiffeId>,
    /// DNS names of the leaf.
    pub dns_names: BTreeSet<String>,
    /// IP addresses of the leaf.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// What the leaf may be in a TLS connection: `server`, `client`, both or neither.
    pub usages: Vec<&'static str>,
    /// When it will be renewed, RFC 3339; absent if that can't be known, because it is not in the Secret of an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Timestamp>,
    /// The authority that issued it; absent if the chain leads to no bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuing_authority: Option<IssuingAuthority>,
    /// What it was verified against; absent if there was no bundle to verify it against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_against: Option<String>,
    /// Why a peer would refuse it. Empty: nothing that was looked at stands against it.
    pub refusals: Vec<Refusal>,
}

/// The authority that issued a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuingAuthority {
    /// Identifier of the CA generation, as in the Secret `<TrustDomain>-ca` and in the TrustDomain's status.
    pub generation: String,
    /// Its subject (RFC 4514).
    pub subject: String,
    /// Whether the trust domain signs with it now; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<bool>,
}

/// What a chain is looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Now.
    pub now: Timestamp,
    /// Which side of a TLS connection it is to be; `None` if either will do.
    pub usage: Option<PeerUsage>,
    /// The name or address that the server is called by, if that is to be demanded.
    pub server_name: Option<&'a str>,
    /// What the chain must lead to, if there is something.
    pub bundle: Option<&'a Bundle>,
    /// UID of the identity that it belongs to: it decides about the time of renewal.
    pub identity_uid: Option<&'a str>,
}

/// Trusted certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Where they come from, for people.
    pub name: String,
    /// The certificates.
    pub certificates: Vec<Certificate>,
    /// The CA generation that signs now, if it is known.
    pub current_generation: Option<String>,
}

impl Bundle {
    /// Reads PEM text.
    ///
    /// # Errors
    /// [`PemError`] if it holds no certificates.
    pub fn from_pem(name: impl Into<String>, text: &[u8]) -> Result<Self, PemError> {
        Ok(Self { name: name.into(), certificates: certificates(text)?, current_generation: None })
    }
}

/// Looks at a presented chain, the leaf first.
#[must_use]
pub fn inspect_chain(chain: &[Certificate], question: &Question<'_>) -> ChainReport {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return unreadable(RefusalReason::Malformed.because("no certificate is presented"));
    };
    let names = Names::of(leaf);
    let sides = sides(leaf);
    let mut refusals: Vec<Refusal> = [
        outside_validity(leaf, question.now),
        wrong_usage(&sides, question.usage),
        is_authority(leaf),
        without_identity(&names.uris),
        question.server_name.and_then(|name| other_name(leaf, name)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let issuing_authority = match question.bundle.map(|bundle| (bundle, issuer(leaf, intermediates, bundle, question)))
    {
        Some((bundle, Ok(issuer))) => Some(IssuingAuthority {
            generation: generation_of(&issuer),
            subject: issuer.subject(),
            current: bundle.current_generation.as_ref().map(|current| *current == generation_of(&issuer)),
        }),
        Some((_, Err(refusal))) => {
            // What is wrong with the leaf itself was said above.
            if !refusals.iter().any(|said| said.reason == refusal.reason) {
                refusals.push(refusal);
            }
            None
        }
        None => None,
    };
    ChainReport {
        certificates: chain.iter().map(CertificateFacts::of).collect(),
        spiffe_id: spiffe_id(&names.uris).ok(),
        dns_names: names.dns_names,
        ip_addresses: names.ip_addresses,
        usages: sides.iter().map(|side| word(*side)).collect(),
        renewal_time: question.identity_uid.map(|uid| renewal_time(leaf.not_before(), leaf.not_after(), uid)),
        issuing_authority,
        verified_against: question.bundle.map(|bundle| bundle.name.clone()),
        refusals,
    }
}

/// Looks at the data of a Secret of the type `kubernetes.io/tls`.
pub(super) fn inspect_tls_secret(data: &SecretData, question: &Question<'_>) -> ChainReport {
    let chain = match certificates(data.get(TLS_CRT).unwrap_or_default()) {
        Ok(chain) => chain,
        Err(error) => {
            return unreadable(
                RefusalReason::Malformed.because(format!("{TLS_CRT} can't be read: {}", because(&error))),
            );
        }
    };
    let mut report = inspect_chain(&chain, question);
    report.refusals.extend(key_refusal(&chain, data.get(TLS_KEY), TLS_KEY));
    report
}

/// Why the holder of a chain can't prove itself with a private key.
pub(super) fn key_refusal(chain: &[Certificate], key: Option<&[u8]>, place: &str) -> Option<Refusal> {
    let Some(key) = key else {
        return Some(
            RefusalReason::KeyUnreadable.because(format!("{place} is missing: nobody can use the certificate")),
        );
    };
    match PrivateKey::from_pem(key) {
        Err(error) => Some(RefusalReason::KeyUnreadable.because(format!("{place} can't be used: {error}"))),
        Ok(key) if chain.first().is_some_and(|leaf| leaf.public_key_bits() != key.public_key_bits()) => {
            Some(RefusalReason::KeyMismatch.because(format!(
                "{place} is not the key of the first certificate: no handshake can succeed; put the pair that belongs \
                 together back, or delete the Secret so that Ringfence issues anew"
            )))
        }
        Ok(_) => None,
    }
}

fn unreadable(refusal: Refusal) -> ChainReport {
    ChainReport {
        certificates: Vec::new(),
        spiffe_id: None,
        dns_names: BTreeSet::new(),
        ip_addresses: BTreeSet::new(),
        usages: Vec::new(),
        renewal_time: None,
        issuing_authority: None,
        verified_against: None,
        refusals: vec![refusal],
    }
}

fn outside_validity(leaf: &Certificate, now: Timestamp) -> Option<Refusal> {
    if now < leaf.not_before() {
        let message = format!(
            "it is valid only from {}: compare the clocks of who issued it and of who looks at it",
            leaf.not_before()
        );
        return Some(RefusalReason::NotYetValid.because(message));
    }
    (now > leaf.not_after()).then(|| {
        RefusalReason::Expired.because(format!(
            "it was valid until {}: see the conditions of its ServiceIdentity for why it was not renewed, or let the \
             service load the renewed one",
            leaf.not_after()
        ))
    })
}

/// A leaf without the extension may be both (RFC 5280, section 4.2.1.12).
fn sides(leaf: &Certificate) -> Vec<PeerUsage> {
    let parsed = leaf.parsed();
    match parsed.extended_key_usage() {
        Ok(Some(usage)) => {
            let usage = usage.value;
            let sides = [(PeerUsage::Server, usage.server_auth), (PeerUsage::Client, usage.client_auth)];
            sides.into_iter().filter(|(_, may)| *may || usage.any).map(|(side, _)| side).collect()
        }
        _ => vec![PeerUsage::Server, PeerUsage::Client],
    }
}

fn wrong_usage(sides: &[PeerUsage], demanded: Option<PeerUsage>) -> Option<Refusal> {
    match demanded {
        Some(side) if sides.contains(&side) => None,
        None if !sides.is_empty() => None,
        side => {
            let side = side.map_or("a server or a client", |side| match side {
                PeerUsage::Server => "a server",
                PeerUsage::Client => "a client",
            });
            Some(RefusalReason::WrongUsage.because(format!(
                "its extended key usage does not let it be {side} in TLS: issue it with the usage that is missing"
            )))
        }
    }
}

fn is_authority(leaf: &Certificate) -> Option<Refusal> {
    leaf.parsed().is_ca().then(|| {
        RefusalReason::IsAuthority
            .because("the first certificate is an authority's: the leaf must come first, then what leads up from it")
    })
}

fn spiffe_id(uris: &[String]) -> Result<SpiffeId, String> {
    match uris {
        [] => Err("it has no URI name".to_owned()),
        [uri] => uri.parse().map_err(|error| format!("its URI name {uri:?} is none: {error}")),
        uris => Err(format!("it has {} URI names", uris.len())),
    }
}

fn without_identity(uris: &[String]) -> Option<Refusal> {
    let why = spiffe_id(uris).err()?;
    Some(RefusalReason::NoSpiffeId.because(format!(
        "it does not have exactly one SPIFFE ID, so that no access.json can name it: {why}; use the certificate of a \
         ServiceIdentity"
    )))
}

fn other_name(leaf: &Certificate, name: &str) -> Option<Refusal> {
    let refusal = |why: String| Some(RefusalReason::NameMismatch.because(why));
    let Ok(server_name) = ServerName::try_from(name) else {
        return refusal(format!("{name:?} is neither a DNS name nor an IP address"));
    };
    let certificate = leaf.as_pki_type();
    let matches = EndEntityCert::try_from(&certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&server_name).is_ok());
    if matches {
        return None;
    }
    refusal(format!(
        "it does not have the name {name}: call the service by one of its names, or add this one to its identity"
    ))
}

/// The authority right above the leaf, if a way leads from it to the bundle.
fn issuer(
    leaf: &Certificate,
    intermediates: &[Certificate],
    bundle: &Bundle,
    question: &Question<'_>,
) -> Result<Certificate, Refusal> {
    let intermediates: Vec<&Certificate> = intermediates.iter().collect();
    // Whether the leaf itself is valid now, and for this side, was judged before: here only the way up counts.
    let at = question.now.clamp(leaf.not_before(), leaf.not_after().max(leaf.not_before()));
    let sides = sides(leaf);
    let side = question.usage.filter(|side| sides.contains(side)).or(sides.first().copied());
    let side = side.unwrap_or(PeerUsage::Server);
    let valid_now = |anchor: &&Certificate| (anchor.not_before()..=anchor.not_after()).contains(&question.now);
    let anchors: Vec<&Certificate> = bundle.certificates.iter().filter(valid_now).collect();
    let path = verify_path(leaf, &intermediates, &anchors, at, side);
    let name = &bundle.name;
    path.map(|path| path.intermediates.into_iter().next().unwrap_or(path.anchor)).map_err(|error| match error {
        webpki::Error::UnknownIssuer => {
            let all: Vec<&Certificate> = bundle.certificates.iter().collect();
            if verify_path(leaf, &intermediates, &all, at, side).is_ok() {
                return authority_expired(name);
            }
            RefusalReason::UnknownIssuer.because(format!(
                "its chain does not lead to {name}: it was issued by someone else, a certificate between is not \
                 presented, or the bundle is not that of its trust domain"
            ))
        }
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => authority_expired(name),
        webpki::Error::CaUsedAsEndEntity => RefusalReason::IsAuthority.because("an authority is no peer"),
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            RefusalReason::WrongUsage.because("an authority in its chain may not sign for this side of TLS")
        }
        other => RefusalReason::ChainRefused.because(format!("its chain to {name} is refused: {other}")),
    })
}

fn authority_expired(bundle: &str) -> Refusal {
    RefusalReason::AuthorityExpired.because(format!(
        "on the way to {bundle} an authority is not valid now: see the TrustDomain's status for its CA"
    ))
}

fn word(side: PeerUsage) -> &'static str {
    match side {
        PeerUsage::Server => "server",
        PeerUsage::Client => "client",
    }
}

/// An error with what it comes from.
pub(super) fn because(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", because(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
