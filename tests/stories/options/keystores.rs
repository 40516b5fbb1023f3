//! Keystores in PKCS#12, as OpenSSL reads them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use super::{certificate, choose, wait_secret, writes};
use crate::support::{
    History, OpenSsl, Story, begin_alone, condition, domain, edit, event_reasons, eventually, identity, in_namespace,
    says, versions,
};

const PASSWORD: &str = "correct horse & staple";
const ANOTHER: &str = "changed-it";

/// An identity with keystores under the password in Secret `store`.
fn keystores() -> Value {
    json!({"pkcs12": {"passwordSecretRef": {"name": "store", "key": "password"}}})
}

async fn store(story: &Story, namespace: &str, password: &str) {
    let object = json!({"metadata": {"name": "store"}, "stringData": {"password": password}});
    story.create::<Secret>(namespace, object).await;
}

async fn change_store(story: &Story, namespace: &str, data: Value) {
    let api = in_namespace::<Secret>(story, namespace);
    api.patch("store", &PatchParams::default(), &Patch::Merge(data)).await.unwrap();
}

/// OpenSSL beside the files of a Secret.
fn openssl(secret: &Secret) -> OpenSsl {
    let openssl = OpenSsl::with(&BTreeMap::new());
    for (name, octets) in secret.data.iter().flatten() {
        openssl.file(name, &octets.0);
    }
    openssl
}

/// Reads a keystore: OpenSSL splits its arguments at spaces, so that the password is in a file.
fn read(openssl: &OpenSsl, password: &str, arguments: &str) -> Result<String, String> {
    openssl.file("password", password);
    openssl.try_run(&format!("pkcs12 -passin file:password {arguments}"))
}

fn opens(secret: &Secret, password: &str) -> bool {
    secret.data.as_ref().is_some_and(|data| data.contains_key("keystore.p12"))
        && ["keystore.p12", "truststore.p12"]
            .iter()
            .all(|file| read(&openssl(secret), password, &format!("-in {file} -noout")).is_ok())
}

/// Only the PEM sections of a text.
fn sections(text: &str) -> String {
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        let kept = inside || line.starts_with("-----BEGIN");
        inside = kept && !line.starts_with("-----END");
        kept
    });
    kept.map(|line| format!("{line}\n")).collect()
}

fn text(secret: &Secret, name: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[name].0.clone()).unwrap()
}

/// Both keystores say what the other files say.
fn agree(secret: &Secret, password: &str) {
    let openssl = openssl(secret);
    let read = |arguments: &str| read(&openssl, password, arguments).unwrap();
    assert_eq!(sections(&read("-in keystore.p12 -nokeys")), text(secret, "tls.crt"), "leaf, then intermediates");
    assert_eq!(sections(&read("-in keystore.p12 -nocerts -noenc")), text(secret, "tls.key"));
    assert_eq!(sections(&read("-in truststore.p12")), text(secret, "ca.crt"), "the roots, and no key");
}

