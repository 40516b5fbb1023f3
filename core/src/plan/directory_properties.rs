//! What holds of the documents for the token service in every world: they say what is in force, no more and no less, and
//! nothing secret.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::directory_step;
use super::testing::{Operator, TOKEN_SHOP, token_installation};
use crate::access::{CallerName, GrantSource, ResolvedSigner};
use crate::pki::testing::now;
use crate::testing::DNS;
use crate::tokens::{
    Client, ClientProof, Directory, Issuance, NewRegistration, RegisteredClient, ServiceClient, TokenGraph,
    TokenRequest, Transaction, client_credentials,
};
use crate::world::IssuerKey;

/// What happens to the shop, one thing after another.
const EVENTS: [&str; 16] = [
    "{kind: ServiceIdentity, metadata: {name: order, namespace: front}, spec: {suspended: true, signingKey: {}, tokenIssuers: [tokens]}}",
    "{kind: ServiceIdentity, metadata: {name: order, namespace: front}, spec: {signingKey: {}, tokenIssuers: [tokens]}}",
    "{kind: ServiceIdentity, metadata: {name: order, namespace: front}, spec: {signingKey: {algorithm: EdDSA}}}",
    "{kind: ServiceIdentity, metadata: {name: payment, namespace: back}, spec: {audiences: [other.example]}}",
    "{kind: ServiceIdentity, metadata: {name: payment, namespace: back}, spec: {suspended: true}}",
    "{kind: ServiceIdentity, metadata: {name: payment, namespace: back}, spec: {tokenIssuers: [tokens]}}",
    "{kind: ServiceIdentity, metadata: {name: tokens, namespace: sts}, spec: {suspended: true}}",
    "{kind: ServiceIdentity, metadata: {name: tokens, namespace: sts}, spec: {}}",
    "{kind: AccessPolicy, metadata: {name: pay, namespace: back}, spec: {to: {identity: payment, ports: [{port: 1}]}, from: [{identity: {name: order, namespace: front}}], authentication: {jwt: {}}}}",
    "{kind: AccessPolicy, metadata: {name: pay, namespace: back}, spec: {to: {identity: payment, ports: [{port: 1}]}, from: [{identity: {name: order, namespace: front}}, {anywhere: {}}], authentication: {jwt: {signer: Issuer, issuer: tokens}}}}",
    "{kind: AccessPolicy, metadata: {name: web, namespace: back}, spec: {enforcement: Audit, to: {identity: payment, ports: [{port: 2}]}, from: [{trustDomain: shop}], authentication: {jwt: {signer: Issuer, issuer: tokens}}}}",
    "{kind: TrustDomain, metadata: {name: shop}, spec: {trustDomain: shop.example, namespaces: [front, back], certificateAuthority: {selfSigned: {}}, inbound: [{anywhere: {}}], tokenIssuers: [{name: tokens, builtIn: {tokenFormat: Opaque}}]}}",
    "{kind: TrustDomain, metadata: {name: shop}, spec: {trustDomain: shop.example, namespaces: [front, back], certificateAuthority: {selfSigned: {}}, inbound: [{anywhere: {}}]}}",
    "{kind: TrustDomain, metadata: {name: shop}, spec: {trustDomain: shop.example, namespaces: [back], certificateAuthority: {selfSigned: {}}, inbound: [{anywhere: {}}], tokenIssuers: [{name: tokens, builtIn: {}}]}}",
    "{kind: TrustDomain, metadata: {name: platform}, spec: {certificateAuthority: {selfSigned: {}}}}",
    "{kind: TrustDomain, metadata: {name: platform}, spec: {namespaces: [sts], certificateAuthority: {selfSigned: {}}}}",
];

/// Members that a JWK of a public key has.
const PUBLIC: [&str; 8] = ["alg", "crv", "e", "kid", "kty", "n", "use", "x"];

/// Everyone who may call someone with a token of the token service, as judged and as told.
fn in_force(operator: &Operator) -> BTreeSet<(String, String, String)> {
    let world = &operator.world;
    let judged = world.policies().filter_map(|(key, _)| world.judged(key)).filter(|judged| !judged.draft);
    let grants = judged.flat_map(|judged| &judged.grants).filter(|grant| {
        matches!(grant.authentication.signer(), Some(ResolvedSigner::Issuer(token)) if token.issuer.key == IssuerKey::BuiltIn)
    });
    let in_words = |source: &GrantSource| match source {
        GrantSource::Identity(peer) => peer.spiffe_id.to_string(),
        GrantSource::TrustDomain { trust_domain, .. } => trust_domain.clone(),
        other => other.to_string(),
    };
    let rows = grants.filter_map(|grant| {
        let callee = world.identity(grant.callee()?)?;
        Some((in_words(&grant.source), callee.spiffe_id.to_string(), grant.origin.policy()?.to_string()))
    });
    rows.collect()
}

fn told(documents: &[Directory]) -> BTreeSet<(String, String, String)> {
    let in_words = |caller: &CallerName| match caller {
        CallerName::Identity { spiffe_id, .. } => spiffe_id.clone(),
        CallerName::TrustDomain { trust_domain } => trust_domain.clone(),
        CallerName::Cidr { cidr, .. } => format!("cidr {cidr}"),
        CallerName::Anywhere => "anywhere".to_owned(),
        other => format!("{other:?}"),
    };
    let grants = documents.iter().flat_map(|document| &document.grants);
    grants.map(|grant| (in_words(&grant.caller), grant.callee.clone(), grant.policy.clone())).collect()
}

/// A client outside the cluster, from all of the domain's addresses.
fn web() -> Client {
    let (id, secret_name) = ("web".to_owned(), "shop-clients".to_owned());
    Client::Registered(RegisteredClient { id, secret_name, address: None })
}

