//! What a service is given to know its peers by: exactly the files that its edges need, and nobody's key.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::Api;
use kube::api::ListParams;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::access::access_schema;
use ringfence_core::api::TrustDomain;
use serde_json::{Value, json};

use crate::support::{OpenSsl, Peer, Story, Trust, config_map, domain, secret, service};

/// The files that every service has, whatever its edges.
const ALWAYS: [&str; 5] = ["access.json", "callees.pem", "callers.pem", "crl.pem", "jwks.json"];

#[tokio::test]
async fn a_service_without_edges_knows_nobody() {
    let story = Story::begin("alone").await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    let files = config_map(&story, &trust.namespace, "order-trust").await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ALWAYS);
    assert_eq!((files["callers.pem"].as_str(), files["callees.pem"].as_str()), ("", ""));
    assert_eq!(files["jwks.json"], r#"{"keys":[]}"#);
    let mut access: Value = serde_json::from_str(&files["access.json"]).unwrap();
    assert!(!access["contentHash"].as_str().unwrap().is_empty());
    access.as_object_mut().unwrap().remove("contentHash");
    let id = id(&trust, "order");
    let expected = json!({
        "version": 2, "spiffeID": id, "audiences": [id], "bundles": {}, "keySets": {}, "issuers": {}, "ports": [], "callees": [],
    });
    assert_eq!(access, expected);
}

#[tokio::test]
async fn inside_a_domain_caller_and_callee_get_its_bundle_and_its_root_on_the_side_they_need_it() {
    let story = Story::begin("inside").await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "inventory", "bystander"] {
        story.ready_identity(&trust.namespace, name, json!({})).await;
    }
    story.ready_policy(&trust.namespace, "p", edge("inventory", &trust, "order", json!({}))).await;
    let ca = bundles_of(&story, &trust).await;
    let bundle = format!("bundle.{}.pem", trust.domain);
    for (name, callers, callees) in [("inventory", ca["roots.pem"].as_str(), ""), ("order", "", &ca["roots.pem"])] {
        let files = config_map(&story, &trust.namespace, &format!("{name}-trust")).await;
        assert_eq!(names(&files), with_always([bundle.as_str()]), "{name}");
        assert_eq!(files[&bundle], ca["issuing.pem"], "{name}");
        assert_eq!((files["callers.pem"].as_str(), files["callees.pem"].as_str()), (callers, callees), "{name}");
        assert_eq!(files["jwks.json"], r#"{"keys":[]}"#, "{name}: certificates alone");
    }
    assert_eq!(names(&config_map(&story, &trust.namespace, "bystander-trust").await), with_always([]));
}

