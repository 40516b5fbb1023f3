//! What becomes of an identity that is suspended or deleted: it is closed, its certificates are on the lists that its
//! peers get, and what it comes back with is new.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::DeleteParams;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{
    History, OpenSsl, Peer, Story, Trust, begin_alone, condition, config_map, domain, event_reasons, eventually, gone,
    identity, in_namespace, passes, policy, secret, wait_for,
};

/// A story of a family in the shared cluster.
async fn family(title: &str) -> (Story, [Trust; 2]) {
    let story = Story::begin(title).await;
    let trusts = story.family().await;
    (story, trusts)
}

async fn suspend(story: &Story, namespace: &str, name: &str, suspended: bool) -> ServiceIdentity {
    let api = in_namespace::<ServiceIdentity>(story, namespace);
    story.change(api, name, json!({"suspended": suspended})).await;
    let wanted = if suspended { ("False", "Suspended") } else { ("True", "NoPods") };
    story
        .wait_identity(namespace, name, "be as declared", |object| {
            let ready = condition(object, "Ready");
            (&*ready.0, &*ready.1) == wanted && condition(object, "Programmed").0 == "True"
        })
        .await
}

/// What a callee has once it knows, or does not know any more, a caller.
async fn knows(story: &Story, callee: (&str, &str), caller: &str, wanted: bool) -> Peer {
    let (namespace, name) = callee;
    let maps = in_namespace::<ConfigMap>(story, namespace);
    let known = |map: &ConfigMap| map.data.as_ref().unwrap()["access.json"].contains(&format!("/sa/{caller}\""));
    wait_for(&maps, &format!("{name}-trust"), "follow", |map| known(map) == wanted).await;
    Peer::of(story, namespace, name).await
}

/// Waits until the list of a domain has some serial numbers and no others.
async fn listed(story: &Story, domain: &str, serials: &[&str]) -> BTreeMap<String, String> {
    eventually("the list is as wanted", async || {
        let files = config_map(story, OPERATOR_NAMESPACE, &format!("{domain}-trust")).await;
        let text = files["crl.pem"].clone();
        let first = text.split_inclusive("-----END X509 CRL-----\n").next()?;
        let said =
            OpenSsl::with([(&"crl".to_owned(), &first.to_owned())]).run("crl -in crl -noout -text").to_lowercase();
        let on_it = said.matches("serial number:").count();
        (on_it == serials.len() && serials.iter().all(|serial| said.contains(serial))).then_some(files)
    })
    .await
}

fn serial_of(object: &ServiceIdentity) -> String {
    object.status.as_ref().unwrap().certificate.as_ref().unwrap().serial.clone()
}

#[tokio::test]
async fn a_suspended_identity_is_closed_and_refused_and_comes_back_with_new_keys() {
    let (story, [left, right]) = family("suspend").await;
    let callee = (&*right.namespace, "payment");
    let payment = knows(&story, callee, "order", true).await;
    let [order, gateway] =
        [Peer::of(&story, &left.namespace, "order").await, Peer::of(&story, &left.namespace, "gateway").await];
    assert!(passes(&order, &payment) && passes(&gateway, &payment));
    let kid = secret(&story, &left.namespace, "order-signing-key").await["kid"].clone();
    assert!(payment.files["jwks.json"].contains(&kid));

    let object = suspend(&story, &left.namespace, "order", true).await;
    assert!(condition(&object, "Suspended").2.contains("its certificates are revoked"));
    assert!(condition(&object, "Accepted").0 == "True");
    let status = object.status.clone().unwrap();
    assert_eq!((status.certificate, status.signing_key, status.previous_certificates.len()), (None, None, 0));
    for name in ["order-tls", "order-signing-key"] {
        gone(&in_namespace::<Secret>(&story, &left.namespace), name).await;
    }
    gone(&in_namespace::<ConfigMap>(&story, &left.namespace), "order-trust").await;
    let policies = in_namespace::<NetworkPolicy>(&story, &left.namespace);
    let closed = policies.get("ringfence-order").await.unwrap().spec.unwrap();
    assert!(!serde_json::to_string(&closed).unwrap().contains("payment"), "{closed:?}");
    let policies = in_namespace::<NetworkPolicy>(&story, &right.namespace);
    let open = |policy: &NetworkPolicy| serde_json::to_string(&policy.spec).unwrap().contains("\"order\"");
    wait_for(&policies, "ringfence-payment", "close", |policy| !open(policy)).await;

    knows(&story, callee, "order", false).await;
    let payment = eventually("the list reaches its peers", async || {
        let payment = Peer::of(&story, callee.0, callee.1).await;
        (!passes(&order, &payment)).then_some(payment)
    })
    .await;
    assert!(passes(&gateway, &payment), "others go on");
    assert!(!payment.files["jwks.json"].contains(&kid) && payment.files["jwks.json"].contains("/sa/gateway"));
    let said = |object: &AccessPolicy| condition(object, "ResolvedRefs").1 == "CallerNotFound";
    story.wait_policy(&right.namespace, "pay", "name who is suspended", said).await;
    eventually("an event tells of it", async || {
        event_reasons(&story, &object).await.contains(&"Suspended".to_owned()).then_some(())
    })
    .await;

    suspend(&story, &left.namespace, "order", false).await;
    let payment = knows(&story, callee, "order", true).await;
    let back = Peer::of(&story, &left.namespace, "order").await;
    assert!(passes(&back, &payment) && !passes(&order, &payment), "the old certificate stays revoked");
    let new_kid = secret(&story, &left.namespace, "order-signing-key").await["kid"].clone();
    assert_ne!(new_kid, kid);
    eventually("verifiers have the new key alone", async || {
        let keys = config_map(&story, callee.0, "payment-trust").await["jwks.json"].clone();
        (keys.contains(&new_kid) && !keys.contains(&kid)).then_some(())
    })
    .await;
    assert!(!event_reasons(&story, &object).await.contains(&"DriftCorrected".to_owned()), "it was nobody's doing");
}

