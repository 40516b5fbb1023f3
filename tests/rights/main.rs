//! What the operator may do is what it does: no more, and no less.
//!
//! The judge is the API server's audit log of every cluster that the other tests started. `make test` keeps those logs
//! and looks at them here, last of all.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]
#![allow(clippy::print_stderr, reason = "a test says what it saw")]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use ringfence_cluster::{OPERATOR_USER, rights};
use serde_json::Value;

/// A right: the role that gives it, the verb, and the resource with its group.
type Right = (String, String, String);

/// What the logs tell.
#[derive(Debug, Default)]
struct Found {
    /// The rights that the operator made use of.
    used: BTreeSet<Right>,
    /// Requests that no role allowed it.
    refused: Vec<String>,
    /// The same, in a namespace where someone had just taken the operator's RoleBinding away: by deleting the namespace,
    /// most of the time.
    robbed: Vec<String>,
    /// The same, while the API server was starting: it answers before it knows its roles.
    early: usize,
    requests: usize,
}

/// Where the API server is asked whether it is ready.
const READINESS: &str = "/readyz";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The resource of a request, with subresource and group.
fn resource(reference: &Value) -> String {
    let name = [text(&reference["resource"]), text(&reference["subresource"])].join("/");
    [name.trim_end_matches('/'), text(&reference["apiGroup"])].join(".").trim_end_matches('.').to_owned()
}

/// Reads one log. A line may be written after that of a later request, so that the order is that of the requests.
fn read(log: &Path, found: &mut Found) {
    let lines = BufReader::new(File::open(log).unwrap()).lines().map(Result::unwrap);
    let concerned =
        |line: &String| line.contains(OPERATOR_USER) || line.contains("\"rolebindings\"") || line.contains(READINESS);
    let mut events: Vec<Value> = lines.filter(concerned).filter_map(|line| serde_json::from_str(&line).ok()).collect();
    events.sort_by_key(|event| text(&event["requestReceivedTimestamp"]).to_owned());
    // An API server that starts asks itself several times a second whether it is ready.
    let is_readiness = |event: &&Value| text(&event["requestURI"]).starts_with(READINESS);
    let is_unready = |event: &Value| event["responseStatus"]["code"] != 200;
    let mut robbed = BTreeSet::new();
    for (position, event) in events.iter().enumerate() {
        if is_readiness(&event) {
            continue;
        }
        let (verb, reference) = (text(&event["verb"]), &event["objectRef"]);
        let (namespace, is_binding) = (text(&reference["namespace"]), text(&reference["resource"]) == "rolebindings");
        if event["user"]["username"] != OPERATOR_USER {
            if is_binding && verb.starts_with("delete") {
                robbed.insert(namespace.to_owned());
            }
            continue;
        }
        found.requests += 1;
        let annotations = &event["annotations"];
        match text(&annotations["authorization.k8s.io/decision"]) {
            "forbid"
                if events[..position].iter().rfind(is_readiness).is_some_and(is_unready)
                    || events[position..].iter().find(is_readiness).is_some_and(is_unready) =>
            {
                found.early += 1;
            }
            "forbid" => {
                let request = format!("{verb} {reference}");
                if robbed.contains(namespace) { &mut found.robbed } else { &mut found.refused }.push(request);
            }
            _ => {
                // RBAC: allowed by RoleBinding "ringfence/shop" of ClusterRole "ringfence-member" to ServiceAccount ...
                let reason = text(&annotations["authorization.k8s.io/reason"]);
                let role = reason.split(" of ").nth(1).and_then(|rest| rest.split(" to ").next()).unwrap_or_default();
                found.used.insert((role.replace('"', ""), verb.to_owned(), resource(reference)));
            }
        }
    }
}

/// Every right of the operator's roles, as the chart has them.
fn given() -> BTreeSet<Right> {
    let roles = serde_saphyr::from_multiple::<Value>(&rights().unwrap()).unwrap();
    let list = |value: &Value| value.as_array().into_iter().flatten().map(|v| text(v).to_owned()).collect::<Vec<_>>();
    let mut given = BTreeSet::new();
    for role in roles.iter().filter(|role| !role["rules"].is_null()) {
        let name = format!("{} {}", text(&role["kind"]), text(&role["metadata"]["name"]));
        for rule in role["rules"].as_array().unwrap() {
            for (group, resource) in list(&rule["apiGroups"])
                .iter()
                .flat_map(|group| list(&rule["resources"]).into_iter().map(move |r| (group, r)))
            {
                let resource = format!("{resource}.{group}").trim_end_matches('.').to_owned();
                given.extend(list(&rule["verbs"]).into_iter().map(|verb| (name.clone(), verb, resource.clone())));
            }
        }
    }
    given
}

#[test]
#[ignore = "it judges by the audit logs of all other tests, and so runs after them: make test"]
fn the_operator_does_all_that_it_may_and_tries_nothing_else() {
    let logs = PathBuf::from(env::var_os("RINGFENCE_AUDIT_LOGS").unwrap());
    let mut found = Found::default();
    for log in fs::read_dir(&logs).unwrap() {
        read(&log.unwrap().path(), &mut found);
    }
    let given = given();
    let (bind, given): (BTreeSet<_>, BTreeSet<_>) = given.into_iter().partition(|(_, verb, _)| verb == "bind");
    // Nobody can bind a role that gives more than he has himself, unless he may bind this very role.
    let created = found.used.iter().any(|(_, verb, resource)| verb == "create" && resource.starts_with("rolebindings"));
    assert!(created && bind.len() == 1, "{bind:?}");
    let unused: Vec<_> = given.difference(&found.used).collect();
    let mut counts = BTreeMap::<&str, usize>::new();
    for request in &found.robbed {
        *counts.entry(request).or_default() += 1;
    }
    let (requests, robbed, early) = (found.requests, found.robbed.len(), found.early);
    eprintln!("{requests} requests, {early} too early, {robbed} after someone took the rights away: {counts:#?}");
    assert!(found.requests > 0, "{} holds no log of a cluster with an operator", logs.display());
    assert!(found.refused.is_empty(), "the operator lacks rights: {:#?}", found.refused);
    assert!(unused.is_empty(), "the operator makes no use of {unused:#?}");
}
