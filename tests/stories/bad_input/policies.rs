//! Policies above a ceiling, to or from nobody, on ports that nothing has: refused, entry by entry, and closed.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Patch, PatchParams};
use ringfence_core::api::{AccessPolicy, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, Trust, closed, condition, policy, says, service};

/// Two domains that have to do with each other, `order` in the one, `payment` in the other, and bystanders in the second.
struct Scene {
    story: Story,
    storefront: Trust,
    settlement: Trust,
    bystanders: Bystanders,
}

impl Scene {
    async fn set(title: &str, inbound: Value, outbound: Value) -> Self {
        let story = Story::begin(title).await;
        let [left, right] = ["storefront", "settlement"].map(|suffix| format!("{}-{suffix}", story.name));
        let entry = |other: &str, mut entry: Value| {
            entry["trustDomains"] = json!([other]);
            json!([entry])
        };
        let storefront = story.trust("storefront", json!({"outbound": entry(&right, outbound)})).await;
        let settlement = story.trust("settlement", json!({"inbound": entry(&left, inbound)})).await;
        let bystanders = Bystanders::in_namespace(&story, &settlement.namespace).await;
        story.ready_identity(&storefront.namespace, "order", json!({"signingKey": {}})).await;
        story.ready_identity(&settlement.namespace, "payment", json!({})).await;
        Self { story, storefront, settlement, bystanders }
    }

    fn called_by_order(&self) -> Value {
        json!([{"identity": {"name": "order", "namespace": self.storefront.namespace}}])
    }

    /// Creates a policy of which nothing is accepted.
    async fn refuses(&self, name: &str, spec: Value, said: (&str, &str), words: &[&str]) {
        let namespace = &self.settlement.namespace;
        self.story.create::<AccessPolicy>(namespace, policy(name, spec)).await;
        let said = (said.0, "False", said.1);
        let refused = says(&self.story.api::<AccessPolicy>(namespace), name, said, words).await;
        assert_eq!(condition(&refused, "Ready").0, "False");
        assert_eq!(condition(&refused, "Ready").1, said.2);
        let status = refused.status.unwrap();
        assert_eq!((status.edges, status.from.len()), (Some(0), 1));
        assert_eq!(status.from[0].reason, said.2);
        assert_eq!(status.effective_after, None);
        self.is_closed().await;
    }

    /// Nothing comes in to `payment`, and `order` gets out to nothing but DNS.
    async fn is_closed(&self) {
        let payment = network_policy(&self.story, &self.settlement.namespace, "payment").await;
        assert_eq!(payment["ingress"].as_array().map_or(0, Vec::len), 0, "{payment}");
        let order = network_policy(&self.story, &self.storefront.namespace, "order").await;
        assert!(!order["egress"].to_string().contains(&self.settlement.namespace), "{order}");
        self.bystanders.are_untouched(&self.story).await;
    }
}

async fn network_policy(story: &Story, namespace: &str, identity: &str) -> Value {
    let name = format!("ringfence-{identity}");
    serde_json::to_value(story.api::<NetworkPolicy>(namespace).get(&name).await.unwrap().spec).unwrap()
}

fn to_payment(port: u16, from: Value) -> Value {
    json!({"to": {"identity": "payment", "ports": [{"port": port}]}, "from": from})
}

#[tokio::test]
async fn a_policy_to_or_from_an_identity_that_is_not_there() {
    let scene = Scene::set("nobody", json!({}), json!({})).await;
    let namespace = &scene.settlement.namespace;
    let spec = json!({"to": {"identity": "nobody", "ports": [{"port": 1}]}, "from": scene.called_by_order()});
    let nobody = format!("{namespace}/nobody");
    let words = [&*nobody, "create it, or correct to.identity"];
    scene.refuses("to-nobody", spec, ("ResolvedRefs", "CalleeNotFound"), &words).await;
    let spec = to_payment(8443, json!([{"identity": {"name": "nobody"}}]));
    let words = [&*nobody, "create it, or correct the name"];
    scene.refuses("from-nobody", spec, ("ResolvedRefs", "CallerNotFound"), &words).await;
    let spec = to_payment(8443, json!([{"trustDomain": "nowhere"}]));
    let words = ["TrustDomain nowhere", "create it, or correct the name"];
    scene.refuses("from-nowhere", spec, ("ResolvedRefs", "CallerNotFound"), &words).await;
}

