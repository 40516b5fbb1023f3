//! What is proposed for an edge that closes.

use serde_json::json;

use super::super::testing::{audited, remedy};
use super::*;
use crate::testing::apply;

const TO_DELIVERY: &str = "storefront/order -> settlement/delivery 8443/TCP";

fn policy(name: &str, to: &str, rest: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!("{{kind: AccessPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{to: {to}, {rest}}}}}")
}

fn delivery(rest: &str) -> String {
    policy("settlement/delivery", "{identity: delivery, ports: [{port: 8443}]}", rest)
}

#[test]
fn a_policy_is_proposed_where_there_is_none() {
    let proposed = remedy("", TO_DELIVERY);
    let spec = json!({
        "to": {"identity": "delivery", "ports": [{"port": 8443}]},
        "from": [{"identity": {"name": "order", "namespace": "storefront"}}],
    });
    assert_eq!((&proposed["action"], &proposed["needs"]), (&json!("Declare"), &json!([])));
    assert_eq!(proposed["manifest"]["metadata"], json!({"name": "delivery", "namespace": "settlement"}));
    assert_eq!(proposed["manifest"]["spec"], spec);
}

#[test]
fn what_is_proposed_opens_the_edge() {
    let cases = [
        TO_DELIVERY,
        "storefront/gateway -> storefront/order 9000/UDP",
        "monitoring/prometheus -> settlement/delivery 9090/TCP",
        "world@203.0.113.7 -> storefront/gateway 8443/TCP",
    ];
    for line in cases {
        let proposed = remedy("", line);
        assert_eq!(proposed["needs"], json!([]), "{proposed}");
        let manifest = proposed["manifest"].to_string();
        assert!(audited(&manifest, &[line]).well, "{line}: {manifest}");
    }
}

#[test]
fn a_proof_is_proposed_that_the_ceiling_accepts() {
    let mut world = super::super::testing::shop("");
    apply(
        &mut world,
        &crate::testing::SHOP
            .replace("[storefront], ports: [{port: 8443}]}", "[storefront], acceptedAuthentication: [CallerJwt]}"),
    );
    let (order, delivery) = ("storefront/order", "settlement/delivery");
    let party = |name: &str| Party::Identity(crate::testing::key(name));
    let (caller, callee) = (party(order), party(delivery));
    let addresses = BTreeSet::new();
    let edge = Used { caller: &caller, callee: &callee, port: 8443, protocol: Protocol::Tcp, addresses: &addresses };
    let Some(Remedy::Declare { manifest, needs }) = Remedies::new(&world).of(&edge) else { panic!("it is declared") };
    assert_eq!((&manifest["spec"]["authentication"], needs.len()), (&json!({"jwt": {"signer": "Caller"}}), 0));
}

#[test]
fn a_policy_about_the_same_port_is_extended() {
    let payment = "storefront/inventory -> storefront/order 8443/TCP";
    let order = |rest: &str| policy("storefront/order", "{identity: order, ports: [{port: 8443}]}", rest);
    let extended = remedy(&order("from: [{identity: {name: gateway}}]"), payment);
    assert_eq!(extended["action"], "Extend");
    assert_eq!(extended["policy"], json!({"namespace": "storefront", "name": "order"}));
    assert_eq!(extended["from"], json!([{"identity": {"name": "inventory"}}]));
    // Inventory can't sign a token: the policy that demands one is not for it.
    let another = remedy(&order("from: [{identity: {name: gateway}}], authentication: {jwt: {}}"), payment);
    assert_eq!(
        (&another["action"], &another["manifest"]["metadata"]["name"]),
        (&json!("Declare"), &json!("inventory-to-order"))
    );
}

