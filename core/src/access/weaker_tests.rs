//! When a policy is told that another one asks more of the same callers.

use super::*;
use crate::testing::{SHOP, apply, judged, world};
use crate::world::{NamespacedName, Unit};

/// Policies `weak` and `strong` of payment: what `weak` and what `strong` are told.
fn told(weak: &str, strong: &str) -> (Vec<String>, Vec<String>) {
    let mut world = world(&[SHOP]);
    apply(&mut world, "
kind: TrustDomain
metadata: {name: settlement}
spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}, inbound: [{trustDomains: [storefront]}, {anywhere: {}}]}
---
kind: TrustDomain
metadata: {name: storefront}
spec: {trustDomain: storefront.example, namespaces: [storefront], certificateAuthority: {selfSigned: {}}, outbound: [{trustDomains: [settlement]}]}
");
    for (name, spec) in [("weak", weak), ("strong", strong)] {
        apply(
            &mut world,
            &format!("{{kind: AccessPolicy, metadata: {{name: {name}, namespace: settlement}}, spec: {spec}}}"),
        );
        assert!(judged(&world, &format!("settlement/{name}")).refusals.is_empty());
    }
    let told = |name| weaker_grants(&world, judged(&world, name)).into_iter().map(|problem| problem.message).collect();
    (told("settlement/weak"), told("settlement/strong"))
}

const ORDER: &str = "{identity: {name: order, namespace: storefront}}";

fn spec(to: &str, from: &str, rest: &str) -> String {
    format!("{{to: {{identity: {to}}}, from: [{from}]{rest}}}")
}

#[test]
fn the_weaker_one_is_told_and_the_stronger_is_not() {
    let port = "payment, ports: [{port: 8443}]";
    let both = spec(port, ORDER, ", authentication: {mtls: {}, jwt: {}}");
    let message = |proof: &str| {
        format!(
            "identity storefront/order may call identity settlement/payment with proof {proof} by this policy, although AccessPolicy settlement/strong demands mtls+jwt: make them agree, or delete one"
        )
    };
    assert_eq!(told(&spec(port, ORDER, ""), &both), (vec![message("mtls")], vec![]));
    assert_eq!(told(&spec(port, ORDER, ", authentication: {jwt: {}}"), &both), (vec![message("jwt")], vec![]));
    assert_eq!(told(&spec(port, "{trustDomain: storefront}", ""), &both), (vec![message("mtls")], vec![]));
    assert_eq!(told(&spec(port, "{anywhere: {}}", ""), &both), (vec![message("nothing")], vec![]));
}

#[test]
fn what_is_not_less_or_not_of_the_same_is_not_told() {
    let port = "payment, ports: [{port: 8443}]";
    let mtls = spec(port, ORDER, "");
    let nothing = (vec![], vec![]);
    assert_eq!(told(&mtls, &mtls), nothing, "the same proof");
    assert_eq!(
        told(&mtls, &spec(port, ORDER, ", authentication: {jwt: {}}")),
        nothing,
        "proofs that can't be compared"
    );
    let other_port = spec(
        "payment, ports: [{port: 8442}, {port: 8444, endPort: 8450}]",
        ORDER,
        ", authentication: {mtls: {}, jwt: {}}",
    );
    assert_eq!(
        told(
            &spec(port, "{identity: {name: delivery}}", ""),
            &spec(port, ORDER, ", authentication: {mtls: {}, jwt: {}}")
        ),
        nothing,
        "another caller"
    );
    assert_eq!(told(&mtls, &other_port), nothing, "another port");
    let delivery = spec("delivery, ports: [{port: 8443}]", ORDER, ", authentication: {mtls: {}, jwt: {}}");
    assert_eq!(told(&mtls, &delivery), nothing, "another callee");
    let draft = spec(port, ORDER, ", authentication: {mtls: {}, jwt: {}}, enforcement: Audit");
    assert_eq!(told(&mtls, &draft), nothing, "a draft demands nothing of anyone");
    let wider = spec("payment, ports: [{port: 8440, endPort: 8450}]", ORDER, ", authentication: {mtls: {}, jwt: {}}");
    assert_eq!(told(&mtls, &wider).0.len(), 1, "one port in common is enough");
}

#[test]
fn tokens_of_an_issuer_are_compared_by_what_they_must_carry() {
    let given = "
kind: TrustDomain
metadata: {name: settlement}
spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}, tokenIssuers: [{name: a, issuer: 'https://a.example'}, {name: b, issuer: 'https://b.example'}], inbound: [{anywhere: {}}]}
";
    let told = |weak: &str, strong: &str| {
        let mut world = world(&[SHOP, given]);
        for (name, jwt) in [("weak", weak), ("strong", strong)] {
            let jwt = if jwt.is_empty() {
                String::new()
            } else {
                format!(", authentication: {{jwt: {{signer: Issuer, {jwt}}}}}")
            };
            apply(
                &mut world,
                &format!(
                    "{{kind: AccessPolicy, metadata: {{name: {name}, namespace: settlement}}, spec: {}}}",
                    spec("payment, ports: [{port: 8443}]", "{anywhere: {}}", &jwt)
                ),
            );
        }
        let found = weaker_grants(&world, judged(&world, "settlement/weak"));
        found.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
    };
    let message = |weak: &str, strong: &str| {
        [format!(
            "anywhere may call identity settlement/payment with proof {weak} by this policy, although AccessPolicy settlement/strong demands {strong}: make them agree, or delete one"
        )]
    };
    assert_eq!(told("", "issuer: a"), message("nothing", "issuer-jwt"));
    assert_eq!(told("issuer: a", "issuer: a, scopes: [p, q]"), message("issuer-jwt", "issuer-jwt with scope p q"));
    assert_eq!(
        told("issuer: a, scopes: [p]", "issuer: a, scopes: [p, q]"),
        message("issuer-jwt with scope p", "issuer-jwt with scope p q")
    );
    assert_eq!(told("issuer: a, scopes: [p]", "issuer: a, scopes: [q]"), [""; 0], "neither takes in the other");
    assert_eq!(told("issuer: a", "issuer: b, scopes: [p]"), [""; 0], "another issuer is another proof");
}

#[test]
fn a_policy_is_planned_again_when_a_stronger_one_comes_or_goes() {
    let mut world = world(&[SHOP]);
    let policy = |name: &str, rest: &str| {
        format!(
            "{{kind: AccessPolicy, metadata: {{name: {name}, namespace: settlement}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, from: [{ORDER}]{rest}}}}}"
        )
    };
    apply(&mut world, &policy("weak", ""));
    let weak = Unit::Policy(NamespacedName::new("settlement", "weak"));
    assert!(apply(&mut world, &policy("strong", ", authentication: {mtls: {}, jwt: {}}")).contains(&weak));
    assert_eq!(weaker_grants(&world, judged(&world, "settlement/weak")).len(), 1);
    let gone = crate::world::Change::Policy(NamespacedName::new("settlement", "strong"), None);
    assert!(world.apply(gone).contains(&weak));
    assert_eq!(weaker_grants(&world, judged(&world, "settlement/weak")), []);
}
