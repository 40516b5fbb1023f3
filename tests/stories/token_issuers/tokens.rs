//! Policies that demand tokens of issuers: what callees are told, and what is refused.

use jsonschema::validator_for;
use ringfence_core::access::access_schema;
use ringfence_core::api::AccessPolicy;
use serde_json::{Value, json};

use crate::support::{Story, condition, config_map};

#[tokio::test]
async fn a_callee_is_told_which_tokens_to_take_of_whom() {
    let story = Story::begin("issuer-token").await;
    let url = "https://login.example.invalid";
    let login = json!({
        "name": "login", "issuer": url, "introspectionUri": format!("{url}/ask"), "audiences": ["account"],
        "endpoint": {"cidrs": ["198.51.100.7/32"], "ports": [{"port": 443}]},
    });
    let accepted = json!({"anywhere": {}, "acceptedAuthentication": ["IssuerJwt"]});
    let trust = story.trust("shop", json!({"tokenIssuers": [login], "inbound": [accepted]})).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({"tokenIssuers": ["login"]})).await;
    story.ready_identity(namespace, "payment", json!({"tokenIssuers": ["login"]})).await;
    let demands = |from: Value, port: u16, jwt: Value| json!({"to": {"identity": "payment", "ports": [{"port": port}]}, "from": [from], "authentication": {"jwt": jwt}});
    let order = json!({"identity": {"name": "order"}});
    let by_keys = json!({"signer": "Issuer", "scopes": ["pay"], "audiences": ["account"]});
    story.ready_policy(namespace, "keys", demands(order, 8443, by_keys)).await;
    let asked = json!({"signer": "Issuer", "issuer": "login", "validation": "Introspection", "maxLifetime": "1m"});
    story.ready_policy(namespace, "ask", demands(json!({"anywhere": {}}), 9443, asked)).await;

    let files = config_map(&story, namespace, "payment-trust").await;
    assert!(files.contains_key("issuer.login.jwks.json"), "{:?}", files.keys());
    let document: Value = serde_json::from_str(&files["access.json"]).unwrap();
    validator_for(&access_schema()).unwrap().validate(&document).unwrap();
    assert_eq!(document["version"], 2);
    let known = json!({"name": "login", "keySet": "issuer.login.jwks.json", "introspectionUri": format!("{url}/ask")});
    assert_eq!(document["issuers"], json!({url: known}));
    let own = format!("spiffe://{}/ns/{namespace}/sa/payment", trust.domain);
    let tokens = [
        json!({
            "signer": "Issuer", "issuer": url, "keySet": "issuer.login.jwks.json", "validation": "Jwks",
            "scopes": ["pay"], "audiences": ["account"],
        }),
        json!({
            "signer": "Issuer", "issuer": url, "validation": "Introspection", "audiences": ["account", own],
            "maxLifetimeSeconds": 60,
        }),
    ];
    for (port, token) in tokens.iter().enumerate() {
        assert_eq!(
            document["ports"][port]["callers"][0]["proof"],
            json!({"mtls": false, "token": token}),
            "{document:#}"
        );
        assert_eq!(document["ports"][port]["clientCertificates"], "None");
    }
    let files = config_map(&story, namespace, "order-trust").await;
    assert!(!files.contains_key("issuer.login.jwks.json"), "a caller verifies nothing");
}

#[tokio::test]
async fn a_caller_that_cannot_have_the_token_is_closed_and_named() {
    let story = Story::begin("issuer-refused").await;
    let login = json!({
        "name": "login", "issuer": "https://login.example.invalid",
        "endpoint": {"cidrs": ["198.51.100.7/32"], "ports": [{"port": 443}]},
    });
    let no_tokens = json!({"anywhere": {}, "acceptedAuthentication": ["Mtls", "CallerJwt"]});
    let spec = json!({"tokenIssuers": [login, {"name": "sts", "builtIn": {}}], "inbound": [no_tokens]});
    let trust = story.trust("shop", spec).await;
    let namespace = &trust.namespace;
    story.ready_identity(namespace, "order", json!({"tokenIssuers": ["login"]})).await;
    for name in ["cart", "payment"] {
        story.ready_identity(namespace, name, json!({"signingKey": {}})).await;
    }
    let from = json!([{"identity": {"name": "order"}}, {"identity": {"name": "cart"}}, {"anywhere": {}}]);
    let policy = |jwt: Value| {
        json!({
            "to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": from,
            "authentication": {"jwt": jwt},
        })
    };
    let refused = |object: &AccessPolicy| -> Vec<(i32, String)> {
        let entries = object.status.iter().flat_map(|status| &status.from);
        entries.map(|entry| (entry.index, entry.reason.clone())).collect()
    };
    let reasons = |reasons: &[(i32, &str)]| -> Vec<(i32, String)> {
        reasons.iter().map(|(index, reason)| (*index, (*reason).to_owned())).collect()
    };
    let partly = story.judged_policy(namespace, "partly", policy(json!({"signer": "Issuer", "issuer": "login"}))).await;
    assert_eq!(refused(&partly), reasons(&[(1, "NoTokenIssuer"), (2, "InboundNotAllowed")]));
    assert_eq!(condition(&partly, "Accepted").1, "PartiallyAccepted");
    let message = &partly.status.as_ref().unwrap().from[1].message;
    assert!(message.contains("only with Mtls or CallerJwt, and the policy demands IssuerJwt"), "{message}");
    for (name, jwt, reason) in [
        ("several", json!({"signer": "Issuer"}), "IssuerAmbiguous"),
        ("nobody", json!({"signer": "Issuer", "issuer": "nobody"}), "IssuerNotFound"),
        ("none", json!({"signer": "Issuer", "issuer": "sts"}), "TokenServiceNotFound"),
        ("deaf", json!({"signer": "Issuer", "issuer": "login", "validation": "Introspection"}), "IssuerNotListed"),
    ] {
        let judged = story.judged_policy(namespace, name, policy(jwt)).await;
        assert_eq!(refused(&judged), reasons(&[(0, reason), (1, reason), (2, reason)]), "{name}");
        assert_eq!(condition(&judged, "Ready").0, "False");
    }
    let files = config_map(&story, namespace, "payment-trust").await;
    let document: Value = serde_json::from_str(&files["access.json"]).unwrap();
    let callers = document["ports"][0]["callers"].as_array().unwrap();
    assert_eq!(callers.len(), 1, "{document:#}");
}
