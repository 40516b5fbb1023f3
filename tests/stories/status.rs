//! What the statuses and events say, and when they say nothing.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{
    Story, Write, condition, event_reasons, events_about, eventually, identity, policy, writes_since,
};

/// What is declared to see that all before it has been looked at; it comes last in any order.
const LAST: &str = "zz-last-";
/// The four that every object has.
const SUMMARY: [&str; 4] = ["Ready", "Accepted", "ResolvedRefs", "Programmed"];

#[tokio::test]
async fn every_condition_says_which_generation_it_is_about() {
    let story = Story::begin("generation").await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "payment"] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    story.ready_policy(&trust.namespace, "p", call("payment", 8443, &["order"])).await;
    let (identities, policies) = (
        Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace),
        Api::<AccessPolicy>::namespaced(story.client.clone(), &trust.namespace),
    );
    let domains = Api::<TrustDomain>::all(story.client.clone());
    let domain = story.change(domains, &trust.domain, json!({"certificates": {"duration": "12h"}})).await;
    let identity = story.change(identities, "order", json!({"certificate": {"duration": "1h"}})).await;
    let policy = story.change(policies, "p", call("payment", 9443, &["order"])).await;
    let generation = |object: &Value| object["metadata"]["generation"].as_i64();
    for object in [json(&domain), json(&identity), json(&policy)] {
        assert_eq!(generation(&object), Some(2));
    }
    let current = |object: &Value| object["status"]["observedGeneration"].as_i64() == Some(2) && is_ready(object);
    let domain = json(&story.wait_domain(&trust.domain, "be looked at again", |domain| current(&json(domain))).await);
    let identity = story.wait_identity(&trust.namespace, "order", "be looked at again", |i| current(&json(i))).await;
    let policy = story.wait_policy(&trust.namespace, "p", "be looked at again", |p| current(&json(p))).await;
    for object in [domain, json(&identity), json(&policy)] {
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let types: Vec<_> = conditions.iter().map(|condition| condition["type"].as_str().unwrap()).collect();
        assert_eq!(types, SUMMARY, "{object:#}");
        for condition in conditions {
            assert_eq!(condition["observedGeneration"], 2, "{condition:#}");
            assert!(!condition["message"].as_str().unwrap().is_empty(), "{condition:#}");
        }
    }
}

#[tokio::test]
async fn a_transition_time_moves_when_the_status_flips_and_not_when_its_reason_changes() {
    let story = Story::begin("flips").await;
    let trust = story.trust("shop", json!({})).await;
    let before = story.ready_identity(&trust.namespace, "order", json!({})).await;
    assert_eq!(condition(&before, "Ready").1, "NoPods");
    let since = |object: &ServiceIdentity, kind: &str| transition(&json(object), kind);
    // Times are kept in whole seconds: what moves has to be seen to move.
    eventually("the next second begins", async || {
        (Timestamp::now().as_second() > since(&before, "Ready").as_second() + 1).then_some(())
    })
    .await;
    let pod = json!({
        "metadata": {"name": "order-0", "labels": {"app.kubernetes.io/name": "order"}},
        "spec": {"serviceAccountName": "order", "automountServiceAccountToken": false,
                 "containers": [{"name": "main", "image": "none"}]},
    });
    let account = json!({"metadata": {"name": "order"}});
    story.create::<k8s_openapi::api::core::v1::ServiceAccount>(&trust.namespace, account).await;
    story.create::<Pod>(&trust.namespace, pod).await;
    let with_pods = |identity: &ServiceIdentity| condition(identity, "Ready").1 == "Ready";
    let after = story.wait_identity(&trust.namespace, "order", "see its pod", with_pods).await;
    for kind in SUMMARY {
        assert_eq!(since(&after, kind), since(&before, kind), "{kind} is as true as it was");
    }

    let identities = Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace);
    story.change(identities.clone(), "order", json!({"dnsNames": ["shop.example.com"]})).await;
    let refused = |identity: &ServiceIdentity| condition(identity, "Accepted").0 == "False";
    let bad = story.wait_identity(&trust.namespace, "order", "be refused the name", refused).await;
    assert_eq!(
        (condition(&bad, "Ready").0, condition(&bad, "Ready").1),
        ("False".to_owned(), "NameNotAllowed".to_owned())
    );
    for kind in SUMMARY {
        let moved = since(&bad, kind) > since(&before, kind);
        assert_eq!(moved, kind == "Ready" || kind == "Accepted", "{kind}");
    }
    story.change(identities, "order", json!({"dnsNames": null})).await;
    let good = story.wait_identity(&trust.namespace, "order", "be good again", with_pods).await;
    assert!(since(&good, "Ready") >= since(&bad, "Ready"));
    assert_eq!(since(&good, "Programmed"), since(&before, "Programmed"));
}

