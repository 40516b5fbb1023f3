//! What was found, for people.

use std::fmt::Write;

use anstyle::Style;
use jiff::Timestamp;
use ringfence_core::inspect::{
    AuthoritiesReport, BundleReport, CertificateFacts, ChainReport, Direction, InspectedKey, KeySetReport, Refusal,
    Report, SigningKeyReport, TrustReport,
};

use super::Inspection;
use super::handshake::Handshake;
use crate::cli::text::{BAD, Cell, FAINT, GOOD, PLAIN, STRONG, Table, about, distance, paragraph, styled};

/// Columns of the names of fields.
const FIELD: usize = 20;

/// The inspection as text.
pub(super) fn text(inspection: &Inspection) -> String {
    let Inspection { source, owner, handshake, report, notes, time } = inspection;
    let owner = owner.as_ref().map(|owner| format!(", of {owner}")).unwrap_or_default();
    let mut text = format!("{}{owner}\n\n", styled(STRONG, source));
    if let Some(handshake) = handshake {
        text.push_str(&connection(handshake));
    }
    text.push_str(&match report {
        Report::Certificate(report) => certificate(report, *time),
        Report::SigningKey(report) => signing_key(report),
        Report::Bundle(report) => authorities(&report.authorities, *time),
        Report::Authorities(report) => generations(report, *time),
        Report::Trust(report) => trust(report, *time),
    });
    text.push('\n');
    text.push_str(&verdict(report));
    for note in notes {
        text.push_str(&paragraph(&format!("Note: {note}."), 0));
    }
    text
}

fn connection(handshake: &Handshake) -> String {
    let protocol = handshake.protocol.as_deref().unwrap_or("not settled").replace("TLSv1_", "TLS 1.");
    let client = if handshake.asks_for_client_certificate { "asks for one" } else { "asks for none" };
    field("protocol", &format!("{protocol}, asked for {}", handshake.server_name))
        + &field("client certificate", &format!("the server {client}"))
}

fn certificate(report: &ChainReport, now: Timestamp) -> String {
    let Some(leaf) = report.certificates.first() else { return String::new() };
    let id = report.spiffe_id.as_ref().map_or_else(|| styled(BAD, "none"), ToString::to_string);
    let names: Vec<String> =
        report.dns_names.iter().cloned().chain(report.ip_addresses.iter().map(ToString::to_string)).collect();
    let mut text = field("SPIFFE ID", &id);
    text.push_str(&field("names", &or_none(&names)));
    text.push_str(&field("subject", &leaf.subject));
    text.push_str(&field("issuer", &leaf.issuer));
    text.push_str(&field("key", &leaf.key_algorithm));
    text.push_str(&field("may be", &or_none(&report.usages)));
    text.push_str(&field("serial", &leaf.serial));
    text.push_str(&field("not before", &moment(leaf.not_before, now, leaf.not_before > now)));
    text.push_str(&field("not after", &moment(leaf.not_after, now, leaf.not_after < now)));
    if let Some(renewal) = report.renewal_time {
        text.push_str(&field("renewal", &moment(renewal, now, false)));
    }
    if let Some(authority) = &report.issuing_authority {
        let current = match authority.current {
            Some(true) => ", which signs now",
            Some(false) => ", which another one has followed",
            None => "",
        };
        text.push_str(&field("CA generation", &format!("{}{current}", authority.generation)));
    }
    let against = report.verified_against.as_deref().unwrap_or("nothing: there is no --bundle");
    text.push_str(&field("verified against", against));
    if report.certificates.len() > 1 {
        text.push_str("\nPresented after it:\n");
        text.push_str(&authorities(&report.certificates[1..], now));
    }
    text
}

fn signing_key(report: &SigningKeyReport) -> String {
    let key = |key: &InspectedKey| {
        let jwk = serde_json::to_string(&key.public_key).unwrap_or_default();
        field("kid (thumbprint)", &key.key_id)
            + &field("alg", &key.algorithms.join(" or "))
            + &field("public JWK", &jwk)
    };
    let mut text = report.current.as_ref().map(key).unwrap_or_default();
    if let Some(next) = &report.next {
        text.push_str("\nThe key that comes next:\n");
        text.push_str(&key(next));
    }
    text
}

