//! What the token service is told: documents in its own namespace, which follow what is declared, and the public keys that
//! it publishes there, which reach whoever verifies by them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use ringfence::controller::Clock;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{AccessPolicy, ServiceIdentity, SigningAlgorithm, TrustDomain};
use ringfence_core::jwt::SigningKey;
use ringfence_core::pki::Entropy;
use ringfence_core::tokens::Directory;
use ringfence_core::world::{NamespacedName, Settings, TokenService};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::support::{
    History, Operation, Story, Trust, begin_alone, condition, config_map, edit, essence, event_reasons, eventually,
    gone, identity, in_namespace, is_owned_by, policy, says, secret, versions, wait_for,
};

/// A shop that demands tokens of an installation's token service.
struct Shop {
    story: Story,
    operation: Operation,
    platform: Trust,
    shop: Trust,
    _turn: MutexGuard<'static, ()>,
}

impl Shop {
    /// Order calls payment with a token of the token service; everything is in force.
    async fn open(title: &str) -> Self {
        let (story, turn) = begin_alone(title).await;
        let operation = story.cluster.operate_with(settings(&story), Clock::system()).await;
        let platform = story.trust("sts", json!({})).await;
        story.ready_identity(&platform.namespace, "tokens", json!({})).await;
        let issuers = json!([{"name": "tokens", "builtIn": {"scopes": ["read"]}}]);
        let shop = story.trust("shop", json!({"tokenIssuers": issuers})).await;
        let shop = Self { story, operation, platform, shop, _turn: turn };
        shop.identity("order", json!({"signingKey": {}, "tokenIssuers": ["tokens"]})).await;
        shop.identity("payment", json!({})).await;
        shop.story.ready_policy(&shop.shop.namespace, "pay", by_token()).await;
        shop
    }

    async fn identity(&self, name: &str, spec: Value) {
        self.story.ready_identity(&self.shop.namespace, name, spec).await;
    }

    fn name(&self) -> String {
        format!("tokens.{}", self.shop.namespace)
    }

    fn documents(&self) -> Api<ConfigMap> {
        in_namespace(&self.story, &self.platform.namespace)
    }

    fn domains(&self) -> Api<TrustDomain> {
        Api::all(self.story.client.clone())
    }

    /// What the token service is told of the shop, once it is as wanted.
    async fn told(&self, what: &str, wanted: impl Fn(&Directory) -> bool) -> Directory {
        read(&wait_for(&self.documents(), &self.name(), what, |found| wanted(&read(found))).await)
    }

    /// Has the token service publish this.
    async fn publish(&self, text: &str) {
        let documents = self.documents();
        let found: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": "tokens-jwks"}, "data": {"jwks.json": text}})).unwrap();
        if documents.get_opt("tokens-jwks").await.unwrap().is_none() {
            documents.create(&PostParams::default(), &found).await.unwrap();
        } else {
            edit(&documents, "tokens-jwks", |map| map.data = found.data).await;
        }
    }

    /// Waits until payment verifies tokens by these keys.
    async fn delivered(&self, keys: &Value) {
        let has = |map: &ConfigMap| {
            let text = map.data.as_ref().and_then(|data| data.get("issuer.tokens.jwks.json"));
            text.is_some_and(|text| serde_json::from_str::<Value>(text).unwrap()["keys"] == keys["keys"])
        };
        let maps = in_namespace::<ConfigMap>(&self.story, &self.shop.namespace);
        wait_for(&maps, "payment-trust", "have the token service's keys", has).await;
    }
}

fn settings(story: &Story) -> Settings {
    let identity = NamespacedName::new(format!("{}-sts", story.name), "tokens");
    let issuer = format!("https://tokens.{}.svc:8443", identity.namespace);
    Settings { token_service: Some(TokenService { identity, port: 8443, issuer }), ..Settings::default() }
}

fn by_token() -> Value {
    json!({
        "to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}],
        "authentication": {"mtls": {}, "jwt": {"signer": "Issuer", "issuer": "tokens", "scopes": ["write"]}},
    })
}

fn read(found: &ConfigMap) -> Directory {
    serde_json::from_str(&found.data.as_ref().unwrap()["directory.json"]).unwrap()
}

fn key_set() -> Value {
    let entropy: Arc<dyn Entropy> = Arc::new(ringfence::controller::SystemEntropy);
    let key = entropy.private_key(ringfence_core::jwt::key_algorithm(SigningAlgorithm::ES256)).unwrap();
    json!({"keys": [SigningKey::new(key, SigningAlgorithm::ES256).unwrap().public_jwk()]})
}

