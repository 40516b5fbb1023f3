//! What a service reads of who may call it and whom it may call.

use serde_json::{Value, json};

use super::*;
use crate::testing::{CLUSTER, SHOP, apply, identity, world};
use crate::world::World;

const GIVEN: &str = "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound: [{trustDomains: [storefront]}, {anywhere: {}}]
  outbound: [{kubernetesAPI: {}}, {cidrs: [192.0.2.0/24]}, {namespaces: [databases]}]
---
{kind: Service, metadata: {name: payment, namespace: settlement}, spec: {selector: {app.kubernetes.io/name: payment}, ports: [{port: 443, targetPort: 8443}]}}
---
kind: AccessPolicy
metadata: {name: order, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 443}]}
  from: [{identity: {name: order, namespace: storefront}}]
  authentication: {jwt: {audiences: [payment.settlement.svc], maxLifetime: 1m}}
  rules: [{grpcService: shop.payment.v1.Payment, grpcMethods: [Charge]}]
---
kind: AccessPolicy
metadata: {name: others, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}, {port: 9000, endPort: 9010}]}
  from: [{identity: {name: delivery}}, {trustDomain: settlement}]
---
kind: AccessPolicy
metadata: {name: strangers, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 9005}, {port: 9090}]}
  from: [{pods: {namespaces: [monitoring], selector: {matchLabels: {app: prometheus}}}}, {cidr: 192.0.2.0/24}, {anywhere: {}}, {kubernetesAPI: {}}]
---
kind: AccessPolicy
metadata: {name: draft, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 1}]}
  from: [{identity: {name: delivery}}]
  enforcement: Audit
---
kind: AccessPolicy
metadata: {name: outside, namespace: settlement}
spec:
  to: {external: {cidrs: [192.0.2.0/24], ports: [{port: 443}]}}
  from: [{identity: {name: payment}}]
---
kind: AccessPolicy
metadata: {name: database, namespace: settlement}
spec:
  to: {pods: {namespaces: [databases], ports: [{port: 5432}]}}
  from: [{identity: {name: payment}}]
---
kind: AccessPolicy
metadata: {name: api, namespace: settlement}
spec:
  to: {kubernetesAPI: {}}
  from: [{identity: {name: payment}}]
";

fn document(world: &World, name: &str) -> AccessDocument {
    let identity = identity(world, name);
    let judged: Vec<_> = world.judged_of(&identity.key).cloned().collect();
    access_document(world, identity, &judged)
}

fn value(document: &AccessDocument) -> Value {
    serde_json::from_str(&document.to_json()).unwrap()
}

#[test]
fn a_callee_reads_who_it_is_and_with_which_files_to_verify_its_callers() {
    let payment = value(&document(&world(&[SHOP, CLUSTER, GIVEN]), "settlement/payment"));
    assert_eq!(payment["version"], 2);
    assert_eq!(payment["spiffeID"], "spiffe://settlement.example/ns/settlement/sa/payment");
    assert_eq!(
        payment["audiences"],
        json!([
            "payment.settlement.svc",
            "payment.settlement.svc.cluster.local",
            "spiffe://settlement.example/ns/settlement/sa/payment"
        ])
    );
    assert_eq!(
        payment["bundles"],
        json!({
            "settlement.example": "bundle.settlement.example.pem",
            "storefront.example": "bundle.storefront.example.pem"
        })
    );
    assert_eq!(
        payment["keySets"],
        json!({
            "spiffe://storefront.example/ns/storefront/sa/order": "jwks.storefront.order.json"
        }),
        "only of callers that must sign"
    );
}

#[test]
fn each_port_is_in_one_entry_with_all_who_may_call_on_it() {
    let payment = document(&world(&[SHOP, CLUSTER, GIVEN]), "settlement/payment");
    let who = |caller: &AccessCaller| match &caller.caller {
        CallerName::Identity { spiffe_id, .. } => spiffe_id.rsplit('/').next().unwrap().to_owned(),
        CallerName::TrustDomain { trust_domain } => trust_domain.clone(),
        CallerName::Pods { selector, .. } => selector.clone(),
        CallerName::Cidr { cidr, .. } => cidr.clone(),
        CallerName::Anywhere => "anywhere".to_owned(),
        CallerName::KubernetesApi => "API server".to_owned(),
    };
    let ports = payment.ports.iter().map(|port| {
        let range = port.range.end_port.map_or(port.range.port.to_string(), |end| format!("{}-{end}", port.range.port));
        let mut callers: Vec<String> = port.callers.iter().map(who).collect();
        callers.sort();
        format!("{range} {:?}: {}", port.client_certificates, callers.join(", "))
    });
    assert_eq!(
        ports.collect::<Vec<_>>(),
        [
            "8443 Optional: delivery, order, settlement.example",
            "9000-9004 Required: delivery, settlement.example",
            "9005 Optional: 192.0.2.0/24, API server, anywhere, app=prometheus, delivery, settlement.example",
            "9006-9010 Required: delivery, settlement.example",
            "9090 None: 192.0.2.0/24, API server, anywhere, app=prometheus",
        ],
        "and the draft is not there"
    );
}