#[tokio::test]
async fn keystores_come_with_the_certificate_in_one_write_and_openssl_reads_them() {
    let story = Story::begin("p12").await;
    let root = format!("{}-root", story.name);
    let alone = json!({"certificateAuthority": {"selfSigned": {}}});
    story.create_cluster_wide::<TrustDomain>(domain(&root, alone)).await;
    let below = json!({"certificateAuthority": {"selfSigned": null, "parent": {"name": root}}});
    let namespace = story.trust("shop", below).await.namespace;
    store(&story, &namespace, PASSWORD).await;
    let history = History::begin(story.cluster);
    let algorithms = ["ECDSA-P256", "ECDSA-P384", "Ed25519", "RSA-2048"];
    for algorithm in algorithms {
        let mut spec = json!({"certificate": keystores()});
        spec["certificate"]["algorithm"] = json!(algorithm);
        let name = algorithm.to_ascii_lowercase();
        story.ready_identity(&namespace, &name, spec).await;
        let secret = in_namespace::<Secret>(&story, &namespace).get(&format!("{name}-tls")).await.unwrap();
        let keys: Vec<&String> = secret.data.as_ref().unwrap().keys().collect();
        assert_eq!(keys, ["ca.crt", "keystore.p12", "tls.crt", "tls.key", "truststore.p12"], "{algorithm}");
        agree(&secret, PASSWORD);
        let openssl = openssl(&secret);
        let with_names = read(&openssl, PASSWORD, "-in keystore.p12 -nocerts -noenc").unwrap();
        assert!(
            with_names.contains(&format!("friendlyName: {name}")),
            "the alias is the identity's name: {with_names}"
        );
        for file in ["keystore.p12", "truststore.p12"] {
            openssl.file("password", PASSWORD);
            let told = openssl.told(&format!("pkcs12 -passin file:password -in {file} -info -noout"));
            assert!(told.contains("MAC: sha256") && told.contains("PBES2, PBKDF2, AES-256-CBC"), "{file}: {told}");
            assert!(told.contains("PRF hmacWithSHA256") && !told.contains("3DES"), "{file}: {told}");
            let refused = read(&openssl, "another password", &format!("-in {file} -noout")).unwrap_err();
            assert!(refused.contains("invalid password"), "{file}: {refused}");
        }
        assert_eq!(writes(&story, &history, &namespace, &format!("{name}-tls")).await, 1, "{algorithm}");
    }
}

