//! A CA that is missing is not replaced by another one behind anybody's back.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::json;
use tempfile::TempDir;

use crate::page::{commands, run};
use crate::support::{
    History, Peer, Story, begin_alone, condition, eventually, gone, handshake, in_namespace, passes, says, versions,
    wait_for,
};

const RECORD: &str = "ringfence.dev/authority";

/// Takes a CA's Secret away; gives what is needed to bring it back.
async fn lose(story: &Story, domain: &str) -> Secret {
    let secrets = in_namespace::<Secret>(story, OPERATOR_NAMESPACE);
    let name = format!("{domain}-ca");
    let mut kept = secrets.get(&name).await.unwrap();
    secrets.delete(&name, &DeleteParams::default()).await.unwrap();
    kept.metadata.uid = None;
    kept.metadata.resource_version = None;
    kept
}

#[tokio::test]
async fn a_lost_ca_is_missed_and_taken_up_again_when_it_comes_back() {
    let (story, _turn) = begin_alone("lost").await;
    let operation = story.cluster.operate().await;
    let [left, right] = story.family().await;
    let root = format!("{}-root", story.name);
    let domains = story.all::<TrustDomain>();
    let recorded = domains.get(&left.domain).await.unwrap();
    let signing = recorded.status.as_ref().unwrap().certificate_authority.clone().unwrap().generation;
    assert_eq!(recorded.annotations()[RECORD], signing);
    let before = [versions(&story, &left.namespace).await, versions(&story, &right.namespace).await];

    // At once, and after a restart; also that of a root, without which no list is whole.
    let kept = [lose(&story, &left.domain).await, lose(&story, &root).await];
    let words = ["is gone", "restore it from a backup", RECORD];
    for domain in [&left.domain, &root] {
        says(&domains, domain, ("Programmed", "False", "AuthorityLost"), &words).await;
    }
    operation.stop().await;
    let history = History::begin(story.cluster);
    let operation = story.cluster.operate().await;
    for domain in [&left.domain, &root] {
        let lost = says(&domains, domain, ("Ready", "False", "AuthorityLost"), &words).await;
        assert!(lost.annotations().contains_key(RECORD), "{domain}");
    }
    let payment = in_namespace::<ServiceIdentity>(&story, &right.namespace);
    says(
        &payment,
        "payment",
        ("Programmed", "False", "Pending"),
        &["payment-trust is left as it is", "has lost its CA"],
    )
    .await;

    // Access can be closed all the same: packets stop.
    let policies = in_namespace::<NetworkPolicy>(&story, &right.namespace);
    let from = json!({"from": [{"identity": {"name": "gateway", "namespace": left.namespace}}]});
    story.change(in_namespace::<AccessPolicy>(&story, &right.namespace), "pay", from).await;
    let open = |policy: &NetworkPolicy| serde_json::to_string(&policy.spec).unwrap().contains("\"order\"");
    wait_for(&policies, "ringfence-payment", "close", |policy| !open(policy)).await;
    // Who has nothing to do with the lost ones any more needs nothing of them.
    let maps = in_namespace::<ConfigMap>(&story, &left.namespace);
    let alone = |map: &ConfigMap| !map.data.as_ref().unwrap()["access.json"].contains("/sa/payment\"");
    wait_for(&maps, "order-trust", "be without peers", alone).await;
    let mut touched = Vec::new();
    for (trust, before) in [&left, &right].into_iter().zip(before) {
        let after = versions(&story, &trust.namespace).await;
        touched.extend(before.into_iter().filter(|(name, version)| after.get(name) != Some(version)));
    }
    let touched: Vec<_> = touched.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(touched, ["ConfigMap order-trust", "NetworkPolicy ringfence-order", "NetworkPolicy ringfence-payment"]);

    for secret in kept {
        in_namespace::<Secret>(&story, OPERATOR_NAMESPACE).create(&PostParams::default(), &secret).await.unwrap();
    }
    for domain in [&left.domain, &root] {
        let back = says(&domains, domain, ("Ready", "True", "Ready"), &[]).await;
        if *domain == left.domain {
            assert_eq!(back.status.unwrap().certificate_authority.unwrap().generation, signing);
        }
    }
    let callers = |map: &ConfigMap| !map.data.as_ref().unwrap()["access.json"].contains("/sa/order\"");
    wait_for(&in_namespace::<ConfigMap>(&story, &right.namespace), "payment-trust", "follow", callers).await;
    says(&payment, "payment", ("Programmed", "True", "Programmed"), &[]).await;
    let writes = history.writes();
    let secrets: Vec<_> = writes.iter().filter(|write| write.resource == "secrets").collect();
    assert!(secrets.is_empty(), "{secrets:?}");
    operation.stop().await;
}