/// Who gets a token for whom, by any of the callee's audiences: by what the documents tell, and nothing else.
fn obtainable(documents: &[Directory]) -> BTreeSet<(String, String)> {
    let mut graph = TokenGraph::default();
    let scopes = ["read", "write", "extra"].map(str::to_owned);
    let registration = NewRegistration::new(&[0; 32], scopes.into(), BTreeSet::new()).registration;
    let data = [("web".to_owned(), registration.into_bytes())].into_iter().collect();
    assert_eq!(graph.replace_clients("shop-clients", Some(&data)), []);
    for document in documents {
        graph.replace(&document.namespace, Some(document.clone())).unwrap();
    }
    let identities = || documents.iter().flat_map(|document| &document.identities);
    let services = identities().map(|identity| {
        let proof = ClientProof::Certificate { thumbprint: "thumbprint".to_owned() };
        Client::Identity(ServiceClient { spiffe_id: identity.spiffe_id.parse().unwrap(), proof })
    });
    let issuance = Issuance { issuer: "https://tokens.example", now: now(), entropy: [0; 16] };
    let mut obtainable = BTreeSet::new();
    for client in services.chain([web()]) {
        for audience in identities().flat_map(|identity| &identity.audiences) {
            for transaction in [None, Transaction::parse(Some("pay"), None, None).ok()] {
                let request = TokenRequest { audience: audience.clone(), scope: None, transaction };
                if let Ok(minting) = client_credentials(&graph, &client, &request, &issuance) {
                    obtainable.insert((client.id(), minting.callee));
                }
            }
        }
    }
    obtainable
}

/// The judged edges that admit a token of the token service, from who can have one.
fn edges(operator: &Operator) -> BTreeSet<(String, String)> {
    let world = &operator.world;
    let judged = world.policies().filter_map(|(key, _)| world.judged(key)).filter(|judged| !judged.draft);
    let grants = judged.flat_map(|judged| &judged.grants).filter(|grant| {
        matches!(grant.authentication.signer(), Some(ResolvedSigner::Issuer(token)) if token.issuer.key == IssuerKey::BuiltIn)
    });
    let identities = ["front", "back", "sts"].into_iter().flat_map(|namespace| world.identities_in(namespace));
    let callers: Vec<_> =
        identities.filter_map(|(key, _)| world.identity(key)).filter(|identity| identity.is_token_client()).collect();
    let mut edges = BTreeSet::new();
    for grant in grants {
        let Some(callee) = grant.callee().and_then(|key| world.identity(key)) else { continue };
        let clients = world.domain(&callee.domain).and_then(|domain| domain.built_in_issuer()?.1.clients.clone());
        let outside = matches!(grant.source, GrantSource::Anywhere | GrantSource::Cidr { .. }) && clients.is_some();
        let inside = callers.iter().filter(|caller| grant.is_source(caller)).map(|caller| caller.spiffe_id.to_string());
        edges.extend(inside.chain(outside.then(|| web().id())).map(|caller| (caller, callee.spiffe_id.to_string())));
    }
    edges
}

#[test]
fn in_the_shop_a_token_for_payment_is_had_by_the_domain_and_by_clients_outside() {
    let mut operator = Operator::in_world(token_installation(&[TOKEN_SHOP, DNS]));
    operator.work();
    let texts = operator.directories.values().map(|found| found.data.as_ref().unwrap()["directory.json"].clone());
    let documents: Vec<Directory> = texts.map(|text| serde_json::from_str(&text).unwrap()).collect();
    let (order, payment) = ("spiffe://shop.example/ns/front/sa/order", "spiffe://shop.example/ns/back/sa/payment");
    let expected = [order, payment, "web"].map(|caller| (caller.to_owned(), payment.to_owned()));
    assert_eq!(obtainable(&documents), expected.into());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_token_service_is_told_what_is_in_force_and_nothing_secret(
        events in prop::collection::vec((0..EVENTS.len(), any::<bool>()), 1..10)
    ) {
        let mut operator = Operator::in_world(token_installation(&[TOKEN_SHOP, DNS]));
        for (event, works) in events {
            operator.show(EVENTS[event]);
            if works {
                operator.work();
            }
        }
        operator.work();
        prop_assert_eq!(operator.left(), vec![]);
        let texts: Vec<String> =
            operator.directories.values().map(|found| found.data.as_ref().unwrap()["directory.json"].clone()).collect();
        let documents: Vec<Directory> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let is_served = operator.world.domain_of("sts").is_some();
        prop_assert_eq!(told(&documents), if is_served { in_force(&operator) } else { BTreeSet::new() });
        prop_assert_eq!(obtainable(&documents), if is_served { edges(&operator) } else { BTreeSet::new() });
        for (document, text) in documents.iter().zip(&texts) {
            prop_assert!(!text.contains("PRIVATE"));
            let value: Value = serde_json::from_str(text).unwrap();
            for identity in value["identities"].as_array().unwrap() {
                for key in identity["keys"].as_array().unwrap() {
                    let mut members = key.as_object().unwrap().keys();
                    prop_assert!(members.all(|member| member == "y" || PUBLIC.contains(&member.as_str())), "{}", key);
                }
            }
            let there = operator.world.identities_in(&document.namespace).filter_map(|(key, _)| operator.world.identity(key));
            let there: Vec<String> = there.map(|identity| identity.spiffe_id.to_string()).collect();
            prop_assert_eq!(document.identities.iter().map(|it| it.spiffe_id.clone()).collect::<Vec<_>>(), there);
        }
        for key in operator.directories.keys() {
            prop_assert!(directory_step(&operator.world, key).step.is_keep());
        }
        operator.look_at_everything();
        prop_assert_eq!(operator.work(), Vec::<String>::new(), "a restart writes nothing");
    }
}
