//! Tokens that services sign themselves: OpenSSL signs with what is in the Secret, and an unmodified JOSE library verifies
//! with what the callee was given.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, ThumbprintHash};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::DeleteParams;
use ringfence_core::api::{AccessPolicy, ServiceIdentity};
use serde_json::{Value, json};
use x509_parser::der_parser::parse_der;

use crate::support::{OpenSsl, Peer, Story, condition, config_map, event_reasons, eventually, secret, wait_for};

#[tokio::test]
async fn tokens_of_every_algorithm_verify_at_the_callee() {
    let story = Story::begin("sign").await;
    let [left, right] = story.neighbours(json!({"signingKeys": {"algorithm": "ES384"}}), json!({})).await;
    story.ready_identity(&right.namespace, "payment", json!({})).await;
    let algorithms = ["ES256", "ES384", "EdDSA", "RS256", "PS256"];
    for algorithm in algorithms {
        let key = if algorithm == "ES384" { json!({}) } else { json!({"algorithm": algorithm}) };
        story.ready_identity(&left.namespace, &algorithm.to_lowercase(), json!({"signingKey": key})).await;
    }
    let callers = algorithms.map(|name| (left.namespace.as_str(), name.to_lowercase()));
    story.ready_policy(&right.namespace, "signed", by_token("payment", callers)).await;
    let payment = Peer::of(&story, &right.namespace, "payment").await;
    for algorithm in algorithms {
        let name = algorithm.to_lowercase();
        let signer = Signer::of(&story, &left.namespace, &name).await;
        let id = format!("spiffe://{}/ns/{}/sa/{name}", left.domain, left.namespace);
        let file = format!("jwks.{}.{name}.json", left.namespace);
        let set: JwkSet = serde_json::from_str(&payment.files[&file]).unwrap();
        assert_eq!(set.keys.len(), 1, "{algorithm}");
        assert_eq!(set.keys[0].thumbprint(ThumbprintHash::SHA256).unwrap(), signer.kid(), "{algorithm}: RFC 7638");
        assert_eq!(set.keys[0].common.key_algorithm.unwrap().to_string(), algorithm);

        let token = signer.sign(algorithm, signer.kid(), &claims(&id, &payment));
        assert_eq!(accepts(&payment, &token), Ok(id.clone()), "{algorithm}");
        let (message, _) = token.rsplit_once('.').unwrap();
        let another = signer.sign(algorithm, signer.kid(), &json!({"iss": id}));
        let forged = format!("{message}.{}", another.rsplit('.').next().unwrap());
        assert_eq!(accepts(&payment, &forged), Err("InvalidSignature".to_owned()), "{algorithm}");
    }
    let all: Value = serde_json::from_str(&payment.files["jwks.json"]).unwrap();
    assert_eq!(all["keys"].as_array().unwrap().len(), algorithms.len());
}

#[tokio::test]
async fn the_secret_of_a_signing_key_holds_what_libraries_read() {
    let story = Story::begin("secret").await;
    let trust = story.trust("shop", json!({})).await;
    for (algorithm, members) in [
        ("ES256", Some(["alg", "crv", "d", "kid", "kty", "use", "x", "y"].as_slice())),
        ("ES384", Some(&["alg", "crv", "d", "kid", "kty", "use", "x", "y"])),
        ("EdDSA", Some(&["alg", "crv", "d", "kid", "kty", "use", "x"])),
        ("RS256", None),
        ("PS256", None),
    ] {
        let name = algorithm.to_lowercase();
        let spec = json!({"signingKey": {"algorithm": algorithm}});
        let identity = story.ready_identity(&trust.namespace, &name, spec).await;
        let signer = Signer::of(&story, &trust.namespace, &name).await;
        let status = identity.status.unwrap().signing_key.unwrap();
        assert_eq!((status.key_id.as_str(), status.secret_name), (signer.kid(), format!("{name}-signing-key")));
        assert!(signer.files["private.pem"].starts_with("-----BEGIN PRIVATE KEY-----"), "{algorithm}: PKCS#8");
        let openssl = OpenSsl::with(&signer.files);
        let asn1 = openssl.run("asn1parse -in private.pem");
        let version = asn1.lines().nth(1).unwrap();
        assert!(version.contains("INTEGER") && version.ends_with(":00"), "{algorithm}: PKCS#8 version 1: {version}");
        let text = openssl.run("pkey -in private.pem -noout -text");
        let Some(members) = members else {
            assert_eq!(signer.files.keys().collect::<Vec<_>>(), ["kid", "private.pem"], "{algorithm}");
            assert!(text.contains("(2048 bit, 2 primes)"), "{algorithm}: {text}");
            continue;
        };
        assert_eq!(signer.files.keys().collect::<Vec<_>>(), ["jwk.json", "kid", "private.pem"], "{algorithm}");
        let jwk: Value = serde_json::from_str(&signer.files["jwk.json"]).unwrap();
        assert_eq!(jwk.as_object().unwrap().keys().collect::<Vec<_>>(), members, "{algorithm}");
        let printed: String = text.chars().filter(|c| c.is_ascii_hexdigit()).collect();
        for member in ["d", "x"] {
            let octets = URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
            let hex: String =
                octets.iter().skip_while(|octet| **octet == 0).map(|octet| format!("{octet:02x}")).collect();
            assert!(printed.contains(&hex), "{algorithm}: OpenSSL sees the same {member}");
        }
        let theirs: Jwk = serde_json::from_value(jwk.clone()).unwrap();
        assert_eq!(theirs.thumbprint(ThumbprintHash::SHA256).unwrap(), signer.kid(), "{algorithm}");
        assert_eq!((&jwk["kid"], &jwk["alg"]), (&json!(signer.kid()), &json!(algorithm)));
    }
}

