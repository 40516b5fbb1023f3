//! The verbs of the command that need no cluster: what they print, what they complain about, and how they exit.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// What came of a run.
struct Ran {
    exit_code: i32,
    output: String,
    complaints: String,
}

#[test]
fn the_shop_renders_without_complaint_and_the_same_each_time() {
    let shop = root().join("examples/shop/policies");
    let ran = ringfence(&["render", path(&shop)]);
    assert_eq!((ran.exit_code, ran.complaints.as_str()), (0, ""));
    let count = |kind: &str| documents(&ran.output).iter().filter(|document| document["kind"] == kind).count();
    assert_eq!([count("NetworkPolicy"), count("ConfigMap"), count("CertificateProfile")], [2 + 5, 5, 5]);
    assert_eq!(count("SigningKeyProfile"), 1);
    assert_eq!(count("RoleBinding"), 2, "the operator enters each namespace");
    assert_eq!(count("Secret"), 0, "keys are left out");
    assert_eq!(ringfence(&["render", path(&shop)]).output, ran.output);
    // File by file is the same as the whole folder.
    let mut files: Vec<PathBuf> = std::fs::read_dir(&shop).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.reverse();
    let each: Vec<&str> = ["render"].into_iter().chain(files.iter().map(|file| path(file))).collect();
    assert_eq!(ringfence(&each).output, ran.output);
}

#[test]
fn what_is_told_about_the_cluster_shows() {
    let shop = root().join("examples/shop/policies");
    let ran = ringfence(&["render", "--cluster-domain", "corp.example", path(&shop)]);
    let order = find(&ran.output, "CertificateProfile", "order-tls");
    let names = serde_json::json!(["order.storefront.svc", "order.storefront.svc.corp.example"]);
    assert_eq!(order["dnsNames"], names);
    assert_eq!(order["spiffeID"], "spiffe://storefront/ns/storefront/sa/order");
}

#[test]
fn what_is_refused_is_named_and_the_rest_is_shown_with_exit_code_1() {
    let bad = ACCEPTED.replace("name: order}", "name: nobody}");
    let ran = render(&[("bad.yaml", &bad)]);
    assert_eq!(ran.exit_code, 1);
    assert!(ran.complaints.contains("AccessPolicy shop/payment"), "{}", ran.complaints);
    assert!(ran.complaints.contains("ServiceIdentity shop/nobody does not exist"), "{}", ran.complaints);
    find(&ran.output, "NetworkPolicy", "ringfence-payment");
    let good = render(&[("good.yaml", ACCEPTED)]);
    assert_eq!((good.exit_code, good.complaints.as_str()), (0, ""));
}

#[test]
fn an_identity_outside_every_domain_is_refused() {
    let stray =
        "apiVersion: ringfence.dev/v1alpha1\nkind: ServiceIdentity\nmetadata: {name: x, namespace: stray}\nspec: {}\n";
    let ran = render(&[("good.yaml", ACCEPTED), ("stray.yaml", stray)]);
    assert_eq!(ran.exit_code, 1);
    assert!(ran.complaints.contains("namespace stray is in no TrustDomain"), "{}", ran.complaints);
}

#[test]
fn what_is_chosen_about_a_certificate_shows_and_nothing_else() {
    let chosen = "spec: {certificate: {usages: [ClientAuth], secretTemplate: {labels: {team: a}}, pkcs12: {passwordSecretRef: {name: store, key: password}}}}";
    let ran = render(&[("good.yaml", &ACCEPTED.replace("spec: {}", chosen))]);
    let profile = documents(&ran.output).into_iter().find(|document| document["kind"] == "CertificateProfile").unwrap();
    assert_eq!(profile["usages"], serde_json::json!(["ClientAuth"]));
    assert_eq!(profile["secretTemplate"], serde_json::json!({"labels": {"team": "a"}}));
    assert_eq!(profile["pkcs12"]["passwordSecretRef"]["name"], "store");
    let plain = render(&[("good.yaml", ACCEPTED)]);
    let profile =
        documents(&plain.output).into_iter().find(|document| document["kind"] == "CertificateProfile").unwrap();
    for field in ["usages", "commonName", "secretTemplate", "pkcs12"] {
        assert!(profile.get(field).is_none(), "{field}");
    }
}

