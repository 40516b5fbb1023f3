//! The ways to and from token issuers: who has them, on both sides, and who is told why not.

use std::collections::BTreeSet;

use super::super::network_policy::identity_policy;
use super::*;
use crate::testing::{
    CLUSTER, ISSUERS, SHOP, apply, forget, grants_of, identity, in_words, installation, key, problems_in_words, show,
};
use crate::world::Unit;

/// What an identity may do without a policy.
fn ways(world: &World, origin: &Origin) -> Vec<String> {
    let judged = world.implied(origin).map(|judged| judged.as_ref().clone());
    let (grants, problems) = judged.map(|judged| (judged.grants, judged.problems)).unwrap_or_default();
    let edges = grants.iter().flat_map(Grant::edges).map(|edge| edge.to_string());
    edges.chain(problems_in_words(&problems)).collect()
}

fn of(identity: &str) -> Origin {
    Origin::Identity(key(identity))
}

fn clients(domain: &str) -> Origin {
    Origin::Clients(domain.to_owned())
}

#[test]
fn whoever_lists_an_issuer_gets_there_and_nobody_else_does() {
    let world = installation(&[SHOP, CLUSTER, ISSUERS]);
    assert_eq!(
        ways(&world, &of("storefront/order")),
        [
            "identity storefront/order -> identity tokens/sts 8443/TCP nothing",
            "identity storefront/order -> external 192.0.2.0/24 443/TCP nothing",
        ]
    );
    assert_eq!(ways(&world, &of("storefront/gateway")), [""; 0]);
    assert_eq!(ways(&world, &clients("storefront")), ["cidr 203.0.113.0/24 -> identity tokens/sts 8443/TCP nothing"]);
    assert_eq!(ways(&world, &clients("settlement")), [""; 0], "it registers none");
    let of_sts: BTreeSet<&Origin> = world.judged_of(&key("tokens/sts")).map(|judged| &judged.origin).collect();
    let expected = [of("settlement/payment"), of("storefront/order"), clients("storefront")];
    assert_eq!(of_sts, expected.iter().collect(), "all of them are the token service's edges too");
}

#[test]
fn both_network_policies_say_the_same() {
    let world = installation(&[SHOP, CLUSTER, ISSUERS]);
    let spec = |name: &str| {
        let identity = identity(&world, name);
        serde_json::to_value(identity_policy(identity, &grants_of(&world, identity), None)).unwrap()
    };
    let yaml = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(
        spec("tokens/sts"),
        yaml(
            "
podSelector: {matchLabels: {app.kubernetes.io/name: sts}}
policyTypes: [Ingress, Egress]
ingress:
- from:
  - ipBlock: {cidr: 203.0.113.0/24}
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: settlement}}
    podSelector: {matchLabels: {app.kubernetes.io/name: payment}}
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: storefront}}
    podSelector: {matchLabels: {app.kubernetes.io/name: order}}
  ports: [{port: 8443, protocol: TCP}]
egress: []
"
        )
    );
    assert_eq!(
        spec("storefront/order"),
        yaml(
            "
podSelector: {matchLabels: {app.kubernetes.io/name: order}}
policyTypes: [Ingress, Egress]
ingress: []
egress:
- to: [{ipBlock: {cidr: 192.0.2.0/24}}]
  ports: [{port: 443, protocol: TCP}]
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: tokens}}
    podSelector: {matchLabels: {app.kubernetes.io/name: sts}}
  ports: [{port: 8443, protocol: TCP}]
"
        ),
        "the cluster's own addresses are not left out of an endpoint"
    );
}

#[test]
fn thousands_of_clients_take_little_room_in_the_network_policy() {
    let mut world = installation(&[SHOP, CLUSTER, ISSUERS]);
    let spec = |world: &World| {
        let identity = identity(world, "tokens/sts");
        serde_json::to_value(identity_policy(identity, &grants_of(world, identity), None)).unwrap()
    };
    for number in 0..3000 {
        let (name, spec) = (format!("client-{number}"), serde_json::json!({"tokenIssuers": ["sts"]}));
        let metadata = serde_json::json!({"name": name, "namespace": "settlement"});
        show(&mut world, serde_json::json!({"kind": "ServiceIdentity", "metadata": metadata, "spec": spec}));
    }
    apply(
        &mut world,
        "{kind: ServiceIdentity, metadata: {name: odd, namespace: settlement}, spec: {podSelector: {matchLabels: {a: b, c: d}}, tokenIssuers: [sts]}}",
    );
    let rule = &spec(&world)["ingress"][0];
    let peers = rule["from"].as_array().unwrap();
    assert_eq!(peers.len(), 4, "the addresses, one for each namespace, and the odd one");
    let values = peers.iter().filter_map(|peer| peer["podSelector"]["matchExpressions"][0]["values"].as_array());
    assert_eq!(values.map(Vec::len).sum::<usize>(), 3001);
    assert!(rule.to_string().len() < 3001 * 20, "{} bytes", rule.to_string().len());
}

