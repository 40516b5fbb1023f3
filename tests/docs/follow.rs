//! Pages that tell their reader what to do: it is done.

use std::collections::BTreeMap;

use crate::book::pages;
use crate::page::{Block, Page};
use crate::reader::follow;
use crate::stage;

/// The page that is followed on a cluster with a node, where its pods call each other.
const FIRST_STEPS: &str = "getting-started.md";

/// The pages, or folders of them, that are followed on a control plane alone: they declare things, and look at what comes
/// of it.
const GUIDES: &[&str] =
    &["certificates.md", "command.md", "how-to/", "operations/disaster-recovery.md", "reference/access.md"];

/// Commands that are not run although their page is followed: the first line, and why not.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (FIRST_STEPS, "make cluster", "the test's own cluster is such a one"),
    (FIRST_STEPS, "make image", "the test's node has the image of what was just built"),
    (FIRST_STEPS, "make cluster-down", "the test ends its cluster itself"),
    (
        "how-to/adopt.md",
        "hubble observe --follow --output json > flows.json",
        "no packet passes there that could be recorded; the page writes two flows down itself",
    ),
    (
        "command.md",
        "hubble observe --last 100000 --output json | ringfence audit --flows -",
        "no packet passes there that could be recorded; the tests of the command have a recording",
    ),
    (
        "how-to/prometheus.md",
        "helm upgrade ringfence charts/ringfence --namespace ringfence-system --reset-then-reuse-values \\",
        "it needs the kinds of the Prometheus Operator, whose objects the tests of the chart look at",
    ),
    (
        "operations/disaster-recovery.md",
        "ringfence release-finalizers --namespace ringfence-system",
        "it would stop the operator that the other pages need; the story of the uninstallation runs it",
    ),
    (
        "how-to/token-service.md",
        "helm upgrade ringfence charts/ringfence --namespace ringfence-system --reset-then-reuse-values \\",
        "the stage installs the chart with it",
    ),
    (
        "how-to/token-service.md",
        "kubectl rollout status deployment/token-service --namespace ringfence-token-service",
        "no pod runs there; the stories with a node look at these pods",
    ),
    (
        "how-to/token-service.md",
        "STS=https://token-service.ringfence-token-service.svc:8443",
        "no pod runs there that could be asked; other people's clients make each of these requests in tests/conformance",
    ),
    (
        "how-to/token-service.md",
        "curl --cacert trust/callees.pem $STS/token --data grant_type=client_credentials --data audience=oven.bakery.svc \\",
        "no pod runs there that could be asked; other people's clients make each of these requests in tests/conformance",
    ),
    (
        "how-to/token-service.md",
        "curl --cacert trust/callees.pem $STS/token --data grant_type=client_credentials --data audience=oven.bakery.svc \\",
        "no pod runs there that could be asked; other people's clients make each of these requests in tests/conformance",
    ),
    (
        "how-to/token-service.md",
        "curl --cacert trust/callees.pem --cert tls/tls.crt --key tls/tls.key $STS/introspect --data token=\"$TOKEN\"",
        "no pod runs there that could be asked; other people's clients make each of these requests in tests/conformance",
    ),
    (
        "how-to/token-service.md",
        "curl --cacert trust/callees.pem --cert tls/tls.crt --key tls/tls.key $STS/token \\",
        "no pod runs there that could be asked; other people's clients make each of these requests in tests/conformance",
    ),
    (
        "how-to/token-service.md",
        "curl --cacert trust/callees.pem --cert tls/tls.crt --key tls/tls.key $STS/token \\",
        "no pod runs there that could be asked; other people's clients make each of these requests in tests/conformance",
    ),
    (
        "how-to/token-service.md",
        "curl --user \"web:$SECRET\" https://sts.example.com/token \\",
        "no pod runs there that could be asked; other people's clients make each of these requests in tests/conformance",
    ),
    (
        "how-to/token-service.md",
        "kubectl events --namespace ringfence-token-service --for serviceidentity/token-service",
        "no pod runs there; the stories with a node look at these pods",
    ),
];

/// How many blocks of commands pages have that are not followed, since they are not about one cluster from one end to the
/// other. Those about backups are run between two clusters, by `tests/restore`.
const ONLY_READ: &[(&str, usize)] = &[
    ("chart.md", 6),
    ("operations/backup.md", 7),
    ("operations/token-store.md", 1),
    ("operations/upgrade.md", 1),
    ("revocation.md", 1),
];

fn is_guide(page: &Page) -> bool {
    GUIDES.iter().any(|place| page.file.starts_with(place))
}

#[test]
fn nothing_is_left_out_that_is_not_known() {
    let mut known: Vec<(String, String)> =
        NOT_RUN.iter().map(|(page, line, _)| ((*page).to_owned(), (*line).to_owned())).collect();
    let mut only_read = BTreeMap::new();
    for page in pages() {
        if page.file == FIRST_STEPS || is_guide(&page) {
            for block in page.not_run() {
                let first = (page.file.clone(), block.lines().next().unwrap_or_default().to_owned());
                let place = known.iter().position(|known| *known == first);
                let place = place.unwrap_or_else(|| panic!("{first:?} is not run: say why, in NOT_RUN"));
                known.remove(place);
            }
            continue;
        }
        let is_command = |block: &&Block| !matches!(block, Block::File { .. });
        let commands = page.blocks.iter().filter(is_command).count();
        if commands > 0 {
            only_read.insert(page.file.clone(), commands);
        }
    }
    assert!(known.is_empty(), "in NOT_RUN, and on no page: {known:?}");
    let expected: BTreeMap<String, usize> =
        ONLY_READ.iter().map(|(page, count)| ((*page).to_owned(), *count)).collect();
    assert_eq!(only_read, expected, "blocks of commands that nobody runs, and those known in ONLY_READ");
}

#[test]
fn the_first_steps_lead_where_they_say() {
    let Some(cluster) = stage::node() else { return };
    follow(&cluster, &Page::read(FIRST_STEPS));
    cluster.stop().unwrap();
}

#[test]
fn the_guides_lead_where_they_say() {
    let stage = stage::ControlPlane::start();
    for page in pages().iter().filter(|page| is_guide(page)) {
        follow(&stage.cluster, page);
    }
}
