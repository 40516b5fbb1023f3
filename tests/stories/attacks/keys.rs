//! Private keys of others, and signatures in the name of others.

use std::collections::BTreeMap;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ListParams;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::ServiceIdentity;
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, config_map, identity, says, secret};

#[tokio::test]
async fn reading_anothers_key_by_writing_to_the_same_secret() {
    let story = Story::begin("same-secret").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let holder = format!("{}/bystander", trust.namespace);
    let cases = [
        ("by-certificate", json!({"certificate": {"secretName": "bystander-tls"}}), "bystander-tls"),
        ("by-key", json!({"signingKey": {"secretName": "bystander-signing-key"}}), "bystander-signing-key"),
        ("crossed", json!({"certificate": {"secretName": "bystander-signing-key"}}), "bystander-signing-key"),
        ("crossed-back", json!({"signingKey": {"secretName": "bystander-tls"}}), "bystander-tls"),
    ];
    for (name, spec, taken) in cases {
        story.create::<ServiceIdentity>(&trust.namespace, identity(name, spec)).await;
        says(&api, name, ("Accepted", "False", "SecretNameTaken"), &[taken, &holder, "choose another"]).await;
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn reading_anothers_key_from_what_is_delivered_to_peers() {
    let story = Story::begin("delivered").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    let algorithms = ["ES256", "EdDSA", "RS256"];
    for algorithm in algorithms {
        let spec = json!({"signingKey": {"algorithm": algorithm}});
        story.ready_identity(&left.namespace, &algorithm.to_lowercase(), spec).await;
    }
    story.ready_identity(&right.namespace, "payment", json!({"signingKey": {}})).await;
    let from = algorithms.map(|a| json!({"identity": {"name": a.to_lowercase(), "namespace": left.namespace}}));
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": from,
        "authentication": {"mtls": {}, "jwt": {}}});
    story.ready_policy(&right.namespace, "signed", spec).await;
    let mut seen = 0;
    for namespace in [&left.namespace, &right.namespace, OPERATOR_NAMESPACE] {
        for found in story.api::<ConfigMap>(namespace).list(&ListParams::default()).await.unwrap() {
            let name = found.metadata.name.unwrap();
            assert!(found.binary_data.is_none(), "{name}");
            for (file, text) in found.data.unwrap_or_default() {
                assert!(!text.contains("PRIVATE"), "{namespace}/{name}: {file}");
                let Ok(set) = serde_json::from_str::<Value>(&text) else { continue };
                for key in set["keys"].as_array().into_iter().flatten() {
                    seen += 1;
                    let secret = ["d", "p", "q", "dp", "dq", "qi", "k", "oth"];
                    assert!(secret.iter().all(|member| key.get(member).is_none()), "{namespace}/{name}: {file}");
                }
            }
        }
    }
    assert_eq!(seen, 2 * algorithms.len(), "each public key is delivered, alone and with the others");
}

