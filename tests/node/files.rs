//! Certificates, keys and all that is needed to know peers arrive in the pod that mounts them, and follow every change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Story, object, pod, service};

#[test]
fn mounted_files_are_the_delivered_ones_and_follow_every_change() {
    let Some(story) = Story::begin("files") else { return };
    let namespace = story.namespace("shop");
    let identity = |name: &str, spec| object("ServiceIdentity", Some(&namespace), name, spec);
    let domain = object(
        "TrustDomain",
        None,
        "files",
        json!({
            "namespaces": [namespace], "certificateAuthority": {"selfSigned": {}},
        }),
    );
    story.apply(&[
        domain,
        identity("order", json!({"signingKey": {}})),
        identity("payment", json!({"signingKey": {}})),
    ]);
    story.apply(&service(&namespace, "order"));
    story.apply(&service(&namespace, "payment"));
    story.all_ready("serviceidentities.ringfence.dev", &namespace);

    // The pod comes under its fence, mounts what its identity was given, and can read it.
    let mut payment = pod(&namespace, "payment", "payment", "payment");
    payment["spec"]["volumes"] = json!([
        {"name": "tls", "secret": {"secretName": "payment-tls"}},
        {"name": "signing-key", "secret": {"secretName": "payment-signing-key"}},
        {"name": "trust", "configMap": {"name": "payment-trust"}},
    ]);
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}"), "readOnly": true});
    payment["spec"]["containers"][0]["volumeMounts"] = json!([mount("tls"), mount("signing-key"), mount("trust")]);
    story.apply(&[payment]);
    story.all_ready("pods", &namespace);
    let (first, _) = arrived(&story, &namespace, "everything", |_| true);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "/signing-key/jwk.json",
            "/signing-key/kid",
            "/signing-key/private.pem",
            "/tls/ca.crt",
            "/tls/tls.crt",
            "/tls/tls.key",
            "/trust/access.json",
            "/trust/callees.pem",
            "/trust/callers.pem",
            "/trust/crl.pem",
            "/trust/jwks.json",
        ]
    );

    // A new certificate, under another key.
    let renewed = json!({"signingKey": {}, "certificate": {"algorithm": "ECDSA-P384"}});
    story.apply(&[identity("payment", renewed)]);
    let (second, changed) =
        arrived(&story, &namespace, "a new certificate", |files| files["/tls/tls.crt"] != first["/tls/tls.crt"]);
    assert_eq!(changed_since(&first, &second), ["/tls/tls.crt", "/tls/tls.key"], "{changed:?}");

    // A caller who signs tokens: its key comes, and goes with the policy.
    story.apply(&[object(
        "AccessPolicy",
        Some(&namespace),
        "payment",
        json!({
            "to": {"identity": "payment", "ports": [{"port": "https"}]},
            "from": [{"identity": {"name": "order"}}],
            "authentication": {"jwt": {}},
        }),
    )]);
    let keys = format!("/trust/jwks.{namespace}.order.json");
    let (third, _) = arrived(&story, &namespace, "a caller's key", |files| files.contains_key(&keys));
    assert!(changed_since(&second, &third).contains(&"/trust/access.json".to_owned()));
    story.kubectl(&format!("delete accesspolicy payment --namespace={namespace}"));
    let (last, _) = arrived(&story, &namespace, "its end", |files| !files.contains_key(&keys));
    assert_eq!(changed_since(&second, &last), [""; 0]);
    story.assert_rights_suffice();
}

/// Files by path, as SHA-256.
type Files = BTreeMap<String, String>;

/// Waits until what is delivered is as wanted, and what the pod sees is what is delivered; tells how long that took.
fn arrived(story: &Story, namespace: &str, what: &str, wanted: impl Fn(&Files) -> bool) -> (Files, Duration) {
    let started = Instant::now();
    let mut delivered_after = None;
    loop {
        let delivered = delivered(story, namespace);
        if wanted(&delivered) {
            delivered_after.get_or_insert_with(|| started.elapsed());
            let seen = seen(story, namespace);
            if seen == delivered {
                eprintln!("files: {what} delivered after {delivered_after:?}, seen after {:?}", started.elapsed());
                return (seen, started.elapsed());
            }
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{what} did not arrive: {:#?}", seen(story, namespace));
    }
}

/// What Ringfence wrote for `payment`.
fn delivered(story: &Story, namespace: &str) -> Files {
    let mut files = Files::new();
    for (folder, object) in [("tls", "secret"), ("signing-key", "secret"), ("trust", "configmap")] {
        let found = story.get(&format!("{object} payment-{folder} --namespace={namespace}"));
        for (name, content) in found["data"].as_object().unwrap() {
            let content = content.as_str().unwrap();
            let content =
                if object == "secret" { STANDARD.decode(content).unwrap() } else { content.as_bytes().to_vec() };
            files.insert(format!("/{folder}/{name}"), sha256(&content));
        }
    }
    files
}

/// What its pod reads.
fn seen(story: &Story, namespace: &str) -> Files {
    let read = format!("exec payment --namespace={namespace} -- /netcheck read /tls /signing-key /trust");
    let lines = story.kubectl(&read);
    lines
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(path, sum)| (path.to_owned(), sum.to_owned()))
        .collect()
}

fn changed_since(before: &Files, after: &Files) -> Vec<String> {
    let paths = before.keys().chain(after.keys()).collect::<BTreeSet<_>>();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}