#[tokio::test]
async fn whoever_starts_over_gets_new_cas_and_the_old_ones_are_trusted_by_nobody() {
    let (story, _turn) = begin_alone("over").await;
    let operation = story.cluster.operate().await;
    let [left, right] = story.family().await;
    let stolen = Peer::of(&story, &left.namespace, "order").await;
    let ids = async |story: &Story| {
        let mut ids = Vec::new();
        for domain in ["root", "left", "right"] {
            let object = story.all::<TrustDomain>().get(&format!("{}-{domain}", story.name)).await.unwrap();
            ids.push(object.annotations()[RECORD].clone());
        }
        ids
    };
    let before = ids(&story).await;
    let folder = TempDir::new().unwrap();
    for block in commands("A backup was stolen") {
        let names = [("shop-root", "root"), ("storefront", "left"), ("settlement", "right")];
        let block =
            names.iter().fold(block, |block, (theirs, ours)| block.replace(theirs, &format!("{}-{ours}", story.name)));
        run(story.cluster, folder.path(), &block, &[]).await;
    }
    for domain in [&format!("{}-root", story.name), &left.domain, &right.domain] {
        says(&story.all::<TrustDomain>(), domain, ("Ready", "True", "Ready"), &[]).await;
    }
    let after = ids(&story).await;
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    eventually("caller and callee have what is new", async || {
        let order = Peer::of(&story, &left.namespace, "order").await;
        let payment = Peer::of(&story, &right.namespace, "payment").await;
        let trusted = handshake(order.client(), payment.server(8443)).is_ok();
        (trusted && handshake(stolen.client(), payment.server(8443)).is_err()).then_some(())
    })
    .await;
    operation.stop().await;
}

#[tokio::test]
async fn what_was_declared_before_its_ca_came_back_waits_for_it() {
    let (story, _turn) = begin_alone("early").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let before = Peer::of(&story, &trust.namespace, "order").await;
    let domains = story.all::<TrustDomain>();
    let mut exported = domains.get(&trust.domain).await.unwrap();
    operation.stop().await;

    // A new object, as from an export, with everything but the Secret.
    let kept = lose(&story, &trust.domain).await;
    let finalizers = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    domains.patch(&trust.domain, &PatchParams::default(), &finalizers).await.unwrap();
    domains.delete(&trust.domain, &DeleteParams::default()).await.unwrap();
    gone(&domains, &trust.domain).await;
    exported.metadata.uid = None;
    exported.metadata.resource_version = None;
    exported.status = None;
    domains.create(&PostParams::default(), &exported).await.unwrap();
    let operation = story.cluster.operate().await;
    says(&domains, &trust.domain, ("Ready", "False", "AuthorityLost"), &["restore it from a backup"]).await;
    let identities = in_namespace::<ServiceIdentity>(&story, &trust.namespace);
    says(&identities, "order", ("Programmed", "False", "Pending"), &["no CA to sign with yet"]).await;

    // Half of it is no better.
    let secrets = in_namespace::<Secret>(&story, OPERATOR_NAMESPACE);
    let mut half = kept.clone();
    half.data.as_mut().unwrap().retain(|key, _| key == "generations.json");
    secrets.create(&PostParams::default(), &half).await.unwrap();
    says(&domains, &trust.domain, ("Ready", "False", "AuthorityUnreadable"), &["is missing", "restore it", RECORD])
        .await;
    secrets.delete(&format!("{}-ca", trust.domain), &DeleteParams::default()).await.unwrap();
    says(&domains, &trust.domain, ("Ready", "False", "AuthorityLost"), &[]).await;
    secrets.create(&PostParams::default(), &kept).await.unwrap();
    says(&domains, &trust.domain, ("Ready", "True", "Ready"), &[]).await;
    let ready = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    story.wait_identity(&trust.namespace, "order", "be ready", ready).await;
    assert_eq!(Peer::of(&story, &trust.namespace, "order").await.files["tls.crt"], before.files["tls.crt"]);

    // Had nobody known of the CA, there would be another one; that of the backup can still take its place.
    secrets.delete(&format!("{}-ca", trust.domain), &DeleteParams::default()).await.unwrap();
    says(&domains, &trust.domain, ("Ready", "False", "AuthorityLost"), &[]).await;
    let unrecorded = Patch::Merge(json!({"metadata": {"annotations": {RECORD: null}}}));
    domains.patch(&trust.domain, &PatchParams::default(), &unrecorded).await.unwrap();
    let roots = async || Peer::of(&story, &trust.namespace, "order").await.files["ca.crt"].clone();
    eventually("there is another CA", async || (roots().await != before.files["ca.crt"]).then_some(())).await;
    secrets.delete(&format!("{}-ca", trust.domain), &DeleteParams::default()).await.unwrap();
    says(&domains, &trust.domain, ("Ready", "False", "AuthorityLost"), &[]).await;
    secrets.create(&PostParams::default(), &kept).await.unwrap();
    says(&domains, &trust.domain, ("Ready", "True", "Ready"), &[]).await;
    eventually("there is the old one again", async || (roots().await == before.files["ca.crt"]).then_some(())).await;
    operation.stop().await;
}
