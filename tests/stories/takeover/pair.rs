//! Two operators that both believe to lead: whatever one does between any two steps of the other, there is one CA and one
//! certificate, and nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use ringfence::controller::{Failure, SystemEntropy};
use ringfence_core::api::CertificateAlgorithm;
use ringfence_core::pki::{Entropy, KeyError, PrivateKey, SerialNumber};
use ringfence_core::plan::FINALIZER;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::{Peer, domain, handshake, writes_since};

/// How often two operators begin at the same time with nothing done yet.
const ROUNDS: usize = 8;

const SERVICES: [&str; 4] = ["gateway", "order", "inventory", "payment"];

/// The key of a CA is had only when the other one has its own too: both have seen that there is no CA, and neither has
/// written one. Nothing but CAs has keys of this algorithm here.
struct Meeting {
    met: AtomicBool,
    both: Arc<Barrier>,
}

impl Entropy for Meeting {
    fn private_key(&self, algorithm: CertificateAlgorithm) -> Result<PrivateKey, KeyError> {
        let key = SystemEntropy.private_key(algorithm);
        if algorithm == CertificateAlgorithm::EcdsaP384 && !self.met.swap(true, Ordering::SeqCst) {
            self.both.wait();
        }
        key
    }

    fn serial(&self) -> SerialNumber {
        SystemEntropy.serial()
    }
}

/// Two operators without a Lease.
struct Pair {
    stop: CancellationToken,
    running: Vec<JoinHandle<Result<(), Failure>>>,
}

impl Pair {
    async fn start(story: &Story) -> Self {
        let (stop, both) = (CancellationToken::new(), Arc::new(Barrier::new(2)));
        let mut running = Vec::new();
        for _ in 0..2 {
            let mut operator = story.cluster.operator().await;
            operator.entropy = Arc::new(Meeting { met: AtomicBool::new(false), both: Arc::clone(&both) });
            running.push(tokio::spawn(operator.run(stop.clone())));
        }
        Self { stop, running }
    }

    async fn stop(self) {
        self.stop.cancel();
        for running in self.running {
            running.await.unwrap().unwrap();
        }
    }
}

async fn declare(story: &Story, round: usize) -> String {
    let namespace = story.namespace(&format!("round-{round}")).await;
    let spec = json!({"certificateAuthority": {"selfSigned": {"algorithm": "ECDSA-P384"}}, "namespaces": [namespace]});
    let mut trust = domain(&namespace, spec);
    // Of two that put it there one would fail, and look again only when there is a CA.
    trust["metadata"]["finalizers"] = json!([FINALIZER]);
    story.create_cluster_wide::<TrustDomain>(trust).await;
    join_all(SERVICES.iter().zip(SERVICES.iter().cycle().skip(1)).map(async |(name, next)| {
        story.create::<ServiceIdentity>(&namespace, identity(name, json!({"signingKey": {}}))).await;
        let spec = json!({
            "to": {"identity": next, "ports": [{"port": 8443}]}, "from": [{"identity": {"name": name}}],
            "authentication": {"mtls": {}, "jwt": {}},
        });
        story.create::<AccessPolicy>(&namespace, policy(name, spec)).await;
    }))
    .await;
    namespace
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_both_lead_make_one_authority_and_one_certificate_and_lose_nothing() {
    let (story, _turn) = begin("pair").await;
    let mut namespaces = Vec::new();
    for round in 0..ROUNDS {
        let namespace = declare(&story, round).await;
        namespaces.push(namespace.clone());
        let (_, lines) = writes_since(story.cluster, 0);
        let history = History::begin(story.cluster);
        let pair = Pair::start(&story).await;
        all_ready(&story, &namespaces).await;

        let authority = format!("{OPERATOR_NAMESPACE}/{namespace}-ca");
        // A refused create is told of without a name: its object never came to be.
        let tried = writes_since(story.cluster, lines).0;
        let made = tried.iter().filter(|write| {
            write.verb == "create" && write.resource == "secrets" && write.object.starts_with(OPERATOR_NAMESPACE)
        });
        assert_eq!(made.count(), 2, "both made a CA: {tried:#?}");
        assert_eq!(history.writes_to("secrets", &authority), 1, "and one of them is the CA");
        for name in SERVICES {
            for kind in ["tls", "signing-key"] {
                assert_eq!(history.writes_to("secrets", &format!("{namespace}/{name}-{kind}")), 1, "{name}-{kind}");
            }
        }
        let (caller, callee) =
            (Peer::of(&story, &namespace, "gateway").await, Peer::of(&story, &namespace, "order").await);
        handshake(caller.client(), callee.server(8443)).unwrap();

        // What changes while both lead is done once, too.
        let policies = in_namespace::<AccessPolicy>(&story, &namespace);
        policies.delete("payment", &DeleteParams::default()).await.unwrap();
        story.change(policies, "order", json!({"to": {"ports": [{"port": 9443}]}})).await;
        story.create::<ServiceIdentity>(&namespace, identity("late", json!({"signingKey": {}}))).await;
        in_namespace::<Secret>(&story, &namespace).delete("inventory-tls", &DeleteParams::default()).await.unwrap();
        all_ready(&story, &namespaces).await;
        wait_for(&in_namespace::<Secret>(&story, &namespace), "inventory-tls", "come back", |_| true).await;
        assert_eq!(history.writes_to("secrets", &format!("{namespace}/late-tls")), 1);
        pair.stop().await;
    }
    assert_eq!(namespaces.len(), ROUNDS);
    nothing_is_left_to_write(&story, &namespaces).await;
}