#[tokio::test]
async fn a_signers_public_key_goes_to_those_it_may_call_with_a_token_and_to_nobody_else() {
    let story = Story::begin("whose").await;
    let [left, right] = story.neighbours(json!({}), json!({})).await;
    for name in ["order", "cart"] {
        story.ready_identity(&left.namespace, name, json!({"signingKey": {}})).await;
    }
    for (namespace, name) in [(&left, "inventory"), (&right, "payment"), (&right, "delivery"), (&right, "bystander")] {
        story.ready_identity(&namespace.namespace, name, json!({})).await;
    }
    let order = || [(left.namespace.as_str(), "order".to_owned())];
    story.ready_policy(&right.namespace, "payment", by_token("payment", order())).await;
    let both = [(left.namespace.as_str(), "order".to_owned()), (left.namespace.as_str(), "cart".to_owned())];
    story.ready_policy(&right.namespace, "delivery", by_token("delivery", both)).await;
    let mtls = json!({
        "to": {"identity": "inventory", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}],
    });
    story.ready_policy(&left.namespace, "inventory", mtls).await;

    let id = |name: &str| format!("spiffe://{}/ns/{}/sa/{name}", left.domain, left.namespace);
    let file = |name: &str| format!("jwks.{}.{name}.json", left.namespace);
    let none: &[&str] = &[];
    for (trust, callee, signers) in [
        (&right, "payment", ["order"].as_slice()),
        (&right, "delivery", &["cart", "order"]),
        (&right, "bystander", none),
        (&left, "inventory", none),
        (&left, "order", none),
    ] {
        let peer = Peer::of(&story, &trust.namespace, callee).await;
        let files: Vec<_> =
            peer.files.keys().filter(|name| name.starts_with("jwks.") && *name != "jwks.json").collect();
        assert_eq!(
            files,
            signers.iter().map(|name| file(name)).collect::<Vec<_>>().iter().collect::<Vec<_>>(),
            "{callee}"
        );
        let mut kids = Vec::new();
        for name in signers {
            let signer = Signer::of(&story, &left.namespace, name).await;
            let set: Value = serde_json::from_str(&peer.files[&file(name)]).unwrap();
            let keys = set["keys"].as_array().unwrap();
            assert_eq!(keys.len(), 1);
            assert_eq!((&keys[0]["spiffe_id"], &keys[0]["kid"]), (&json!(id(name)), &json!(signer.kid())));
            assert!(keys[0].get("d").is_none());
            assert_eq!(peer.access()["keySets"][id(name)], file(name));
            kids.push(json!(signer.kid()));
        }
        let all: Value = serde_json::from_str(&peer.files["jwks.json"]).unwrap();
        let found: Vec<_> = all["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
        assert_eq!(found, kids, "{callee}: jwks.json is these together");
    }
}

