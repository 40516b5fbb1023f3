//! The overview for people.

use std::fmt::Write;

use anstyle::Style;
use jiff::Timestamp;
use ringfence_core::api::PolicyEnforcement;
use ringfence_core::overview::{DomainRow, Finding, IdentityRow, Overview, PolicyRow, ReadyRow, Severity};

use crate::cli::text::{BAD, Cell, DOUBTFUL, FAINT, GOOD, PLAIN, STRONG, Table, about, count, paragraph, styled};

/// So many rows of each table, and so many findings, make up one screen.
const ROWS: usize = 20;

/// Digits of a key id that tell it from the others.
const KEY_ID: usize = 8;

/// The overview as text.
pub(super) fn text(overview: &Overview, full: bool) -> String {
    let mut text = summary(overview);
    let mut section = |table: String| {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table);
        }
    };
    section(findings(overview, full));
    section(domains(overview, full));
    section(identities(overview, full));
    section(policies(overview, full));
    if overview.trust_domains.is_empty() && overview.identities.is_empty() && overview.access_policies.is_empty() {
        section("Nothing is declared there: --all-namespaces looks everywhere.\n".to_owned());
    }
    for sentence in &overview.not_seen {
        section(paragraph(&format!("Not seen: {sentence}"), 0));
    }
    text
}

fn summary(overview: &Overview) -> String {
    let what = [
        count(overview.trust_domains.len(), "trust domain", "trust domains"),
        count(overview.identities.len(), "identity", "identities"),
        count(overview.access_policies.len(), "access policy", "access policies"),
    ];
    let number = |severity| overview.findings.iter().filter(|finding| finding.severity == severity).count();
    let kinds = [
        (Severity::NotReady, "not ready"),
        (Severity::Refused, "refused"),
        (Severity::Behind, "behind"),
        (Severity::Warning, "with a warning"),
    ];
    let bad: Vec<String> = kinds
        .iter()
        .filter(|(severity, _)| number(*severity) > 0)
        .map(|(severity, word)| styled(style_of(*severity), &format!("{} {word}", number(*severity))))
        .collect();
    let verdict = if bad.is_empty() { styled(GOOD, "all is well") } else { bad.join(", ") };
    format!("{}: {verdict}\n", styled(STRONG, &what.join(", ")))
}

fn findings(overview: &Overview, full: bool) -> String {
    let mut text = String::new();
    let shown = if full { overview.findings.len() } else { ROWS };
    for finding in overview.findings.iter().take(shown) {
        let Finding { severity, kind, namespace, name, reason, .. } = finding;
        let object = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        let style = style_of(*severity);
        let _ = writeln!(text, "{} {kind} {object}: {}", styled(style, word(*severity)), styled(style, reason));
        text.push_str(&paragraph(first_sentence(&finding.message), 4));
    }
    text + &left_out(overview.findings.len().saturating_sub(shown), "more findings")
}

fn domains(overview: &Overview, full: bool) -> String {
    let header = ["TRUST DOMAIN", "READY", "REASON", "ENFORCEMENT", "CA EXPIRES", "NAMESPACES"];
    table(header, &overview.trust_domains, full, |domain: &DomainRow| {
        let ca = domain.certificate_authority.as_ref();
        [
            named(domain.well, domain.name.clone()),
            ready(&domain.ready),
            domain.ready.reason.clone().into(),
            format!("{:?}", domain.enforcement).into(),
            ca.map_or_else(|| "none".into(), |ca| until(ca.not_after, overview.time)),
            domain.namespaces.join(", ").into(),
        ]
    })
}

fn identities(overview: &Overview, full: bool) -> String {
    let header = ["IDENTITY", "READY", "REASON", "SPIFFE://", "EXPIRES", "RENEWS", "SIGNS WITH"];
    table(header, &overview.identities, full, |identity: &IdentityRow| {
        let certificate = identity.certificate.as_ref();
        let none = || Cell::new(FAINT, "-");
        [
            named(identity.well, format!("{}/{}", identity.namespace, identity.name)),
            ready(&identity.ready),
            identity.ready.reason.clone().into(),
            identity.spiffe_id.as_deref().map_or_else(none, |id| id.trim_start_matches("spiffe://").into()),
            certificate.map_or_else(none, |certificate| until(certificate.not_after, overview.time)),
            certificate.map_or_else(none, |certificate| until(certificate.renewal_time, overview.time)),
            identity.signing_key_id.as_ref().map_or_else(none, |id| id.chars().take(KEY_ID).collect::<String>().into()),
        ]
    })
}

fn policies(overview: &Overview, full: bool) -> String {
    let header = ["ACCESS POLICY", "READY", "REASON", "EDGES", "EFFECTIVE"];
    table(header, &overview.access_policies, full, |policy: &PolicyRow| {
        let effective = match policy.effective_after {
            _ if policy.enforcement == PolicyEnforcement::Audit => Cell::new(FAINT, "a draft"),
            _ if policy.effective => Cell::new(GOOD, "yes"),
            Some(time) if time > overview.time => Cell::new(DOUBTFUL, about(time, overview.time)),
            _ => Cell::new(BAD, "no"),
        };
        let all = usize::try_from(policy.edges).is_ok_and(|edges| edges == policy.entries);
        let style = if all { PLAIN } else { DOUBTFUL };
        [
            named(policy.well, format!("{}/{}", policy.namespace, policy.name)),
            ready(&policy.ready),
            policy.ready.reason.clone().into(),
            Cell::new(style, format!("{} of {}", policy.edges, policy.entries)),
            effective,
        ]
    })
}