#[tokio::test]
async fn across_a_border_each_side_gets_the_bundle_of_the_other_domain_alone() {
    let story = Story::begin("across").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    story.ready_identity(&left.namespace, "order", json!({})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    story.ready_policy(&right.namespace, "p", edge("payment", &left, "order", json!({"mtls": {}}))).await;
    for (own, name, peer) in [(&left, "order", &right), (&right, "payment", &left)] {
        let files = config_map(&story, &own.namespace, &format!("{name}-trust")).await;
        let bundle = format!("bundle.{}.pem", peer.domain);
        assert_eq!(names(&files), with_always([bundle.as_str()]), "{name}");
        let ca = bundles_of(&story, peer).await;
        assert_eq!(files[&bundle], ca["issuing.pem"], "{name}");
        let roots = if name == "order" { "callees.pem" } else { "callers.pem" };
        assert_eq!(files[roots], ca["roots.pem"], "{name}");
    }
}

#[tokio::test]
async fn a_callee_that_asks_for_tokens_alone_trusts_no_client_certificate() {
    let story = Story::begin("tokens").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    story.ready_identity(&left.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    story.ready_policy(&right.namespace, "p", edge("payment", &left, "order", json!({"jwt": {}}))).await;
    let payment = Peer::of(&story, &right.namespace, "payment").await;
    assert_eq!(payment.files["callers.pem"], "", "no certificate is asked for");
    assert_eq!(payment.access()["ports"][0]["clientCertificates"], "None");
    let order = Peer::of(&story, &left.namespace, "order").await;
    let ca = bundles_of(&story, &right).await;
    assert_eq!(order.files["callees.pem"], ca["roots.pem"], "the server still proves itself by TLS");
    assert_eq!(order.files[&format!("bundle.{}.pem", right.domain)], ca["issuing.pem"]);
    assert!(!order.files.keys().any(|name| name.starts_with("jwks.") && name != "jwks.json"), "order verifies nobody");
}

#[tokio::test]
async fn a_callee_of_several_domains_gets_a_bundle_for_each() {
    let story = Story::begin("several").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    story.ready_identity(&left.namespace, "order", json!({})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    story.ready_identity(&right.namespace, "ledger", json!({})).await;
    let policy = json!({
        "to": {"identity": "payment", "ports": [{"port": 8443}]},
        "from": [{"trustDomain": left.domain}, {"identity": {"name": "ledger"}}],
    });
    story.ready_policy(&right.namespace, "p", policy).await;
    let files = config_map(&story, &right.namespace, "payment-trust").await;
    let bundles = [&left, &right].map(|trust| format!("bundle.{}.pem", trust.domain));
    assert_eq!(names(&files), with_always(bundles.iter().map(String::as_str)));
    let (ours, theirs) = (bundles_of(&story, &right).await, bundles_of(&story, &left).await);
    assert_eq!((&files[&bundles[0]], &files[&bundles[1]]), (&theirs["issuing.pem"], &ours["issuing.pem"]));
    for root in [&ours["roots.pem"], &theirs["roots.pem"]] {
        assert!(files["callers.pem"].contains(root.as_str()), "both roots");
    }
    let access: Value = serde_json::from_str(&files["access.json"]).unwrap();
    let callers: Vec<_> =
        access["ports"][0]["callers"].as_array().unwrap().iter().map(|c| c["caller"].clone()).collect();
    let whole = json!({"kind": "TrustDomain", "trustDomain": left.domain});
    assert_eq!(
        callers,
        [json!({"kind": "Identity", "spiffeID": id(&right, "ledger"), "trustDomain": right.domain}), whole]
    );
    // Whoever of the domain calls learns it too.
    let order = config_map(&story, &left.namespace, "order-trust").await;
    let access: Value = serde_json::from_str(&order["access.json"]).unwrap();
    assert_eq!(access["callees"][0]["callee"]["spiffeID"], id(&right, "payment"));
}

#[tokio::test]
async fn access_json_says_who_may_call_where_and_how() {
    let story = Story::begin("says").await;
    let monitoring = story.namespace("monitoring").await;
    let left = json!({"signingKeys": {"maxTokenLifetime": "2m"}, "outbound": [
        {"trustDomains": [format!("{}-right", story.name)]}, {"cidrs": ["203.0.113.0/24"]},
    ]});
    let right = json!({"inbound": [{"trustDomains": [format!("{}-left", story.name)]}, {"namespaces": [monitoring]}]});
    let left = story.trust("left", left).await;
    let right = story.trust("right", right).await;
    story.create::<Service>(&right.namespace, service("payment", 443, json!(8443))).await;
    story.ready_identity(&left.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&left.namespace, "audit", json!({})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    let from = |name: &str| json!([{"identity": {"name": name, "namespace": left.namespace}}]);
    let port = |port: Value| json!({"identity": "payment", "ports": [{"port": port}]});
    for (namespace, name, policy) in [
        (
            &right,
            "charge",
            json!({
                "to": port(json!("main")), "from": from("order"), "authentication": {"jwt": {"maxLifetime": "1m"}},
                "rules": [{"methods": ["POST"], "paths": ["/payments/*"]}],
            }),
        ),
        (
            &right,
            "refund",
            json!({
                "to": port(json!(443)), "from": from("order"), "authentication": {"jwt": {"maxLifetime": "10m"}, "mtls": {}},
                "rules": [{"grpcService": "shop.Refund", "grpcMethods": ["Start"]}],
            }),
        ),
        (&right, "look", json!({"to": port(json!(443)), "from": from("audit")})),
        (
            &right,
            "scrape",
            json!({
                "to": {"identity": "payment", "ports": [{"port": 9090, "endPort": 9091}]},
                "from": [{"pods": {"namespaces": [monitoring], "selector": {"matchLabels": {"app": "prometheus"}}}}],
            }),
        ),
        (
            &left,
            "bank",
            json!({
                "to": {"external": {"cidrs": ["203.0.113.0/24"], "ports": [{"port": 443}]}}, "from": [{"identity": {"name": "order"}}],
            }),
        ),
    ] {
        story.ready_policy(&namespace.namespace, name, policy).await;
    }
    let order = json!({"kind": "Identity", "spiffeID": id(&left, "order"), "trustDomain": left.domain});
    let audit = json!({"kind": "Identity", "spiffeID": id(&left, "audit"), "trustDomain": left.domain});
    let base = format!("payment.{}.svc", right.namespace);
    let audiences = json!([base, format!("{base}.cluster.local"), id(&right, "payment")]);
    let token = |seconds: u32| json!({"signer": "Caller", "audiences": audiences, "maxLifetimeSeconds": seconds});
    let verified = |seconds: u32| {
        let mut token = token(seconds);
        token["keySet"] = json!(format!("jwks.{}.order.json", left.namespace));
        token
    };
    let charge = json!([{"methods": ["POST"], "paths": ["/payments/*"]}]);
    let refund = json!([{"grpcService": "shop.Refund", "grpcMethods": ["Start"]}]);
    let policy = |name: &str| format!("{}/{name}", right.namespace);
    let payment = document(&story, &right, "payment").await;
    assert_eq!(payment["audiences"], audiences);
    assert_eq!(payment["bundles"], json!({left.domain.clone(): format!("bundle.{}.pem", left.domain)}));
    assert_eq!(payment["keySets"], json!({id(&left, "order"): format!("jwks.{}.order.json", left.namespace)}));
    let pods = json!({"kind": "Pods", "namespaces": [monitoring], "selector": "app=prometheus"});
    let expected = json!([
        {"port": 8443, "protocol": "TCP", "clientCertificates": "Optional", "callers": [
            {"caller": audit, "proof": {"mtls": true}, "rules": [], "policy": policy("look")},
            {"caller": order, "proof": {"mtls": false, "token": verified(60)}, "rules": charge, "policy": policy("charge")},
            {"caller": order, "proof": {"mtls": true, "token": verified(120)}, "rules": refund, "policy": policy("refund")},
        ]},
        {"port": 9090, "endPort": 9091, "protocol": "TCP", "clientCertificates": "None", "callers": [
            {"caller": pods, "proof": {"mtls": false}, "rules": [], "policy": policy("scrape")},
        ]},
    ]);
    assert_eq!(payment["ports"], expected, "{payment:#}");
    assert_eq!(payment["callees"], json!([]));

    let callee = json!({
        "kind": "Identity", "spiffeID": id(&right, "payment"), "trustDomain": right.domain,
        "dnsNames": [base, format!("{base}.cluster.local")],
    });
    let ports = json!([{"port": 8443, "protocol": "TCP"}]);
    let order = document(&story, &left, "order").await;
    let expected = json!([
        {"callee": {"kind": "External", "blocks": [{"cidr": "203.0.113.0/24"}]}, "ports": [{"port": 443, "protocol": "TCP"}],
         "proof": {"mtls": false}, "rules": [], "policy": format!("{}/bank", left.namespace)},
        {"callee": callee, "ports": ports, "proof": {"mtls": false, "token": token(60)}, "rules": charge, "policy": policy("charge")},
        {"callee": callee, "ports": ports, "proof": {"mtls": true, "token": token(120)}, "rules": refund, "policy": policy("refund")},
    ]);
    assert_eq!(order["callees"], expected, "{order:#}");
    assert_eq!(order["ports"], json!([]));

    let schema = access_schema();
    assert!(jsonschema::meta::is_valid(&schema), "the schema is one");
    let schema = jsonschema::validator_for(&schema).unwrap();
    for document in [&payment, &order] {
        schema.validate(document).unwrap();
    }
    for (pointer, nonsense) in [
        ("/version", json!("one")),
        ("/ports/0/port", json!(70000)),
        ("/ports/0/callers/0/caller/kind", json!("Root")),
        ("/ports/0/clientCertificates", json!("Maybe")),
        ("/ports/0/callers/0/proof", json!(true)),
        ("/spiffeID", json!(null)),
    ] {
        let mut broken = payment.clone();
        *broken.pointer_mut(pointer).unwrap() = nonsense;
        assert!(!schema.is_valid(&broken), "{pointer} is checked");
    }
}

#[tokio::test]
async fn a_domain_keeps_its_authorities_by_generation_and_publishes_their_certificates() {
    let story = Story::begin("domain").await;
    let root = format!("{}-root", story.name);
    let alone = json!({"certificateAuthority": {"selfSigned": {"algorithm": "RSA-2048"}}});
    story.create_cluster_wide::<TrustDomain>(domain(&root, alone)).await;
    let below = json!({"certificateAuthority": {"selfSigned": null, "parent": {"name": root, "duration": "48h"}}});
    let trust = story.trust("shop", below).await;
    for (name, source, certificates) in [(&root, "SelfSigned", 1), (&trust.domain, "Parent", 2)] {
        let object = story.wait_domain(name, "have a CA", |_| true).await;
        let status = object.status.clone().unwrap().certificate_authority.unwrap();
        let api = Api::<Secret>::namespaced(story.client.clone(), OPERATOR_NAMESPACE);
        let stored = api.get(&format!("{name}-ca")).await.unwrap();
        assert_eq!(stored.type_.as_deref(), Some("ringfence.dev/certificate-authority"), "{name}");
        assert_eq!(stored.metadata.owner_references, None, "{name}: a restored one is adopted by its name");
        let data = secret(&story, OPERATOR_NAMESPACE, &format!("{name}-ca")).await;
        let [crl, crt, key] = ["crl", "crt", "key"].map(|file| format!("{}.{file}", status.generation));
        assert_eq!(names(&data), BTreeSet::from([crl.as_str(), &crt, &key, "generations.json"]), "{name}");
        let index: Value = serde_json::from_str(&data["generations.json"]).unwrap();
        let (from, until) = (status.not_before.0, status.not_after.0);
        let expected = json!([{
            "id": status.generation, "phase": "Active", "source": source,
            "notBefore": from.to_string(), "notAfter": until.to_string(),
        }]);
        assert_eq!(index, expected, "{name}");
        assert_eq!(data[&crt].matches("BEGIN CERTIFICATE").count(), certificates, "{name}: up to the root");

        let published = config_map(&story, OPERATOR_NAMESPACE, &format!("{name}-trust")).await;
        assert_eq!(names(&published), BTreeSet::from(["crl.pem", "issuing.pem", "roots.pem"]), "{name}");
        assert!(published["crl.pem"].contains(&data[&crl]), "{name}: its list, and those of all above");
        assert_eq!(published["crl.pem"].matches("BEGIN X509 CRL").count(), certificates, "{name}");
        assert!(data[&crt].starts_with(&published["issuing.pem"]), "{name}: what signs comes first");
        assert!(data[&crt].ends_with(&published["roots.pem"]), "{name}: the root comes last");
        let openssl = OpenSsl::with(&data);
        openssl.file("roots.pem", &published["roots.pem"]);
        openssl.run(&format!("verify -x509_strict -CAfile roots.pem {crt}"));
        assert_eq!(
            openssl.run(&format!("pkey -in {key} -pubout")),
            openssl.run(&format!("x509 -in {crt} -noout -pubkey"))
        );
        let text = openssl.run(&format!("x509 -in {crt} -noout -text"));
        assert!(text.contains("CA:TRUE") && text.contains("Certificate Sign, CRL Sign"), "{name}: {text}");
        if source == "Parent" {
            assert_eq!(until.duration_since(from).as_secs(), 48 * 3600 + 60, "{name}");
        }
        let maps = Api::<ConfigMap>::namespaced(story.client.clone(), OPERATOR_NAMESPACE);
        let owner = maps.get(&format!("{name}-trust")).await.unwrap().metadata.owner_references.unwrap().remove(0);
        assert_eq!(
            (owner.kind.as_str(), Some(owner.uid), owner.controller),
            ("TrustDomain", object.metadata.uid, Some(true))
        );
    }
}

#[tokio::test]
async fn every_private_key_is_in_one_secret_and_in_no_config_map() {
    let story = Story::begin("private").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    for (trust, name) in [(&left, "order"), (&left, "cart"), (&right, "payment"), (&right, "delivery")] {
        story.ready_identity(&trust.namespace, name, json!({"signingKey": {}})).await;
    }
    for callee in ["payment", "delivery"] {
        let policy = edge(callee, &left, "order", json!({"jwt": {}, "mtls": {}}));
        story.ready_policy(&right.namespace, callee, policy).await;
    }
    let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut public = String::new();
    for namespace in [&left.namespace, &right.namespace, OPERATOR_NAMESPACE] {
        let of_the_story = |name: &str| namespace != OPERATOR_NAMESPACE || name.starts_with(&story.name);
        let secrets = Api::<Secret>::namespaced(story.client.clone(), namespace).list(&ListParams::default()).await;
        for secret in secrets.unwrap() {
            let name = secret.metadata.name.unwrap();
            for (key, octets) in secret.data.unwrap_or_default().into_iter().filter(|_| of_the_story(&name)) {
                let text = String::from_utf8(octets.0).unwrap();
                let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
                if text.contains("PRIVATE KEY") {
                    holders.entry(body).or_default().insert(format!("{namespace}/{name}"));
                } else if key == "jwk.json" {
                    let jwk: Value = serde_json::from_str(&text).unwrap();
                    holders
                        .entry(jwk["d"].as_str().unwrap().to_owned())
                        .or_default()
                        .insert(format!("{namespace}/{name}"));
                } else {
                    public.push_str(&body);
                }
            }
        }
        let maps = Api::<ConfigMap>::namespaced(story.client.clone(), namespace).list(&ListParams::default()).await;
        for text in maps.unwrap().into_iter().flat_map(|map| map.data.unwrap_or_default().into_values()) {
            public.extend(text.lines().filter(|line| !line.starts_with('-')));
            assert!(!text.contains("PRIVATE"), "{text}");
        }
    }
    // Two CAs; a certificate, a signing key and its JWK for each of four identities.
    assert_eq!(holders.len(), 2 + 4 * 3);
    for (key, holders) in &holders {
        assert_eq!(holders.len(), 1, "{holders:?} hold the same key");
        assert!(!public.contains(key.as_str()), "the key of {holders:?} is published");
    }
}

#[tokio::test]
async fn an_edge_that_goes_takes_its_files_along() {
    let story = Story::begin("along").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    story.ready_identity(&left.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    story.ready_policy(&right.namespace, "p", edge("payment", &left, "order", json!({"jwt": {}, "mtls": {}}))).await;
    let before = config_map(&story, &right.namespace, "payment-trust").await;
    assert_eq!(before.len(), ALWAYS.len() + 2);
    let domains = Api::<TrustDomain>::all(story.client.clone());
    story.change(domains, &right.domain, json!({"inbound": null})).await;
    for (trust, name) in [(&right, "payment"), (&left, "order")] {
        let maps = Api::<ConfigMap>::namespaced(story.client.clone(), &trust.namespace);
        let gone = |map: &ConfigMap| names(map.data.as_ref().unwrap()) == with_always([]);
        let map = crate::support::wait_for(&maps, &format!("{name}-trust"), "lose its edge", gone).await;
        assert_eq!(map.data.unwrap()["callees.pem"], "", "{name}");
    }
}

/// A policy with one caller.
fn edge(callee: &str, from: &Trust, caller: &str, authentication: Value) -> Value {
    let mut policy = json!({
        "to": {"identity": callee, "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": caller, "namespace": from.namespace}}],
    });
    if authentication != json!({}) {
        policy["authentication"] = authentication;
    }
    policy
}

async fn bundles_of(story: &Story, trust: &Trust) -> BTreeMap<String, String> {
    config_map(story, OPERATOR_NAMESPACE, &format!("{}-trust", trust.domain)).await
}

async fn document(story: &Story, trust: &Trust, identity: &str) -> Value {
    let files = config_map(story, &trust.namespace, &format!("{identity}-trust")).await;
    serde_json::from_str(&files["access.json"]).unwrap()
}

fn id(trust: &Trust, account: &str) -> String {
    format!("spiffe://{}/ns/{}/sa/{account}", trust.domain, trust.namespace)
}

fn names(files: &BTreeMap<String, String>) -> BTreeSet<&str> {
    files.keys().map(String::as_str).collect()
}

fn with_always<'a>(more: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    ALWAYS.into_iter().chain(more).collect()
}
