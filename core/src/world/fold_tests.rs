//! What a change touches, and which news is no news.

use super::*;
use crate::testing::{
    CLUSTER, DNS, SHOP, apply, changes_of, complaints, forget, identity, in_words, judged, key, world,
};

/// Order calls payment, inventory may be called by anyone in storefront, and payment is scraped.
const POLICIES: &str = r"
kind: AccessPolicy
metadata: {name: pay, namespace: settlement}
spec: {to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}
---
kind: AccessPolicy
metadata: {name: look, namespace: storefront}
spec: {to: {identity: inventory, ports: [{port: 8443}]}, from: [{identity: {name: gateway}}]}
---
kind: AccessPolicy
metadata: {name: scrape, namespace: settlement}
spec: {to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring]}}]}
";

fn shop() -> World {
    world(&[SHOP, CLUSTER, POLICIES])
}

/// An object of one of the three kinds, as the API server would show it.
fn declared(kind: &str, uid: &str, version: u32, rest: &str) -> String {
    let (namespace, spec) = match kind {
        "TrustDomain" => {
            ("''", "{trustDomain: annex.example, namespaces: [annex], certificateAuthority: {selfSigned: {}}}")
        }
        "ServiceIdentity" => ("storefront", "{}"),
        _ => ("settlement", "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: delivery}}]}"),
    };
    format!(
        "
kind: {kind}
metadata: {{name: it, namespace: {namespace}, uid: '{uid}', generation: 1, resourceVersion: '{version}'}}
spec: {spec}
{rest}"
    )
}

const KINDS: [&str; 3] = ["TrustDomain", "ServiceIdentity", "AccessPolicy"];

fn is_there(world: &World, kind: &str) -> bool {
    match kind {
        "TrustDomain" => world.domain("it").is_some(),
        "ServiceIdentity" => world.service_identity(&key("storefront/it")).is_some(),
        _ => world.policy(&key("settlement/it")).is_some(),
    }
}

fn forget_it(world: &mut World, kind: &str) {
    let name = match kind {
        "TrustDomain" => "it",
        "ServiceIdentity" => "storefront/it",
        _ => "settlement/it",
    };
    forget(world, kind, name);
}

#[test]
fn what_says_nothing_new_touches_nothing() {
    let objects = [
        "{kind: Namespace, metadata: {name: storefront, labels: {a: b}}}",
        "{kind: Service, metadata: {name: order, namespace: storefront}, spec: {selector: {app.kubernetes.io/name: order}, ports: [{port: 443}]}}",
        "{kind: Pod, metadata: {name: order-1, namespace: storefront, labels: {app.kubernetes.io/name: order}}, spec: {serviceAccountName: order, containers: [{name: main}]}}",
        "{kind: Node, metadata: {name: two}, spec: {podCIDRs: [10.244.1.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}",
        "{kind: ServiceCIDR, metadata: {name: more}, spec: {cidrs: [10.97.0.0/16]}}",
        DNS,
        "{kind: NetworkPolicy, metadata: {name: theirs, namespace: storefront}, spec: {podSelector: {}, ingress: [{}]}}",
        CLUSTER,
    ];
    let mut world = shop();
    for object in objects {
        apply(&mut world, object);
        assert_eq!(in_words(&apply(&mut world, object)), [""; 0], "{object}");
    }
    for kind in KINDS {
        assert!(!apply(&mut world, &declared(kind, "1", 1, "")).is_empty());
        let statuses = ["status: {observedGeneration: 1}", ""];
        for (version, status) in (2..).zip(statuses) {
            let touched = apply(&mut world, &declared(kind, "1", version, status));
            assert_eq!(in_words(&touched), [""; 0], "a status of {kind} is our own word");
        }
    }
    for (kind, name) in
        [("TrustDomain", "none"), ("ServiceIdentity", "storefront/none"), ("AccessPolicy", "storefront/none")]
    {
        assert!(!in_words(&forget(&mut world, kind, name)).iter().any(|unit| unit.ends_with("order")), "{kind}");
    }
    for (kind, name) in
        [("Pod", "storefront/none"), ("Secret", "storefront/none"), ("NetworkPolicy", "storefront/none")]
    {
        assert_eq!(in_words(&forget(&mut world, kind, name)), [""; 0]);
    }
    assert_eq!(in_words(&world.apply(Change::Authority("storefront".to_owned(), None))), [""; 0]);
}