/// Those with problems come first.
fn table<T, const N: usize>(
    header: [&'static str; N],
    rows: &[T],
    full: bool,
    cells: impl Fn(&T) -> [Cell; N],
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let shown = if full { rows.len() } else { rows.len().min(ROWS) };
    Table::new(header, rows[..shown].iter().map(cells)).render() + &left_out(rows.len() - shown, "more")
}

fn left_out(number: usize, what: &str) -> String {
    if number == 0 {
        return String::new();
    }
    styled(FAINT, &format!("… and {number} {what}; --full shows them")) + "\n"
}

fn named(well: bool, name: String) -> Cell {
    Cell::new(if well { PLAIN } else { BAD }, name)
}

fn ready(ready: &ReadyRow) -> Cell {
    match ready.status.as_str() {
        "True" => Cell::new(GOOD, "yes"),
        "False" => Cell::new(BAD, "no"),
        _ => Cell::new(BAD, "unknown"),
    }
}

fn until(time: Timestamp, now: Timestamp) -> Cell {
    Cell::new(if time < now { BAD } else { PLAIN }, about(time, now))
}

fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::NotReady | Severity::Refused => BAD,
        Severity::Behind | Severity::Warning => DOUBTFUL,
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::NotReady => "not ready",
        Severity::Refused => "refused  ",
        Severity::Behind => "behind   ",
        Severity::Warning => "warning  ",
    }
}

/// Conditions may say several things one after the other; JSON has all of it.
fn first_sentence(message: &str) -> &str {
    message.split_inclusive(". ").next().unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use ringfence_core::overview::{AuthorityRow, CertificateRow};

    use super::*;

    fn ready(status: &str, reason: &str) -> ReadyRow {
        ReadyRow { status: status.to_owned(), reason: reason.to_owned(), message: String::new() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn overview() -> Overview {
        let mut overview = Overview::new(at("2026-03-01T12:00:00Z"));
        overview.trust_domains.push(DomainRow {
            name: "storefront".to_owned(),
            trust_domain: Some("storefront".to_owned()),
            ready: ready("True", "Ready"),
            well: true,
            enforcement: ringfence_core::api::Enforcement::Enforce,
            certificate_authority: Some(AuthorityRow {
                generation: "0a1b2c3d".to_owned(),
                not_after: at("2027-03-01T12:00:00Z"),
            }),
            namespaces: vec!["storefront".to_owned()],
        });
        overview.identities.push(IdentityRow {
            namespace: "storefront".to_owned(),
            name: "order".to_owned(),
            ready: ready("True", "NoPods"),
            well: true,
            spiffe_id: Some("spiffe://storefront/ns/storefront/sa/order".to_owned()),
            certificate: Some(CertificateRow {
                not_after: at("2026-03-02T11:00:00Z"),
                renewal_time: at("2026-03-02T03:30:00Z"),
            }),
            signing_key_id: Some("J6A1MlpEJU4ia5fG0xRGQSmfeU7wsphu4iTXFb9WCBk".to_owned()),
        });
        overview.access_policies.push(PolicyRow {
            namespace: "storefront".to_owned(),
            name: "order".to_owned(),
            ready: ready("False", "CallerNotFound"),
            well: false,
            enforcement: PolicyEnforcement::Enforce,
            edges: 0,
            entries: 1,
            effective: false,
            effective_after: None,
        });
        overview.findings.push(Finding {
            severity: Severity::NotReady,
            kind: "AccessPolicy",
            namespace: "storefront".to_owned(),
            name: "order".to_owned(),
            reason: "CallerNotFound".to_owned(),
            message: "ServiceIdentity storefront/nobody does not exist; declare it".to_owned(),
        });
        overview
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn one_screen_says_it_all() {
        let expected = "\
1 trust domain, 1 identity, 1 access policy: 1 not ready

not ready AccessPolicy storefront/order: CallerNotFound
    ServiceIdentity storefront/nobody does not exist; declare it

TRUST DOMAIN  READY  REASON  ENFORCEMENT  CA EXPIRES  NAMESPACES
storefront    yes    Ready   Enforce      in 365d     storefront

IDENTITY          READY  REASON  SPIFFE://                          EXPIRES  RENEWS  SIGNS WITH
storefront/order  yes    NoPods  storefront/ns/storefront/sa/order  in 23h   in 15h  J6A1MlpE

ACCESS POLICY     READY  REASON          EDGES   EFFECTIVE
storefront/order  no     CallerNotFound  0 of 1  no
";
        let coloured = text(&overview(), false);
        assert_eq!(plain(&coloured), expected);
        assert!(coloured.contains(&styled(BAD, "CallerNotFound")), "{coloured:?}");
    }

    #[test]
    fn a_screen_is_all_unless_more_is_asked_for() {
        let mut overview = overview();
        overview.identities = (0..50).map(|_| overview.identities[0].clone()).collect();
        overview.not_seen.push("you may not read TrustDomains".to_owned());
        let rows = |full| plain(&text(&overview, full)).matches("storefront/order  yes").count();
        assert_eq!((rows(false), rows(true)), (ROWS, 50));
        let screen = plain(&text(&overview, false));
        assert!(screen.contains("… and 30 more; --full shows them"), "{screen}");
        assert!(screen.contains("Not seen: you may not read TrustDomains"), "{screen}");
    }
}