#[tokio::test]
async fn certificates_that_were_replaced_are_revoked_too() {
    let story = Story::begin("replaced").await;
    let trust = story.trust("shop", json!({})).await;
    let mut serials = vec![serial_of(&story.ready_identity(&trust.namespace, "order", json!({})).await)];
    let bystander = serial_of(&story.ready_identity(&trust.namespace, "gateway", json!({})).await);
    for algorithm in ["ECDSA-P384", "Ed25519"] {
        let api = in_namespace::<ServiceIdentity>(&story, &trust.namespace);
        story.change(api, "order", json!({"certificate": {"algorithm": algorithm}})).await;
        let known = serials.clone();
        let fresh = |object: &ServiceIdentity| {
            object.status.as_ref().is_some_and(|status| {
                status.previous_certificates.len() == known.len()
                    && status.certificate.as_ref().is_some_and(|certificate| !known.contains(&certificate.serial))
            })
        };
        serials.push(serial_of(&story.wait_identity(&trust.namespace, "order", "be issued anew", fresh).await));
    }
    suspend(&story, &trust.namespace, "order", true).await;
    let serials: Vec<&str> = serials.iter().map(|serial| serial.trim_start_matches('0')).collect();
    assert!(!serials.contains(&&*bystander));
    listed(&story, &trust.domain, &serials).await;
}

#[tokio::test]
async fn an_identity_that_is_deleted_is_revoked_before_it_goes() {
    let story = Story::begin("deleted").await;
    let trust = story.trust("shop", json!({})).await;
    let object = story.ready_identity(&trust.namespace, "order", json!({})).await;
    listed(&story, &trust.domain, &[]).await;
    let api = in_namespace::<ServiceIdentity>(&story, &trust.namespace);
    api.delete("order", &DeleteParams::default()).await.unwrap();
    gone(&api, "order").await;
    let serial = serial_of(&object);
    listed(&story, &trust.domain, &[serial.trim_start_matches('0')]).await;
    // Its name is free again, for one that has nothing of the old one.
    let again = story.ready_identity(&trust.namespace, "order", json!({})).await;
    assert_ne!(serial_of(&again), serial);
}

#[tokio::test]
async fn while_the_operator_is_down_a_deleted_identity_waits_to_be_revoked() {
    let (story, _turn) = begin_alone("waits").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "gateway"] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    let object = suspend(&story, &trust.namespace, "gateway", true).await;
    assert_eq!(object.status.unwrap().previous_certificates.len(), 0);
    operation.stop().await;
    let history = History::begin(story.cluster);
    let api = in_namespace::<ServiceIdentity>(&story, &trust.namespace);
    let deleted = api.get("order").await.unwrap();
    let before = config_map(&story, OPERATOR_NAMESPACE, &format!("{}-trust", trust.domain)).await;
    api.delete("order", &DeleteParams::default()).await.unwrap();
    assert!(api.get("order").await.unwrap().metadata.deletion_timestamp.is_some(), "its finalizer holds it");
    let operation = story.cluster.operate().await;
    gone(&api, "order").await;
    let trust_map = format!("{OPERATOR_NAMESPACE}/{}-trust", trust.domain);
    eventually("the list is published", async || (history.writes_to("configmaps", &trust_map) > 0).then_some(())).await;
    let after = config_map(&story, OPERATOR_NAMESPACE, &format!("{}-trust", trust.domain)).await;
    assert_ne!(before["crl.pem"], after["crl.pem"]);
    let text = OpenSsl::with(&after).run("crl -in crl.pem -noout -text").to_lowercase();
    assert!(text.contains(serial_of(&deleted).trim_start_matches('0')), "{text}");
    assert_eq!(text.matches("serial number:").count(), 2, "who was suspended before is still on it: {text}");
    // Who is suspended stays as it is, and costs nothing.
    let sleeper = format!("{}/gateway", trust.namespace);
    assert_eq!(history.writes().into_iter().filter(|write| write.object.starts_with(&sleeper)).collect::<Vec<_>>(), []);
    operation.stop().await;
}

