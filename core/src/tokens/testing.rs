//! A shop for tests of the token service: two domains, their services, their grants, and tokens that anyone might sign.

use std::net::IpAddr;
use std::sync::LazyLock;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::keys::{Generations, KeyRing, KeySettings, NewKeys, plan};
use super::{
    Claims, Client, ClientProof, Denial, DenialReason, Directory, Issuance, Minting, NewRegistration, OwnToken,
    RegisteredClient, ServiceClient, TokenGraph, TokenRequest, Transaction,
};
use crate::api::{CertificateAlgorithm, SigningAlgorithm};
use crate::jwt::testing::signing_key;
use crate::jwt::{SigningKey, base64url};
use crate::pki::testing::TestEntropy;
use crate::pki::{Entropy, SecretData, SpiffeId};

pub(super) const ISSUER: &str = "https://token-service.ringfence-token-service.svc:8443";
pub(super) const LOGIN: &str = "https://login.example.com/realms/shop";

pub(super) const GATEWAY: &str = "spiffe://storefront.example/ns/storefront/sa/gateway";
pub(super) const ORDER: &str = "spiffe://storefront.example/ns/storefront/sa/order";
pub(super) const CART: &str = "spiffe://storefront.example/ns/storefront/sa/cart";
pub(super) const PAYMENT: &str = "spiffe://settlement.example/ns/settlement/sa/payment";
pub(super) const LEDGER: &str = "spiffe://settlement.example/ns/settlement/sa/ledger";

/// The web client may call the gateway, the gateway order, order payment (once each time) and ledger, and payment ledger.
/// All of storefront may call cart, which is no client of the token service.
pub(super) fn storefront() -> Value {
    json!({
        "version": 1, "namespace": "storefront",
        "domain": {
            "name": "storefront", "trustDomain": "storefront.example", "bundle": "", "revocationLists": "",
            "tokenFormat": "Jwt", "tokenLifetimeSeconds": 300, "scopes": ["orders.read", "profile"],
            "clients": {"secretName": "shop-clients", "cidrs": ["203.0.113.0/24"]},
            "issuers": [{
                "name": "login", "issuer": LOGIN, "jwks": {"keys": [LOGIN_KEY.public_jwk()]},
                "introspectionUri": "https://login.example.com/introspect", "audiences": ["account"],
            }],
        },
        "identities": [service(GATEWAY, true), service(ORDER, true), service(CART, false)],
        "grants": [
            grant(json!({"kind": "Anywhere"}), GATEWAY, &["customer"], &json!({})),
            grant(identity(GATEWAY), ORDER, &["customer"], &json!({"mtls": true, "maxLifetimeSeconds": 120})),
            grant(
                json!({"kind": "TrustDomain", "trustDomain": "storefront.example"}), CART, &[], &json!({}),
            ),
        ],
    })
}

pub(super) fn settlement() -> Value {
    json!({
        "version": 1, "namespace": "settlement",
        "domain": {
            "name": "settlement", "trustDomain": "settlement.example", "bundle": "", "revocationLists": "",
            "tokenFormat": "Opaque", "tokenLifetimeSeconds": 60, "scopes": ["ledger.read"], "issuers": [],
        },
        "identities": [service(PAYMENT, true), service(LEDGER, true)],
        "grants": [
            grant(identity(ORDER), PAYMENT, &["customer"], &json!({"oneTime": true, "validation": "Introspection"})),
            grant(identity(ORDER), LEDGER, &[], &json!({})),
            grant(identity(PAYMENT), LEDGER, &["customer"], &json!({})),
        ],
    })
}

/// A service of this SPIFFE ID, that accepts tokens under the ID and under its name.
pub(super) fn service(id: &str, client: bool) -> Value {
    let spiffe_id = spiffe_id(id);
    let name = spiffe_id.service_account();
    json!({
        "name": name, "serviceAccount": name, "spiffeID": id, "audiences": [id, name], "client": client,
        "keys": if id == ORDER { vec![ORDER_KEY.public_jwk()] } else { vec![] },
    })
}

pub(super) fn identity(id: &str) -> Value {
    json!({"kind": "Identity", "spiffeID": id, "trustDomain": spiffe_id(id).trust_domain().as_str()})
}

/// A grant for both audiences of a callee.
pub(super) fn grant(caller: Value, callee: &str, scopes: &[&str], rest: &Value) -> Value {
    let callee_id = spiffe_id(callee);
    let mut grant = json!({
        "callee": callee, "audiences": [callee, callee_id.service_account()], "scopes": scopes,
        "maxLifetimeSeconds": 300, "validation": "Jwks", "mtls": false, "oneTime": false,
        "policy": format!("{}/{}", callee_id.namespace(), callee_id.service_account()),
    });
    grant["caller"] = caller;
    grant.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    grant
}

pub(super) fn directory(document: &Value) -> Directory {
    Directory::parse(document.to_string().as_bytes()).unwrap()
}

pub(super) fn graph_of(documents: &[Value]) -> TokenGraph {
    let mut graph = TokenGraph::default();
    for document in documents {
        graph.replace(document["namespace"].as_str().unwrap(), Some(directory(document))).unwrap();
    }
    graph.replace_clients("shop-clients", Some(&shop_clients()));
    graph
}

