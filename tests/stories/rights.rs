//! The operator's own rights: they come with a namespace and go with it, and Secrets are seen nowhere else.

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use ringfence_cluster::{OPERATOR_NAMESPACE, OPERATOR_USER};
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{
    History, Story, begin_alone, condition, edit, essence, eventually, gone, identity, in_namespace, says, versions,
    wait_for,
};

const BINDING: &str = "ringfence";

/// Whether the operator may do this with Secrets; in all namespaces where none is named.
async fn may(story: &Story, verb: &str, namespace: &str) -> bool {
    let review = json!({"metadata": {}, "spec": {
        "user": OPERATOR_USER, "groups": ["system:authenticated"],
        "resourceAttributes": {"namespace": namespace, "verb": verb, "resource": "secrets"},
    }});
    story.create_cluster_wide::<SubjectAccessReview>(review).await.status.unwrap().allowed
}

#[tokio::test]
async fn secrets_are_read_and_written_in_member_namespaces_alone() {
    let story = Story::begin("least").await;
    let trust = story.trust("inside", json!({"enforcement": "Audit"})).await;
    let outside = story.namespace("outside").await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    for verb in ["list", "create"] {
        assert!(may(&story, verb, &trust.namespace).await && may(&story, verb, OPERATOR_NAMESPACE).await);
        for namespace in [&outside, "kube-system", "default", ""] {
            assert!(!may(&story, verb, namespace).await, "{verb} in {namespace:?}");
        }
    }
    let domains = Api::<TrustDomain>::all(story.client.clone());
    story.change(domains, &trust.domain, json!({"namespaces": [outside]})).await;
    gone(&in_namespace::<RoleBinding>(&story, &trust.namespace), BINDING).await;
    story.ready_identity(&outside, "order", json!({})).await;
    eventually("the rights have moved", async || {
        (may(&story, "list", &outside).await && !may(&story, "list", &trust.namespace).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_rights_in_a_namespace_come_first_and_go_last() {
    let story = Story::begin("rights").await;
    let history = History::begin(story.cluster);
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({"signingKey": {}})).await;
    wait_for(&in_namespace::<NetworkPolicy>(&story, namespace), "ringfence-baseline", "be written", |_| true).await;
    let own = |object: &str| object.starts_with(&format!("{namespace}/"));
    let done = || {
        let writes = history.writes().into_iter().filter(|write| own(&write.object));
        let outputs = writes.filter(|write| !write.resource.contains('/') && write.resource != "events");
        outputs.map(|write| format!("{} {}", write.verb, write.resource)).collect::<Vec<_>>()
    };
    assert_eq!(done().first().map(String::as_str), Some("create rolebindings"));

    let domains = Api::<TrustDomain>::all(story.client.clone());
    story.change(domains, &trust.domain, json!({"namespaces": []})).await;
    let outside = |object: &ServiceIdentity| condition(object, "Accepted").1 == "NotInTrustDomain";
    story.wait_identity(namespace, "order", "be outside", outside).await;
    let bindings = in_namespace::<RoleBinding>(&story, namespace);
    assert!(bindings.get_opt(BINDING).await.unwrap().is_some(), "the fence could not be removed without it");
    in_namespace::<ServiceIdentity>(&story, namespace).delete("order", &DeleteParams::default()).await.unwrap();
    gone(&bindings, BINDING).await;
    eventually("the log tells of it", async || {
        let done = done();
        let last = done.last_chunk::<2>()?;
        (*last == ["delete networkpolicies".to_owned(), "delete rolebindings".to_owned()]).then_some(())
    })
    .await;
    assert_eq!(in_namespace::<NetworkPolicy>(&story, namespace).get_opt("ringfence-baseline").await.unwrap(), None);
}

#[tokio::test]
async fn rights_that_someone_takes_away_come_back_and_nothing_is_issued_anew() {
    let story = Story::begin("robbed").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    for (trust, name) in [(&left, "order"), (&right, "payment")] {
        story.ready_identity(&trust.namespace, name, json!({"signingKey": {}})).await;
    }
    let grant = json!({
        "to": {"identity": "payment", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order", "namespace": left.namespace}}], "authentication": {"jwt": {}},
    });
    story.ready_policy(&right.namespace, "pay", grant).await;
    story.ready_identity(&left.namespace, "bystander", json!({})).await;
    let before = [versions(&story, &left.namespace).await, versions(&story, &right.namespace).await];
    let bindings = in_namespace::<RoleBinding>(&story, &left.namespace);
    let whole = bindings.get(BINDING).await.unwrap();
    let changed =
        edit(&bindings, BINDING, |binding| binding.subjects.as_mut().unwrap()[0].name = "other".to_owned()).await;
    assert_ne!(essence(&changed), Value::Null);
    wait_for(&bindings, BINDING, "be put right", |binding| binding.subjects == whole.subjects).await;
    bindings.delete(BINDING, &DeleteParams::default()).await.unwrap();
    let again =
        |binding: &RoleBinding| binding.metadata.uid != whole.metadata.uid && binding.subjects == whole.subjects;
    wait_for(&bindings, BINDING, "come back", again).await;
    // Everything there is seen again when something new is written.
    story.ready_identity(&left.namespace, "late", json!({})).await;
    let mut after = [versions(&story, &left.namespace).await, versions(&story, &right.namespace).await];
    after[0].retain(|name, _| !name.contains("late"));
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_role_binding_of_someone_else_keeps_ringfence_out_and_is_named() {
    let story = Story::begin("squatter").await;
    let namespace = story.namespace("shop").await;
    let theirs = json!({
        "metadata": {"name": BINDING},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    });
    story.create::<RoleBinding>(&namespace, theirs).await;
    let spec = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
    story.create_cluster_wide::<TrustDomain>(json!({"metadata": {"name": story.name}, "spec": spec})).await;
    story.create::<ServiceIdentity>(&namespace, identity("order", json!({}))).await;
    let words = [&*format!("RoleBinding {namespace}/{BINDING}"), "is not Ringfence's", "delete or rename it"];
    let domains = Api::<TrustDomain>::all(story.client.clone());
    says(&domains, &story.name, ("NameTaken", "True", "NameTaken"), &words).await;
    let identities = in_namespace::<ServiceIdentity>(&story, &namespace);
    says(&identities, "order", ("NameTaken", "True", "NameTaken"), &words).await;
    assert_eq!(in_namespace::<Secret>(&story, &namespace).get_opt("order-tls").await.unwrap(), None);
    let bindings = in_namespace::<RoleBinding>(&story, &namespace);
    bindings.delete(BINDING, &DeleteParams::default()).await.unwrap();
    says(&identities, "order", ("Ready", "True", "NoPods"), &[]).await;
    says(&domains, &story.name, ("Ready", "True", "Ready"), &[]).await;
}

#[tokio::test]
async fn what_can_not_be_seen_at_the_start_is_not_taken_for_missing() {
    let (story, _turn) = begin_alone("unseen").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({"signingKey": {}})).await;
    wait_for(&in_namespace::<NetworkPolicy>(&story, namespace), "ringfence-baseline", "be written", |_| true).await;
    let before = versions(&story, namespace).await;
    operation.stop().await;

    // As after an upgrade from a version that had rights everywhere.
    in_namespace::<RoleBinding>(&story, namespace).delete(BINDING, &DeleteParams::default()).await.unwrap();
    let operation = story.cluster.operate().await;
    story.ready_identity(namespace, "late", json!({})).await;
    operation.stop().await;
    let of_order = async || {
        let mut versions = versions(&story, namespace).await;
        versions.retain(|name, _| !name.contains("late"));
        versions
    };
    assert_eq!(of_order().await, before);

    // The role is gone: every RoleBinding is without effect.
    let roles = Api::<ClusterRole>::all(story.client.clone());
    let mut role = roles.get("ringfence-member").await.unwrap();
    roles.delete("ringfence-member", &DeleteParams::default()).await.unwrap();
    let operation = story.cluster.operate().await;
    story.create::<ServiceIdentity>(namespace, identity("later", json!({}))).await;
    let identities = in_namespace::<ServiceIdentity>(&story, namespace);
    let words = [&*format!("RoleBinding {namespace}/{BINDING} gives the operator no rights"), "ringfence-member"];
    says(&identities, "later", ("Programmed", "False", "WriteFailed"), &words).await;
    says(&Api::<TrustDomain>::all(story.client.clone()), &trust.domain, ("Ready", "False", "WriteFailed"), &words)
        .await;
    (role.metadata.resource_version, role.metadata.uid) = (None, None);
    roles.create(&PostParams::default(), &role).await.unwrap();
    says(&identities, "later", ("Ready", "True", "NoPods"), &[]).await;
    says(&identities, "order", ("Ready", "True", "NoPods"), &[]).await;
    assert_eq!(of_order().await, before);
    operation.stop().await;
}