#[tokio::test]
async fn of_a_policy_that_is_partly_good_every_refused_entry_is_named() {
    let story = Story::begin("partly").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    let other = story.trust("other", json!({})).await;
    for (trust, name) in [(&left, "order"), (&right, "payment"), (&other, "thief")] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": [
        {"identity": {"name": "order", "namespace": left.namespace}},
        {"identity": {"name": "missing", "namespace": left.namespace}},
        {"identity": {"name": "thief", "namespace": other.namespace}},
        {"pods": {"namespaces": [left.namespace], "selector": {}}},
        {"cidr": "203.0.113.0/24"},
    ]});
    let judged = story.judged_policy(&right.namespace, "p", spec).await;
    let status = judged.status.clone().unwrap();
    let found: Vec<_> =
        status.from.iter().map(|entry| (entry.index, entry.source.as_str(), entry.reason.as_str())).collect();
    let named = |name: &str, namespace: &str| format!("identity {namespace}/{name}");
    let (missing, thief) = (named("missing", &left.namespace), named("thief", &other.namespace));
    let pods = format!("pods in {}", left.namespace);
    let expected = [
        (1, missing.as_str(), "CallerNotFound"),
        (2, &thief, "InboundNotAllowed"),
        (3, &pods, "FencedPods"),
        (4, "cidr 203.0.113.0/24", "InboundNotAllowed"),
    ];
    assert_eq!(found, expected, "{status:#?}");
    for entry in &status.from {
        assert!(entry.message.contains(' ') && entry.message.len() > 40, "a sentence: {}", entry.message);
    }
    assert_eq!(status.edges, Some(1));
    let accepted = condition(&judged, "Accepted");
    assert_eq!((accepted.0.as_str(), accepted.1.as_str()), ("True", "PartiallyAccepted"));
    assert!(accepted.2.contains("1 of 5"), "{}", accepted.2);
    let resolved = condition(&judged, "ResolvedRefs");
    assert_eq!((resolved.0.as_str(), resolved.1.as_str()), ("False", "CallerNotFound"));
    // The good one stands.
    let files = crate::support::config_map(&story, &right.namespace, "payment-trust").await;
    assert!(files["access.json"].contains(&format!("/ns/{}/sa/order", left.namespace)));
    assert!(!files["access.json"].contains("thief"));
    // And the missing one stands as soon as it is there.
    story.ready_identity(&left.namespace, "missing", json!({})).await;
    let resolved = |policy: &AccessPolicy| condition(policy, "ResolvedRefs").0 == "True";
    let policy = story.wait_policy(&right.namespace, "p", "find its caller", resolved).await;
    let status = policy.status.unwrap();
    assert_eq!((status.edges, status.from.len()), (Some(2), 3));
}

#[tokio::test]
async fn a_policy_says_when_mounted_files_have_caught_up_and_a_draft_says_nothing() {
    let story = Story::begin("effective").await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "cart", "payment"] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    let begin = Timestamp::now().as_second();
    let opened = story.ready_policy(&trust.namespace, "p", call("payment", 8443, &["order"])).await;
    let effective = |policy: &AccessPolicy| policy.status.as_ref().unwrap().effective_after.as_ref().map(|time| time.0);
    let first = effective(&opened).unwrap();
    let window = begin + 120..=Timestamp::now().as_second() + 120;
    assert!(window.contains(&first.as_second()), "two minutes from now: {first} is not in {window:?}");
    let policies = Api::<AccessPolicy>::namespaced(story.client.clone(), &trust.namespace);
    eventually("the next second begins", async || {
        (Timestamp::now() + SignedDuration::from_secs(118) > first).then_some(())
    })
    .await;
    story.change(policies.clone(), "p", call("payment", 8443, &["order", "cart"])).await;
    let two =
        |policy: &AccessPolicy| policy.status.as_ref().is_some_and(|s| s.edges == Some(2)) && is_ready(&json(policy));
    let widened = story.wait_policy(&trust.namespace, "p", "open a second edge", two).await;
    assert!(effective(&widened).unwrap() > first, "the second edge takes its time too");

    story.change(policies.clone(), "p", json!({"enforcement": "Audit"})).await;
    let draft = |policy: &AccessPolicy| condition(policy, "Ready").1 == "Audit";
    let draft = story.wait_policy(&trust.namespace, "p", "become a draft", draft).await;
    assert_eq!((effective(&draft), draft.status.unwrap().edges), (None, Some(2)), "computed, and not in force");
    eventually("nothing of it is delivered", async || {
        let files = crate::support::config_map(&story, &trust.namespace, "payment-trust").await;
        (!files["access.json"].contains("sa/order")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_object_that_is_applied_again_unchanged_makes_no_write_and_no_event() {
    let story = Story::begin("again").await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "payment"] {
        story.ready_identity(&trust.namespace, name, json!({"signingKey": {}})).await;
    }
    let spec = call("payment", 8443, &["order", "missing"]);
    story.judged_policy(&trust.namespace, "p", spec.clone()).await;
    settled(&story, &trust.namespace).await;
    let (_, lines) = writes_since(story.cluster, 0);

    let applied = PatchParams::apply("team").force();
    for round in ["one", "two"] {
        let label = json!({"metadata": {"annotations": {"example.com/round": round}}});
        let touch = |mut object: Value, kind: &str| {
            object["apiVersion"] = json!("ringfence.dev/v1alpha1");
            object["kind"] = json!(kind);
            object["metadata"]["annotations"] = label["metadata"]["annotations"].clone();
            Patch::Apply(object)
        };
        let identities = Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace);
        for name in ["order", "payment"] {
            let object = touch(identity(name, json!({"signingKey": {}})), "ServiceIdentity");
            identities.patch(name, &applied, &object).await.unwrap();
        }
        let policies = Api::<AccessPolicy>::namespaced(story.client.clone(), &trust.namespace);
        policies.patch("p", &applied, &touch(policy("p", spec.clone()), "AccessPolicy")).await.unwrap();
        let domains = Api::<TrustDomain>::all(story.client.clone());
        let label = Patch::Merge(label.clone());
        domains.patch(&trust.domain, &PatchParams::default(), &label).await.unwrap();
    }
    settled(&story, &trust.namespace).await;
    let (mut writes, _) = writes_since(story.cluster, lines);
    writes.retain(|write| write.object.contains(&story.name) && !write.object.contains(LAST));
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test]
async fn what_turns_bad_is_told_once_and_what_stays_bad_is_not() {
    let story = Story::begin("once").await;
    let trust = story.trust("shop", json!({})).await;
    let order = story.ready_identity(&trust.namespace, "order", json!({})).await;
    let identities = Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace);
    let generation_is = |generation: i64| {
        move |identity: &ServiceIdentity| {
            identity.status.as_ref().is_some_and(|s| s.observed_generation == Some(generation))
        }
    };
    for (generation, names) in
        [(2, json!(["a.example.com"])), (3, json!(["b.example.com"])), (4, Value::Null), (5, json!(["a.example.com"]))]
    {
        story.change(identities.clone(), "order", json!({"dnsNames": names})).await;
        story.wait_identity(&trust.namespace, "order", "be looked at", generation_is(generation)).await;
    }
    settled(&story, &trust.namespace).await;
    assert_eq!(event_reasons(&story, &order).await, ["Issued", "NameNotAllowed", "NameNotAllowed"]);
}

