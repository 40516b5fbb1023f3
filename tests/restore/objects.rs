//! From one cluster into another, empty one, by files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::page::{commands, run};
use crate::support::{
    History, Peer, Story, TestCluster, Trust, begin_alone, condition, config_map, eventually, gone, guard, handshake,
    identity, in_namespace, passes, says, secret, wait_for,
};

/// Everything that Ringfence keeps in Secrets, by namespace and name.
async fn secrets(story: &Story) -> BTreeMap<String, (String, BTreeMap<String, Vec<u8>>)> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=ringfence");
    let found = Api::<Secret>::all(story.client.clone()).list(&ours).await.unwrap();
    let entry = |secret: Secret| {
        let name = format!("{}/{}", secret.namespace().unwrap(), secret.name_any());
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        (name, (secret.type_.unwrap(), data.collect()))
    };
    found.into_iter().map(entry).collect()
}

/// Suspends `gateway`, and waits until its peer has the list with its certificate; gives what it had.
async fn revoke(story: &Story, [left, right]: &[Trust; 2]) -> Peer {
    let revoked = Peer::of(story, &left.namespace, "gateway").await;
    let identities = in_namespace::<ServiceIdentity>(story, &left.namespace);
    story.change(identities, "gateway", json!({"suspended": true})).await;
    eventually("the list reaches its peer", async || {
        (!passes(&revoked, &Peer::of(story, &right.namespace, "payment").await)).then_some(())
    })
    .await;
    let closed = |object: &ServiceIdentity| {
        condition(object, "Suspended").0 == "True" && condition(object, "Programmed").0 == "True"
    };
    story.wait_identity(&left.namespace, "gateway", "be suspended", closed).await;
    revoked
}

/// What was exported is there again, in a cluster with other UIDs.
async fn ready_again(story: &Story, [left, right]: &[Trust; 2]) {
    for (namespace, name) in [(&left.namespace, "order"), (&right.namespace, "payment")] {
        let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
        story.wait_identity(namespace, name, "be ready", ready).await;
    }
    let stands = |object: &AccessPolicy| condition(object, "Accepted").0 == "True";
    story.wait_policy(&right.namespace, "pay", "stand", stands).await;
}

#[tokio::test]
async fn an_export_brings_the_same_cas_and_certificates_to_an_empty_cluster() {
    let (source, _turn) = begin_alone("export").await;
    let operation = source.cluster.operate().await;
    let family = source.family().await;
    let [left, right] = &family;
    let revoked = revoke(&source, &family).await;
    let folder = TempDir::new().unwrap();
    for block in commands("Export") {
        run(source.cluster, folder.path(), &block, &[]).await;
    }
    let before = secrets(&source).await;
    let order_before = Peer::of(&source, &left.namespace, "order").await;
    let lists = config_map(&source, OPERATOR_NAMESPACE, &format!("{}-trust", left.domain)).await;
    operation.stop().await;

    // As the chart leaves it: the policies are in force, and the operator has nothing to do.
    let cluster: &'static TestCluster = Box::leak(Box::new(TestCluster::start().await));
    guard(cluster.cluster());
    let operation = cluster.operate().await;
    let history = History::begin(cluster);
    let target = Story { cluster, client: cluster.client().await, name: source.name.clone() };
    let wanted: std::collections::BTreeSet<String> =
        before.keys().map(|name| name.split_once('/').unwrap().0.to_owned()).collect();
    for namespace in wanted.iter().filter(|name| *name != OPERATOR_NAMESPACE) {
        target.create_cluster_wide::<Namespace>(json!({"metadata": {"name": namespace}})).await;
    }
    for block in commands("Restore") {
        run(cluster, folder.path(), &block, &[]).await;
    }
    ready_again(&target, &family).await;
    eventually("every Secret belongs to somebody again", async || (secrets(&target).await == before).then_some(()))
        .await;
    let uid = |story: &Story| in_namespace::<ServiceIdentity>(story, &left.namespace);
    let order = uid(&target).get("order").await.unwrap();
    assert_ne!(order.uid(), uid(&source).get("order").await.unwrap().uid());
    let owned = in_namespace::<Secret>(&target, &left.namespace);
    let adopted = |secret: &Secret| {
        secret.owner_references().first().is_some_and(|owner| Some(&owner.uid) == order.metadata.uid.as_ref())
            && !secret.annotations().contains_key("ringfence.dev/restored")
    };
    for name in ["order-tls", "order-signing-key"] {
        wait_for(&owned, name, "belong to the new object", adopted).await;
    }
    for domain in [&left.domain, &right.domain, &format!("{}-root", source.name)] {
        assert_eq!(history.writes_to("secrets", &format!("{OPERATOR_NAMESPACE}/{domain}-ca")), 0, "{domain}");
    }

    // Whoever has files of the old cluster still, and whoever has those of the new one, know each other; who was revoked stays
    // revoked.
    let [order, payment] =
        [Peer::of(&target, &left.namespace, "order").await, Peer::of(&target, &right.namespace, "payment").await];
    for caller in [&order, &order_before] {
        handshake(caller.client(), payment.server(8443)).unwrap();
        assert!(passes(caller, &payment));
    }
    assert!(!passes(&revoked, &payment));
    let again = config_map(&target, OPERATOR_NAMESPACE, &format!("{}-trust", left.domain)).await;
    assert_eq!(again, lists, "bundle and lists are the very ones");
    let kid = secret(&target, &left.namespace, "order-signing-key").await["kid"].clone();
    assert!(payment.files["jwks.json"].contains(&kid));

    // The restored certificate can be revoked like any other.
    let revoked = revoke_order(&target, &family).await;
    assert!(!passes(&revoked, &Peer::of(&target, &right.namespace, "payment").await));
    operation.stop().await;
}

