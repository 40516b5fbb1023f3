//! Which edges in use would close, against files and against a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use ringfence_core::api::AccessPolicy;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{Ran, path, ringfence, ringfence_in, run};
use crate::support::Story;

/// What Hubble saw of the running shop: both scenarios, names, probes, and strangers among themselves.
const RECORDING: &str = "tests/cli/recordings/shop.json";
const POLICIES: &str = "examples/shop/policies";

#[test]
fn the_forgotten_policy_is_the_one_edge_that_would_close() {
    let folder = TempDir::new().unwrap();
    let forgetful = policies_without(&folder, "delivery");
    let ran = ringfence(&["audit", "--flows", RECORDING, path(&forgetful)]);
    assert_eq!((ran.code, ran.complaints.as_str()), (1, ""), "{}", ran.output);
    says(
        &ran,
        &[
            "8 edges in use, 2 trust domains enforced (settlement, storefront): 1 would close",
            "closes storefront/order -> settlement/delivery 8443/TCP: 3 flows, last seen 2026-03-01T12:00:0",
            "the caller is not let out: NetworkPolicy storefront/ringfence-order",
            "the callee does not let it in: NetworkPolicy settlement/ringfence-delivery",
            "declare:",
            "Hubble lost 3 events",
            "Not read: line 41 of tests/cli/recordings/shop.json",
        ],
    );
    let copied: Vec<&str> = ran.output.lines().filter_map(|line| line.strip_prefix("      ")).collect();
    let json = ringfence(&["audit", "--flows", RECORDING, "-o", "json", path(&forgetful)]).json();
    assert_eq!(json["closing"].as_array().unwrap().len(), 1, "{json}");
    let remedy = &json["closing"][0]["remedy"];
    assert_eq!((&remedy["action"], &remedy["needs"]), (&json!("Declare"), &json!([])));
    let yaml: Value = serde_saphyr::from_str(&copied.join("\n")).unwrap();
    assert_eq!(yaml, remedy["manifest"], "what is shown can be copied");

    let fix = folder.path().join("fix.yaml");
    std::fs::write(&fix, copied.join("\n")).unwrap();
    let mended = ringfence(&["audit", "--flows", RECORDING, path(&forgetful), path(&fix)]);
    assert_eq!(mended.code, 0, "{mended:?}");
    says(&mended, &["8 edges in use, 2 trust domains enforced (settlement, storefront): none would close"]);
}

#[test]
fn a_policy_that_forgets_a_caller_is_extended() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("3-storefront.yaml");
    let all = std::fs::read_to_string(Path::new(POLICIES).join("3-storefront.yaml")).unwrap();
    let two = "    - identity: {name: gateway}\n    - identity: {name: order}\n";
    std::fs::write(&file, all.replace(two, "    - identity: {name: gateway}\n")).unwrap();
    let others =
        ["1-namespaces.yaml", "2-trust-domains.yaml", "4-settlement.yaml"].map(|name| Path::new(POLICIES).join(name));
    let mut arguments = vec!["audit", "--flows", RECORDING, path(&file)];
    arguments.extend(others.iter().map(|other| path(other)));
    let ran = ringfence(&arguments);
    assert_eq!(ran.code, 1, "{ran:?}");
    says(
        &ran,
        &[
            "closes storefront/order -> storefront/inventory 8443/TCP: 2 flows",
            "add to from of AccessPolicy storefront/inventory:",
        ],
    );
    assert_eq!(ran.output.matches("closes ").count(), 1, "{}", ran.output);
}