#[tokio::test]
async fn what_is_declared_reaches_the_token_service_and_what_is_revoked_leaves_it() {
    let shop = Shop::open("told").await;
    let (story, namespace) = (&shop.story, &shop.shop.namespace);
    let told = shop.told("tell of the grant", |told| told.grants.len() == 1).await;
    let domain = shop.domains().get(&shop.shop.domain).await.unwrap();
    let found = shop.documents().get(&shop.name()).await.unwrap();
    assert!(is_owned_by(&found, domain.metadata.uid.as_deref().unwrap()));
    let id = |name: &str| format!("spiffe://{}/ns/{namespace}/sa/{name}", shop.shop.domain);
    let identities: Vec<_> =
        told.identities.iter().map(|it| (it.spiffe_id.clone(), it.client, it.keys.len())).collect();
    assert_eq!(identities, [(id("order"), true, 1), (id("payment"), false, 0)]);
    let kid = &secret(story, namespace, "order-signing-key").await["kid"];
    assert_eq!(told.identities[0].keys[0].kid, *kid);
    let trust = config_map(story, OPERATOR_NAMESPACE, &format!("{}-trust", shop.shop.domain)).await;
    assert_eq!((&told.domain.bundle, &told.domain.revocation_lists), (&trust["issuing.pem"], &trust["crl.pem"]));
    let grant = &told.grants[0];
    assert_eq!((&grant.callee, grant.mtls, &grant.policy), (&id("payment"), true, &format!("{namespace}/pay")));
    assert!(!serde_json::to_string(&told).unwrap().contains("PRIVATE"));
    story.wait_domain(&shop.shop.domain, "be ready", |domain| condition(domain, "Ready").0 == "True").await;

    // One policy's change writes one document, once.
    let history = History::begin(story.cluster);
    let policies = in_namespace::<AccessPolicy>(story, namespace);
    policies.delete("pay", &DeleteParams::default()).await.unwrap();
    shop.told("tell of no grant", |told| told.grants.is_empty()).await;
    gone(&policies, "pay").await;
    let document = format!("{}/{}", shop.platform.namespace, shop.name());
    eventually("the log tells of it", async || (history.writes_to("configmaps", &document) == 1).then_some(())).await;
    story.ready_policy(namespace, "pay", by_token()).await;
    shop.told("tell of the grant again", |told| told.grants.len() == 1).await;

    let identities = in_namespace::<ServiceIdentity>(story, namespace);
    let history = History::begin(story.cluster);
    story.change(identities, "order", json!({"suspended": true})).await;
    let told = shop.told("tell of order no more", |told| told.identities.len() == 1).await;
    assert_eq!((told.identities[0].name.as_str(), told.grants.len()), ("payment", 0));
    let suspended = |object: &ServiceIdentity| condition(object, "Programmed").0 == "True";
    story.wait_identity(namespace, "order", "be suspended", suspended).await;
    let packets = format!("{namespace}/ringfence-order");
    eventually("the log tells of both", async || {
        let wrote = |resource, object: &str| history.writes_to(resource, object) > 0;
        (wrote("configmaps", &document) && wrote("networkpolicies", &packets)).then_some(())
    })
    .await;
    shop.operation.stop().await;

    // Nothing is written when nothing has changed.
    let before = versions(story, &shop.platform.namespace).await;
    let operation = story.cluster.operate_with(settings(story), Clock::system()).await;
    story.ready_identity(&shop.platform.namespace, "late", json!({})).await;
    let mut after = versions(story, &shop.platform.namespace).await;
    after.retain(|name, _| !name.contains("late"));
    assert_eq!(after, before);
    operation.stop().await;
}

