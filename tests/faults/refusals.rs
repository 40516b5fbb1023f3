//! The API server refuses what the operator writes, or stores something else: a quota, and what third parties put before
//! it.

use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use ringfence_cluster::OPERATOR_USER;
use ringfence_core::api::ServiceIdentity;
use serde_json::{Value, json};

use crate::begin::{Room, apply, is_ready, pair};
use crate::page::section;
use crate::support::{
    Bystanders, History, Replica, Story, Trust, Write, condition, event_reasons, eventually, identity, in_namespace,
    wait_for, writes_since,
};

static ROOM: Room = Room::new();

/// What counts in a namespace: all writes that were tried since a line of the audit log, and whether they succeeded.
fn tried(story: &Story, since: usize, resource: &str, namespace: &str) -> usize {
    let (writes, _) = writes_since(story.cluster, since);
    writes
        .iter()
        .filter(|write| write.resource == resource && write.object.starts_with(&format!("{namespace}/")))
        .count()
}

fn lines(story: &Story) -> usize {
    std::fs::read_to_string(story.cluster.cluster().audit_log()).unwrap().lines().count()
}

/// Waits until an identity says that something could not be written; returns what it says.
async fn fails(story: &Story, namespace: &str, name: &str, words: &str) -> String {
    let failed = |object: &ServiceIdentity| {
        let (status, reason, message) = condition(object, "Programmed");
        status == "False" && reason == "WriteFailed" && message.contains(words)
    };
    let object = story.wait_identity(namespace, name, &format!("say {words}"), failed).await;
    assert_eq!(condition(&object, "Ready").0, "False");
    eventually("an event says so", async || {
        event_reasons(story, &object).await.contains(&"WriteFailed".to_owned()).then_some(())
    })
    .await;
    let reasons = event_reasons(story, &object).await;
    assert!(reasons.len() <= 2, "{reasons:?}");
    condition(&object, "Programmed").2
}

#[tokio::test]
async fn a_quota_that_is_exceeded_is_named_and_when_it_is_raised_everything_is_written() {
    let (story, _turn) = ROOM.begin("quota").await;
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let bystanders = Bystanders::in_namespace(&story, &story.trust("other", json!({})).await.namespace).await;
    let quotas = in_namespace::<ResourceQuota>(&story, &trust.namespace);
    let quota = json!({"metadata": {"name": "secrets"}, "spec": {"hard": {"count/secrets": "4"}}});
    story.create::<ResourceQuota>(&trust.namespace, quota).await;
    let counted = |quota: &ResourceQuota| quota.status.as_ref().is_some_and(|status| status.used.is_some());
    wait_for(&quotas, "secrets", "be counted", counted).await;
    let since = lines(&story);
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({}))).await;
    let message = fails(&story, &trust.namespace, "late", "exceeded quota").await;
    section("A quota is exceeded").is_what_they_say(&[message, operator.log()]);
    // What needs no Secret works.
    wait_for(&in_namespace::<NetworkPolicy>(&story, &trust.namespace), "ringfence-late", "be written", |_| true).await;
    bystanders.are_untouched(&story).await;
    assert!(tried(&story, since, "secrets", &trust.namespace) <= 6, "it does not pause");
    let raised = Patch::Merge(json!({"spec": {"hard": {"count/secrets": "5"}}}));
    quotas.patch("secrets", &PatchParams::default(), &raised).await.unwrap();
    story.wait_identity(&trust.namespace, "late", "become ready", is_ready).await;
    let log = operator.log();
    assert!(log.lines().filter(|line| line.contains("exceeded quota")).count() <= 2, "{log}");
}

/// A policy or webhook about what the operator writes in one namespace.
fn third_party(kind: &str, name: &str, namespace: &str, mut spec: Value) -> [Value; 2] {
    let rule = json!({"apiGroups": ["", "networking.k8s.io"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                      "resources": ["secrets", "configmaps", "networkpolicies"]});
    let version = "admissionregistration.k8s.io/v1";
    spec["failurePolicy"] = "Fail".into();
    spec["matchConstraints"] = json!({"resourceRules": [rule]});
    spec["matchConditions"] =
        json!([{"name": "ours", "expression": format!("request.userInfo.username == '{OPERATOR_USER}'")}]);
    let mut binding = json!({"policyName": name, "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}});
    if kind == "ValidatingAdmissionPolicy" {
        binding["validationActions"] = json!(["Deny"]);
    }
    [
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}),
        json!({"apiVersion": version, "kind": format!("{kind}Binding"), "metadata": {"name": name}, "spec": binding}),
    ]
}

/// Waits until what was put before the API server is in force, as it is a moment after it was stored.
async fn in_force(story: &Story, namespace: &str, probe: impl Fn(&kube::Result<ConfigMap>) -> bool) {
    let client = story.cluster.client_of(OPERATOR_USER, &[]).await;
    let api = Api::<ConfigMap>::namespaced(client, namespace);
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "probe"}, "data": {"a": "b"}})).unwrap();
    let params = kube::api::PostParams { dry_run: true, ..Default::default() };
    eventually("the third party's rule is in force", async || probe(&api.create(&params, &object).await).then_some(()))
        .await;
}

