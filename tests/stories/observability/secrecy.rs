//! Keys and tokens are in their Secrets, and nowhere else: not in the log, however much of it, not in measurements,
//! traces, statuses or events.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Observed, begin, remove};
use crate::support::{Trust, condition, domain, eventually, identity, secret, wait_for};

/// What someone might put into a Secret in place of a key.
const GARBAGE: &str = "correct-horse-battery-staple";

/// The password of keystores.
const PASSWORD: &str = "open-sesame-and-close-again";

/// The secret of a client of a token issuer.
const CLIENT_SECRET: &str = "a-client-keeps-its-secret-to-itself";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_and_no_token_is_anywhere_but_in_its_secret() {
    let observed = begin("secrecy", "trace").await;
    let story = &observed.story;
    story.ready_identity("storefront", "secretive", json!({"signingKey": {"algorithm": "RS256"}})).await;
    let mut secrets = parts_of_keys(&observed).await;
    // A password in use, and one that is refused.
    for (name, password) in [("used", PASSWORD.to_owned()), ("refused", format!("{PASSWORD}\n"))] {
        let object = json!({"metadata": {"name": name}, "stringData": {"password": password}});
        story.create::<Secret>("storefront", object).await;
        let spec = json!({"certificate": {"pkcs12": {"passwordSecretRef": {"name": name, "key": "password"}}}});
        story.create::<ServiceIdentity>("storefront", identity(name, spec)).await;
        let told = |identity: &ServiceIdentity| {
            condition(identity, "ResolvedRefs").0 == if name == "used" { "True" } else { "False" }
        };
        story.wait_identity("storefront", name, "have been looked at", told).await;
    }
    let client = credentials(&observed).await;
    // Corrections and refusals are where a careless message would tell most.
    let api = Api::<Secret>::namespaced(story.client.clone(), "storefront");
    let broken = json!({"stringData": {"tls.key": GARBAGE}});
    api.patch("secretive-tls", &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    eventually("it is put right", async || {
        (secret(story, "storefront", "secretive-tls").await["tls.key"] != GARBAGE).then_some(())
    })
    .await;
    let brought = json!({"metadata": {"name": story.name}, "stringData": {"tls.crt": GARBAGE, "tls.key": GARBAGE}});
    story.create::<Secret>(OPERATOR_NAMESPACE, brought).await;
    let spec = json!({"certificateAuthority": {"secret": {"name": story.name}}});
    story.create_cluster_wide::<TrustDomain>(domain(&story.name, spec)).await;
    story
        .wait_domain(&story.name, "be refused", |domain| condition(domain, "Ready").1 == "InvalidCertificateAuthority")
        .await;

    secrets.extend(parts_of_keys(&observed).await);
    assert!(secrets.len() > 50, "there are keys of two CAs and of six services");
    secrets.insert(observed.token.clone());
    secrets.extend([GARBAGE, PASSWORD, CLIENT_SECRET].map(str::to_owned));
    secrets.extend([PASSWORD, CLIENT_SECRET].map(|secret| STANDARD.encode(secret)));
    let spans = String::from_utf8_lossy(&observed.collector.octets()).into_owned();
    assert!(spans.contains("secretive") && observed.operator.log().contains("secretive"), "they do tell something");
    for (place, text) in [
        ("the log", observed.operator.log()),
        ("the measurements", observed.measurements().await),
        ("the traces", spans),
        ("a TrustDomain", all::<TrustDomain>(&observed).await),
        ("a ServiceIdentity", all::<ServiceIdentity>(&observed).await),
        ("an AccessPolicy", all::<AccessPolicy>(&observed).await),
        ("an event", all::<Event>(&observed).await),
        ("a ConfigMap", all::<ConfigMap>(&observed).await),
    ] {
        let found = secrets.iter().find(|secret| text.contains(secret.as_str()));
        assert!(found.is_none(), "{place} holds {found:?}");
    }
    for name in ["secretive", "used", "refused"] {
        remove(&story.api::<ServiceIdentity>("storefront"), name).await;
    }
    for name in ["used", "refused"] {
        remove(&story.api::<Secret>("storefront"), name).await;
    }
    remove(&story.all::<TrustDomain>(), &story.name).await;
    remove(&story.api::<ServiceIdentity>(&client.namespace), "client").await;
    remove(&story.all::<TrustDomain>(), &client.domain).await;
}

/// A domain with an identity that has credentials for a token issuer, which were put right, and whose source was broken.
async fn credentials(observed: &Observed) -> Trust {
    let story = &observed.story;
    let source = format!("{}-idp", story.name);
    let data = json!({"client-id": "acme", "client-secret": CLIENT_SECRET});
    story.create::<Secret>(OPERATOR_NAMESPACE, json!({"metadata": {"name": source}, "stringData": data})).await;
    let issuer = json!({
        "name": "idp", "issuer": "https://127.0.0.1:1",
        "endpoint": {"cidrs": ["192.0.2.1/32"], "ports": [{"port": 443}]},
        "clientAuthentication": {"secretRef": {"name": source}},
    });
    let trust = story.trust("client", json!({"tokenIssuers": [issuer]})).await;
    story.ready_identity(&trust.namespace, "client", json!({"tokenIssuers": ["idp"]})).await;
    let has = |secret: &Secret| {
        let data = secret.data.as_ref().unwrap();
        data.len() == 2 && data["client-secret"].0 == CLIENT_SECRET.as_bytes()
    };
    let api = story.api::<Secret>(&trust.namespace);
    wait_for(&api, "client-idp-client", "be there", has).await;
    let broken = json!({"stringData": {"client-secret": format!("{CLIENT_SECRET}!")}});
    api.patch("client-idp-client", &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    wait_for(&api, "client-idp-client", "be put right", has).await;
    let refused = json!({"stringData": {"client-secret": format!("{CLIENT_SECRET}\n")}});
    let sources = story.api::<Secret>(OPERATOR_NAMESPACE);
    sources.patch(&source, &PatchParams::default(), &Patch::Merge(refused)).await.unwrap();
    let told = |identity: &ServiceIdentity| condition(identity, "ResolvedRefs").1 == "Invalid";
    story.wait_identity(&trust.namespace, "client", "say what is wrong", told).await;
    trust
}

/// All objects of a kind, as text.
async fn all<K>(observed: &Observed) -> String
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let objects = Api::<K>::all(observed.story.client.clone()).list(&ListParams::default()).await.unwrap();
    serde_json::to_string(&objects.items).unwrap()
}

/// Parts of every private key in any Secret: of its lines, of its private number, of the whole in base64 as the API has
/// it, and of its octets as Rust would show them.
async fn parts_of_keys(observed: &Observed) -> BTreeSet<String> {
    let all = Api::<Secret>::all(observed.story.client.clone()).list(&ListParams::default()).await.unwrap();
    let values = all.into_iter().flat_map(|secret| secret.data.unwrap_or_default());
    let mut parts = BTreeSet::new();
    for (name, ByteString(value)) in values {
        let Ok(text) = std::str::from_utf8(&value) else { continue };
        if name == "jwk.json" {
            let jwk: Value = serde_json::from_str(text).unwrap();
            parts.insert(jwk["d"].as_str().unwrap().to_owned());
        }
        if !text.starts_with("-----BEGIN PRIVATE KEY-----") {
            continue;
        }
        // The first octets of a key are those of every key of its algorithm.
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        parts.extend(lines.filter_map(|line| line.get(40..)).filter(|part| part.len() >= 16).map(str::to_owned));
        parts.insert(STANDARD.encode(&value)[120..160].to_owned());
        let shown: Vec<String> = value[90..120].iter().map(u8::to_string).collect();
        parts.insert(shown.join(", "));
    }
    parts
}