#[test]
fn what_the_token_service_is_told_shows_where_there_is_one() {
    let sts = "{apiVersion: ringfence.dev/v1alpha1, kind: TrustDomain, metadata: {name: platform}, spec: {namespaces: [sts], certificateAuthority: {selfSigned: {}}}}\n---\n{apiVersion: ringfence.dev/v1alpha1, kind: ServiceIdentity, metadata: {name: tokens, namespace: sts}, spec: {}}\n";
    let shop = ACCEPTED
        .replace("{selfSigned: {}}}", "{selfSigned: {}}, tokenIssuers: [{name: tokens, builtIn: {}}]}")
        .replacen("spec: {}", "spec: {tokenIssuers: [tokens]}", 1)
        .replace("from: [", "authentication: {jwt: {signer: Issuer, scopes: [pay]}}\n  from: [");
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("sts.yaml"), sts).unwrap();
    std::fs::write(folder.path().join("shop.yaml"), shop).unwrap();
    let ran = ringfence(&["render", "--token-service=sts/tokens", path(folder.path())]);
    assert_eq!((ran.exit_code, ran.complaints.as_str()), (0, ""));
    let found = find(&ran.output, "ConfigMap", "tokens.shop");
    assert_eq!(found["metadata"]["namespace"], "sts");
    let told: Value = serde_json::from_str(found["data"]["directory.json"].as_str().unwrap()).unwrap();
    assert_eq!(told["grants"][0]["scopes"], serde_json::json!(["pay"]));
    let ran = ringfence(&["render", path(folder.path())]);
    assert_eq!(ran.exit_code, 1);
    assert!(ran.complaints.contains("this installation runs no token service"), "{}", ran.complaints);
    assert!(!ran.output.contains("tokens.shop"));
    let ran = ringfence(&["render", "--token-service=kube-system/tokens", path(folder.path())]);
    assert_eq!(ran.exit_code, 2);
    assert!(ran.complaints.contains("kube-system can't be in a TrustDomain"), "{}", ran.complaints);
}

#[test]
fn files_that_cannot_be_used_are_named_with_exit_code_2_and_nothing_is_printed() {
    let schema = ACCEPTED.replace("from: [{", "from: 5 # [{");
    let cases = [
        ("not YAML", "a: [b\n", "bad.yaml is not YAML"),
        ("not of the schema", &schema, "AccessPolicy payment does not fit the schema"),
        ("a misspelt algorithm", &ACCEPTED.replace("spec: {}", "spec: {signingKey: {algorithm: HS256}}"), "HS256"),
    ];
    for (what, text, complaint) in cases {
        let ran = render(&[("good.yaml", ACCEPTED), ("bad.yaml", text)]);
        assert_eq!((ran.exit_code, ran.output.as_str()), (2, ""), "{what}");
        assert!(ran.complaints.contains(complaint), "{what}: {}", ran.complaints);
    }
    let missing = ringfence(&["render", "nowhere.yaml"]);
    assert_eq!((missing.exit_code, missing.output.as_str()), (2, ""));
    assert!(missing.complaints.contains("nowhere.yaml can't be read"), "{}", missing.complaints);
    assert_eq!(ringfence(&["render"]).exit_code, 2, "no files");
    assert_eq!(ringfence(&["conjure"]).exit_code, 2, "no such verb");
}

#[test]
fn what_is_generated_is_what_is_committed() {
    let crds = TempDir::new().unwrap();
    assert_eq!(ringfence(&["crds", "--directory", path(crds.path())]).exit_code, 0);
    let mut together = String::new();
    for kind in ["trustdomains", "serviceidentities", "accesspolicies"] {
        let written = std::fs::read_to_string(crds.path().join(format!("{kind}.yaml"))).unwrap();
        // Not with assert_eq, which would print both files.
        assert!(
            written == committed(&format!("crds/{kind}.yaml")),
            "crds/{kind}.yaml is out of date: run make generate"
        );
        together.push_str(&written);
    }
    assert_eq!(std::fs::read_dir(crds.path()).unwrap().count(), 3);
    assert!(ringfence(&["crds"]).output == together, "printed and written are the same");
    for (verb, file) in [("access-schema", "docs/access.schema.json"), ("reference", "docs/reference/api.md")] {
        assert!(ringfence(&[verb]).output == committed(file), "{file} is out of date: run make generate");
    }
}

#[test]
fn crds_for_the_chart_stay_when_it_goes() {
    let keep = documents(&ringfence(&["crds", "--keep"]).output);
    assert_eq!(keep.len(), 3);
    for crd in keep {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

/// A domain, two identities and a policy, all good.
const ACCEPTED: &str = "
apiVersion: ringfence.dev/v1alpha1
kind: TrustDomain
metadata: {name: shop}
spec: {namespaces: [shop], certificateAuthority: {selfSigned: {}}}
---
apiVersion: ringfence.dev/v1alpha1
kind: ServiceIdentity
metadata: {name: order, namespace: shop}
spec: {}
---
apiVersion: ringfence.dev/v1alpha1
kind: ServiceIdentity
metadata: {name: payment, namespace: shop}
spec: {}
---
apiVersion: ringfence.dev/v1alpha1
kind: AccessPolicy
metadata: {name: payment, namespace: shop}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: order}}]
";

fn render(files: &[(&str, &str)]) -> Ran {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    ringfence(&["render", path(folder.path())])
}

fn ringfence(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    let output = command.args(arguments).args(["--log-format", "human"]).env_remove("KUBECONFIG").output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    Ran { exit_code: output.status.code().unwrap(), output: text(output.stdout), complaints: text(output.stderr) }
}

fn documents(stream: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(stream).unwrap()
}

fn find(stream: &str, kind: &str, name: &str) -> Value {
    let is_it = |document: &Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents(stream).into_iter().find(is_it).unwrap_or_else(|| unreachable!("{kind} {name} is in\n{stream}"))
}

fn committed(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