#[tokio::test]
async fn no_permitted_caller_can_speak_for_another() {
    let story = Story::begin("speak").await;
    let trust = story.trust("shop", json!({})).await;
    for name in ["order", "cart"] {
        story.ready_identity(&trust.namespace, name, json!({"signingKey": {}})).await;
    }
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let callers = ["order", "cart"].map(|name| (trust.namespace.as_str(), name.to_owned()));
    story.ready_policy(&trust.namespace, "both", by_token("payment", callers)).await;
    let payment = Peer::of(&story, &trust.namespace, "payment").await;
    let [order, cart] =
        [Signer::of(&story, &trust.namespace, "order").await, Signer::of(&story, &trust.namespace, "cart").await];
    let id = |name: &str| format!("spiffe://{}/ns/{}/sa/{name}", trust.domain, trust.namespace);
    let honest = cart.sign("ES256", cart.kid(), &claims(&id("cart"), &payment));
    assert_eq!(accepts(&payment, &honest), Ok(id("cart")));
    let as_order = claims(&id("order"), &payment);
    let own_kid = accepts(&payment, &cart.sign("ES256", cart.kid(), &as_order));
    assert_eq!(own_kid.unwrap_err(), "the signer has no such key");
    let stolen_kid = accepts(&payment, &cart.sign("ES256", order.kid(), &as_order));
    assert_eq!(stolen_kid.unwrap_err(), "InvalidSignature");
    let stranger = accepts(&payment, &cart.sign("ES256", cart.kid(), &claims(&id("payment"), &payment)));
    assert_eq!(stranger.unwrap_err(), "no key set of this issuer");
}

#[tokio::test]
async fn when_the_policy_goes_the_key_leaves_the_callee() {
    let story = Story::begin("goes").await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let callers = [(trust.namespace.as_str(), "order".to_owned())];
    story.ready_policy(&trust.namespace, "from-order", by_token("payment", callers)).await;
    let file = format!("jwks.{}.order.json", trust.namespace);
    assert!(config_map(&story, &trust.namespace, "payment-trust").await.contains_key(&file));
    let policies = Api::<AccessPolicy>::namespaced(story.client.clone(), &trust.namespace);
    policies.delete("from-order", &DeleteParams::default()).await.unwrap();
    let gone = |map: &ConfigMap| !map.data.as_ref().unwrap().contains_key(&file);
    let maps = Api::<ConfigMap>::namespaced(story.client.clone(), &trust.namespace);
    let map = wait_for(&maps, "payment-trust", "lose the key", gone).await;
    assert_eq!(map.data.unwrap()["jwks.json"], r#"{"keys":[]}"#);
}

#[tokio::test]
async fn a_signing_key_that_comes_later_opens_the_edge_and_one_that_goes_closes_it() {
    let story = Story::begin("comes").await;
    let trust = story.trust("shop", json!({})).await;
    let order = story.ready_identity(&trust.namespace, "order", json!({})).await;
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let callers = [(trust.namespace.as_str(), "order".to_owned())];
    let policy = story.judged_policy(&trust.namespace, "from-order", by_token("payment", callers)).await;
    let status = policy.status.clone().unwrap();
    assert_eq!((status.edges, status.from[0].reason.as_str()), (Some(0), "NoSigningKey"));
    assert!(status.from[0].message.contains("set signingKey"), "{}", status.from[0].message);

    let identities = Api::<ServiceIdentity>::namespaced(story.client.clone(), &trust.namespace);
    story.change(identities.clone(), "order", json!({"signingKey": {}})).await;
    let ready = |policy: &AccessPolicy| condition(policy, "Ready").0 == "True";
    story.wait_policy(&trust.namespace, "from-order", "be in force", ready).await;
    let file = format!("jwks.{}.order.json", trust.namespace);
    let payment = Peer::of(&story, &trust.namespace, "payment").await;
    assert!(payment.files.contains_key(&file));
    eventually("the event tells of the key", async || {
        event_reasons(&story, &order).await.contains(&"SigningKeyGenerated".to_owned()).then_some(())
    })
    .await;

    story.change(identities, "order", json!({"signingKey": null})).await;
    let closed = |policy: &AccessPolicy| policy.status.as_ref().is_some_and(|status| status.edges == Some(0));
    story.wait_policy(&trust.namespace, "from-order", "be closed", closed).await;
    let gone = |map: &ConfigMap| !map.data.as_ref().unwrap().contains_key(&file);
    let maps = Api::<ConfigMap>::namespaced(story.client.clone(), &trust.namespace);
    wait_for(&maps, "payment-trust", "lose the key", gone).await;
}

#[tokio::test]
async fn a_lost_signing_key_is_replaced_at_the_signer_and_at_its_callees() {
    let story = Story::begin("lost").await;
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let callers = [(trust.namespace.as_str(), "order".to_owned())];
    story.ready_policy(&trust.namespace, "from-order", by_token("payment", callers)).await;
    let lost = Signer::of(&story, &trust.namespace, "order").await;
    let secrets = Api::<Secret>::namespaced(story.client.clone(), &trust.namespace);
    secrets.delete("order-signing-key", &DeleteParams::default()).await.unwrap();
    let file = format!("jwks.{}.order.json", trust.namespace);
    let maps = Api::<ConfigMap>::namespaced(story.client.clone(), &trust.namespace);
    let replaced = |map: &ConfigMap| {
        map.data
            .as_ref()
            .and_then(|data| data.get(&file))
            .is_some_and(|set| set.contains("kid") && !set.contains(lost.kid()))
    };
    wait_for(&maps, "payment-trust", "get the new key", replaced).await;
    let signer = Signer::of(&story, &trust.namespace, "order").await;
    let payment = Peer::of(&story, &trust.namespace, "payment").await;
    let id = format!("spiffe://{}/ns/{}/sa/order", trust.domain, trust.namespace);
    assert_eq!(accepts(&payment, &signer.sign("ES256", signer.kid(), &claims(&id, &payment))), Ok(id.clone()));
    accepts(&payment, &lost.sign("ES256", lost.kid(), &claims(&id, &payment))).unwrap_err();
}

/// A policy that demands a token and nothing else.
fn by_token<'a>(callee: &str, callers: impl IntoIterator<Item = (&'a str, String)>) -> Value {
    let from = callers.into_iter().map(|(namespace, name)| json!({"identity": {"name": name, "namespace": namespace}}));
    json!({
        "to": {"identity": callee, "ports": [{"port": 8443}]}, "from": from.collect::<Vec<_>>(),
        "authentication": {"jwt": {}},
    })
}

