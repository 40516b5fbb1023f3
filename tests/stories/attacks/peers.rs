//! Certificates that chain to something trusted and are not those of the peer they name. Verified by what was delivered, with
//! webpki and with OpenSSL.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use ringfence::controller::SystemEntropy;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{CertificateAlgorithm, TrustDomain};
use ringfence_core::pki::{
    CaGenerations, Entropy, LeafProfile, PeerUsage, SecretData, Usages, issue_leaf, verify_leaf,
};
use serde_json::{Value, json};

use crate::support::{OpenSsl, Peer, Story, Trust, domain};

/// `storefront` and `settlement` under one root, `order` calling `payment`, and what both were given.
struct Scene {
    story: Story,
    storefront: Trust,
    settlement: Trust,
    order: Peer,
    payment: Peer,
}

impl Scene {
    async fn set(title: &str) -> Self {
        let story = Story::begin(title).await;
        let [root, left, right] = ["root", "storefront", "settlement"].map(|name| format!("{}-{name}", story.name));
        story
            .create_cluster_wide::<TrustDomain>(domain(&root, json!({"certificateAuthority": {"selfSigned": {}}})))
            .await;
        let below = |side: &str, other: &str| json!({"certificateAuthority": {"selfSigned": null, "parent": {"name": root}}, side: [{"trustDomains": [other]}]});
        let storefront = story.trust("storefront", below("outbound", &right)).await;
        let settlement = story.trust("settlement", below("inbound", &left)).await;
        story.ready_identity(&storefront.namespace, "order", json!({})).await;
        story.ready_identity(&settlement.namespace, "payment", json!({})).await;
        let spec = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]},
            "from": [{"identity": {"name": "order", "namespace": storefront.namespace}}]});
        story.ready_policy(&settlement.namespace, "mutual", spec).await;
        let order = Peer::of(&story, &storefront.namespace, "order").await;
        let payment = Peer::of(&story, &settlement.namespace, "payment").await;
        Self { story, storefront, settlement, order, payment }
    }

    /// A leaf for `payment` that the authority of a domain signs, with the names that the real one has.
    async fn minted_by(&self, domain: &str) -> String {
        let secret = self.story.api::<Secret>(OPERATOR_NAMESPACE).get(&format!("{domain}-ca")).await.unwrap();
        let generations = CaGenerations::from_secret_data(&SecretData::from(&secret.data.unwrap())).unwrap();
        let id = format!("spiffe://{}/ns/{}/sa/payment", self.settlement.domain, self.settlement.namespace);
        let profile = LeafProfile {
            spiffe_id: id.parse().unwrap(),
            common_name: Some("payment".to_owned()),
            dns_names: [format!("payment.{}.svc", self.settlement.namespace)].into(),
            ip_addresses: Default::default(),
            usages: Usages::BOTH,
            algorithm: CertificateAlgorithm::default(),
            duration: jiff::SignedDuration::from_hours(1),
        };
        let key = SystemEntropy.private_key(profile.algorithm).unwrap();
        let signing = generations.signing().unwrap();
        let leaf = issue_leaf(&profile, signing, &key, &SystemEntropy.serial(), Timestamp::now()).unwrap();
        std::iter::once(leaf.certificate()).chain(leaf.presented_chain()).map(|c| c.to_pem()).collect()
    }
}

/// Who a chain is, against anchors, if webpki and OpenSSL both say so.
fn verifies(chain: &str, anchors: &str) -> Option<String> {
    let usages = [PeerUsage::Server, PeerUsage::Client];
    let [server, client] =
        usages.map(|usage| verify_leaf(chain.as_bytes(), anchors.as_bytes(), Timestamp::now(), usage));
    assert_eq!(server.is_ok(), client.is_ok());
    let files = BTreeMap::from([("chain".to_owned(), chain.to_owned()), ("anchors".to_owned(), anchors.to_owned())]);
    let openssl = OpenSsl::with(&files);
    let says = openssl.try_run("verify -partial_chain -CAfile anchors -untrusted chain chain");
    assert_eq!(server.is_ok(), says.is_ok(), "webpki and OpenSSL disagree: {says:?}");
    server.ok().and_then(|leaf| leaf.spiffe_id).map(|id| id.to_string())
}

#[tokio::test]
async fn passing_for_a_member_of_a_sibling_domain_under_the_same_root() {
    let scene = Scene::set("sibling").await;
    let bundle = |domain: &Trust| format!("bundle.{}.pem", domain.domain);
    let payment = format!("spiffe://{}/ns/{}/sa/payment", scene.settlement.domain, scene.settlement.namespace);
    let order = format!("spiffe://{}/ns/{}/sa/order", scene.storefront.domain, scene.storefront.namespace);
    let (order_chain, payment_chain) = (&scene.order.files["tls.crt"], &scene.payment.files["tls.crt"]);
    // By the rule, each verifies; by the root, anyone does; by the other's bundle, nobody.
    let settlement = &scene.order.files[&bundle(&scene.settlement)];
    let storefront = &scene.payment.files[&bundle(&scene.storefront)];
    assert_eq!(verifies(payment_chain, settlement), Some(payment.clone()));
    assert_eq!(verifies(order_chain, storefront), Some(order.clone()));
    assert_eq!(verifies(payment_chain, &scene.order.files["ca.crt"]), Some(payment));
    assert_eq!(verifies(order_chain, &scene.payment.files["callers.pem"]), Some(order));
    assert_eq!(verifies(order_chain, settlement), None);
    assert_eq!(verifies(payment_chain, storefront), None);
    // The bundle of a domain that one has nothing to do with is not delivered at all.
    let root = format!("bundle.{}-root.pem", scene.story.name);
    assert!(!scene.order.files.contains_key(&root) && !scene.payment.files.contains_key(&root));
}

#[tokio::test]
async fn minting_the_callees_name_with_the_key_of_another_domain() {
    let scene = Scene::set("mint").await;
    let bundle = &scene.order.files[&format!("bundle.{}.pem", scene.settlement.domain)];
    let payment = format!("spiffe://{}/ns/{}/sa/payment", scene.settlement.domain, scene.settlement.namespace);
    let minted = scene.minted_by(&scene.storefront.domain).await;
    assert_eq!(verifies(&minted, &scene.order.files["callees.pem"]), Some(payment.clone()), "the root alone is fooled");
    assert_eq!(verifies(&minted, bundle), None);
    let by_root = scene.minted_by(&format!("{}-root", scene.story.name)).await;
    assert_eq!(verifies(&by_root, bundle), None, "not even the root itself may mint it");
    let own = scene.minted_by(&scene.settlement.domain).await;
    assert_eq!(verifies(&own, bundle), Some(payment), "it is the key that makes the difference");
    let access: Value = scene.order.access();
    let named = &access["bundles"][&scene.settlement.domain];
    assert_eq!(named, &json!(format!("bundle.{}.pem", scene.settlement.domain)), "where verifiers look");
}
