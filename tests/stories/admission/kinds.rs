//! The three kinds: guarded against deletion, and not missed too badly where they are missing.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use ringfence_cluster::{Cluster, Options};
use serde_json::json;

use super::{answer, begin, create, passes, refused};
use crate::support::{guard, wait_for};

#[tokio::test]
async fn the_kinds_cannot_be_deleted_while_ringfence_is_installed() {
    let story = begin("kinds").await;
    let crds = Api::<CustomResourceDefinition>::all(story.client.clone());
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    for kind in ["trustdomains", "serviceidentities", "accesspolicies"] {
        let name = format!("{kind}.ringfence.dev");
        let message = refused("ringfence-kinds", async || answer(crds.delete(&name, &dry).await)).await;
        assert!(message.contains(&format!("{name} can not be deleted")), "{message}");
    }
    refused("ringfence-kinds", async || answer(crds.delete_collection(&dry, &ListParams::default()).await)).await;

    let other = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    }});
    story.create_cluster_wide::<CustomResourceDefinition>(other).await;
    answer(crds.delete("things.example.com", &DeleteParams::default()).await).unwrap();
}

#[tokio::test]
async fn the_api_server_finds_no_fault_with_the_policies() {
    let story = begin("types").await;
    let policies = Api::<ValidatingAdmissionPolicy>::all(story.client.clone());
    let names = ["foreign-network-policies", "kinds", "membership", "membership-labels", "outputs", "status"];
    for name in names.into_iter().chain(["pod-service-accounts"]) {
        let checked = wait_for(&policies, &format!("ringfence-{name}"), "be checked", |policy| {
            let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
            observed.is_some() && observed == policy.metadata.generation
        })
        .await;
        let faults = checked.status.and_then(|status| status.type_checking).and_then(|types| types.expression_warnings);
        assert_eq!(faults.unwrap_or_default(), [], "{name}");
    }
}

/// As after a backup was restored without its kinds: the policies are there, and what they ask for is not.
#[tokio::test]
async fn a_cluster_without_the_kinds_still_starts_pods() {
    let cluster = tokio::task::spawn_blocking(|| {
        let cluster = Cluster::start(&Options::default()).unwrap();
        guard(&cluster);
        cluster
    });
    let cluster = cluster.await.unwrap();
    let kubeconfig = kube::config::Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await;
    let client = Client::try_from(config.unwrap()).unwrap();

    // The one thing that is held up: whether it would widen a fence can't be told.
    let open = json!({"metadata": {"name": "any"}, "spec": {"podSelector": {}}});
    let policies = Api::<NetworkPolicy>::namespaced(client.clone(), "default");
    crate::support::eventually("NetworkPolicies are held up", async || {
        create(&policies, open.clone()).await.err().filter(|message| message.contains("failed to find resource"))
    })
    .await;
    let system = Api::<NetworkPolicy>::namespaced(client.clone(), "kube-system");
    create(&system, open).await.unwrap();

    let pods = Api::<Pod>::namespaced(client.clone(), "default");
    let pod = json!({"metadata": {"name": "any"}, "spec": {"containers": [{"name": "main", "image": "example"}]}});
    passes("a pod", async || create(&pods, pod.clone()).await).await;
    let namespaces = Api::<Namespace>::all(client);
    create(&namespaces, json!({"metadata": {"name": "new", "labels": {"team": "any"}}})).await.unwrap();
    tokio::task::spawn_blocking(|| cluster.stop().unwrap()).await.unwrap();
}