/// A service with its signing key, which OpenSSL uses.
struct Signer {
    files: BTreeMap<String, String>,
}

impl Signer {
    async fn of(story: &Story, namespace: &str, identity: &str) -> Self {
        Self { files: secret(story, namespace, &format!("{identity}-signing-key")).await }
    }

    fn kid(&self) -> &str {
        &self.files["kid"]
    }

    fn sign(&self, algorithm: &str, kid: &str, claims: &Value) -> String {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let header = json!({"alg": algorithm, "kid": kid, "typ": "service+jwt"});
        let message = format!("{}.{}", part(&header), part(claims));
        let openssl = OpenSsl::with(&self.files);
        openssl.file("message", &message);
        openssl.run(match algorithm {
            "EdDSA" => "pkeyutl -sign -rawin -inkey private.pem -in message -out signature",
            "PS256" => "dgst -sha256 -sign private.pem -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -out signature message",
            "ES384" => "dgst -sha384 -sign private.pem -out signature message",
            _ => "dgst -sha256 -sign private.pem -out signature message",
        });
        let signature = openssl.read("signature");
        let signature = match algorithm {
            "ES256" => raw_signature(&signature, 32),
            "ES384" => raw_signature(&signature, 48),
            _ => signature,
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// JOSE writes both numbers of an ECDSA signature in full length (RFC 7518, section 3.4), X.509 as DER.
fn raw_signature(der: &[u8], width: usize) -> Vec<u8> {
    let (_, sequence) = parse_der(der).unwrap();
    let numbers = sequence.as_sequence().unwrap().iter().map(|number| number.as_slice().unwrap());
    let padded = numbers.flat_map(|number| {
        let significant: Vec<u8> = number.iter().copied().skip_while(|octet| *octet == 0).collect();
        [vec![0; width - significant.len()], significant].concat()
    });
    padded.collect()
}

/// What a caller claims in a token for this callee.
fn claims(id: &str, callee: &Peer) -> Value {
    let now = Timestamp::now().as_second();
    let audience = callee.access()["spiffeID"].clone();
    json!({"iss": id, "sub": id, "aud": audience, "iat": now, "nbf": now, "exp": now + 60, "jti": "1"})
}

/// What a callee makes of a token, by the files that it was given: whose it is, or why it is refused.
fn accepts(callee: &Peer, token: &str) -> Result<String, String> {
    let access = callee.access();
    let header = decode_header(token).map_err(|error| error.to_string())?;
    assert_eq!(header.typ.as_deref(), Some("service+jwt"));
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claimed: Value = serde_json::from_slice(&payload).unwrap();
    let issuer = claimed["iss"].as_str().unwrap();
    let file = access["keySets"][issuer].as_str().ok_or("no key set of this issuer")?;
    let set: JwkSet = serde_json::from_str(&callee.files[file]).unwrap();
    let jwk = set.find(&header.kid.unwrap()).ok_or("the signer has no such key")?;
    let mut validation = Validation::new(jwk.common.key_algorithm.unwrap().to_string().parse().unwrap());
    validation.set_audience(&[access["spiffeID"].as_str().unwrap()]);
    validation.set_issuer(&[issuer]);
    let token = decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation);
    let claims = token.map_err(|error| format!("{:?}", error.kind()))?.claims;
    Ok(claims["sub"].as_str().unwrap().to_owned())
}