#[tokio::test]
async fn a_bad_entry_is_closed_and_named_and_the_good_ones_stand() {
    let scene = Scene::set("partly", json!({}), json!({})).await;
    let namespace = &scene.settlement.namespace;
    let mut from = scene.called_by_order();
    from.as_array_mut().unwrap().push(json!({"identity": {"name": "nobody"}}));
    from.as_array_mut().unwrap().push(json!({"anywhere": {}}));
    scene.story.create::<AccessPolicy>(namespace, policy("partly", to_payment(8443, from))).await;
    let api = scene.story.api::<AccessPolicy>(namespace);
    let partly = says(&api, "partly", ("Accepted", "True", "PartiallyAccepted"), &["1 of 3", "status.from"]).await;
    assert_eq!(partly.status.unwrap().edges, Some(1));
    let nobody = closed(&scene.story, namespace, "partly", 1, "CallerNotFound").await;
    assert_eq!(nobody.source, format!("identity {namespace}/nobody"));
    let anywhere = closed(&scene.story, namespace, "partly", 2, "InboundNotAllowed").await;
    assert!(anywhere.message.contains(&scene.settlement.domain) && anywhere.message.contains("anywhere"));
    let payment = network_policy(&scene.story, namespace, "payment").await;
    assert_eq!(payment["ingress"].as_array().unwrap().len(), 1);
    assert!(payment["ingress"][0]["from"].to_string().contains(&scene.storefront.namespace), "{payment}");
    scene.bystanders.are_untouched(&scene.story).await;
}

#[tokio::test]
async fn a_policy_above_the_ceiling_by_domain() {
    let scene = Scene::set("by-domain", json!({}), json!({})).await;
    let stranger = scene.story.trust("stranger", json!({})).await;
    scene.story.ready_identity(&stranger.namespace, "order", json!({})).await;
    let from = json!([{"identity": {"name": "order", "namespace": stranger.namespace}}]);
    let words = [&*scene.settlement.domain, &*stranger.domain, "no inbound entry", "ask the platform team to add one"];
    scene.refuses("by-domain", to_payment(8443, from), ("Accepted", "InboundNotAllowed"), &words).await;
    let from = json!([{"trustDomain": stranger.domain}]);
    scene.refuses("by-whole-domain", to_payment(8443, from), ("Accepted", "InboundNotAllowed"), &words).await;
}

#[tokio::test]
async fn a_policy_above_the_ceiling_by_identity() {
    let only = json!({"identities": [{"name": "bystander"}]});
    let scene = Scene::set("by-identity", only, json!({})).await;
    let payment = format!("{}/payment", scene.settlement.namespace);
    let words = ["inbound[0]", &*scene.settlement.domain, "only for bystander", &*payment, "add it to identities"];
    let spec = to_payment(8443, scene.called_by_order());
    scene.refuses("by-identity", spec, ("Accepted", "InboundNotAllowed"), &words).await;
}

#[tokio::test]
async fn a_policy_above_the_ceiling_by_the_port_behind_a_service() {
    let scene = Scene::set("by-port", json!({"ports": [{"port": 443}, {"port": 8443}]}), json!({})).await;
    let namespace = &scene.settlement.namespace;
    scene.story.create::<Service>(namespace, service("payment", 443, json!(22))).await;
    let words = ["inbound[0]", &*scene.settlement.domain, "443/TCP, 8443/TCP", "not on 22/TCP", "add it to ports"];
    let spec = to_payment(443, scene.called_by_order());
    scene.refuses("by-port", spec, ("Accepted", "InboundNotAllowed"), &words).await;
    // What makes it good opens it, and what makes it bad again closes it again.
    let services = scene.story.api::<Service>(namespace);
    let policies = scene.story.api::<AccessPolicy>(namespace);
    let target = |port: u16| json!({"spec": {"ports": [{"name": "main", "port": 443, "targetPort": port}]}});
    services.patch("payment", &PatchParams::default(), &Patch::Merge(target(8443))).await.unwrap();
    says(&policies, "by-port", ("Ready", "True", "Ready"), &[]).await;
    let payment = network_policy(&scene.story, namespace, "payment").await;
    assert_eq!(payment["ingress"][0]["ports"], json!([{"port": 8443, "protocol": "TCP"}]));
    services.patch("payment", &PatchParams::default(), &Patch::Merge(target(22))).await.unwrap();
    says(&policies, "by-port", ("Accepted", "False", "InboundNotAllowed"), &words).await;
    let wait = crate::support::eventually("the edge is closed", async || {
        let payment = network_policy(&scene.story, namespace, "payment").await;
        payment["ingress"].as_array().is_none_or(Vec::is_empty).then_some(())
    });
    wait.await;
    says(&policies, "by-port", ("Programmed", "True", "Programmed"), &[]).await;
    scene.is_closed().await;
}