#[tokio::test]
async fn what_a_third_partys_policy_refuses_is_said_in_its_words_and_written_once_it_may_be() {
    let (story, _turn) = ROOM.begin("refused").await;
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let name = format!("{}.example.com", story.name);
    let spec = json!({"validations": [{"expression": "false", "message": "secrets need the label cost-center"}]});
    let objects = third_party("ValidatingAdmissionPolicy", &name, &trust.namespace, spec);
    objects.iter().for_each(|object| apply(&story, object));
    in_force(&story, &trust.namespace, Result::is_err).await;
    let since = lines(&story);
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({}))).await;
    let message = fails(&story, &trust.namespace, "late", "cost-center").await;
    section("Someone's admission policy refuses what Ringfence writes").is_what_they_say(&[message, operator.log()]);
    assert!(tried(&story, since, "secrets", &trust.namespace) <= 6, "it does not pause");
    objects.iter().for_each(|object| remove(&story, object));
    story.wait_identity(&trust.namespace, "late", "become ready", is_ready).await;
}

fn remove(story: &Story, object: &Value) {
    let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    story.cluster.cluster().kubectl(&["delete", kind, name]).unwrap();
}

#[tokio::test]
async fn a_webhook_that_is_down_is_named_and_when_it_goes_everything_is_written() {
    let (story, _turn) = ROOM.begin("webhook").await;
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": story.name},
        "webhooks": [{
            "name": "policy.example.com", "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": trust.namespace}},
            "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["secrets", "configmaps"]}],
        }],
    });
    apply(&story, &webhook);
    in_force(&story, &trust.namespace, Result::is_err).await;
    let since = lines(&story);
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({}))).await;
    let message = fails(&story, &trust.namespace, "late", "failed calling webhook").await;
    section("A webhook of someone else is down").is_what_they_say(&[message, operator.log()]);
    assert!(tried(&story, since, "secrets", &trust.namespace) <= 6, "it does not pause");
    remove(&story, &webhook);
    story.wait_identity(&trust.namespace, "late", "become ready", is_ready).await;
}

/// A third party that changes everything that the operator writes in a namespace.
async fn mutate(story: &Story, namespace: &str, patch: &str, shows: impl Fn(&ConfigMap) -> bool) -> [Value; 2] {
    let name = format!("{}.example.com", story.name);
    let spec = json!({
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    });
    let objects = third_party("MutatingAdmissionPolicy", &name, namespace, spec);
    objects.iter().for_each(|object| apply(story, object));
    in_force(story, namespace, |created| created.as_ref().is_ok_and(&shows)).await;
    objects
}

/// How often something about an identity was written since a line of the audit log.
fn written(story: &Story, since: usize, resource: &str, identity: &str) -> usize {
    let (writes, _) = writes_since(story.cluster, since);
    writes.iter().filter(|write| write.resource == resource && write.object.contains(identity)).count()
}

#[tokio::test]
async fn a_label_that_a_third_party_adds_is_let_be() {
    let (story, _turn) = ROOM.begin("labelled").await;
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let since = lines(&story);
    let patch = r#"[JSONPatch{op: "add", path: "/metadata/annotations", value: {"example.com/seen": "yes"}}]"#;
    let seen = |object: &ConfigMap| object.annotations().contains_key("example.com/seen");
    let objects = mutate(&story, &trust.namespace, patch, seen).await;
    story.ready_identity(&trust.namespace, "late", json!({"signingKey": {}})).await;
    let late = config(&story, &trust.namespace, "late-trust").await;
    assert!(seen(&late), "{late:?}");
    story.ready_identity(&trust.namespace, "later", json!({})).await;
    for resource in ["secrets", "configmaps", "networkpolicies"] {
        let count = written(&story, since, resource, &format!("{}/late", trust.namespace));
        assert!(count <= 6, "{count} writes to {resource}");
    }
    objects.iter().for_each(|object| remove(&story, object));
}