#[test]
fn a_client_that_is_suspended_loses_its_way_alone() {
    let mut world = installation(&[SHOP, CLUSTER, ISSUERS]);
    let touched = apply(
        &mut world,
        "{kind: ServiceIdentity, metadata: {name: payment, namespace: settlement}, spec: {tokenIssuers: [sts], suspended: true}}",
    );
    assert_eq!(ways(&world, &of("settlement/payment")), [""; 0]);
    assert_eq!(ways(&world, &of("storefront/order")).len(), 2);
    assert!(touched.contains(&Unit::Identity(key("tokens/sts"))), "{:?}", in_words(&touched));
    assert!(!touched.contains(&Unit::Identity(key("storefront/order"))), "{:?}", in_words(&touched));
}

#[test]
fn a_token_service_that_is_not_there_closes_all_and_its_clients_say_so() {
    let closed = |state: &str| {
        format!(
            "ResolvedRefs TokenServiceNotFound: tokenIssuers[sts]: ServiceIdentity tokens/sts of the token service {state}, so that nobody may call it: the platform team finds more in its status"
        )
    };
    let suspended = "{kind: ServiceIdentity, metadata: {name: sts, namespace: tokens}, spec: {suspended: true}}";
    let mut world = installation(&[SHOP, CLUSTER, ISSUERS]);
    let touched = apply(&mut world, suspended);
    assert_eq!(ways(&world, &of("settlement/payment")), [closed("is suspended")]);
    assert_eq!(ways(&world, &clients("storefront")), [""; 0]);
    for unit in ["identity settlement/payment", "identity storefront/order", "domain storefront", "domain settlement"] {
        assert!(in_words(&touched).contains(&unit.to_owned()), "{unit} in {:?}", in_words(&touched));
    }
    assert_eq!(ways(&world, &of("storefront/order")).len(), 2, "the other issuer stays open");
    apply(&mut world, "{kind: ServiceIdentity, metadata: {name: sts, namespace: tokens}, spec: {podSelector: {}}}");
    assert_eq!(ways(&world, &of("settlement/payment")), [closed("is not accepted")]);
    forget(&mut world, "ServiceIdentity", "tokens/sts");
    assert_eq!(ways(&world, &of("settlement/payment")), [closed("does not exist")]);
    apply(
        &mut world,
        "{kind: ServiceIdentity, metadata: {name: sts, namespace: tokens}, spec: {certificate: {usages: [ClientAuth]}}}",
    );
    assert_eq!(
        ways(&world, &of("settlement/payment")),
        [
            "Accepted UsageMissing: tokenIssuers[sts]: the certificate of ServiceIdentity tokens/sts, which is the token service, is not for servers: the platform team adds ServerAuth to certificate.usages in it"
        ]
    );
    apply(&mut world, "{kind: ServiceIdentity, metadata: {name: sts, namespace: tokens}, spec: {}}");
    assert_eq!(
        ways(&world, &of("settlement/payment")),
        ["identity settlement/payment -> identity tokens/sts 8443/TCP nothing"]
    );
}

#[test]
fn the_token_service_is_no_client_of_its_own() {
    let world = installation(&[
        SHOP,
        ISSUERS,
        "
kind: TrustDomain
metadata: {name: tokens}
spec: {namespaces: [tokens], certificateAuthority: {selfSigned: {}}, tokenIssuers: [{name: own, builtIn: {}}]}
---
{kind: ServiceIdentity, metadata: {name: sts, namespace: tokens}, spec: {tokenIssuers: [own]}}
",
    ]);
    assert_eq!(
        ways(&world, &of("tokens/sts")),
        [
            "Accepted Invalid: tokenIssuers[own]: ServiceIdentity tokens/sts is the token service itself: take own out of tokenIssuers"
        ]
    );
}

/// A domain with these issuers, all of which its one identity lists: what the identity and what the domain is told.
fn told(issuers: &str) -> (Vec<String>, Vec<String>) {
    let mut world = installation(&[SHOP, CLUSTER, ISSUERS]);
    apply(
        &mut world,
        &format!(
            "{{kind: TrustDomain, metadata: {{name: d}}, spec: {{namespaces: [d], certificateAuthority: {{selfSigned: {{}}}}, tokenIssuers: [{issuers}]}}}}"
        ),
    );
    let names: Vec<String> =
        world.domain("d").unwrap().spec.token_issuers.iter().map(|issuer| issuer.name.clone()).collect();
    show(
        &mut world,
        serde_json::json!({"kind": "ServiceIdentity", "metadata": {"name": "x", "namespace": "d"}, "spec": {"tokenIssuers": names}}),
    );
    (ways(&world, &of("d/x")), problems_in_words(&issuer_problems(&world, world.domain("d").unwrap())))
}