#[tokio::test]
async fn a_restart_writes_nothing_about_lists_that_are_current() {
    let (story, _turn) = begin_alone("current").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "gateway"] {
        story.ready_identity(&trust.namespace, name, json!({"signingKey": {}})).await;
    }
    suspend(&story, &trust.namespace, "order", true).await;
    eventually("everything is at rest", async || {
        let domain = Api::<TrustDomain>::all(story.client.clone()).get(&trust.domain).await.unwrap();
        (condition(&domain, "Ready").0 == "True").then_some(())
    })
    .await;
    operation.stop().await;
    let history = History::begin(story.cluster);
    let operation = story.cluster.operate().await;
    // The last to be looked at.
    story.ready_identity(&trust.namespace, "zzz", json!({})).await;
    let mut writes = history.writes();
    writes.retain(|write| write.object.contains(&story.name) && !write.object.contains("zzz"));
    writes.retain(|write| write.resource != "events");
    assert_eq!(writes, []);
    operation.stop().await;
}

#[tokio::test]
async fn below_a_ca_that_signs_no_lists_a_suspension_says_so() {
    let story = Story::begin("no-lists").await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "corporate CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let files = json!({"tls.crt": params.self_signed(&key).unwrap().pem(), "tls.key": key.serialize_pem()});
    let file = format!("{}-brought", story.name);
    story.create::<Secret>(OPERATOR_NAMESPACE, json!({"metadata": {"name": file}, "stringData": files})).await;
    let namespace = story.namespace("shop").await;
    let spec = json!({"certificateAuthority": {"secret": {"name": file}}, "namespaces": [namespace]});
    story.create_cluster_wide::<TrustDomain>(domain(&namespace, spec)).await;
    let unavailable = |object: &TrustDomain| condition(object, "Programmed").1 == "RevocationUnavailable";
    story.wait_domain(&namespace, "say what it lacks", unavailable).await;
    let serial = serial_of(&story.ready_identity(&namespace, "order", json!({})).await);
    let object = suspend(&story, &namespace, "order", true).await;
    let said = condition(&object, "Suspended").2;
    assert!(said.contains(&format!("the CA of TrustDomain {namespace} lacks the key usage cRLSign")), "{said}");
    assert_eq!(object.status.unwrap().previous_certificates[0].serial, serial, "it is remembered until it ends");
    let files = config_map(&story, OPERATOR_NAMESPACE, &format!("{namespace}-trust")).await;
    assert_eq!(files["crl.pem"], "");
    // It goes all the same.
    let api = in_namespace::<ServiceIdentity>(&story, &namespace);
    api.delete("order", &DeleteParams::default()).await.unwrap();
    gone(&api, "order").await;
}

#[tokio::test]
async fn an_identity_that_is_created_suspended_gets_nothing() {
    let story = Story::begin("asleep").await;
    let trust = story.trust("shop", json!({})).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({"suspended": true}))).await;
    let suspended = |object: &ServiceIdentity| condition(object, "Suspended").0 == "True";
    story.wait_identity(&trust.namespace, "order", "be suspended", suspended).await;
    let spec =
        json!({"to": {"identity": "order", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}]});
    story.create::<AccessPolicy>(&trust.namespace, policy("p", spec)).await;
    let said = |object: &AccessPolicy| condition(object, "ResolvedRefs").2.contains("is suspended");
    story.wait_policy(&trust.namespace, "p", "name who is suspended", said).await;
    assert!(in_namespace::<Secret>(&story, &trust.namespace).get_opt("order-tls").await.unwrap().is_none());
}

