//! Back to a snapshot of etcd.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use ringfence_cluster::{OPERATOR_NAMESPACE, Server};
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::json;
use tempfile::TempDir;

use crate::page::{commands, run};
use crate::support::{
    History, Peer, Story, begin_alone, condition, eventually, gone, handshake, in_namespace, passes, says, secret,
    versions,
};

async fn blocking(story: &Story, work: impl FnOnce(&'static ringfence_cluster::Cluster) + Send + 'static) {
    let cluster = story.cluster.cluster();
    tokio::task::spawn_blocking(move || work(cluster)).await.unwrap();
}

fn compromised(id: &str) -> serde_json::Value {
    json!({"rotation": {"id": id, "target": "Certificate", "mode": "Compromised"}})
}

#[tokio::test]
async fn after_a_restored_snapshot_everything_is_as_it_was_and_nothing_is_issued() {
    let (story, _turn) = begin_alone("snapshot").await;
    let operation = story.cluster.operate().await;
    let [left, right] = story.family().await;
    let folder = TempDir::new().unwrap();
    let endpoint = format!("unix://{}", story.cluster.cluster().dir().join("etcd.sock").display());
    let [save, restore, _restart]: [String; 3] = commands("With an etcd snapshot").try_into().unwrap();
    let cas = in_namespace::<Secret>(&story, OPERATOR_NAMESPACE);
    let ca = cas.get(&format!("{}-ca", left.domain)).await.unwrap();
    let before = [versions(&story, &left.namespace).await, versions(&story, &right.namespace).await];
    let snapshotted = Peer::of(&story, &left.namespace, "order").await;
    run(story.cluster, folder.path(), &save, &[("ETCDCTL_ENDPOINTS", &endpoint)]).await;

    // What happens after the snapshot: a revocation, an identity, a domain.
    let identities = in_namespace::<ServiceIdentity>(&story, &left.namespace);
    story.change(identities.clone(), "order", compromised("first")).await;
    eventually("the certificate is revoked", async || {
        (!passes(&snapshotted, &Peer::of(&story, &right.namespace, "payment").await)).then_some(())
    })
    .await;
    let renewed = eventually("there is another one", async || {
        let order = Peer::of(&story, &left.namespace, "order").await;
        (order.files["tls.crt"] != snapshotted.files["tls.crt"]).then_some(order)
    })
    .await;
    story.ready_identity(&left.namespace, "late", json!({})).await;
    story.trust("late", json!({})).await;

    let data = story.cluster.cluster().etcd_data();
    blocking(&story, move |cluster| {
        for server in [Server::ControllerManager, Server::ApiServer, Server::Etcd] {
            cluster.stop_server(server).unwrap();
        }
        std::fs::rename(cluster.etcd_data(), cluster.dir().join("etcd-lost")).unwrap();
    })
    .await;
    run(story.cluster, folder.path(), &restore, &[("ETCD_DATA", data.to_str().unwrap())]).await;
    let history = History::begin(story.cluster);
    blocking(&story, |cluster| {
        for server in [Server::Etcd, Server::ApiServer, Server::ControllerManager] {
            cluster.start_server(server).unwrap();
        }
    })
    .await;
    // It has gone on running, as its pods do.
    operation.stop().await;
    let operation = story.cluster.operate().await;

    for domain in [&left.domain, &right.domain, &format!("{}-root", story.name)] {
        says(&story.all::<TrustDomain>(), domain, ("Ready", "True", "Ready"), &[]).await;
    }
    let wanted = |object: &ServiceIdentity| condition(object, "Ready").0 == "True";
    story.wait_identity(&left.namespace, "order", "be ready", wanted).await;
    // Whatever it is told of comes after all that it looks at because it has started.
    story.ready_identity(&left.namespace, "sentinel", json!({})).await;
    let mut after = [versions(&story, &left.namespace).await, versions(&story, &right.namespace).await];
    after[0].retain(|name, _| !name.contains("sentinel"));
    assert_eq!(after, before, "not a Secret, not a bundle, not a fence was written");
    let ca_after = cas.get(&format!("{}-ca", left.domain)).await.unwrap();
    assert_eq!((ca_after.uid(), ca_after.resource_version()), (ca.uid(), ca.resource_version()));
    let made: Vec<_> =
        history.writes().into_iter().filter(|write| write.verb == "create" && write.resource == "secrets").collect();
    assert_eq!(
        made.iter().map(|write| write.object.clone()).collect::<Vec<_>>(),
        [format!("{}/sentinel-tls", left.namespace)]
    );
    assert!(story.all::<TrustDomain>().get_opt(&format!("{}-late", story.name)).await.unwrap().is_none());
    assert!(identities.get_opt("late").await.unwrap().is_none());

    // As the page says: what was revoked is trusted again, and is revoked again; what was issued meanwhile is valid.
    let payment = Peer::of(&story, &right.namespace, "payment").await;
    assert!(passes(&snapshotted, &payment) && passes(&renewed, &payment));
    handshake(renewed.client(), payment.server(8443)).unwrap();
    story.change(identities, "order", compromised("again")).await;
    eventually("it is revoked again", async || {
        let payment = Peer::of(&story, &right.namespace, "payment").await;
        (!passes(&snapshotted, &payment)).then_some(())
    })
    .await;
    operation.stop().await;
}
