//! Objects that were stored while a looser definition of the kinds was installed: each says that it is invalid and does
//! nothing, and all others go on.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{CustomResourceExt, Resource};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, begin_alone, eventually, gone, identity, says};

/// An object without a schema.
async fn store<K: Resource<DynamicType = ()>>(story: &Story, namespace: &str, name: &str, spec: Value) {
    let api = loosely::<K>(story, namespace);
    let resource = ApiResource::erase::<K>(&());
    let object = json!({
        "apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec,
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    // The looser definition takes a moment to be served.
    eventually("the object is stored", async || match api.create(&PostParams::default(), &object).await {
        Ok(_) => Some(()),
        Err(kube::Error::Api(status)) if status.code == 422 => None,
        Err(error) => panic!("{error}"),
    })
    .await;
}

fn loosely<K: Resource<DynamicType = ()>>(story: &Story, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    match namespace {
        "" => Api::all_with(story.client.clone(), &resource),
        _ => Api::namespaced_with(story.client.clone(), namespace, &resource),
    }
}

/// Installs a definition, with or without its schema.
async fn define(story: &Story, mut definition: CustomResourceDefinition, loose: bool) {
    let definitions = story.all::<CustomResourceDefinition>();
    let name = definition.metadata.name.clone().unwrap();
    definition.metadata.resource_version = definitions.get(&name).await.unwrap().metadata.resource_version;
    if loose {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema =
            json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}});
        definition.spec.versions[0].schema = Some(serde_json::from_value(schema).unwrap());
    }
    definitions.replace(&name, &PostParams::default(), &definition).await.unwrap();
}