async fn revoke_order(story: &Story, [left, right]: &[Trust; 2]) -> Peer {
    let order = Peer::of(story, &left.namespace, "order").await;
    let rotation = json!({"rotation": {"id": "after", "target": "Certificate", "mode": "Compromised"}});
    story.change(in_namespace::<ServiceIdentity>(story, &left.namespace), "order", rotation).await;
    eventually("the list has the restored certificate", async || {
        (!passes(&order, &Peer::of(story, &right.namespace, "payment").await)).then_some(())
    })
    .await;
    order
}

#[tokio::test]
async fn without_the_certificates_identities_get_new_ones_from_the_same_ca() {
    let (story, _turn) = begin_alone("cas-only").await;
    let operation = story.cluster.operate().await;
    let family = story.family().await;
    let [left, right] = &family;
    let before = Peer::of(&story, &left.namespace, "order").await;
    let authorities = |all: BTreeMap<String, (String, _)>| -> BTreeMap<String, (String, BTreeMap<String, Vec<u8>>)> {
        all.into_iter().filter(|(name, _)| name.starts_with(OPERATOR_NAMESPACE) && name.contains(&story.name)).collect()
    };
    let cas = authorities(secrets(&story).await);
    assert_eq!(cas.len(), 3);
    operation.stop().await;

    // The objects go and come back, and the CAs stay: the same as in a new cluster.
    let identities = in_namespace::<ServiceIdentity>(&story, &left.namespace);
    let object = identities.get("order").await.unwrap();
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    identities.patch("order", &PatchParams::default(), &released).await.unwrap();
    identities.delete("order", &DeleteParams::default()).await.unwrap();
    gone(&in_namespace::<Secret>(&story, &left.namespace), "order-tls").await;
    let spec: Value = serde_json::to_value(&object.spec).unwrap();
    story.create::<ServiceIdentity>(&left.namespace, identity("order", spec)).await;
    // A Secret that was not cleaned goes as well.
    let stale = json!({
        "metadata": {"name": "stale", "labels": {"app.kubernetes.io/managed-by": "ringfence"}, "ownerReferences": [{
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "ServiceIdentity", "name": "order", "controller": true,
            "uid": object.uid().unwrap(),
        }]},
    });
    story.create::<Secret>(&left.namespace, stale).await;
    let operation = story.cluster.operate().await;
    gone(&in_namespace::<Secret>(&story, &left.namespace), "stale").await;
    ready_again(&story, &family).await;
    assert_eq!(authorities(secrets(&story).await), cas);
    let [order, payment] =
        [Peer::of(&story, &left.namespace, "order").await, Peer::of(&story, &right.namespace, "payment").await];
    assert_ne!(order.files["tls.crt"], before.files["tls.crt"]);
    assert_eq!(order.files["ca.crt"], before.files["ca.crt"]);
    handshake(order.client(), payment.server(8443)).unwrap();
    operation.stop().await;
}

#[tokio::test]
async fn a_secret_of_which_nobody_says_whose_it_is_is_left_alone_until_somebody_does() {
    let (story, _turn) = begin_alone("unmarked").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let secrets = in_namespace::<Secret>(&story, &trust.namespace);
    let mut bare = secrets.get("order-tls").await.unwrap();
    bare.metadata = serde_json::from_value(json!({
        "name": "late-tls", "labels": {"app.kubernetes.io/managed-by": "ringfence"},
    }))
    .unwrap();
    secrets.create(&PostParams::default(), &bare).await.unwrap();
    story.create::<ServiceIdentity>(&trust.namespace, identity("late", json!({}))).await;
    let identities = in_namespace::<ServiceIdentity>(&story, &trust.namespace);
    says(&identities, "late", ("Ready", "False", "NameTaken"), &["late-tls", "left alone"]).await;
    let mark = Patch::Merge(json!({"metadata": {"annotations": {"ringfence.dev/restored": "true"}}}));
    secrets.patch("late-tls", &PatchParams::default(), &mark).await.unwrap();
    // It is another identity's, and so does not stay as it is.
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    story.wait_identity(&trust.namespace, "late", "be ready", ready).await;
    let now = secrets.get("late-tls").await.unwrap();
    assert_ne!(now.data, bare.data);
    assert!(!now.annotations().contains_key("ringfence.dev/restored") && !now.owner_references().is_empty());
    operation.stop().await;
}
