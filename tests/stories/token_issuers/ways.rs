//! The ways to and from token issuers, which need no policy: on both sides, for those who list them and nobody else.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use ringfence_core::world::{NamespacedName, Settings, TokenService};
use serde_json::{Value, json};

use crate::support::{Forward, Operation, Story, begin_alone, condition, config_map, domain, identity, says, wait_for};

/// An operator that knows a token service.
async fn operate(story: &Story, namespace: &str) -> Operation {
    let token_service = TokenService {
        identity: NamespacedName::new(namespace, "sts"),
        port: 8443,
        issuer: format!("https://sts.{namespace}.svc:8443"),
    };
    let settings = Settings { token_service: Some(token_service), ..Settings::default() };
    story.cluster.operate_with(settings, Forward::default().clock()).await
}

fn peer(namespace: &str, name: &str) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
    })
}

fn port(number: u16) -> Value {
    json!([{"port": number, "protocol": "TCP"}])
}

/// The rules of an identity's NetworkPolicy in one direction, but for DNS, and for callers of other stories: the token service
/// of all of them is one.
fn rules(story: &Story, policy: &NetworkPolicy, direction: &str) -> Vec<Value> {
    let policy = serde_json::to_value(policy).unwrap();
    let is_ours = |peer: &Value| {
        let namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"].as_str();
        namespace.is_none_or(|namespace| namespace.starts_with(&story.name))
    };
    let is_not_dns = |rule: &&Value| !rule.to_string().contains("kube-system");
    let ours = |rule: &Value| {
        let mut rule = rule.clone();
        if let Some(from) = rule.get_mut("from").and_then(Value::as_array_mut) {
            from.retain(is_ours);
        }
        rule
    };
    policy["spec"][direction].as_array().into_iter().flatten().filter(is_not_dns).map(ours).collect()
}

/// Waits until the NetworkPolicy of an identity has these rules and no others.
async fn has_rules(story: &Story, namespace: &str, name: &str, direction: &str, expected: &[Value]) {
    let what = format!("have the {direction} rules {expected:?}");
    let api = story.api::<NetworkPolicy>(namespace);
    wait_for(&api, &format!("ringfence-{name}"), &what, |policy| rules(story, policy, direction) == expected).await;
}

#[tokio::test]
async fn whoever_lists_the_token_service_gets_there_and_a_token_service_that_is_closed_says_so() {
    let (story, _turn) = begin_alone("token-service").await;
    let tokens = format!("{}-tokens", story.name);
    let operation = operate(&story, &tokens).await;
    let built_in = json!({"clients": {"secretName": "clients", "cidrs": ["203.0.113.0/24"]}});
    let shop = story.trust("shop", json!({"tokenIssuers": [{"name": "sts", "builtIn": built_in}]})).await;
    for (name, issuers) in [("order", json!(["sts"])), ("cart", json!([]))] {
        story.create::<ServiceIdentity>(&shop.namespace, identity(name, json!({"tokenIssuers": issuers}))).await;
    }
    let identities = story.api::<ServiceIdentity>(&shop.namespace);
    let missing = ("ResolvedRefs", "False", "TokenServiceNotFound");
    says(
        &identities,
        "order",
        missing,
        &["tokenIssuers[sts]", &format!("ServiceIdentity {tokens}/sts"), "does not exist"],
    )
    .await;
    has_rules(&story, &shop.namespace, "order", "egress", &[]).await;

    let trust = story.trust("tokens", json!({})).await;
    story.ready_identity(&trust.namespace, "sts", json!({})).await;
    story.wait_identity(&shop.namespace, "order", "be ready", |object| condition(object, "Ready").0 == "True").await;
    let way = json!({"to": [peer(&tokens, "sts")], "ports": port(8443)});
    has_rules(&story, &shop.namespace, "order", "egress", &[way]).await;
    has_rules(&story, &shop.namespace, "cart", "egress", &[]).await;
    let outside = json!({"ipBlock": {"cidr": "203.0.113.0/24"}});
    let both = json!({"from": [outside, peer(&shop.namespace, "order")], "ports": port(8443)});
    has_rules(&story, &tokens, "sts", "ingress", &[both]).await;

    let files = config_map(&story, &shop.namespace, "order-trust").await;
    let document: Value = serde_json::from_str(&files["access.json"]).unwrap();
    let callee = json!({
        "callee": {
            "kind": "Identity", "spiffeID": format!("spiffe://{}/ns/{tokens}/sa/sts", trust.domain),
            "trustDomain": trust.domain, "dnsNames": [],
        },
        "ports": [{"port": 8443, "protocol": "TCP"}], "proof": {"mtls": false}, "rules": [],
    });
    assert_eq!(document["callees"], json!([callee]), "no policy grants it");
    let url = format!("https://sts.{tokens}.svc:8443");
    let known = json!({"name": "sts", "introspectionUri": format!("{url}/introspect")});
    assert_eq!(document["issuers"], json!({url: known}));
    assert!(!files["callees.pem"].is_empty() && files.contains_key(&format!("bundle.{}.pem", trust.domain)));

    story.change(identities.clone(), "order", json!({"suspended": true})).await;
    let outside = json!({"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": port(8443)});
    has_rules(&story, &tokens, "sts", "ingress", &[outside]).await;
    has_rules(&story, &shop.namespace, "order", "egress", &[]).await;
    story.change(identities.clone(), "order", json!({"suspended": false})).await;
    let back = json!({"to": [peer(&tokens, "sts")], "ports": port(8443)});
    has_rules(&story, &shop.namespace, "order", "egress", &[back]).await;

    story.change(story.api::<ServiceIdentity>(&tokens), "sts", json!({"suspended": true})).await;
    says(&identities, "order", missing, &["tokenIssuers[sts]", "is suspended", "nobody may call it"]).await;
    has_rules(&story, &shop.namespace, "order", "egress", &[]).await;
    let cart = identities.get("cart").await.unwrap();
    assert_eq!(condition(&cart, "Ready").0, "True", "who does not list it has nothing to do with it");
    operation.stop().await;
}