#[tokio::test]
async fn once_the_finalizers_are_released_nothing_waits_for_an_operator_that_is_gone() {
    let (story, _turn) = begin_alone("released").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    let stays = story.trust("stays", json!({})).await;
    for (namespace, name) in [(&trust.namespace, "order"), (&trust.namespace, "gateway"), (&stays.namespace, "order")] {
        story.ready_identity(namespace, name, json!({})).await;
    }
    operation.stop().await;
    let kubeconfig = story.cluster.cluster().kubeconfig().to_owned();
    let release = move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.arg("release-finalizers").env("KUBECONFIG", kubeconfig).output().unwrap()
    };
    let released = tokio::task::spawn_blocking(release).await.unwrap();
    assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    let api = in_namespace::<ServiceIdentity>(&story, &trust.namespace);
    api.delete("order", &DeleteParams::default()).await.unwrap();
    gone(&api, "order").await;
    let namespaces = Api::<Namespace>::all(story.client.clone());
    namespaces.delete(&trust.namespace, &DeleteParams::default()).await.unwrap();
    gone(&namespaces, &trust.namespace).await;
    let domains = Api::<TrustDomain>::all(story.client.clone());
    domains.delete(&trust.domain, &DeleteParams::default()).await.unwrap();
    gone(&domains, &trust.domain).await;

    // Back again, it puts them on what is left, and writes nothing else.
    let history = History::begin(story.cluster);
    let operation = story.cluster.operate().await;
    let identities = in_namespace::<ServiceIdentity>(&story, &stays.namespace);
    wait_for(&identities, "order", "be held again", |object| object.metadata.finalizers.is_some()).await;
    wait_for(&domains, &stays.domain, "be held again", |object| object.metadata.finalizers.is_some()).await;
    let mut writes = history.writes();
    writes.retain(|write| write.object.contains(&stays.namespace));
    let resources: Vec<&str> = writes.iter().map(|write| write.resource.as_str()).collect();
    assert!(resources.iter().all(|resource| ["serviceidentities", "trustdomains"].contains(resource)), "{writes:?}");
    operation.stop().await;
}

#[tokio::test]
async fn what_may_be_in_other_hands_is_distrusted_and_replaced_once() {
    let (story, [left, right]) = family("stolen").await;
    let callee = (&*right.namespace, "payment");
    let before = Peer::of(&story, &left.namespace, "order").await;
    let kid = secret(&story, &left.namespace, "order-signing-key").await["kid"].clone();
    let api = || in_namespace::<ServiceIdentity>(&story, &left.namespace);
    let begun = async |id: &str, target: &str| {
        let rotation = json!({"id": id, "target": target, "mode": "Compromised"});
        story.change(api(), "order", json!({"rotation": rotation})).await;
        story
            .wait_identity(&left.namespace, "order", "have rotated", |object| {
                let status = object.status.as_ref().unwrap();
                status.rotation.as_ref().is_some_and(|rotation| rotation.id == id)
                    && condition(object, "Programmed").0 == "True"
            })
            .await
    };
    let object = begun("laptop", "Certificate").await;
    assert!(condition(&object, "RollingOver").2.contains("whoever still uses what was delivered before is refused"));
    assert_eq!(condition(&object, "Ready").0, "True");
    let after = eventually("the lists reach its peers", async || {
        let payment = Peer::of(&story, callee.0, callee.1).await;
        let after = Peer::of(&story, &left.namespace, "order").await;
        (!passes(&before, &payment) && passes(&after, &payment)).then_some(after)
    })
    .await;
    assert_ne!(after.files["tls.key"], before.files["tls.key"]);
    assert_eq!(secret(&story, &left.namespace, "order-signing-key").await["kid"], kid, "that was not asked for");
    eventually("an event says what it costs", async || {
        event_reasons(&story, &object).await.contains(&"Compromised".to_owned()).then_some(())
    })
    .await;

    begun("again", "SigningKey").await;
    let new_kid = secret(&story, &left.namespace, "order-signing-key").await["kid"].clone();
    assert_ne!(new_kid, kid);
    eventually("the old key is in no key set", async || {
        let keys = config_map(&story, callee.0, "payment-trust").await["jwks.json"].clone();
        (keys.contains(&new_kid) && !keys.contains(&kid)).then_some(())
    })
    .await;
    let now = Peer::of(&story, &left.namespace, "order").await;
    assert_eq!(now.files["tls.crt"], after.files["tls.crt"], "the certificate stays");
    assert!(!event_reasons(&story, &object).await.contains(&"DriftCorrected".to_owned()), "it was nobody's doing");
}

#[tokio::test]
async fn only_what_is_served_can_be_asked_for() {
    let story = Story::begin("modes").await;
    let trust = story.trust("shop", json!({})).await;
    for (rotation, said) in [
        (json!({"id": "x", "target": "Certificate", "mode": "Scheduled"}), "spec.rotation.mode"),
        (json!({"id": "x", "target": "SigningKey", "mode": "Compromised"}), "there is no signing key to rotate"),
        (json!({"id": "", "target": "Certificate", "mode": "Compromised"}), "spec.rotation.id"),
    ] {
        let object = identity("order", json!({"rotation": rotation}));
        let message = story.refused::<ServiceIdentity>(&trust.namespace, object).await;
        assert!(message.contains(said), "{message}");
    }
}