#[test]
fn a_token_is_described_as_the_policy_demands_it() {
    let payment = value(&document(&world(&[SHOP, CLUSTER, GIVEN]), "settlement/payment"));
    let order =
        payment["ports"][0]["callers"].as_array().unwrap().iter().find(|caller| caller["policy"] == "settlement/order");
    assert_eq!(
        order.unwrap(),
        &json!({
            "caller": {
                "kind": "Identity",
                "spiffeID": "spiffe://storefront.example/ns/storefront/sa/order",
                "trustDomain": "storefront.example"
            },
            "proof": {"mtls": false, "token": {"signer": "Caller", "keySet": "jwks.storefront.order.json", "audiences": ["payment.settlement.svc"], "maxLifetimeSeconds": 60}},
            "rules": [{"grpcService": "shop.payment.v1.Payment", "grpcMethods": ["Charge"]}],
            "policy": "settlement/order"
        })
    );
}

#[test]
fn a_caller_reads_whom_it_may_call_and_how_to_prove_itself() {
    let world = world(&[SHOP, CLUSTER, GIVEN]);
    let order = value(&document(&world, "storefront/order"));
    assert_eq!(order["ports"], json!([]));
    assert_eq!(order["keySets"], json!({}), "a caller needs nobody's keys");
    assert_eq!(order["bundles"], json!({"settlement.example": "bundle.settlement.example.pem"}));
    assert_eq!(
        order["callees"],
        json!([{
            "callee": {
                "kind": "Identity",
                "spiffeID": "spiffe://settlement.example/ns/settlement/sa/payment",
                "trustDomain": "settlement.example",
                "dnsNames": ["payment.settlement.svc", "payment.settlement.svc.cluster.local"]
            },
            "ports": [{"port": 8443, "protocol": "TCP"}],
            "proof": {"mtls": false, "token": {"signer": "Caller", "audiences": ["payment.settlement.svc"], "maxLifetimeSeconds": 60}},
            "rules": [{"grpcService": "shop.payment.v1.Payment", "grpcMethods": ["Charge"]}],
            "policy": "settlement/order"
        }])
    );
    let delivery = value(&document(&world, "settlement/delivery"));
    assert_eq!(delivery["callees"].as_array().unwrap().len(), 1, "once, though by its own name and as a member");
}

#[test]
fn callees_without_an_identity_are_there_too() {
    let payment = value(&document(&world(&[SHOP, CLUSTER, GIVEN]), "settlement/payment"));
    let callees: Vec<&Value> = payment["callees"].as_array().unwrap().iter().map(|callee| &callee["callee"]).collect();
    assert!(
        callees
            .contains(&&json!({"kind": "External", "blocks": [{"cidr": "192.0.2.0/24", "except": ["192.0.2.1/32"]}]}))
    );
    assert!(callees.contains(&&json!({"kind": "Pods", "namespaces": ["databases"], "selector": ""})));
    assert!(callees.contains(&&json!({"kind": "KubernetesAPI"})));
}

#[test]
fn the_same_grants_give_the_same_octets_in_whatever_order_they_came() {
    let forwards = document(&world(&[SHOP, CLUSTER, GIVEN]), "settlement/payment");
    let reversed: Vec<&str> = GIVEN.split("---\n").collect::<Vec<_>>().into_iter().rev().collect();
    let backwards = document(&world(&[CLUSTER, SHOP, &reversed.join("---\n")]), "settlement/payment");
    assert_eq!(forwards.to_json(), backwards.to_json());
    let mut changed = world(&[SHOP, CLUSTER, GIVEN]);
    apply(
        &mut changed,
        "
kind: AccessPolicy
metadata: {name: order, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 443}]}
  from: [{identity: {name: order, namespace: storefront}}]
  authentication: {jwt: {audiences: [payment.settlement.svc], maxLifetime: 61s}}
  rules: [{grpcService: shop.payment.v1.Payment, grpcMethods: [Charge]}]
",
    );
    assert_ne!(document(&changed, "settlement/payment").content_hash, forwards.content_hash);
}

#[test]
fn a_reader_gets_back_what_was_written() {
    let written = document(&world(&[SHOP, CLUSTER, GIVEN]), "settlement/payment");
    assert_eq!(serde_json::from_str::<AccessDocument>(&written.to_json()).unwrap(), written);
}

#[test]
fn the_schema_describes_every_field_in_the_spelling_of_the_document() {
    let schema = access_schema();
    let required: Vec<&str> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let document = value(&document(&world(&[SHOP]), "settlement/payment"));
    let mut fields: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    let mut required = required;
    fields.sort_unstable();
    required.sort_unstable();
    assert_eq!(required, fields);
    assert!(!schema.to_string().contains("x-kubernetes"), "the schema is for any validator");
    let kinds = schema["$defs"]["CallerName"]["oneOf"].as_array().unwrap();
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind["properties"]["kind"]["const"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Identity", "TrustDomain", "Pods", "Cidr", "Anywhere", "KubernetesAPI"]);
}
