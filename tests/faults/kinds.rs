//! The kinds are missing, or older than the operator.

use std::fs;

use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::{Value, json};

use crate::begin::{Room, apply, is_ready, pair};
use crate::page::section;
use crate::support::{History, Replica, Story, condition, eventually, identity};

static ROOM: Room = Room::new();

/// A CustomResourceDefinition of the repository.
fn definition(plural: &str) -> Value {
    let file = format!("{}/crds/{plural}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Installs a kind as it is given, and waits until it is served.
fn install(story: &Story, definition: &Value) {
    apply(story, definition);
    let name = format!("customresourcedefinition/{}", definition["metadata"]["name"].as_str().unwrap());
    story.cluster.cluster().kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &name]).unwrap();
}

#[tokio::test]
async fn a_kind_that_is_missing_is_named_and_everything_begins_once_it_is_there() {
    let (story, _turn) = ROOM.begin("missing").await;
    let cluster = story.cluster.cluster();
    cluster.kubectl(&["delete", "customresourcedefinition", "accesspolicies.ringfence.dev"]).unwrap();
    let operator = Replica::start(story.cluster, 1);
    eventually("it says what is missing", async || operator.log().contains("does not know this kind").then_some(()))
        .await;
    eventually("only that is missing", async || {
        (operator.asks("/readyz") == (503, "not listed yet: AccessPolicy".to_owned())).then_some(())
    })
    .await;
    section("A kind is missing").is_what_they_say(&[operator.log(), operator.asks("/readyz").1]);
    assert_eq!(operator.asks("/livez").0, 200);
    let log = operator.log();
    assert_eq!(log.matches("does not know this kind").count(), 1, "{log}");
    assert!(log.lines().count() <= 6, "{log}");
    install(&story, &definition("accesspolicies"));
    operator.leads().await;
    pair(&story, "shop").await;
}

#[tokio::test]
async fn an_older_kind_that_drops_fields_is_told_of_and_makes_no_endless_work() {
    let (story, _turn) = ROOM.begin("older").await;
    for (plural, fields) in [
        ("serviceidentities", &["signingKey", "certificate", "audiences"][..]),
        ("accesspolicies", &["from", "edges"][..]),
    ] {
        let mut older = definition(plural);
        let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
        let known = older.pointer_mut(status).unwrap().as_object_mut().unwrap();
        let count = known.len();
        known.retain(|field, _| !fields.contains(&field.as_str()));
        assert!(known.len() < count, "{plural} has none of {fields:?}");
        replace(&story, &older);
    }
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let history = History::begin(story.cluster);
    let trust = pair(&story, "shop").await;
    eventually("it says so", async || operator.log().contains("only a part of the status").then_some(())).await;
    section("A kind is older than the operator").is_what_they_say(&[operator.log()]);
    story.ready_identity(&trust.namespace, "late", json!({})).await;
    let writes = history.writes();
    for (resource, name) in [("serviceidentities/status", "callee"), ("accesspolicies/status", "callee")] {
        let object = format!("{}/{name}", trust.namespace);
        let count = writes.iter().filter(|write| write.resource == resource && write.object == object).count();
        eprintln!("{count} writes to {resource}");
        assert!(count <= 8, "{count} writes to {resource}");
    }
    for name in ["callee", "caller"] {
        for secret in ["tls", "signing-key"] {
            assert_eq!(history.writes_to("secrets", &format!("{}/{name}-{secret}", trust.namespace)), 1);
        }
    }
    drop(operator);
    // With the kinds that belong to it, one that starts tells all.
    for plural in ["serviceidentities", "accesspolicies"] {
        replace(&story, &definition(plural));
    }
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let told = |object: &ServiceIdentity| object.status.as_ref().is_some_and(|status| status.certificate.is_some());
    story.wait_identity(&trust.namespace, "callee", "tell of its certificate", told).await;
    assert!(!operator.log().contains("only a part of the status"), "{}", operator.log());
}

/// Puts a kind in the place of the one that is installed.
fn replace(story: &Story, definition: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), definition.to_string()).unwrap();
    story.cluster.cluster().kubectl(&["replace", &format!("--filename={}", file.path().display())]).unwrap();
}