#[test]
fn what_was_meant_is_put_right_before_anything_new_is_proposed() {
    let draft =
        remedy(&delivery("from: [{identity: {name: order, namespace: storefront}}], enforcement: Audit"), TO_DELIVERY);
    assert_eq!((&draft["action"], &draft["policy"]["name"]), (&json!("Enforce"), &json!("delivery")));
    let unsigned = delivery(
        "from: [{identity: {name: gateway, namespace: storefront}}, {trustDomain: storefront}], authentication: {jwt: {}}",
    );
    let refused = remedy(&unsigned, TO_DELIVERY);
    assert_eq!(
        (&refused["action"], &refused["object"]),
        (&json!("Correct"), &json!("AccessPolicy settlement/delivery, from[1]"))
    );
    assert!(refused["message"].as_str().unwrap().contains("name the callers one by one"), "{refused}");
    let suspended =
        "{kind: ServiceIdentity, metadata: {name: delivery, namespace: settlement}, spec: {suspended: true}}";
    let refused = remedy(suspended, TO_DELIVERY);
    assert_eq!(
        (&refused["action"], &refused["object"]),
        (&json!("Correct"), &json!("ServiceIdentity settlement/delivery"))
    );
}

#[test]
fn pods_without_an_identity_need_one_first() {
    let proposed = remedy("", "settlement/refunds -> settlement/payment 8443/TCP");
    assert_eq!(proposed["action"], "DeclareIdentity");
    let identity = &proposed["manifest"];
    assert_eq!(identity["metadata"], json!({"name": "refunds", "namespace": "settlement"}));
    assert_eq!(identity["spec"]["podSelector"], json!({"matchLabels": {"app.kubernetes.io/name": "refunds"}}));
}

#[test]
fn ways_out_are_proposed_in_the_caller_s_namespace_with_what_they_still_need() {
    let cases = [
        ("storefront/order -> monitoring/gateway 9091/TCP", "order-to-gateway", "pods"),
        ("storefront/order -> world@203.0.113.7 443/TCP", "order-to-outside", "external"),
        ("storefront/order -> kube-apiserver@192.0.2.10 6443/TCP", "order-to-kubernetes-api", "kubernetesAPI"),
    ];
    for (line, name, target) in cases {
        let proposed = remedy("", line);
        assert_eq!(proposed["manifest"]["metadata"], json!({"name": name, "namespace": "storefront"}));
        assert!(proposed["manifest"]["spec"]["to"].get(target).is_some(), "{proposed}");
        assert_eq!(proposed["manifest"]["spec"]["from"], json!([{"identity": {"name": "order"}}]));
        assert!(proposed["needs"][0].as_str().unwrap().contains("TrustDomain storefront"), "{proposed}");
    }
}

#[test]
fn ports_are_named_so_that_they_mean_the_port_that_was_used() {
    let service = |port: &str| {
        format!(
            "{{kind: Service, metadata: {{name: delivery, namespace: settlement}}, spec: {{selector: {{app.kubernetes.io/name: delivery}}, ports: [{port}]}}}}"
        )
    };
    let cases = [
        ("{name: grpc, port: 443, targetPort: 8443}", json!({"port": "grpc"})),
        ("{port: 443, targetPort: 8443}", json!({"port": 443})),
        // By its number the port would be taken for the Service's, which leads elsewhere.
        ("{port: 8443, targetPort: 9000}", json!({"port": 8443, "endPort": 8443})),
    ];
    for (port, expected) in cases {
        let proposed = remedy(&service(port), TO_DELIVERY);
        assert_eq!(proposed["manifest"]["spec"]["to"]["ports"], json!([expected]), "{port}");
    }
}

#[test]
fn no_name_is_proposed_twice() {
    let lines = [
        "storefront/order -> settlement/delivery 8443/TCP",
        "storefront/order -> settlement/delivery 8444/TCP",
        "storefront/order -> settlement/delivery 8445/TCP",
    ];
    let report = audited("", &lines);
    let names: Vec<String> = report
        .closing
        .into_iter()
        .map(|closing| match closing.remedy {
            Some(Remedy::Declare { manifest, .. }) => manifest["metadata"]["name"].as_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["delivery", "order-to-delivery", "order-to-delivery-2"]);
}