/// Waits until the API server refuses what the schema refuses.
async fn is_strict<K: Resource<DynamicType = ()>>(story: &Story, namespace: &str) {
    let resource = ApiResource::erase::<K>(&());
    let object = json!({
        "apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "probe"}, "spec": "none",
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let api = loosely::<K>(story, namespace);
    eventually("the schema is in force", async || {
        let created = api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await;
        created.is_err().then_some(())
    })
    .await;
}

fn self_signed(mut spec: Value) -> Value {
    spec["certificateAuthority"] = json!({"selfSigned": {}});
    spec
}

#[tokio::test]
async fn an_object_stored_under_a_looser_definition_is_invalid_and_the_others_go_on() {
    let (story, _turn) = begin_alone("stored").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    operation.stop().await;
    let outside = story.namespace("outside").await;
    let label = json!({"metadata": {"labels": {"team": "shop"}}});
    let namespaces = story.all::<k8s_openapi::api::core::v1::Namespace>();
    namespaces.patch(&outside, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();

    for definition in [TrustDomain::crd(), ServiceIdentity::crd(), AccessPolicy::crd()] {
        define(&story, definition, true).await;
    }
    let domains = [
        ("no-ca", json!({"certificateAuthority": {}}), "exactly one of selfSigned, secret and parent"),
        ("two-cas", self_signed(json!({})), "exactly one of selfSigned, secret and parent"),
        ("bad-name", self_signed(json!({"trustDomain": "No Name"})), "No Name"),
        ("bad-labels", self_signed(json!({"namespaceSelector": {"matchLabels": {"team": "shop"}}})), "team"),
        ("everything", self_signed(json!({"namespaceSelector": {}})), "namespaceSelector"),
        ("unreadable", self_signed(json!({"namespaces": "all"})), "does not fit the schema"),
    ];
    for (name, spec, _) in &domains {
        let mut spec = spec.clone();
        if *name == "two-cas" {
            spec["certificateAuthority"]["secret"] = json!({"name": "brought"});
        }
        store::<TrustDomain>(&story, "", name, spec).await;
    }
    let identities = [
        ("everyone", json!({"podSelector": {}}), "podSelector"),
        ("briefly", json!({"certificate": {"duration": "1s"}}), "5m"),
        ("unreadable", json!({"services": "all"}), "does not fit the schema"),
    ];
    for (name, spec, _) in &identities {
        store::<ServiceIdentity>(&story, &trust.namespace, name, spec.clone()).await;
    }
    let to = json!({"identity": "bystander", "ports": [{"port": 8443}]});
    let from = json!([{"identity": {"name": "companion"}}]);
    let two = json!({"identity": "bystander", "ports": [{"port": 8443}], "kubernetesAPI": {}});
    let policies = [
        ("two-targets", json!({"to": two, "from": from}), "exactly one of identity"),
        ("two-sources", json!({"to": to, "from": [{"anywhere": {}, "cidr": "203.0.113.0/24"}]}), "exactly one of"),
        ("no-range", json!({"to": to, "from": [{"cidr": "example.com"}]}), "example.com"),
        ("no-port", json!({"to": {"identity": "bystander", "ports": [{"port": 0}]}, "from": from}), "1 to 65535"),
        ("unreadable", json!({"to": to, "from": from, "enforcement": 7}), "does not fit the schema"),
    ];
    for (name, spec, _) in &policies {
        store::<AccessPolicy>(&story, &trust.namespace, name, spec.clone()).await;
    }
    // To these the API server adds not even a status.
    store::<ServiceIdentity>(&story, &trust.namespace, "hopeless", json!({"podSelector": "all"})).await;
    store::<ServiceIdentity>(&story, &trust.namespace, "baseline", json!({})).await;
    store::<AccessPolicy>(&story, &trust.namespace, "hopeless", json!({"to": "all", "from": from})).await;
    for definition in [TrustDomain::crd(), ServiceIdentity::crd(), AccessPolicy::crd()] {
        define(&story, definition, false).await;
    }
    is_strict::<TrustDomain>(&story, "").await;
    is_strict::<ServiceIdentity>(&story, &trust.namespace).await;
    is_strict::<AccessPolicy>(&story, &trust.namespace).await;

    let operation = story.cluster.operate().await;
    let said = ("Accepted", "False", "Invalid");
    for (name, _, word) in domains {
        says(&loosely::<TrustDomain>(&story, ""), name, said, &[word]).await;
        // A bad selector selects nothing, and is no reason to have no CA.
        let secrets = story.api::<Secret>(OPERATOR_NAMESPACE);
        let has_ca = secrets.get_opt(&format!("{name}-ca")).await.unwrap().is_some();
        assert_eq!(has_ca, ["bad-labels", "everything"].contains(&name), "{name}");
    }
    for (name, _, word) in identities {
        says(&loosely::<ServiceIdentity>(&story, &trust.namespace), name, said, &[word]).await;
        // A life that is too short is made longer; for the others there is nothing.
        let secrets = story.api::<Secret>(&trust.namespace);
        let issued = secrets.get_opt(&format!("{name}-tls")).await.unwrap().is_some();
        assert_eq!(issued, name == "briefly", "{name}");
    }
    for (name, _, word) in policies {
        let api = loosely::<AccessPolicy>(&story, &trust.namespace);
        let reason = if name == "no-range" { "InvalidCidr" } else { "Invalid" };
        let refused = says(&api, name, ("Ready", "False", reason), &[word]).await;
        assert_eq!(refused.data.pointer("/status/edges").and_then(Value::as_i64).unwrap_or(0), 0, "{name}");
    }
    let (identities, policies) =
        (loosely::<ServiceIdentity>(&story, &trust.namespace), loosely::<AccessPolicy>(&story, &trust.namespace));
    let hopeless = [
        (identities.get("hopeless").await.unwrap(), "apply it again"),
        (policies.get("hopeless").await.unwrap(), "apply it again"),
        (identities.get("baseline").await.unwrap(), "choose another"),
    ];
    for (object, word) in hopeless {
        eventually("an event says so", async || {
            let events = story.api::<Event>(&trust.namespace).list(&ListParams::default()).await.unwrap();
            let uid = object.metadata.uid.as_deref();
            let about = |event: &&Event| event.regarding.as_ref().and_then(|about| about.uid.as_deref()) == uid;
            let event = events.items.iter().find(about)?;
            let note = event.note.as_deref().unwrap_or_default();
            (event.reason.as_deref() == Some("Invalid") && note.contains(word)).then_some(())
        })
        .await;
    }
    let secrets = story.api::<Secret>(&trust.namespace);
    assert!(secrets.get_opt("baseline-tls").await.unwrap().is_none());
    // A label that anyone in the namespace may set takes nobody in.
    assert!(story.api::<NetworkPolicy>(&outside).get_opt("ringfence-baseline").await.unwrap().is_none());
    bystanders.are_untouched(&story).await;
    // Others go on, and what is put right works.
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let right = json!({"spec": {"services": []}});
    let api = loosely::<ServiceIdentity>(&story, &trust.namespace);
    api.patch("unreadable", &PatchParams::default(), &Patch::Merge(right)).await.unwrap();
    says(&api, "unreadable", ("Ready", "True", "NoPods"), &[]).await;
    let right = json!({"spec": identity("", json!({"certificate": {"duration": "5m"}}))["spec"]});
    api.patch("briefly", &PatchParams::default(), &Patch::Merge(right)).await.unwrap();
    says(&api, "briefly", ("Ready", "True", "NoPods"), &[]).await;
    for name in ["no-ca", "unreadable"] {
        let api = loosely::<TrustDomain>(&story, "");
        api.delete(name, &Default::default()).await.unwrap();
        gone(&api, name).await;
    }
    bystanders.are_untouched(&story).await;
    operation.stop().await;
}