#[tokio::test]
async fn an_event_that_comes_again_tells_what_happened_this_time() {
    let story = Story::begin("notes").await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "cart", "payment"] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    story.ready_policy(&trust.namespace, "p", call("payment", 8443, &["order"])).await;
    let policies = Api::<AccessPolicy>::namespaced(story.client.clone(), &trust.namespace);
    let policy = story.change(policies, "p", call("payment", 8443, &["order", "cart"])).await;
    let events = eventually("both openings are told", async || {
        Some(events_about(&story, &policy).await).filter(|events| events.len() == 2)
    })
    .await;
    let notes: Vec<&str> = events.iter().map(|event| event.note.as_deref().unwrap_or_default()).collect();
    assert!(notes[0].contains("order") && !notes[0].contains("cart"), "{notes:?}");
    assert!(notes[1].contains("cart"), "{notes:?}");
    assert!(events.iter().all(|event| event.reason.as_deref() == Some("EdgeOpened")), "{events:#?}");
}

#[tokio::test]
async fn no_change_is_lost_that_comes_while_a_status_is_written() {
    let story = Story::begin("lost").await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let identities = Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace);
    for _ in 0..40 {
        for names in [json!(["a.example.com"]), Value::Null] {
            story.change(identities.clone(), "order", json!({"dnsNames": names})).await;
        }
        let last = story.change(identities.clone(), "order", json!({"dnsNames": ["b.example.com"]})).await;
        let seen = |identity: &ServiceIdentity| {
            identity.status.as_ref().is_some_and(|status| status.observed_generation == last.metadata.generation)
        };
        story.wait_identity(&trust.namespace, "order", "be looked at", seen).await;
    }
}

/// Declares one more identity and one more policy and waits until they are ready, and until the audit log says so: what
/// was touched before them has been looked at by then.
async fn settled(story: &Story, namespace: &str) {
    let name = format!("{LAST}{}", Timestamp::now().as_millisecond());
    story.ready_identity(namespace, &name, json!({})).await;
    story.ready_policy(namespace, &name, call(&name, 8443, &[&name])).await;
    let written = |write: &Write| write.resource == "accesspolicies/status" && write.object.ends_with(&name);
    eventually("the audit log has it", async || writes_since(story.cluster, 0).0.iter().any(written).then_some(()))
        .await;
}

fn call(callee: &str, port: u16, callers: &[&str]) -> Value {
    let from: Vec<Value> = callers.iter().map(|name| json!({"identity": {"name": name}})).collect();
    json!({"to": {"identity": callee, "ports": [{"port": port}]}, "from": from})
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").0 == "True"
}

fn transition(object: &Value, kind: &str) -> Timestamp {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
    condition["lastTransitionTime"].as_str().unwrap().parse().unwrap()
}

fn json<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap()
}
