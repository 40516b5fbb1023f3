//! TrustDomains that want what another has, that have no root, or that are not there any more.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, begin_alone, condition, domain, gone, identity, says, wait_for, writes_since};

fn self_signed(namespaces: &[&str]) -> Value {
    json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": namespaces})
}

fn child_of(parent: &str) -> Value {
    json!({"certificateAuthority": {"parent": {"name": parent}}})
}

#[tokio::test]
async fn two_domains_claim_one_namespace_and_the_first_keeps_it() {
    let story = Story::begin("claim").await;
    let trust = story.trust("first", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let rival = format!("{}-a-rival", story.name);
    story.create_cluster_wide::<TrustDomain>(domain(&rival, self_signed(&[&trust.namespace]))).await;
    let words = [&*trust.namespace, &*trust.domain, "take it out of one of them"];
    let refused = says(&story.all::<TrustDomain>(), &rival, ("Accepted", "False", "NamespaceTaken"), &words).await;
    assert_eq!(condition(&refused, "Ready").1, "NamespaceTaken");
    assert!(refused.status.unwrap().namespaces.is_empty());
    let identity = story.ready_identity(&trust.namespace, "order", json!({})).await;
    assert!(identity.status.unwrap().spiffe_id.unwrap().starts_with(&format!("spiffe://{}/", trust.domain)));
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn two_domains_claim_one_trust_domain_name_and_the_first_keeps_it() {
    let story = Story::begin("name").await;
    let name = format!("{}.example", story.name);
    let trust = story.trust("first", json!({"trustDomain": name})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let (rival, namespace) = (format!("{}-a-rival", story.name), story.namespace("rival").await);
    let mut spec = self_signed(&[&namespace]);
    spec["trustDomain"] = json!(name);
    story.create_cluster_wide::<TrustDomain>(domain(&rival, spec)).await;
    let words = [&*trust.domain, &*name, "to another name"];
    let refused = says(&story.all::<TrustDomain>(), &rival, ("Accepted", "False", "TrustDomainTaken"), &words).await;
    assert_eq!(refused.status.unwrap().trust_domain, None);
    story.create::<ServiceIdentity>(&namespace, identity("order", json!({}))).await;
    let words = [&*rival, "holds no trust-domain name"];
    let api = story.api::<ServiceIdentity>(&namespace);
    says(&api, "order", ("Accepted", "False", "NotInTrustDomain"), &words).await;
    assert!(story.api::<Secret>(&namespace).get_opt("order-tls").await.unwrap().is_none());
    assert!(story.api::<Secret>(OPERATOR_NAMESPACE).get_opt(&format!("{rival}-ca")).await.unwrap().is_none());
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_claim_sticks_over_a_restart_although_an_older_domain_wants_it_back() {
    let (story, _turn) = begin_alone("sticky").await;
    let operation = story.cluster.operate().await;
    let older = story.trust("older", json!({})).await;
    let domains = story.all::<TrustDomain>();
    story.change(domains.clone(), &older.domain, json!({"namespaces": []})).await;
    story.wait_domain(&older.domain, "let go", |object| object.status.as_ref().unwrap().namespaces.is_empty()).await;
    let holder = format!("{}-younger", story.name);
    story.create_cluster_wide::<TrustDomain>(domain(&holder, self_signed(&[&older.namespace]))).await;
    says(&domains, &holder, ("Ready", "True", "Ready"), &[]).await;
    let bystanders = Bystanders::in_namespace(&story, &older.namespace).await;
    story.change(domains.clone(), &older.domain, json!({"namespaces": [older.namespace]})).await;
    let words = [&*older.namespace, &*holder];
    says(&domains, &older.domain, ("Accepted", "False", "NamespaceTaken"), &words).await;
    operation.stop().await;
    let operation = story.cluster.operate().await;
    let identity = story.ready_identity(&older.namespace, "order", json!({})).await;
    assert!(identity.status.unwrap().spiffe_id.unwrap().starts_with(&format!("spiffe://{holder}/")));
    says(&domains, &older.domain, ("Accepted", "False", "NamespaceTaken"), &words).await;
    bystanders.are_untouched(&story).await;
    operation.stop().await;
}

#[tokio::test]
async fn parents_that_form_a_cycle_are_told_so_each_and_recover_when_it_is_broken() {
    let story = Story::begin("cycle").await;
    let trust = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let [a, b, c] = ["a", "b", "c"].map(|suffix| format!("{}-{suffix}", story.name));
    let domains = story.all::<TrustDomain>();
    for (name, parent) in [(&a, &b), (&b, &c)] {
        story.create_cluster_wide::<TrustDomain>(domain(name, child_of(parent))).await;
    }
    for name in [&a, &b] {
        says(&domains, name, ("ResolvedRefs", "False", "ParentNotFound"), &[&c]).await;
    }
    story.create_cluster_wide::<TrustDomain>(domain(&c, child_of(&a))).await;
    for name in [&a, &b, &c] {
        let words = [&*a, &*b, &*c, "give one of them another certificateAuthority"];
        let refused = says(&domains, name, ("Accepted", "False", "ParentCycle"), &words).await;
        assert_eq!(condition(&refused, "Ready").1, "ParentCycle");
        assert!(refused.status.unwrap().certificate_authority.is_none());
    }
    story.change(domains.clone(), &c, json!({"certificateAuthority": {"parent": null, "selfSigned": {}}})).await;
    for name in [&a, &b, &c] {
        says(&domains, name, ("Ready", "True", "Ready"), &[]).await;
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_domain_that_is_its_own_parent_or_has_none_or_too_many_is_refused() {
    let story = Story::begin("parents").await;
    let trust = story.trust("root", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let domains = story.all::<TrustDomain>();
    let name = |suffix: &str| format!("{}-{suffix}", story.name);
    let own = name("own");
    story.create_cluster_wide::<TrustDomain>(domain(&own, child_of(&own))).await;
    says(&domains, &own, ("Accepted", "False", "ParentCycle"), &[&own, "another certificateAuthority"]).await;
    let orphan = name("orphan");
    story.create_cluster_wide::<TrustDomain>(domain(&orphan, child_of("nobody"))).await;
    let words = ["nobody", "does not exist", "create it, or name another"];
    says(&domains, &orphan, ("ResolvedRefs", "False", "ParentNotFound"), &words).await;
    let mut parent = trust.domain.clone();
    for level in 1..=4 {
        let child = name(&format!("level-{level}"));
        story.create_cluster_wide::<TrustDomain>(domain(&child, child_of(&parent))).await;
        match level {
            4 => drop(says(&domains, &child, ("Accepted", "False", "ParentTooDeep"), &[&child, "3 levels"]).await),
            _ => drop(says(&domains, &child, ("Ready", "True", "Ready"), &[]).await),
        }
        parent = child;
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn the_clusters_own_namespaces_can_not_be_members() {
    let story = Story::begin("system").await;
    let trust = story.trust("inside", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    for namespace in ["kube-system", OPERATOR_NAMESPACE] {
        let name = format!("{}-{namespace}", story.name);
        story.create_cluster_wide::<TrustDomain>(domain(&name, self_signed(&[namespace]))).await;
        let words = [namespace, "can't be a member"];
        let refused =
            says(&story.all::<TrustDomain>(), &name, ("Accepted", "False", "NamespaceNotAllowed"), &words).await;
        assert!(refused.status.unwrap().namespaces.is_empty());
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_domain_names_a_namespace_that_is_not_there_and_gets_it_when_it_comes() {
    let story = Story::begin("missing").await;
    let other = format!("{}-later", story.name);
    let here = format!("{}-here", story.name);
    let trust = story.trust("here", json!({"namespaces": [here, other]})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let domains = story.all::<TrustDomain>();
    let words = [&*other, "create it, or take it out of namespaces"];
    says(&domains, &trust.domain, ("ResolvedRefs", "False", "NamespaceNotFound"), &words).await;
    story.namespace("later").await;
    says(&domains, &trust.domain, ("Ready", "True", "Ready"), &[]).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_domain_that_is_deleted_while_identities_live_waits_for_them() {
    let story = Story::begin("remain").await;
    let trust = story.trust("doomed", json!({})).await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    let ready = story.ready_identity(&trust.namespace, "order", json!({})).await;
    let serial = ready.status.unwrap().certificate.unwrap().serial;
    // One that is refused is left in the domain as well.
    let spec = json!({"serviceAccountName": "order"});
    story.create::<ServiceIdentity>(&trust.namespace, identity("twin", spec)).await;
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    says(&identities, "twin", ("Accepted", "False", "ServiceAccountTaken"), &["order"]).await;
    let (domains, secrets) = (story.all::<TrustDomain>(), story.api::<Secret>(OPERATOR_NAMESPACE));
    domains.delete(&trust.domain, &DeleteParams::default()).await.unwrap();
    let order = format!("{}/order", trust.namespace);
    let twin = format!("{}/twin", trust.namespace);
    let words = [&*order, &*twin, "waits until these identities are gone"];
    says(&domains, &trust.domain, ("Accepted", "False", "IdentitiesRemain"), &words).await;
    let ca = format!("{}-ca", trust.domain);
    assert!(secrets.get_opt(&ca).await.unwrap().is_some());
    let still = story.wait_identity(&trust.namespace, "order", "be ready still", |o| condition(o, "Ready").0 == "True");
    assert_eq!(still.await.status.unwrap().certificate.unwrap().serial, serial);
    identities.delete("order", &DeleteParams::default()).await.unwrap();
    let only_twin = |object: &TrustDomain| !condition(object, "Accepted").2.contains(&order);
    story.wait_domain(&trust.domain, "wait for the other one alone", only_twin).await;
    identities.delete("twin", &DeleteParams::default()).await.unwrap();
    gone(&domains, &trust.domain).await;
    gone(&secrets, &ca).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn in_a_namespace_that_is_being_deleted_nothing_is_written_and_nothing_else_waits() {
    let story = Story::begin("ending").await;
    let trust = story.trust("ending", json!({})).await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    wait_for(&story.api::<NetworkPolicy>(&trust.namespace), "ringfence-baseline", "be written", |_| true).await;
    // Someone's finalizer holds the identity, and thereby the namespace, while all else in it goes.
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    let hold = json!({"metadata": {"finalizers": ["stories.example/hold"]}});
    identities.patch("order", &PatchParams::default(), &Patch::Merge(hold)).await.unwrap();
    let namespaces = story.all::<Namespace>();
    let (_, lines) = writes_since(story.cluster, 0);
    namespaces.delete(&trust.namespace, &DeleteParams::default()).await.unwrap();
    for secret in ["order-tls", "order-signing-key"] {
        gone(&story.api::<Secret>(&trust.namespace), secret).await;
    }
    gone(&story.api::<ConfigMap>(&trust.namespace), "order-trust").await;
    for policy in ["ringfence-order", "ringfence-baseline"] {
        gone(&story.api::<NetworkPolicy>(&trust.namespace), policy).await;
    }
    story.ready_identity(&other.namespace, "order", json!({})).await;
    let (writes, _) = writes_since(story.cluster, lines);
    let outputs =
        writes.iter().filter(|write| ["secrets", "configmaps", "networkpolicies"].contains(&&*write.resource));
    let into = format!("{}/", trust.namespace);
    let tried: Vec<_> = outputs.filter(|write| write.object.starts_with(&into)).collect();
    assert!(tried.is_empty(), "{tried:?}");
    let release = json!({"metadata": {"finalizers": null}});
    identities.patch("order", &PatchParams::default(), &Patch::Merge(release)).await.unwrap();
    gone(&namespaces, &trust.namespace).await;
    let words = [&*trust.namespace, "does not exist"];
    says(&story.all::<TrustDomain>(), &trust.domain, ("ResolvedRefs", "False", "NamespaceNotFound"), &words).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_secret_of_someone_else_with_the_name_of_the_ca_is_neither_used_nor_deleted() {
    let story = Story::begin("ca-name").await;
    let trust = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let name = format!("{}-corp", story.name);
    let ca = format!("{name}-ca");
    let secrets = story.api::<Secret>(OPERATOR_NAMESPACE);
    let brought = json!({"metadata": {"name": ca}, "stringData": {"precious": "yes"}});
    let before = story.create::<Secret>(OPERATOR_NAMESPACE, brought).await;
    let domains = story.all::<TrustDomain>();
    story.create_cluster_wide::<TrustDomain>(domain(&name, self_signed(&[]))).await;
    let words = [&*ca, "delete or rename it"];
    says(&domains, &name, ("NameTaken", "True", "NameTaken"), &words).await;
    domains.delete(&name, &DeleteParams::default()).await.unwrap();
    gone(&domains, &name).await;
    assert_eq!(secrets.get(&ca).await.unwrap().metadata.resource_version, before.metadata.resource_version);
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_namespace_of_no_domain_has_identities_that_get_nothing() {
    let story = Story::begin("outside").await;
    let trust = story.trust("inside", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let outside = story.namespace("outside").await;
    story.create::<ServiceIdentity>(&outside, identity("order", json!({}))).await;
    let api = story.api::<ServiceIdentity>(&outside);
    let words = [&*outside, "ask the platform team to add it to one"];
    let refused = says(&api, "order", ("Accepted", "False", "NotInTrustDomain"), &words).await;
    assert_eq!(condition(&refused, "Ready").1, "NotInTrustDomain");
    assert!(story.api::<Secret>(&outside).get_opt("order-tls").await.unwrap().is_none());
    // It can't be called or call either.
    let spec = json!({"to": {"identity": "bystander", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order", "namespace": outside}}]});
    story.create::<AccessPolicy>(&trust.namespace, crate::support::policy("from-outside", spec)).await;
    let policies = story.api::<AccessPolicy>(&trust.namespace);
    let order = format!("{outside}/order");
    says(&policies, "from-outside", ("ResolvedRefs", "False", "CallerNotFound"), &[&order, "see its status"]).await;
    bystanders.are_untouched(&story).await;
}