pub(super) fn shop() -> TokenGraph {
    graph_of(&[storefront(), settlement()])
}

/// The web client, with scopes that the gateway asks for.
pub(super) fn shop_clients() -> SecretData {
    let scopes = ["customer", "orders.read"].map(str::to_owned);
    let registration = NewRegistration::new(&[7; 32], scopes.into(), [].into());
    [("web".to_owned(), registration.registration.into_bytes())].into_iter().collect()
}

/// The web client's secret.
pub(super) fn web_secret() -> String {
    base64url(&[7; 32])
}

pub(super) fn web() -> Client {
    registered("web", "shop-clients", None)
}

pub(super) fn registered(id: &str, secret_name: &str, address: Option<IpAddr>) -> Client {
    Client::Registered(RegisteredClient { id: id.to_owned(), secret_name: secret_name.to_owned(), address })
}

pub(super) fn spiffe_id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// A service that proved itself by a certificate.
pub(super) fn with_certificate(id: &str) -> Client {
    let proof = ClientProof::Certificate { thumbprint: format!("thumbprint of {id}") };
    Client::Identity(ServiceClient { spiffe_id: spiffe_id(id), proof })
}

/// A service that proved itself by an assertion.
pub(super) fn with_key(id: &str) -> Client {
    Client::Identity(ServiceClient { spiffe_id: spiffe_id(id), proof: ClientProof::Key })
}

pub(super) fn now() -> Timestamp {
    crate::pki::testing::now()
}

pub(super) fn issuance() -> Issuance<'static> {
    Issuance { issuer: ISSUER, now: now(), entropy: [1; 16] }
}

pub(super) fn asking(audience: &str) -> TokenRequest {
    TokenRequest { audience: audience.to_owned(), ..TokenRequest::default() }
}

pub(super) fn asking_scope(audience: &str, scope: &str) -> TokenRequest {
    TokenRequest { scope: Some(scope.parse().unwrap()), ..asking(audience) }
}

pub(super) fn asking_once(audience: &str) -> TokenRequest {
    let details = json!({"amount": "12.50", "currency": "EUR"});
    let transaction = Transaction::parse(Some("charge"), Some(&details.to_string()), None).unwrap();
    TokenRequest { transaction: Some(transaction), ..asking(audience) }
}

pub(super) fn reason<T: std::fmt::Debug>(result: Result<T, Denial>) -> DenialReason {
    result.unwrap_err().reason
}

/// The token as it is read again.
pub(super) fn made(minting: Minting) -> OwnToken {
    OwnToken { kind: minting.kind, claims: minting.claims }
}

/// A key ring with one generation.
pub(super) fn key_ring() -> KeyRing {
    KeyRing::new(&generations()).unwrap()
}

pub(super) fn generations() -> Generations {
    let planned = plan(now(), &Generations::default(), &[].into(), &KeySettings::default(), new_keys).unwrap();
    planned.generations
}

pub(super) fn new_keys() -> NewKeys {
    let mut sealing = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *sealing).unwrap();
    NewKeys { signing: TestEntropy.private_key(CertificateAlgorithm::EcdsaP256).unwrap(), sealing }
}

/// Signs as a library of others does.
pub(super) fn sign(key: &SigningKey, typ: Option<&str>, claims: &Value) -> String {
    let (algorithm, encoding) = match key.algorithm() {
        SigningAlgorithm::ES256 => (Algorithm::ES256, EncodingKey::from_ec_pem(key.to_pkcs8_pem().as_bytes())),
        SigningAlgorithm::ES384 => (Algorithm::ES384, EncodingKey::from_ec_pem(key.to_pkcs8_pem().as_bytes())),
        SigningAlgorithm::EdDSA => (Algorithm::EdDSA, EncodingKey::from_ed_pem(key.to_pkcs8_pem().as_bytes())),
        SigningAlgorithm::RS256 => (Algorithm::RS256, EncodingKey::from_rsa_pem(key.to_pkcs8_pem().as_bytes())),
        SigningAlgorithm::PS256 => (Algorithm::PS256, EncodingKey::from_rsa_pem(key.to_pkcs8_pem().as_bytes())),
    };
    let header = Header { kid: Some(key.kid().to_owned()), typ: typ.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, &encoding.unwrap()).unwrap()
}

/// A JWT with any header and any signature.
pub(super) fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.{}", part(header), part(claims), base64url(signature))
}

/// The claims with some of them changed; null takes one away.
pub(super) fn changed(claims: &Value, changes: &Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub(super) fn in_seconds(seconds: i64) -> i64 {
    now().as_second() + seconds
}

/// Claims of a token of ours as JSON.
pub(super) fn json_of(claims: &Claims) -> Value {
    serde_json::to_value(claims).unwrap()
}

pub(super) static ORDER_KEY: LazyLock<SigningKey> = LazyLock::new(|| signing_key(SigningAlgorithm::ES256));
pub(super) static LOGIN_KEY: LazyLock<SigningKey> = LazyLock::new(|| signing_key(SigningAlgorithm::RS256));