#[tokio::test]
async fn reading_anothers_key_from_another_namespace() {
    let story = Story::begin("elsewhere").await;
    let victim = story.trust("victim", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &victim.namespace).await;
    let thief = story.trust("thief", json!({})).await;
    // The same names, service account included, are another identity with keys of its own, in its own namespace.
    story.ready_identity(&thief.namespace, "bystander", json!({"signingKey": {}})).await;
    let pairs = [("bystander-tls", "tls.key"), ("bystander-signing-key", "private.pem")];
    for (name, key) in pairs {
        let (theirs, own) =
            (secret(&story, &victim.namespace, name).await, secret(&story, &thief.namespace, name).await);
        assert_ne!(theirs[key], own[key]);
    }
    for name in [format!("{}/bystander-tls", victim.namespace), format!("../{}/x", victim.namespace)] {
        let spec = json!({"certificate": {"secretName": name}});
        let message = story.refused::<ServiceIdentity>(&thief.namespace, identity("order", spec)).await;
        assert!(message.contains("spec.certificate.secretName"), "{message}");
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_permitted_caller_signing_as_another_permitted_caller() {
    let story = Story::begin("impostor").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    let callers = ["order", "gateway"];
    for caller in callers {
        story.ready_identity(&left.namespace, caller, json!({"signingKey": {}})).await;
    }
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    let from = callers.map(|name| json!({"identity": {"name": name, "namespace": left.namespace}}));
    let spec = json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": from,
        "authentication": {"jwt": {}}});
    story.ready_policy(&right.namespace, "signed", spec).await;
    let files = config_map(&story, &right.namespace, "payment-trust").await;
    let id = |name: &str| format!("spiffe://{}/ns/{}/sa/{name}", left.domain, left.namespace);
    let order = secret(&story, &left.namespace, "order-signing-key").await;
    let gateway = secret(&story, &left.namespace, "gateway-signing-key").await;
    let token = |key: &BTreeMap<String, String>, kid: &str, name: &str| {
        let mut header = Header::new(Algorithm::ES256);
        (header.kid, header.typ) = (Some(kid.to_owned()), Some("service+jwt".to_owned()));
        let audience = format!("spiffe://{}/ns/{}/sa/payment", right.domain, right.namespace);
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({"iss": id(name), "sub": id(name), "aud": audience, "iat": now, "exp": now + 60});
        encode(&header, &claims, &EncodingKey::from_ec_pem(key["private.pem"].as_bytes()).unwrap()).unwrap()
    };
    assert_eq!(signer(&files, &token(&order, &order["kid"], "order")), Ok(id("order")));
    assert_eq!(signer(&files, &token(&gateway, &gateway["kid"], "gateway")), Ok(id("gateway")));
    // With the key that it has, under its own number or under the other's, it is nobody but itself.
    let own_number = signer(&files, &token(&gateway, &gateway["kid"], "order"));
    assert_eq!(own_number, Err("no such key of this signer".to_owned()));
    let others_number = signer(&files, &token(&gateway, &order["kid"], "order"));
    assert_eq!(others_number, Err("InvalidSignature".to_owned()));
    let stranger = signer(&files, &token(&gateway, &gateway["kid"], "stranger"));
    assert_eq!(stranger, Err("not a permitted signer".to_owned()));
}

/// Who signed a token, by the rule for verifiers: the key comes from the key set of whom the token names, alone.
fn signer(files: &BTreeMap<String, String>, token: &str) -> Result<String, String> {
    let access: Value = serde_json::from_str(&files["access.json"]).unwrap();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).map_err(|error| error.to_string())?.claims;
    let issuer = claims["iss"].as_str().unwrap_or_default();
    let file = access["keySets"][issuer].as_str().ok_or("not a permitted signer")?;
    let set: JwkSet = serde_json::from_str(&files[file]).unwrap();
    let kid = decode_header(token).map_err(|error| error.to_string())?.kid.ok_or("no kid")?;
    let key = set.find(&kid).ok_or("no such key of this signer")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    let audiences: Vec<&str> = access["audiences"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    validation.set_audience(&audiences);
    let verified = decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation);
    verified.map(|verified| verified.claims["sub"].as_str().unwrap().to_owned()).map_err(|e| format!("{:?}", e.kind()))
}

#[tokio::test]
async fn keeping_a_key_by_deleting_and_recreating_the_identity_of_another() {
    let story = Story::begin("recreate").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    let before = secret(&story, &trust.namespace, "order-signing-key").await;
    let api = story.api::<ServiceIdentity>(&trust.namespace);
    let old = story.api::<Secret>(&trust.namespace).get("order-signing-key").await.unwrap().metadata.uid;
    api.delete("order", &Default::default()).await.unwrap();
    crate::support::gone(&api, "order").await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    let after = story.api::<Secret>(&trust.namespace).get("order-signing-key").await.unwrap().metadata.uid;
    assert_ne!(old, after);
    assert_ne!(before["private.pem"], secret(&story, &trust.namespace, "order-signing-key").await["private.pem"]);
    bystanders.are_untouched(&story).await;
}