#[tokio::test]
async fn an_issuer_outside_is_reached_by_those_who_list_it_alone() {
    let story = Story::begin("issuer-outside").await;
    let issuers = json!([
        {"name": "login", "issuer": "https://login.example.invalid", "caBundle": "the roots",
         "endpoint": {"cidrs": ["198.51.100.7/32", "10.0.0.0/8"], "ports": [{"port": 443}]}},
        {"name": "keycloak", "issuer": "https://keycloak.example.invalid",
         "endpoint": {"pods": {"namespaces": [format!("{}-sso", story.name)]}, "ports": [{"port": 8443}]}},
    ]);
    let trust = story.trust("shop", json!({"tokenIssuers": issuers})).await;
    story.namespace("sso").await;
    story.ready_identity(&trust.namespace, "cart", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({"tokenIssuers": ["login", "keycloak"]})).await;
    let addresses = json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "198.51.100.7/32"}}]);
    let sso =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": format!("{}-sso", story.name)}}});
    let expected = [json!({"to": addresses, "ports": port(443)}), json!({"to": [sso], "ports": port(8443)})];
    has_rules(&story, &trust.namespace, "order", "egress", &expected).await;
    has_rules(&story, &trust.namespace, "cart", "egress", &[]).await;
    let files = config_map(&story, &trust.namespace, "order-trust").await;
    assert_eq!(files["issuer.login.pem"], "the roots");
    assert!(!files.contains_key("issuer.keycloak.pem"), "it names no roots");
    let others = config_map(&story, &trust.namespace, "cart-trust").await;
    assert!(others.keys().all(|name| !name.starts_with("issuer.")), "{:?}", others.keys());

    let domains = story.all::<TrustDomain>();
    let fence = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [format!("{}-sso", story.name)]});
    story.create_cluster_wide::<TrustDomain>(domain(&format!("{}-sso", story.name), fence)).await;
    let fenced = ("Accepted", "False", "FencedPods");
    says(&story.api::<ServiceIdentity>(&trust.namespace), "order", fenced, &["tokenIssuers[keycloak]"]).await;
    says(&domains, &trust.domain, fenced, &["tokenIssuers[keycloak]"]).await;
    has_rules(&story, &trust.namespace, "order", "egress", &expected[..1]).await;
}

#[tokio::test]
async fn what_cannot_be_listed_is_told_and_everything_else_goes_on() {
    let story = Story::begin("issuer-bad").await;
    let issuers = json!([
        {"name": "nowhere", "issuer": "https://nowhere.example.invalid"}, {"name": "sts", "builtIn": {}},
        {"name": "crooked", "issuer": "https://crooked.example.invalid",
         "endpoint": {"cidrs": ["10.0.0.1/8"], "ports": [{"port": 443}]}},
    ]);
    let trust = story.trust("shop", json!({"tokenIssuers": issuers})).await;
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    for (name, issuer, said, words) in [
        ("typo", "stss", ("ResolvedRefs", "False", "IssuerNotFound"), "only nowhere, sts, crooked"),
        ("placeless", "nowhere", ("Accepted", "False", "IssuerWithoutEndpoint"), "has no endpoint"),
        ("early", "sts", ("ResolvedRefs", "False", "TokenServiceNotFound"), "tokenService.enabled"),
        ("bent", "crooked", ("Accepted", "False", "InvalidCidr"), "write 10.0.0.0/8 for the whole range"),
    ] {
        story.create::<ServiceIdentity>(&trust.namespace, identity(name, json!({"tokenIssuers": [issuer]}))).await;
        says(&identities, name, said, &[words]).await;
        has_rules(&story, &trust.namespace, name, "egress", &[]).await;
        let has_files = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data.contains_key("access.json"));
        wait_for(&story.api::<ConfigMap>(&trust.namespace), &format!("{name}-trust"), "be delivered", has_files).await;
    }
    says(&story.all::<TrustDomain>(), &trust.domain, ("Accepted", "False", "InvalidCidr"), &["tokenIssuers[crooked]"])
        .await;
}