#[test]
fn recordings_come_in_several_files_and_through_a_pipe() {
    let text = std::fs::read_to_string(RECORDING).unwrap();
    let folder = TempDir::new().unwrap();
    let half = text.lines().count() / 2;
    let part = |name: &str, lines: Vec<&str>| {
        let file = folder.path().join(name);
        std::fs::write(&file, lines.join("\n")).unwrap();
        file
    };
    let first = part("first.json", text.lines().take(half).collect());
    let second = part("second.json", text.lines().skip(half).collect());
    let judged = |ran: &Ran| ran.json()["flows"]["judged"].clone();
    let whole = ringfence(&["audit", "--flows", RECORDING, "-o", "json", POLICIES]);
    assert_eq!(whole.code, 0, "{whole:?}");
    let parts = ringfence(&["audit", "--flows", path(&first), "--flows", path(&second), "-o", "json", POLICIES]);
    assert_eq!(judged(&parts), judged(&whole));
    let line = format!("cat {RECORDING} | {} audit --flows - -o json {POLICIES}", env!("CARGO_BIN_EXE_ringfence"));
    assert_eq!(judged(&run(Command::new("sh").args(["-c", &line]))), judged(&whole));
}

#[test]
fn what_cannot_be_judged_is_a_sentence_with_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, "[\n]\n").unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["--flows", "nowhere.json", POLICIES], "the flows in nowhere.json can't be read"),
        (&["--flows", path(&empty), POLICIES], "the recordings hold no flow that could be judged"),
        (
            &["--flows", RECORDING, "examples/shop/dns-service.yaml"],
            "no TrustDomain with namespaces is in Audit or Enforce",
        ),
        (&["--flows", RECORDING], "no cluster to talk to"),
    ];
    for (arguments, complaint) in cases {
        let ran = ringfence(&[&["audit"], arguments].concat());
        assert_eq!((ran.code, ran.output.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.complaints.starts_with("ERROR ") && ran.complaints.contains(complaint), "{}", ran.complaints);
    }
    assert_eq!(ringfence(&["audit", POLICIES]).code, 2, "flows are what it is about");
}

#[tokio::test]
async fn an_audited_domain_of_a_cluster_is_judged_as_if_it_were_enforced() {
    let story = Story::begin("audit-live").await;
    let trust = story.trust("shop", json!({"enforcement": "Audit"})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({})).await;
    story.ready_identity(namespace, "payment", json!({})).await;
    let end = |name: &str| {
        let labels =
            [format!("k8s:app.kubernetes.io/name={name}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")];
        json!({"namespace": namespace, "pod_name": format!("{name}-0"), "labels": labels})
    };
    let flow = json!({"flow": {
        "verdict": "FORWARDED", "IP": {"source": "10.244.0.13", "destination": "10.244.1.21"}, "Type": "L3_L4",
        "l4": {"TCP": {"source_port": 50000, "destination_port": 8443}}, "is_reply": false,
        "source": end("order"), "destination": end("payment"),
    }});
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("flows.json");
    std::fs::write(&file, flow.to_string()).unwrap();
    let audit = ["audit", "--flows", path(&file)];
    let before = ringfence_in(&story, &audit).await;
    assert_eq!(before.code, 1, "{before:?}");
    says(&before, &[&format!("closes {namespace}/order -> {namespace}/payment 8443/TCP: 1 flow")]);
    let spec =
        json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}]});
    story.create::<AccessPolicy>(namespace, json!({"metadata": {"name": "payment"}, "spec": spec})).await;
    let after = ringfence_in(&story, &audit).await;
    assert_eq!(after.code, 0, "{after:?}");
}

/// The shop's policies in one file, without the AccessPolicy of this name.
fn policies_without(folder: &TempDir, name: &str) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(POLICIES).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let whole: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let whole = whole.join("\n---\n");
    let is_it =
        |document: &&str| document.contains("kind: AccessPolicy") && document.contains(&format!("  name: {name}\n"));
    let kept: Vec<&str> = whole.split("\n---\n").filter(|document| !is_it(document)).collect();
    let file = folder.path().join("policies.yaml");
    std::fs::write(&file, kept.join("\n---\n")).unwrap();
    file
}

fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.output.contains(word), "{word:?} is in\n{}", ran.output);
    }
}