#[tokio::test]
async fn a_policy_above_the_ceiling_by_authentication() {
    let scene = Scene::set("by-proof", json!({"acceptedAuthentication": ["Mtls"]}), json!({})).await;
    let mut spec = to_payment(8443, scene.called_by_order());
    spec["authentication"] = json!({"jwt": {}});
    let words = ["inbound[0]", &*scene.settlement.domain, "only with Mtls", "CallerJwt", "demand it in authentication"];
    scene.refuses("by-proof", spec, ("Accepted", "InboundNotAllowed"), &words).await;
}

#[tokio::test]
async fn a_policy_above_the_ceiling_by_address_range() {
    let scene = Scene::set("by-range", json!({}), json!({})).await;
    let ranges = json!({"inbound": [{"cidrs": ["203.0.113.0/25"]}, {"cidrs": ["10.0.0.0/8"]}]});
    scene.story.change(scene.story.all::<TrustDomain>(), &scene.settlement.domain, ranges).await;
    let words = [&*scene.settlement.domain, "203.0.113.0/24", "ask the platform team to add one"];
    let spec = to_payment(8443, json!([{"cidr": "203.0.113.0/24"}]));
    scene.refuses("by-range", spec, ("Accepted", "InboundNotAllowed"), &words).await;
    let words = [&*scene.settlement.domain, "anywhere"];
    let spec = to_payment(8443, json!([{"cidr": "0.0.0.0/0"}]));
    scene.refuses("by-all", spec, ("Accepted", "InboundNotAllowed"), &words).await;
    let services = scene.story.all::<k8s_openapi::api::networking::v1::ServiceCIDR>().get("kubernetes").await.unwrap();
    let inside = services.spec.unwrap().cidrs.unwrap()[0].clone();
    let words = [&*inside, "the cluster's own addresses", "clusterAddresses"];
    let spec = to_payment(8443, json!([{"cidr": inside}]));
    scene.refuses("by-cluster", spec, ("Accepted", "ClusterAddresses"), &words).await;
    let spec = to_payment(8443, json!([{"cidr": "203.0.113.64/26"}]));
    scene.story.create::<AccessPolicy>(&scene.settlement.namespace, policy("within", spec)).await;
    let policies = scene.story.api::<AccessPolicy>(&scene.settlement.namespace);
    says(&policies, "within", ("Ready", "True", "Ready"), &[]).await;
}

#[tokio::test]
async fn a_policy_above_the_callers_ceiling() {
    let scene = Scene::set("by-caller", json!({}), json!({"ports": [{"port": 9443}]})).await;
    let words = ["outbound[0]", &*scene.storefront.domain, "9443/TCP", "not on 8443/TCP", "add it to ports"];
    let spec = to_payment(8443, scene.called_by_order());
    scene.refuses("by-caller", spec, ("Accepted", "OutboundNotAllowed"), &words).await;
    // Out of the cluster as well.
    let spec = json!({"to": {"external": {"cidrs": ["198.51.100.0/24"], "ports": [{"port": 443}]}},
        "from": [{"identity": {"name": "payment"}}]});
    let words = [&*scene.settlement.domain, "no outbound entry", "198.51.100.0/24"];
    scene.refuses("external", spec, ("Accepted", "OutboundNotAllowed"), &words).await;
    let spec = json!({"to": {"kubernetesAPI": {}}, "from": [{"identity": {"name": "payment"}}]});
    let words = [&*scene.settlement.domain, "no outbound entry", "kubernetesAPI"];
    scene.refuses("api-server", spec, ("Accepted", "OutboundNotAllowed"), &words).await;
}

