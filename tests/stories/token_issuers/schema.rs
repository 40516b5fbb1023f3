//! What the API server itself refuses of token issuers and their tokens, and in what words.

use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::support::{Bystanders, Story, domain, identity, policy};

fn check(message: &str, words: &str) {
    assert!(message.contains(words), "{words:?} should be in: {message}");
}

#[tokio::test]
async fn token_issuers_that_contradict_themselves() {
    let story = Story::begin("schema-issuers").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let url = "https://login.example.com";
    let issuer = |more: Value| {
        let mut issuer = json!({"name": "login", "issuer": url});
        issuer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        vec![issuer]
    };
    let endpoint = |endpoint: Value| issuer(json!({"endpoint": endpoint}));
    let built_in = |settings: Value| vec![json!({"name": "sts", "builtIn": settings})];
    let either = "exactly one of builtIn and issuer must be set";
    let alone = "beside builtIn nothing else can be set";
    let one_proof = "exactly one of mtls, privateKeyJwt and secretRef must be set";
    let lifetime = "tokenLifetime must be from 10s to 1h";
    let ranges = "cidrs must be address ranges such as 203.0.113.0/24";
    let nine: Vec<Value> = (0..9).map(|n| json!({"name": format!("i{n}"), "issuer": format!("{url}/{n}")})).collect();
    let cases = [
        (vec![json!({"name": "sts"})], either),
        (vec![json!({"name": "sts", "builtIn": {}, "issuer": url})], either),
        (vec![json!({"name": "sts", "builtIn": {}, "jwksUri": format!("{url}/keys")})], alone),
        (vec![json!({"name": "sts", "builtIn": {}, "audiences": ["account"]})], alone),
        (vec![json!({"name": "a", "builtIn": {}}), json!({"name": "b", "builtIn": {}})], "builtIn may be named once"),
        (
            vec![json!({"name": "a", "issuer": url}), json!({"name": "b", "issuer": url})],
            "each issuer may be named once",
        ),
        (
            vec![json!({"name": "a", "issuer": url}), json!({"name": "a", "builtIn": {}})],
            "tokenIssuers[1]: Duplicate value",
        ),
        (vec![json!({"name": "Login", "issuer": url})], "tokenIssuers[0].name"),
        (vec![json!({"name": "", "issuer": url})], "tokenIssuers[0].name"),
        (vec![json!({"name": "login", "issuer": "http://login.example.com"})], "tokenIssuers[0].issuer"),
        (vec![json!({"name": "login", "issuer": "https://login.example.com?a=b"})], "tokenIssuers[0].issuer"),
        (issuer(json!({"jwksUri": "http://login.example.com/keys"})), "tokenIssuers[0].jwksUri"),
        (issuer(json!({"introspectionUri": "login"})), "tokenIssuers[0].introspectionUri"),
        (issuer(json!({"clientAuthentication": {}})), one_proof),
        (issuer(json!({"clientAuthentication": {"mtls": {}, "privateKeyJwt": {}}})), one_proof),
        (endpoint(json!({"ports": [{"port": 443}]})), "exactly one of pods and cidrs must be set"),
        (endpoint(json!({"cidrs": ["here"], "ports": [{"port": 443}]})), ranges),
        (endpoint(json!({"cidrs": ["203.0.113.0/24"], "ports": []})), "endpoint.ports"),
        (
            endpoint(json!({"cidrs": ["203.0.113.0/24"], "ports": [{"port": 443, "endPort": 80}]})),
            "endPort must not be below port",
        ),
        (built_in(json!({"tokenFormat": "Paper"})), "\"Jwt\", \"Opaque\""),
        (built_in(json!({"tokenLifetime": "9s"})), lifetime),
        (built_in(json!({"tokenLifetime": "61m"})), lifetime),
        (built_in(json!({"scopes": ["two words"]})), "builtIn.scopes[0]"),
        (built_in(json!({"clients": {"secretName": "c", "cidrs": ["203.0.113.0"]}})), ranges),
        (built_in(json!({"clients": {"secretName": "c", "cidrs": []}})), "clients.cidrs"),
        (nine, "tokenIssuers: Too many: 9: must have at most 8 items"),
    ];
    for (issuers, words) in cases {
        let spec = json!({"certificateAuthority": {"selfSigned": {}}, "tokenIssuers": issuers});
        check(&story.refused::<TrustDomain>("", domain("refused", spec)).await, words);
    }
    for (spec, words) in [
        (json!({"tokenIssuers": ["sts", "sts"]}), "spec.tokenIssuers[1]: Duplicate value"),
        (json!({"tokenIssuers": [""]}), "spec.tokenIssuers[0]"),
    ] {
        check(&story.refused::<ServiceIdentity>(&trust.namespace, identity("refused", spec)).await, words);
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn policies_that_ask_for_tokens_that_nobody_signs() {
    let story = Story::begin("schema-jwt").await;
    let trust = story.trust("a", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let of_issuer = "issuer, validation, scopes and oneTime are about tokens of an issuer";
    let once = "a one-time token is used up by introspection: set validation: Introspection";
    for (jwt, words) in [
        (json!({"issuer": "sts"}), of_issuer),
        (json!({"validation": "Jwks"}), of_issuer),
        (json!({"signer": "Caller", "scopes": ["customer"]}), of_issuer),
        (json!({"oneTime": true}), of_issuer),
        (json!({"signer": "Issuer", "oneTime": true}), once),
        (json!({"signer": "Issuer", "oneTime": true, "validation": "Jwks"}), once),
        (json!({"signer": "Nobody"}), "\"Caller\", \"Issuer\""),
        (json!({"signer": "Issuer", "validation": "Guess"}), "\"Jwks\", \"Introspection\""),
        (json!({"signer": "Issuer", "scopes": ["a\"b"]}), "jwt.scopes[0]"),
        (json!({"signer": "Issuer", "maxLifetime": "1s"}), "maxLifetime must be at least 10s"),
    ] {
        let spec = json!({
            "to": {"identity": "bystander", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "companion"}}],
            "authentication": {"jwt": jwt},
        });
        check(&story.refused::<AccessPolicy>(&trust.namespace, policy("refused", spec)).await, words);
    }
    let whole_domain = |jwt: Value| {
        json!({
            "to": {"identity": "bystander", "ports": [{"port": 8443}]}, "from": [{"trustDomain": trust.domain}],
            "authentication": {"jwt": jwt},
        })
    };
    check(
        &story.refused::<AccessPolicy>(&trust.namespace, policy("refused", whole_domain(json!({})))).await,
        "a jwt that the caller signs needs callers named one by one",
    );
    story.create::<AccessPolicy>(&trust.namespace, policy("taken", whole_domain(json!({"signer": "Issuer"})))).await;
    bystanders.are_untouched(&story).await;
}