#[tokio::test]
async fn another_password_is_another_keystore_and_the_same_certificate() {
    let story = Story::begin("p12-password").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    store(&story, &namespace, PASSWORD).await;
    let mut spec = json!({"certificate": keystores()});
    spec["certificate"]["secretTemplate"] = json!({"labels": {"team": "checkout"}});
    let before = story.ready_identity(&namespace, "order", spec).await;
    let history = History::begin(story.cluster);
    change_store(&story, &namespace, json!({"metadata": {"labels": {"touched": "yes"}}, "stringData": {"other": "x"}}))
        .await;
    assert_eq!(writes(&story, &history, &namespace, "order-tls").await, 0, "nothing of it is about the password");
    change_store(&story, &namespace, json!({"stringData": {"password": ANOTHER}})).await;
    let changed = wait_secret(&story, &namespace, "order-tls", "open with another", |s| opens(s, ANOTHER)).await;
    agree(&changed, ANOTHER);
    assert!(!opens(&changed, PASSWORD));
    assert_eq!(changed.metadata.labels.as_ref().unwrap()["team"], "checkout");

    // Another certificate has another keystore, under the same password and in the same write.
    let renewed = choose(&story, &namespace, "order", json!({"duration": "1h"})).await;
    assert_ne!(certificate(&renewed).serial, certificate(&before).serial);
    agree(&in_namespace::<Secret>(&story, &namespace).get("order-tls").await.unwrap(), ANOTHER);
    assert_eq!(writes(&story, &history, &namespace, "order-tls").await, 2);

    let without = choose(&story, &namespace, "order", json!({"pkcs12": null})).await;
    let bare = in_namespace::<Secret>(&story, &namespace).get("order-tls").await.unwrap();
    assert_eq!(bare.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(certificate(&without).serial, certificate(&renewed).serial);
    change_store(&story, &namespace, json!({"stringData": {"password": PASSWORD}})).await;
    assert_eq!(writes(&story, &history, &namespace, "order-tls").await, 3, "nobody looks at the password any more");
    eventually("events tell of it, and accuse nobody", async || {
        let reasons = event_reasons(&story, &without).await;
        assert!(!reasons.contains(&"DriftCorrected".to_owned()), "{reasons:?}");
        reasons.contains(&"SecretUpdated".to_owned()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_usable_password_the_certificate_comes_all_the_same_and_the_condition_says_what_is_wrong() {
    let story = Story::begin("p12-missing").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    let spec = json!({"certificate": keystores()});
    let object = identity("order", spec);
    story.create::<ServiceIdentity>(&namespace, object).await;
    let api = story.api::<ServiceIdentity>(&namespace);
    let told = async |reason: &str, words: &str| {
        let words = [words, "the keystores of certificate.pkcs12 can't be written; the certificate can"];
        says(&api, "order", ("ResolvedRefs", "False", reason), &words).await;
    };
    told("SecretNotFound", &format!("Secret {namespace}/store does not exist: create it")).await;
    let issued = api.get("order").await.unwrap();
    assert_eq!(condition(&issued, "Programmed").0, "True", "everything else is there");
    let secrets = in_namespace::<Secret>(&story, &namespace);
    let first = secrets.get("order-tls").await.unwrap();
    assert!(!first.data.as_ref().unwrap().contains_key("keystore.p12"));
    let history = History::begin(story.cluster);

    store(&story, &namespace, "").await;
    told("Invalid", "is empty").await;
    change_store(&story, &namespace, json!({"stringData": {"password": format!("{PASSWORD}\n")}})).await;
    told("Invalid", "has a line break in it, as echo and editors put one at the end").await;
    change_store(&story, &namespace, json!({"stringData": {"password": "short"}})).await;
    told("Invalid", "does not have 6 to 128 characters").await;
    change_store(&story, &namespace, json!({"data": {"password": null}, "stringData": {"pasword": PASSWORD}})).await;
    told("Invalid", &format!("the data key password of Secret {namespace}/store does not exist")).await;
    assert_eq!(writes(&story, &history, &namespace, "order-tls").await, 0);

    change_store(&story, &namespace, json!({"stringData": {"password": PASSWORD}})).await;
    let written =
        wait_secret(&story, &namespace, "order-tls", "have keystores", |secret| opens(secret, PASSWORD)).await;
    let ready = |identity: &ServiceIdentity| condition(identity, "Ready").0 == "True";
    let identity = story.wait_identity(&namespace, "order", "become ready", ready).await;
    assert_eq!(certificate(&identity).serial, certificate(&issued).serial, "with the certificate that was there");

    // It goes: what is there stays, as long as the certificate does.
    secrets.delete("store", &DeleteParams::default()).await.unwrap();
    told("SecretNotFound", "does not exist").await;
    assert_eq!(secrets.get("order-tls").await.unwrap().metadata.resource_version, written.metadata.resource_version);
    edit(&secrets, "order-tls", |secret| drop(secret.metadata.labels.take())).await;
    let labelled = |secret: &Secret| secret.metadata.labels.is_some();
    let labelled = wait_secret(&story, &namespace, "order-tls", "have its label again", labelled).await;
    assert_eq!((&labelled.data, &labelled.metadata.annotations), (&written.data, &written.metadata.annotations));
    choose(&story, &namespace, "order", json!({"duration": "2h"})).await;
    let renewed = secrets.get("order-tls").await.unwrap();
    assert_eq!(
        renewed.data.unwrap().keys().collect::<Vec<_>>(),
        ["ca.crt", "tls.crt", "tls.key"],
        "none that is stale"
    );
    store(&story, &namespace, PASSWORD).await;
    let again = wait_secret(&story, &namespace, "order-tls", "have keystores again", |s| opens(s, PASSWORD)).await;
    agree(&again, PASSWORD);
}

#[tokio::test]
async fn keystores_that_someone_else_changed_are_written_anew() {
    let story = Story::begin("p12-drift").await;
    let namespace = story.trust("shop", json!({})).await.namespace;
    store(&story, &namespace, PASSWORD).await;
    let before = story.ready_identity(&namespace, "order", json!({"certificate": keystores()})).await;
    story.ready_identity(&namespace, "thief", json!({"certificate": keystores()})).await;
    let secrets = in_namespace::<Secret>(&story, &namespace);
    let theirs = secrets.get("thief-tls").await.unwrap();
    // With keystores of another under the same password, and with their record.
    let changed = edit(&secrets, "order-tls", |secret| {
        let data = secret.data.as_mut().unwrap();
        for file in ["keystore.p12", "truststore.p12"] {
            data.insert(file.to_owned(), theirs.data.as_ref().unwrap()[file].clone());
        }
        secret.metadata.annotations = theirs.metadata.annotations.clone();
    })
    .await;
    let other = |secret: &Secret| secret.metadata.resource_version != changed.metadata.resource_version;
    agree(&wait_secret(&story, &namespace, "order-tls", "be put right", other).await, PASSWORD);
    edit(&secrets, "order-tls", |secret| drop(secret.data.as_mut().unwrap().remove("truststore.p12"))).await;
    let whole = wait_secret(&story, &namespace, "order-tls", "be whole again", |secret| opens(secret, PASSWORD)).await;
    agree(&whole, PASSWORD);
    let after = story.api::<ServiceIdentity>(&namespace).get("order").await.unwrap();
    assert_eq!(certificate(&after).serial, certificate(&before).serial);
}

#[tokio::test]
async fn a_restart_writes_nothing_however_much_was_chosen() {
    let (story, _turn) = begin_alone("chosen").await;
    let operation = story.cluster.operate().await;
    let trust = story.trust("shop", json!({})).await;
    let namespace = &trust.namespace;
    store(&story, namespace, PASSWORD).await;
    let mut certificate = keystores();
    certificate["usages"] = json!(["ClientAuth"]);
    certificate["commonName"] = json!("order");
    certificate["secretTemplate"] = json!({"labels": {"team": "checkout"}, "annotations": {"example.com/note": "x"}});
    story.ready_identity(namespace, "order", json!({"certificate": certificate, "signingKey": {}})).await;
    let missing = json!({"pkcs12": {"passwordSecretRef": {"name": "nowhere", "key": "password"}}});
    story.create::<ServiceIdentity>(namespace, identity("cart", json!({"certificate": missing}))).await;
    says(&story.api::<ServiceIdentity>(namespace), "cart", ("ResolvedRefs", "False", "SecretNotFound"), &[]).await;
    let settled = |identity: &ServiceIdentity| condition(identity, "Programmed").0 == "True";
    story.wait_identity(namespace, "cart", "be written", settled).await;
    operation.stop().await;
    let before = versions(&story, namespace).await;
    let authority = in_namespace::<Secret>(&story, OPERATOR_NAMESPACE);
    let ca = format!("{}-ca", trust.domain);
    let ca_before = authority.get(&ca).await.unwrap().metadata.resource_version;

    let history = History::begin(story.cluster);
    let operation = story.cluster.operate().await;
    // A change of the password tells that it is watched, and so that all has been looked at.
    change_store(&story, namespace, json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    let sentinel = json!({"certificate": keystores()});
    story.ready_identity(namespace, "sentinel", sentinel).await;
    let sentinel = format!("{namespace}/sentinel-tls");
    eventually("the audit log has come so far", async || (history.writes_to("secrets", &sentinel) > 0).then_some(()))
        .await;
    let mut writes = history.writes();
    writes.retain(|write| write.object.contains(&story.name) && !write.object.contains("sentinel"));
    writes.retain(|write| write.resource != "events");
    assert_eq!(writes, []);
    let mut after = versions(&story, namespace).await;
    after.retain(|name, _| !name.contains("sentinel"));
    assert_eq!(after.remove("Secret store").is_some(), before.contains_key("Secret store"));
    let mut before = before;
    before.remove("Secret store");
    assert_eq!(after, before);
    assert_eq!(authority.get(&ca).await.unwrap().metadata.resource_version, ca_before);
    operation.stop().await;
}