async fn config(story: &Story, namespace: &str, name: &str) -> ConfigMap {
    in_namespace::<ConfigMap>(story, namespace).get(name).await.unwrap()
}

#[tokio::test]
async fn whoever_changes_the_content_of_each_write_finds_no_enemy_for_a_war() {
    let (story, _turn) = ROOM.begin("mutated").await;
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let trust = pair(&story, "shop").await;
    let bystanders = Bystanders::in_namespace(&story, &story.trust("other", json!({})).await.namespace).await;
    let since = lines(&story);
    // Valid base64, for Secrets.
    let patch = r#"has(object.data) ? [JSONPatch{op: "add", path: "/data/intruder", value: "aGVsbG8="}] : []"#;
    let with_data = |object: &ConfigMap| object.data.as_ref().is_some_and(|data| data.contains_key("intruder"));
    let objects = mutate(&story, &trust.namespace, patch, with_data).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({"signingKey": {}}))).await;
    let contested = story
        .wait_identity(&trust.namespace, "late", "say that it is contested", |object| {
            condition(object, "Contested").0 == "True" && condition(object, "Ready").0 == "False"
        })
        .await;
    let message = condition(&contested, "Contested").2;
    section("Someone keeps changing what Ringfence writes").is_what_they_say(&[message, operator.log()]);

    // Whoever comes after it is served; nothing more is written about it meanwhile.
    let history = History::begin(story.cluster);
    story.ready_identity(&story.trust("after", json!({})).await.namespace, "after", json!({})).await;
    let name = format!("{}/late", trust.namespace);
    let still: Vec<Write> = history.writes().into_iter().filter(|write| write.object.contains(&name)).collect();
    assert!(still.len() <= 2, "a war goes on: {still:#?}");
    for (resource, most) in
        [("secrets", 14), ("configmaps", 7), ("networkpolicies", 1), ("serviceidentities/status", 10)]
    {
        let count = written(&story, since, resource, &name);
        eprintln!("{count} writes to {resource}");
        assert!(count <= most, "{count} writes to {resource}");
    }
    let log = operator.log();
    let told = log.lines().filter(|line| line.contains("late")).count();
    assert!(told <= 20, "{told} lines: {log}");
    // An extra file is no reason for another certificate.
    let issued =
        log.lines().filter(|line| line.contains("issued the certificate") && line.contains("/sa/late")).count();
    assert_eq!(issued, 1, "{log}");
    assert!(!log.contains("issued a new certificate"), "{log}");
    bystanders.are_untouched(&story).await;
    objects.iter().for_each(|object| remove(&story, object));
}

#[tokio::test]
async fn a_fence_that_a_third_party_opens_at_each_write_is_contested_on_the_domain() {
    let (story, _turn) = ROOM.begin("opened").await;
    let operator = Replica::start(story.cluster, 30);
    operator.leads().await;
    let Trust { domain, namespace } = story.trust("shop", json!({})).await;
    let fences = in_namespace::<NetworkPolicy>(&story, &namespace);
    wait_for(&fences, "ringfence-baseline", "be written", |_| true).await;
    let since = lines(&story);
    let patch = r#"has(object.data) ? [JSONPatch{op: "add", path: "/data/intruder", value: "aGVsbG8="}]
        : [JSONPatch{op: "replace", path: "/spec/policyTypes", value: ["Ingress"]}]"#;
    let intruder = |object: &ConfigMap| object.data.as_ref().is_some_and(|data| data.contains_key("intruder"));
    let objects = mutate(&story, &namespace, patch, intruder).await;
    fences.delete("ringfence-baseline", &DeleteParams::default()).await.unwrap();
    let contested = story
        .wait_domain(&domain, "say that it is contested", |object| condition(object, "Contested").0 == "True")
        .await;
    let message = condition(&contested, "Contested").2;
    assert!(message.contains(&format!("NetworkPolicy {namespace}/ringfence-baseline")), "{message}");
    assert_eq!(condition(&contested, "Ready").0, "False");
    let count = written(&story, since, "networkpolicies", &namespace);
    assert!(count <= 7, "{count} writes");
    objects.iter().for_each(|object| remove(&story, object));
}