#[tokio::test]
async fn a_port_that_nothing_has() {
    let scene = Scene::set("no-port", json!({}), json!({})).await;
    let namespace = &scene.settlement.namespace;
    scene.story.create::<Service>(namespace, service("payment", 443, json!(8443))).await;
    let pod = json!({"metadata": {"name": "payment", "labels": {"app.kubernetes.io/name": "payment"}},
        "spec": {"serviceAccountName": "payment", "containers": [
            {"name": "c", "image": "none", "ports": [{"name": "https", "containerPort": 8443}]}]}});
    scene.story.run_as(namespace, "payment").await;
    scene.story.create::<Pod>(namespace, pod).await;
    let payment = format!("{namespace}/payment");
    let words = ["9999/TCP", &*payment, "8443/TCP", "correct the port"];
    let spec = to_payment(9999, scene.called_by_order());
    scene.refuses("no-number", spec, ("ResolvedRefs", "PortNotFound"), &words).await;
    let words = ["grpc/TCP", &*payment, "correct the name"];
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": "grpc"}]}, "from": scene.called_by_order()});
    scene.refuses("no-name", spec, ("ResolvedRefs", "PortNotFound"), &words).await;
}

#[tokio::test]
async fn a_policy_that_asks_for_tokens_of_someone_without_a_key_or_from_pods_that_need_an_identity() {
    let scene = Scene::set("no-key", json!({}), json!({})).await;
    let namespace = &scene.settlement.namespace;
    scene.story.ready_identity(&scene.storefront.namespace, "keyless", json!({})).await;
    let keyless = format!("{}/keyless", scene.storefront.namespace);
    let mut spec =
        to_payment(8443, json!([{"identity": {"name": "keyless", "namespace": scene.storefront.namespace}}]));
    spec["authentication"] = json!({"jwt": {}});
    scene.refuses("keyless", spec, ("Accepted", "NoSigningKey"), &[&keyless, "set signingKey"]).await;
    let words = [namespace, &*scene.settlement.domain, "name an identity instead of pods"];
    let spec = to_payment(8443, json!([{"pods": {"namespaces": [namespace]}}]));
    scene.refuses("pods", spec, ("Accepted", "FencedPods"), &words).await;
    let mut spec = to_payment(8443, scene.called_by_order());
    spec["authentication"] = json!({"jwt": {"audiences": ["https://elsewhere.example"]}});
    let words = ["https://elsewhere.example", "/payment", "authentication.jwt.audiences"];
    scene.refuses("audience", spec, ("ResolvedRefs", "AudienceNotFound"), &words).await;
}

#[tokio::test]
async fn a_policy_with_128_callers_is_accepted_and_one_with_129_is_refused_by_the_api_server() {
    let scene = Scene::set("many", json!({}), json!({})).await;
    let namespace = &scene.settlement.namespace;
    let range = json!({"inbound": [{"cidrs": ["203.0.113.0/24"]}]});
    scene.story.change(scene.story.all::<TrustDomain>(), &scene.settlement.domain, range).await;
    let from = |count: usize| -> Value { (0..count).map(|n| json!({"cidr": format!("203.0.113.{n}/32")})).collect() };
    let message = scene.story.refused::<AccessPolicy>(namespace, policy("many", to_payment(8443, from(129)))).await;
    assert!(message.contains("spec.from") && message.contains("128"), "{message}");
    scene.story.create::<AccessPolicy>(namespace, policy("many", to_payment(8443, from(128)))).await;
    let ready = says(&scene.story.api::<AccessPolicy>(namespace), "many", ("Ready", "True", "Ready"), &[]).await;
    assert_eq!(ready.status.unwrap().edges, Some(128));
    let payment = network_policy(&scene.story, namespace, "payment").await;
    assert_eq!(payment["ingress"][0]["from"].as_array().unwrap().len(), 128);
    scene.bystanders.are_untouched(&scene.story).await;
}