#[test]
fn a_mistake_about_where_an_issuer_is_closes_it_and_is_told_to_both() {
    let issuer = |endpoint: &str| {
        format!("{{name: a, issuer: 'https://a.example', endpoint: {{{endpoint}, ports: [{{port: 1, endPort: 3}}]}}}}")
    };
    let both = |problem: &str| (vec![problem.to_owned()], vec![problem.to_owned()]);
    assert_eq!(
        told(&issuer("pods: {namespaces: [monitoring]}")).0,
        ["identity d/x -> pods in monitoring 1-3/TCP nothing"]
    );
    assert_eq!(told(&issuer("cidrs: [0.0.0.0/0]")).0, ["identity d/x -> external 0.0.0.0/0, ::/0 1-3/TCP nothing"]);
    assert_eq!(
        told(&issuer("pods: {namespaces: [settlement]}")),
        both(
            "Accepted FencedPods: tokenIssuers[a]: namespace settlement is in TrustDomain settlement, where pods have identities: name an identity instead of pods"
        )
    );
    assert_eq!(
        told(&issuer("cidrs: [10.0.0.1/8]")),
        both(
            "Accepted InvalidCidr: tokenIssuers[a]: 10.0.0.1/8 has bits set behind its prefix: write 10.0.0.0/8 for the whole range, or 10.0.0.1/32 for the one address"
        )
    );
    assert_eq!(
        told("{name: a, issuer: 'https://a.example', endpoint: {ports: [{port: 1}]}}"),
        both("Accepted Invalid: tokenIssuers[a]: endpoint must name exactly one of pods and cidrs")
    );
    assert_eq!(
        told("{name: a, issuer: 'https://a.example', endpoint: {cidrs: [], ports: [{port: 1}]}}"),
        both("Accepted Invalid: tokenIssuers[a]: endpoint names no address or no port: name at least one of each")
    );
}

#[test]
fn a_namespace_that_is_fenced_closes_the_issuer_in_it() {
    let mut world = installation(&[SHOP, CLUSTER, ISSUERS]);
    apply(&mut world, "
kind: TrustDomain
metadata: {name: d}
spec: {namespaces: [d], certificateAuthority: {selfSigned: {}}, tokenIssuers: [{name: a, issuer: 'https://a.example', endpoint: {pods: {namespaces: [monitoring]}, ports: [{port: 1}]}}]}
---
{kind: ServiceIdentity, metadata: {name: x, namespace: d}, spec: {tokenIssuers: [a]}}
");
    assert_eq!(ways(&world, &of("d/x")).len(), 1);
    let touched = apply(
        &mut world,
        "{kind: TrustDomain, metadata: {name: e}, spec: {namespaces: [monitoring], certificateAuthority: {selfSigned: {}}}}",
    );
    assert!(
        in_words(&touched).contains(&"identity d/x".to_owned()) && in_words(&touched).contains(&"domain d".to_owned())
    );
    assert!(ways(&world, &of("d/x"))[0].starts_with("Accepted FencedPods: "));
}

#[test]
fn clients_outside_are_let_in_by_their_addresses() {
    let from = |cidrs: &str| {
        let world = installation(&[
            SHOP,
            CLUSTER,
            ISSUERS,
            &format!(
                "{{kind: TrustDomain, metadata: {{name: d}}, spec: {{namespaces: [d], certificateAuthority: {{selfSigned: {{}}}}, tokenIssuers: [{{name: sts, builtIn: {{clients: {{secretName: c, cidrs: [{cidrs}]}}}}}}]}}}}"
            ),
        ]);
        ways(&world, &clients("d"))
    };
    assert_eq!(from("0.0.0.0/0"), ["anywhere -> identity tokens/sts 8443/TCP nothing"]);
    assert_eq!(
        from("198.51.100.0/24, 10.244.0.0/24"),
        [
            "cidr 198.51.100.0/24 -> identity tokens/sts 8443/TCP nothing",
            "Accepted ClusterAddresses: tokenIssuers[sts]: clients.cidrs: 10.244.0.0/24 lies within the cluster's own addresses, where clients have identities: name addresses outside it",
        ],
        "each stands for itself"
    );
}
