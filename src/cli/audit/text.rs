//! The report for people.

use std::fmt::Write;

use ringfence_core::audit::{Closed, ClosedSide, Closing, Counts, Party, Remedy, Report, Unread};
use serde::Serialize;

use crate::cli::text::{BAD, DOUBTFUL, FAINT, GOOD, STRONG, count, paragraph, styled};

/// So many addresses of an edge are shown.
const ADDRESSES: usize = 3;

/// The report as text.
pub(super) fn text(report: &Report) -> String {
    let mut text = summary(report);
    for closing in &report.closing {
        text.push('\n');
        text.push_str(&edge(closing));
    }
    text.push('\n');
    text.push_str(&styled(FAINT, paragraph(&counts(&report.flows), 0).trim_end()));
    text.push('\n');
    for Unread { recording, line, message } in &report.unread {
        text.push_str(&paragraph(&format!("Not read: line {line} of {recording}: {message}"), 0));
    }
    for note in &report.notes {
        text.push_str(&paragraph(&format!("{} {note}", styled(DOUBTFUL, "Note:")), 0));
    }
    text
}

fn summary(report: &Report) -> String {
    let closing = report.closing.len();
    let used = count(report.open + closing, "edge in use", "edges in use");
    let verdict = match closing {
        0 => styled(GOOD, "none would close"),
        number => styled(BAD, &format!("{number} would close")),
    };
    let domains: Vec<&str> = report.trust_domains.iter().map(|domain| domain.name.as_str()).collect();
    let fences = count(domains.len(), "trust domain", "trust domains");
    format!("{}: {verdict}\n", styled(STRONG, &format!("{used}, {fences} enforced ({})", domains.join(", "))))
}

fn edge(closing: &Closing) -> String {
    let Closing { caller, callee, port, protocol, flows, last_seen, closed, remedy, .. } = closing;
    let (caller, callee) = (party(caller, closing), party(callee, closing));
    let flows = count(usize::try_from(*flows).unwrap_or(usize::MAX), "flow", "flows");
    let last = last_seen.map(|time| format!(", last seen {time:.0}")).unwrap_or_default();
    let mut text =
        format!("{} {caller} -> {callee} {port}/{}: {flows}{last}\n", styled(BAD, "closes"), protocol.as_str());
    for Closed { side, network_policy } in closed {
        let side = match side {
            ClosedSide::CallerEgress => "the caller is not let out",
            ClosedSide::CalleeIngress => "the callee does not let it in",
        };
        text.push_str(&paragraph(&format!("{side}: NetworkPolicy {network_policy} would have no rule for it"), 4));
    }
    text + &remedy.as_ref().map(in_words).unwrap_or_default()
}

fn party(party: &Party, closing: &Closing) -> String {
    if !matches!(party, Party::Node | Party::Address) {
        return party.to_string();
    }
    let shown: Vec<String> = closing.addresses.iter().take(ADDRESSES).map(ToString::to_string).collect();
    let more = if closing.addresses.len() > ADDRESSES { ", …" } else { "" };
    format!("{party} ({}{more})", shown.join(", "))
}

fn in_words(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Correct { object, message } => paragraph(&format!("{object} was refused: {message}"), 4),
        Remedy::Enforce { policy } => {
            paragraph(&format!("AccessPolicy {policy} grants it and is a draft: set enforcement: Enforce in it"), 4)
        }
        Remedy::DeclareIdentity { pods, manifest } => {
            let first = format!("{pods} belong to no identity, and only identities can be granted anything there:");
            match manifest {
                Some(manifest) => {
                    let account = "declare one, with the ServiceAccount that they run as, and audit again";
                    paragraph(&format!("{first} {account}"), 4) + &yaml(manifest)
                }
                None => paragraph(&format!("{first} label the pods, declare one, and audit again"), 4),
            }
        }
        Remedy::Extend { policy, from, needs } => {
            paragraph(&format!("add to from of AccessPolicy {policy}:"), 4) + &yaml(from) + &still_needed(needs)
        }
        Remedy::Declare { manifest, needs } => paragraph("declare:", 4) + &yaml(manifest) + &still_needed(needs),
    }
}

fn still_needed<'a>(needs: impl IntoIterator<Item = &'a String>) -> String {
    needs.into_iter().map(|need| paragraph(&format!("{} {need}", styled(DOUBTFUL, "before that:")), 4)).collect()
}

/// A piece of YAML to be copied.
fn yaml(value: &impl Serialize) -> String {
    // What can't be written is in the JSON.
    let text = serde_saphyr::to_string(value).unwrap_or_default();
    let mut indented = String::new();
    for line in text.lines() {
        let _ = writeln!(indented, "      {line}");
    }
    indented
}

fn counts(counts: &Counts) -> String {
    let Counts {
        judged,
        outside,
        always_open,
        replies,
        not_forwarded,
        direction_unknown,
        without_port,
        unidentified,
        other_events,
        unread,
        lost,
    } = counts;
    let others = [
        (outside, "outside of all fences"),
        (always_open, "from a node to its own pods or from a pod to itself"),
        (replies, "of replies"),
        (not_forwarded, "that did not get through"),
        (direction_unknown, "of unknown direction"),
        (without_port, "without a port"),
        (unidentified, "with an end that Cilium did not know yet"),
        (other_events, "that are other events"),
        (unread, "that can't be read"),
    ];
    let others: Vec<String> =
        others.iter().filter(|(number, _)| **number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    let judged = format!("Flows that were judged: {judged}.");
    let passed = if others.is_empty() { String::new() } else { format!(" Passed over: {}.", others.join(", ")) };
    let lost = if *lost > 0 { format!(" Hubble lost {lost} events: edges may be missing.") } else { String::new() };
    judged + &passed + &lost
}