#[test]
fn an_older_version_that_comes_after_a_newer_one_is_ignored() {
    for kind in KINDS {
        let mut world = shop();
        let newer = declared(kind, "1", 10, "").replace("generation: 1", "generation: 2");
        apply(&mut world, &newer);
        assert_eq!(in_words(&apply(&mut world, &declared(kind, "1", 9, ""))), [""; 0], "{kind}");
        apply(&mut world, &declared(kind, "1", 11, ""));
        assert!(!apply(&mut world, &newer.replace("'10'", "'12'")).is_empty(), "a newer one of {kind} is news");
    }
}

#[test]
fn the_answer_to_a_status_that_comes_in_late_brings_nothing_back() {
    for kind in KINDS {
        let mut world = shop();
        apply(&mut world, &declared(kind, "1", 1, ""));
        forget_it(&mut world, kind);
        let answer = |world: &mut World, yaml: &str| {
            changes_of(yaml).into_iter().flat_map(|change| world.apply_answer(change)).collect::<BTreeSet<_>>()
        };
        let late = answer(&mut world, &declared(kind, "1", 5, "status: {observedGeneration: 1}"));
        assert_eq!(in_words(&late), [""; 0], "{kind}");
        assert!(!is_there(&world, kind), "{kind}");
        answer(&mut world, &declared(kind, "2", 3, ""));
        assert!(is_there(&world, kind), "another {kind} of that name is another");
    }
}

#[test]
fn a_policy_that_moves_from_one_to_another_touches_both() {
    let mut world = shop();
    let touched = apply(
        &mut world,
        "
kind: AccessPolicy
metadata: {name: look, namespace: storefront}
spec: {to: {identity: inventory, ports: [{port: 8443}]}, from: [{identity: {name: order}}]}
",
    );
    let ends = ["identity storefront/gateway", "identity storefront/inventory", "identity storefront/order"];
    assert_eq!(in_words(&touched), [ends[0], ends[1], ends[2], "policy storefront/look"]);
    let touched = forget(&mut world, "AccessPolicy", "storefront/look");
    assert_eq!(in_words(&touched), [ends[1], ends[2], "policy storefront/look"]);
    assert_eq!(world.judged_of(&key("storefront/gateway")).count(), 0);
}

#[test]
fn a_change_touches_what_hangs_on_it_and_nothing_else() {
    let pod = "{kind: Pod, metadata: {name: p, namespace: storefront, labels: {app.kubernetes.io/name: order}}, spec: {serviceAccountName: order, containers: [{name: main}]}}";
    let stories: [(&str, &str, &[&str]); 9] = [
        (
            "an identity that no policy names",
            "{kind: ServiceIdentity, metadata: {name: delivery, namespace: settlement}, spec: {signingKey: {}}}",
            &["fence settlement", "identity settlement/delivery"],
        ),
        (
            "a caller whose pods are others now",
            "{kind: ServiceIdentity, metadata: {name: order, namespace: storefront}, spec: {signingKey: {}, podSelector: {matchLabels: {app: order}}}}",
            &[
                "fence storefront",
                "identity settlement/payment",
                "identity storefront/order",
                "policy settlement/pay",
                "policy settlement/scrape",
            ],
        ),
        (
            "a callee's Service, with the ports that policies name",
            "{kind: Service, metadata: {name: inventory, namespace: storefront}, spec: {selector: {app.kubernetes.io/name: inventory}, ports: [{port: 8443, targetPort: 9443}]}}",
            &["identity storefront/gateway", "identity storefront/inventory", "policy storefront/look"],
        ),
        ("a Service of nobody", "{kind: Service, metadata: {name: other, namespace: storefront}, spec: {}}", &[]),
        (
            "the first pod of a namespace",
            pod,
            &[
                "fence storefront",
                "identity storefront/gateway",
                "identity storefront/inventory",
                "identity storefront/order",
            ],
        ),
        (
            "a Node",
            "{kind: Node, metadata: {name: two}, spec: {podCIDRs: [10.244.1.0/24]}, status: {addresses: []}}",
            &[],
        ),
        (
            "a namespace that is labelled",
            "{kind: Namespace, metadata: {name: monitoring, labels: {a: b}}}",
            &["member monitoring", "fence monitoring"],
        ),
        (
            "a NetworkPolicy of someone else",
            "{kind: NetworkPolicy, metadata: {name: theirs, namespace: settlement}, spec: {podSelector: {}}}",
            &["fence settlement", "identity settlement/delivery", "identity settlement/payment"],
        ),
        (
            "a ceiling",
            "{kind: TrustDomain, metadata: {name: settlement}, spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}, inbound: [{namespaces: [monitoring], ports: [{port: 9090}]}]}}",
            &[
                "domain settlement",
                "fence settlement",
                "identity settlement/delivery",
                "identity settlement/payment",
                "identity storefront/order",
                "policy settlement/pay",
                "policy settlement/scrape",
            ],
        ),
    ];
    for (story, change, touched) in stories {
        assert_eq!(in_words(&apply(&mut shop(), change)), touched, "{story}");
    }
}

