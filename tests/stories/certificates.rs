//! What a service gets for its identity: a certificate that any TLS peer accepts, and nothing more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{Patch, PatchParams};
use ringfence::controller::Clock;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::json;
use webpki::KeyUsage;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::support::{
    OpenSsl, Peer, Story, TestCluster, Trust, condition, config_map, domain, event_reasons, eventually, handshake, now,
    secret, service, uri_of, webpki_verifies, writes_since,
};

#[tokio::test]
async fn an_identity_gets_a_certificate_that_names_it() {
    let story = Story::begin("leaf").await;
    let trust = story.trust("shop", json!({})).await;
    let identity = story.ready_identity(&trust.namespace, "order", json!({})).await;
    let status = identity.status.clone().unwrap();
    assert_eq!(status.spiffe_id.unwrap(), format!("spiffe://{}/ns/{}/sa/order", trust.domain, trust.namespace));
    let data = secret(&story, &trust.namespace, "order-tls").await;
    assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(condition(&identity, "Ready").1, "NoPods");
    eventually("the event tells of the issue", async || {
        (event_reasons(&story, &identity).await == ["Issued"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn below_a_root_of_its_own_a_leaf_comes_alone_and_every_peer_accepts_it() {
    let story = Story::begin("alone").await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let peer = Peer::of(&story, &trust.namespace, "order").await;
    assert_eq!(peer.certificates("tls.crt").len(), 1, "the leaf, without the root");
    let domain = config_map(&story, OPERATOR_NAMESPACE, &format!("{}-trust", trust.domain)).await;
    assert_eq!(peer.files["ca.crt"], domain["roots.pem"]);
    assert_eq!(domain["issuing.pem"], domain["roots.pem"], "the root signs by itself");
    accepted_by_every_peer(&peer, &domain["issuing.pem"]);
}

#[tokio::test]
async fn below_a_parent_a_leaf_brings_its_intermediate_and_chains_to_the_shared_root() {
    let story = Story::begin("below").await;
    let siblings = siblings(&story, ["left", "right"]).await;
    let [left, right] = &siblings[..] else { unreachable!() };
    story.ready_identity(&left.namespace, "order", json!({})).await;
    let peer = Peer::of(&story, &left.namespace, "order").await;
    let root = config_map(&story, OPERATOR_NAMESPACE, &format!("{}-root-trust", story.name)).await;
    let [left, right] = [
        config_map(&story, OPERATOR_NAMESPACE, &format!("{}-trust", left.domain)).await,
        config_map(&story, OPERATOR_NAMESPACE, &format!("{}-trust", right.domain)).await,
    ];
    assert_eq!(peer.files["ca.crt"], root["roots.pem"], "the root of the parent");
    assert!(peer.files["tls.crt"].ends_with(&left["issuing.pem"]), "leaf, then the intermediate that signed it");
    assert_eq!(peer.certificates("tls.crt").len(), 2, "and no root");
    accepted_by_every_peer(&peer, &left["issuing.pem"]);
    let openssl = OpenSsl::with(&peer.files);
    openssl.file("sibling.pem", &right["issuing.pem"]);
    let refused = openssl.try_run("verify -partial_chain -CAfile sibling.pem -untrusted tls.crt tls.crt");
    assert!(refused.unwrap_err().contains("unable to get"), "the sibling's bundle proves nothing about this leaf");
}

#[tokio::test]
async fn a_certificate_carries_the_names_of_the_services_and_those_that_were_allowed() {
    let story = Story::begin("names").await;
    let namespace = format!("{}-shop", story.name);
    let allowed = json!([
        {"name": "leaf.shop.example.com", "namespaces": [namespace]}, {"name": "192.0.2.20", "namespaces": [namespace]},
        {"name": "2001:db8::10", "namespaces": [namespace]},
    ]);
    let trust = story.trust("shop", json!({"certificates": {"allowedNames": allowed}})).await;
    let mut headless = service("events", 80, json!(8080));
    headless["spec"]["clusterIP"] = json!("None");
    headless["spec"]["selector"] = json!({"app.kubernetes.io/name": "named"});
    let mut named = service("named-too", 80, json!(8080));
    named["spec"]["selector"] = json!({"app.kubernetes.io/name": "named"});
    for service in [service("plain", 80, json!(8080)), headless, named] {
        story.create::<Service>(&namespace, service).await;
    }
    story.ready_identity(&namespace, "plain", json!({})).await;
    let spec = json!({
        "services": ["events", "named-too"], "dnsNames": ["Leaf.Shop.Example.com"],
        "ipAddresses": ["192.0.2.20", "2001:db8::10"], "serviceAccountName": "worker",
    });
    story.ready_identity(&namespace, "named", spec).await;
    let base = |service: &str| format!("{service}.{namespace}.svc");
    let full = |service: &str| format!("{service}.{namespace}.svc.cluster.local");
    let id = |account: &str| format!("spiffe://{}/ns/{namespace}/sa/{account}", trust.domain);
    let plain = Peer::of(&story, &namespace, "plain").await;
    assert_eq!(names_of(&plain), set([id("plain"), base("plain"), full("plain")]));
    let named = Peer::of(&story, &namespace, "named").await;
    let wildcard = format!("*.{}", base("events"));
    let addresses = ["192.0.2.20", "2001:db8::10", "leaf.shop.example.com"].map(str::to_owned);
    let services = [base("events"), full("events"), wildcard, base("named-too"), full("named-too"), id("worker")];
    assert_eq!(names_of(&named), set(services.into_iter().chain(addresses)));
    let openssl = OpenSsl::with(&named.files);
    let check = |check: &str| openssl.try_run(&format!("verify -CAfile ca.crt {check} tls.crt"));
    for good in ["-verify_hostname leaf.shop.example.com", "-verify_ip 192.0.2.20", "-verify_ip 2001:db8::10"] {
        check(good).unwrap();
    }
    check(&format!("-verify_hostname pod-0.{}", base("events"))).unwrap();
    check("-verify_hostname events").unwrap_err();
    check("-verify_ip 192.0.2.11").unwrap_err();
}

#[tokio::test]
async fn a_service_that_comes_later_gets_into_a_new_certificate() {
    let story = Story::begin("later").await;
    let trust = story.trust("shop", json!({})).await;
    let identity = story.ready_identity(&trust.namespace, "order", json!({})).await;
    let before = Peer::of(&story, &trust.namespace, "order").await;
    assert_eq!(names_of(&before).len(), 1, "the SPIFFE ID alone");
    story.create::<Service>(&trust.namespace, service("order", 80, json!(8080))).await;
    let name = format!("order.{}.svc", trust.namespace);
    let after = eventually("the Service's name is in the certificate", async || {
        let peer = Peer::of(&story, &trust.namespace, "order").await;
        names_of(&peer).contains(&name).then_some(peer)
    })
    .await;
    assert_ne!(after.files["tls.key"], before.files["tls.key"], "a new certificate has a new key");
    eventually("the event says that it was renewed", async || {
        (event_reasons(&story, &identity).await == ["Issued", "Renewed"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_algorithm_gives_a_key_and_a_certificate_that_belong_together() {
    let story = Story::begin("algorithms").await;
    let trust = story.trust("shop", json!({"certificates": {"algorithm": "ECDSA-P384"}})).await;
    let cases = [
        ("p256", Some("ECDSA-P256"), "NIST CURVE: P-256"),
        ("p384", None, "NIST CURVE: P-384"),
        ("ed", Some("Ed25519"), "ED25519 Public-Key"),
        ("rsa2048", Some("RSA-2048"), "Public-Key: (2048 bit)"),
        ("rsa3072", Some("RSA-3072"), "Public-Key: (3072 bit)"),
        ("rsa4096", Some("RSA-4096"), "Public-Key: (4096 bit)"),
    ];
    for (name, algorithm, words) in cases {
        let certificate = algorithm.map_or(json!({}), |algorithm| json!({"algorithm": algorithm}));
        story.ready_identity(&trust.namespace, name, json!({"certificate": certificate})).await;
        let peer = Peer::of(&story, &trust.namespace, name).await;
        assert!(peer.files["tls.key"].starts_with("-----BEGIN PRIVATE KEY-----"), "{name}: PKCS#8");
        let openssl = OpenSsl::with(&peer.files);
        let text = openssl.run("x509 -in tls.crt -noout -text");
        assert!(text.contains(words), "{name}: {text}");
        let public = openssl.run("pkey -in tls.key -pubout");
        assert_eq!(public, openssl.run("x509 -in tls.crt -noout -pubkey"), "{name}");
        accepted_by_every_peer(&peer, &peer.files["ca.crt"]);
    }
}

#[tokio::test]
async fn a_certificate_lives_as_long_as_declared_and_never_longer_than_its_ca() {
    let story = Story::begin("lives").await;
    let short_ca = json!({"certificateAuthority": {"selfSigned": {"duration": "1h"}}});
    let short = story.trust("short", short_ca).await;
    let long = story.trust("long", json!({"certificates": {"duration": "12h"}})).await;
    let brief = json!({"certificate": {"duration": "30m"}});
    let from_ca = story.ready_identity(&short.namespace, "order", json!({})).await;
    let from_domain = story.ready_identity(&long.namespace, "order", json!({})).await;
    let from_identity = story.ready_identity(&long.namespace, "brief", brief).await;
    let ca = story.wait_domain(&short.domain, "have a CA", |_| true).await.status.unwrap();
    let ca_ends = ca.certificate_authority.unwrap().not_after.0;
    let cases = [(from_ca, None), (from_domain, Some(12 * 60)), (from_identity, Some(30))];
    for (identity, minutes) in cases {
        let (namespace, name) = (identity.metadata.namespace.clone().unwrap(), identity.metadata.name.clone().unwrap());
        let status = identity.status.unwrap().certificate.unwrap();
        let peer = Peer::of(&story, &namespace, &name).await;
        let leaf = peer.certificates("tls.crt").remove(0);
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        let times = [leaf.validity().not_before, leaf.validity().not_after].map(|time| time.timestamp());
        assert_eq!(times, [status.not_before.0.as_second(), status.not_after.0.as_second()], "{name}");
        assert_eq!(format!("{:x}", leaf.serial), status.serial.trim_start_matches('0'), "{name}");
        assert!(status.serial.len() > 24, "{name}: {} is hardly random", status.serial);
        match minutes {
            Some(minutes) => assert_eq!(times[1] - times[0], minutes * 60 + 60, "{name}: a minute for slow clocks"),
            None => assert_eq!(times[1], ca_ends.as_second(), "{name}: not a second longer than its CA"),
        }
        let share = |part: f64| times[0] as f64 + (times[1] - times[0]) as f64 * part;
        let renewal = status.renewal_time.0.as_second() as f64;
        assert!((share(0.61)..=share(0.72)).contains(&renewal), "{name}: at two thirds of its life");
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_when_its_time_comes_and_no_other_is_touched() {
    // Nothing is issued by a clock that differs from the API server's by five minutes: the jump is shorter.
    let jump = Arc::new(AtomicI64::new(0));
    let source = Arc::clone(&jump);
    let clock =
        Clock::new(Arc::new(move || Timestamp::now() + SignedDuration::from_secs(source.load(Ordering::Relaxed))));
    let cluster: &'static TestCluster = Box::leak(Box::new(TestCluster::start().await));
    let operation = cluster.operate_by(clock).await;
    let story = Story::begin_in(cluster, "renewal").await;
    let trust = story.trust("shop", json!({})).await;
    let brief = json!({"certificate": {"duration": "5m"}, "signingKey": {}});
    let order = story.ready_identity(&trust.namespace, "order", brief).await;
    story.ready_identity(&trust.namespace, "cart", json!({"signingKey": {}})).await;
    let before = secret(&story, &trust.namespace, "order-tls").await;
    let (_, lines) = writes_since(cluster, 0);

    jump.store(240, Ordering::Relaxed);
    let api = Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace);
    for name in ["order", "cart"] {
        let touch = json!({"metadata": {"annotations": {"example.com/touched": "yes"}}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(touch)).await.unwrap();
    }
    let old = order.status.clone().unwrap().certificate.unwrap();
    let renewed = story
        .wait_identity(&trust.namespace, "order", "be renewed", |identity| {
            let status = identity.status.as_ref().and_then(|status| status.certificate.as_ref());
            status.is_some_and(|certificate| certificate.serial != old.serial)
        })
        .await;
    assert_eq!(condition(&renewed, "Ready").0, "True");
    let new = renewed.status.clone().unwrap().certificate.unwrap();
    assert!(new.not_after.0 > old.not_after.0 && new.renewal_time.0 > old.renewal_time.0);
    let after = secret(&story, &trust.namespace, "order-tls").await;
    assert_ne!(after["tls.key"], before["tls.key"]);
    assert_eq!(after["ca.crt"], before["ca.crt"]);
    eventually("the event says why", async || {
        (event_reasons(&story, &renewed).await == ["Issued", "Renewed"]).then_some(())
    })
    .await;
    let secrets: Vec<String> = eventually("the write is in the audit log", async || {
        let (writes, _) = writes_since(cluster, lines);
        let secrets = writes.into_iter().filter(|write| write.resource == "secrets");
        Some(secrets.map(|write| format!("{} {}", write.verb, write.object)).collect::<Vec<_>>())
            .filter(|secrets| !secrets.is_empty())
    })
    .await;
    assert_eq!(secrets, [format!("update {}/order-tls", trust.namespace)]);
    operation.stop().await;
}

#[tokio::test]
async fn two_services_of_sibling_domains_shake_hands_and_a_stranger_below_the_same_root_cannot() {
    let story = Story::begin("hands").await;
    let [left, right, other] = <[Trust; 3]>::try_from(siblings(&story, ["left", "right", "other"]).await).ok().unwrap();
    let domains = Api::<TrustDomain>::all(story.client.clone());
    let outbound = json!({"outbound": [{"trustDomains": [right.domain]}]});
    let inbound = json!({"inbound": [{"trustDomains": [left.domain]}]});
    story.change(domains.clone(), &left.domain, outbound).await;
    story.change(domains, &right.domain, inbound).await;
    for (trust, name) in [(&left, "order"), (&left, "cart"), (&right, "payment"), (&other, "order")] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    let policy = json!({
        "to": {"identity": "payment", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order", "namespace": left.namespace}}],
    });
    story.judged_policy(&right.namespace, "from-order", policy).await;
    story
        .wait_policy(&right.namespace, "from-order", "be in force", |policy| condition(policy, "Ready").0 == "True")
        .await;
    let payment = Peer::of(&story, &right.namespace, "payment").await;
    let order = Peer::of(&story, &left.namespace, "order").await;
    let cart = Peer::of(&story, &left.namespace, "cart").await;
    let stranger = Peer::of(&story, &other.namespace, "order").await;

    handshake(order.client(), payment.server(8443)).unwrap();
    let why = |peer: &Peer| {
        // It trusts whomever it calls, as order does: only the server's say is to be heard.
        let mut files = peer.files.clone();
        files.extend(
            order.files.iter().filter(|(name, _)| !name.starts_with("tls.")).map(|(n, c)| (n.clone(), c.clone())),
        );
        handshake(Peer { files }.client(), payment.server(8443)).unwrap_err().to_string()
    };
    assert!(why(&cart).contains("cart is not in access.json"), "{}", why(&cart));
    assert!(why(&stranger).contains(&format!("no bundle for {}", other.domain)), "{}", why(&stranger));
    let anonymous = handshake(order.client_without_certificate(), payment.server(8443)).unwrap_err();
    assert!(anonymous.to_string().contains("no certificates"), "{anonymous}");
    let impostor = handshake(cart.client(), payment.server(8443)).unwrap_err();
    assert!(
        impostor.to_string().contains(&format!("no bundle for {}", right.domain)),
        "cart knows no payment: {impostor}"
    );

    // Why the rule does not stop at the root: OpenSSL finds that the stranger chains to it.
    let openssl = OpenSsl::with(&payment.files);
    openssl.file("stranger.pem", &stranger.files["tls.crt"]);
    openssl.run("verify -purpose sslclient -CAfile callers.pem -untrusted stranger.pem stranger.pem");
    let bundle = format!("bundle.{}.pem", left.domain);
    let refused =
        openssl.try_run(&format!("verify -partial_chain -CAfile {bundle} -untrusted stranger.pem stranger.pem"));
    assert!(refused.unwrap_err().contains("unable to get"));
}

/// Domains with one namespace each below a root of the story.
async fn siblings<const N: usize>(story: &Story, names: [&str; N]) -> Vec<Trust> {
    let root = format!("{}-root", story.name);
    let alone = json!({"certificateAuthority": {"selfSigned": {}}});
    story.create_cluster_wide::<TrustDomain>(domain(&root, alone)).await;
    let mut siblings = Vec::new();
    for name in names {
        let below = json!({"certificateAuthority": {"selfSigned": null, "parent": {"name": root}}});
        siblings.push(story.trust(name, below).await);
    }
    siblings
}

/// OpenSSL and rustls-webpki verify the leaf, as a server's and as a client's, by the root and by the bundle.
fn accepted_by_every_peer(peer: &Peer, bundle: &str) {
    let openssl = OpenSsl::with(&peer.files);
    openssl.file("bundle.pem", bundle);
    for purpose in ["sslserver", "sslclient"] {
        let verify = format!("verify -x509_strict -purpose {purpose} -untrusted tls.crt");
        openssl.run(&format!("{verify} -CAfile ca.crt tls.crt"));
        openssl.run(&format!("{verify} -partial_chain -CAfile bundle.pem tls.crt"));
    }
    let peer =
        Peer { files: peer.files.clone().into_iter().chain([("bundle".to_owned(), bundle.to_owned())]).collect() };
    let chain = peer.certificates("tls.crt");
    assert!(uri_of(&chain[0]).is_some(), "one URI");
    for anchors in ["ca.crt", "bundle"] {
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            webpki_verifies(&chain[0], &chain[1..], &peer.certificates(anchors), usage, now()).unwrap();
        }
    }
}

/// Every alternative name in the leaf.
fn names_of(peer: &Peer) -> BTreeSet<String> {
    let leaf = peer.certificates("tls.crt").remove(0);
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
            GeneralName::IPAddress(octets) => match <[u8; 4]>::try_from(*octets) {
                Ok(octets) => std::net::IpAddr::from(octets).to_string(),
                Err(_) => std::net::IpAddr::from(<[u8; 16]>::try_from(*octets).unwrap()).to_string(),
            },
            other => panic!("{other:?} is no name that was asked for"),
        })
        .collect()
}

fn set(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().collect()
}