fn generations(report: &AuthoritiesReport, now: Timestamp) -> String {
    let rows = report.generations.iter().filter_map(|generation| {
        let own = generation.certificates.first()?;
        Some([
            own.generation.clone().unwrap_or_default().into(),
            format!("{:?}", generation.phase).into(),
            format!("{:?}", generation.source).into(),
            own.subject.clone().into(),
            own.key_algorithm.clone().into(),
            expiry(own, now),
        ])
    });
    Table::new(["GENERATION", "PHASE", "SOURCE", "SUBJECT", "KEY", "EXPIRES"], rows).render()
}

fn authorities(certificates: &[CertificateFacts], now: Timestamp) -> String {
    if certificates.is_empty() {
        return "  no certificate\n".to_owned();
    }
    let rows = certificates.iter().map(|certificate| {
        let standing = match &certificate.generation {
            None => "leaf",
            Some(_) if certificate.subject == certificate.issuer => "root",
            Some(_) => "intermediate",
        };
        [
            certificate.generation.clone().unwrap_or_default().into(),
            standing.into(),
            certificate.subject.clone().into(),
            certificate.key_algorithm.clone().into(),
            expiry(certificate, now),
        ]
    });
    Table::new(["GENERATION", "KIND", "SUBJECT", "KEY", "EXPIRES"], rows).render()
}

fn trust(report: &TrustReport, now: Timestamp) -> String {
    let mut text = String::new();
    if let Some(access) = &report.access {
        text.push_str(&field("SPIFFE ID", &access.spiffe_id));
        text.push_str(&field("audiences", &or_none(&access.audiences)));
        let rows = access.edges.iter().map(|edge| {
            let direction = match edge.direction {
                Direction::In => "may call it",
                Direction::Out => "it may call",
            };
            [
                direction.into(),
                edge.peer.clone().into(),
                edge.ports.join(", ").into(),
                or_none(&edge.proof).into(),
                edge.policy.clone().unwrap_or_else(|| "none needed: token issuer".to_owned()).into(),
            ]
        });
        text.push('\n');
        text.push_str(&Table::new(["EDGE", "PEER", "PORTS", "PROOF", "ACCESS POLICY"], rows).render());
    }
    for BundleReport { file, authorities: bundle, .. } in &report.bundles {
        let _ = writeln!(text, "\n{}", styled(STRONG, file));
        text.push_str(&authorities(bundle, now));
    }
    for KeySetReport { file, keys } in &report.key_sets {
        let _ = writeln!(text, "\n{}", styled(STRONG, file));
        let rows = keys.iter().map(|key| {
            [&key.kid, &key.alg, &key.spiffe_id].map(|fact| fact.as_deref().unwrap_or("-").to_owned().into())
        });
        if keys.is_empty() {
            text.push_str("  no key\n");
        } else {
            text.push_str(&Table::new(["KID", "ALG", "SPIFFE ID"], rows).render());
        }
    }
    text.trim_start().to_owned()
}

fn verdict(report: &Report) -> String {
    let refusals = report.refusals();
    if refusals.is_empty() {
        let verified = matches!(report, Report::Certificate(chain) if chain.issuing_authority.is_some());
        let said = match report {
            Report::Certificate(_) if verified => {
                "A peer with this bundle would accept it, if its access.json names it."
            }
            Report::Certificate(_) => "Nothing stands against it, but whether it verifies was not looked at.",
            _ => "Nothing stands against it.",
        };
        return styled(GOOD, said) + "\n";
    }
    let mut text = styled(BAD, "A peer would refuse it:") + "\n";
    for Refusal { reason, message } in refusals {
        let _ = writeln!(text, "  {}", styled(BAD, &format!("{reason:?}")));
        text.push_str(&paragraph(message, 4));
    }
    text
}

fn field(name: &str, value: &str) -> String {
    let value = paragraph(value, FIELD);
    format!("{}{}", styled(FAINT, &format!("{name:<FIELD$}")), value.trim_start())
}

fn moment(time: Timestamp, now: Timestamp, bad: bool) -> String {
    let style: Style = if bad { BAD } else { PLAIN };
    styled(style, &format!("{time} ({})", distance(time, now)))
}

fn expiry(certificate: &CertificateFacts, now: Timestamp) -> Cell {
    Cell::new(if certificate.not_after < now { BAD } else { PLAIN }, about(certificate.not_after, now))
}

fn or_none<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ") }
}