#[test]
fn another_pod_touches_only_those_whom_it_tells_something() {
    let pod = |name: &str| {
        format!(
            "{{kind: Pod, metadata: {{name: {name}, namespace: storefront, labels: {{app.kubernetes.io/name: order}}}}, spec: {{serviceAccountName: order, containers: [{{name: main}}]}}}}"
        )
    };
    let mut world = shop();
    apply(&mut world, &pod("order-1"));
    assert_eq!(in_words(&apply(&mut world, &pod("order-2"))), [""; 0], "there are pods already, and they say the same");
    forget(&mut world, "Pod", "storefront/order-1");
    let touched = in_words(&forget(&mut world, "Pod", "storefront/order-2"));
    assert!(touched.contains(&"fence storefront".to_owned()), "with the last one the order of things is another");
}

#[test]
fn dns_touches_every_fence() {
    let is_fence = |unit: &&Unit| matches!(unit, Unit::Fence(namespace) if namespace != "kube-system");
    let fences = |touched: &BTreeSet<Unit>| touched.iter().filter(is_fence).count();
    let mut world = shop();
    assert_eq!(fences(&apply(&mut world, DNS)), 2);
    let ports = "{kind: EndpointSlice, metadata: {name: kube-dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}, addressType: IPv4, endpoints: [], ports: [{port: 5353, protocol: UDP}]}";
    assert_eq!(fences(&apply(&mut world, ports)), 2);
    let cache = "{kind: Pod, metadata: {name: cache, namespace: kube-system, labels: {k8s-app: node-local-dns}}, spec: {containers: [{name: main}]}}";
    assert_eq!(fences(&apply(&mut world, cache)), 2);
    assert_eq!(fences(&apply(&mut world, &cache.replace("name: cache", "name: more"))), 0, "one cache is like another");
}

#[test]
fn what_is_being_deleted_is_judged_as_if_it_were_gone() {
    let mut world = shop();
    let leaving = "{kind: ServiceIdentity, metadata: {name: order, namespace: storefront, deletionTimestamp: '2026-03-01T00:00:00Z'}, spec: {signingKey: {}}}";
    let touched = in_words(&apply(&mut world, leaving));
    assert_eq!(
        touched,
        [
            "fence storefront",
            "identity settlement/payment",
            "identity storefront/order",
            "policy settlement/pay",
            "policy settlement/scrape"
        ]
    );
    let refusal = |world: &World| judged(world, "settlement/pay").refusals[0].message.clone();
    assert_eq!(refusal(&world), "ServiceIdentity storefront/order is not accepted: see its status");
    let touched = forget(&mut world, "ServiceIdentity", "storefront/order");
    assert!(in_words(&touched).contains(&"policy settlement/pay".to_owned()), "it says another thing now");
    assert_eq!(refusal(&world), "ServiceIdentity storefront/order does not exist: create it, or correct the name");
    assert_eq!(identity(&world, "settlement/payment").key, key("settlement/payment"));
    assert_eq!(complaints(&world, "settlement/payment"), [""; 0]);
}