#[tokio::test]
async fn what_someone_else_makes_of_it_is_undone() {
    let shop = Shop::open("told-drift").await;
    let documents = shop.documents();
    let name = shop.name();
    shop.told("tell of the grant", |told| told.grants.len() == 1).await;
    type Change = (&'static str, fn(&mut ConfigMap));
    let changes: [Change; 3] = [
        ("another document", |map| {
            drop(map.data.as_mut().unwrap().insert("directory.json".to_owned(), "{}".to_owned()))
        }),
        ("a removed label", |map| map.metadata.labels = None),
        ("a removed owner", |map| map.metadata.owner_references = None),
    ];
    for (what, change) in changes {
        let before = essence(&documents.get(&name).await.unwrap());
        let changed = edit(&documents, &name, change).await;
        assert_ne!(essence(&changed), before, "{what}");
        let undone = |found: &ConfigMap| essence(found) == before;
        wait_for(&documents, &name, &format!("be put right after {what}"), undone).await;
    }
    let before = documents.get(&name).await.unwrap();
    documents.delete(&name, &DeleteParams::default()).await.unwrap();
    let back = |found: &ConfigMap| found.metadata.uid != before.metadata.uid && essence(found) == essence(&before);
    wait_for(&documents, &name, "come back", back).await;
    let domain = shop.domains().get(&shop.shop.domain).await.unwrap();
    eventually("an event tells of it", async || {
        event_reasons(&shop.story, &domain).await.contains(&"DriftCorrected".to_owned()).then_some(())
    })
    .await;
    shop.operation.stop().await;
}

#[tokio::test]
async fn nothing_is_left_behind_of_those_who_leave() {
    let shop = Shop::open("told-gone").await;
    let (story, documents, domains) = (&shop.story, shop.documents(), shop.domains());
    let issuers = json!([{"name": "tokens", "builtIn": {}}]);
    shop.told("tell of the grant", |told| told.grants.len() == 1).await;
    story.change(domains.clone(), &shop.shop.domain, json!({"tokenIssuers": []})).await;
    gone(&documents, &shop.name()).await;
    story.change(domains.clone(), &shop.shop.domain, json!({"tokenIssuers": issuers})).await;
    shop.told("tell of the grant again", |told| told.grants.len() == 1).await;
    story.change(domains.clone(), &shop.shop.domain, json!({"namespaces": []})).await;
    gone(&documents, &shop.name()).await;

    // Another domain, which is deleted with all that is in it.
    let other = story.trust("other", json!({"tokenIssuers": issuers})).await;
    story.ready_identity(&other.namespace, "cart", json!({"tokenIssuers": ["tokens"]})).await;
    let name = format!("tokens.{}", other.namespace);
    wait_for(&documents, &name, "be written", |_| true).await;
    domains.delete(&other.domain, &DeleteParams::default()).await.unwrap();
    let cart = in_namespace::<ServiceIdentity>(story, &other.namespace);
    cart.delete("cart", &DeleteParams::default()).await.unwrap();
    gone(&domains, &other.domain).await;
    gone(&documents, &name).await;

    // The rights go last where the token service was.
    story.change(domains.clone(), &shop.shop.domain, json!({"namespaces": [shop.shop.namespace]})).await;
    shop.told("tell of the grant", |told| told.grants.len() == 1).await;
    story.change(domains.clone(), &shop.platform.domain, json!({"namespaces": []})).await;
    gone(&documents, &shop.name()).await;
    let words = [&*format!("namespace {} is in no TrustDomain", shop.platform.namespace), "add it to the namespaces"];
    says(&domains, &shop.shop.domain, ("ResolvedRefs", "False", "NotInTrustDomain"), &words).await;
    let platform = in_namespace::<ServiceIdentity>(story, &shop.platform.namespace);
    platform.delete("tokens", &DeleteParams::default()).await.unwrap();
    gone(&in_namespace::<RoleBinding>(story, &shop.platform.namespace), "ringfence").await;
    shop.operation.stop().await;
}

#[tokio::test]
async fn the_keys_that_the_token_service_publishes_reach_those_who_verify_by_them() {
    let shop = Shop::open("published").await;
    let story = &shop.story;
    let [first, second] = [key_set(), key_set()];
    shop.publish(&first.to_string()).await;
    shop.delivered(&first).await;
    story.wait_domain(&shop.shop.domain, "be ready", |domain| condition(domain, "Ready").0 == "True").await;

    let mut private = second.clone();
    private["keys"][0]["d"] = json!("c2VjcmV0");
    shop.publish(&private.to_string()).await;
    let words = ["token issuer tokens: ConfigMap", "a key that is not public", "the keys of before stay in use"];
    let domain = says(&shop.domains(), &shop.shop.domain, ("ResolvedRefs", "False", "IssuerInvalid"), &words).await;
    assert!(!serde_json::to_string(&domain).unwrap().contains("c2VjcmV0"));
    shop.delivered(&first).await;

    shop.publish(&second.to_string()).await;
    shop.delivered(&second).await;
    says(&shop.domains(), &shop.shop.domain, ("Ready", "True", "Ready"), &[]).await;
    let before = versions(story, &shop.shop.namespace).await;
    shop.operation.stop().await;
    let operation = story.cluster.operate_with(settings(story), Clock::system()).await;
    story.ready_identity(&shop.shop.namespace, "late", json!({})).await;
    let mut after = versions(story, &shop.shop.namespace).await;
    after.retain(|name, _| !name.contains("late"));
    assert_eq!(after, before, "what is not seen yet is not taken for missing");
    operation.stop().await;
}

#[tokio::test]
async fn an_installation_without_a_token_service_says_so() {
    let story = Story::begin("untold").await;
    let trust = story.trust("shop", json!({"tokenIssuers": [{"name": "tokens", "builtIn": {}}]})).await;
    let words = ["this installation runs no token service", "tokenService.enabled"];
    let domains = Api::<TrustDomain>::all(story.client.clone());
    says(&domains, &trust.domain, ("ResolvedRefs", "False", "TokenServiceNotFound"), &words).await;
    story.create::<ServiceIdentity>(&trust.namespace, identity("order", json!({"tokenIssuers": ["tokens"]}))).await;
    let identities = in_namespace::<ServiceIdentity>(&story, &trust.namespace);
    says(&identities, "order", ("ResolvedRefs", "False", "TokenServiceNotFound"), &words).await;
    story.create::<AccessPolicy>(&trust.namespace, policy("pay", by_token())).await;
    let policies = in_namespace::<AccessPolicy>(&story, &trust.namespace);
    says(&policies, "pay", ("ResolvedRefs", "False", "CalleeNotFound"), &["payment"]).await;
}
