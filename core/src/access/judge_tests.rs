//! Stories about single policies: what is declared, and what comes of each `from` entry.

#[path = "judge_outside_tests.rs"]
mod outside;
#[path = "judge_proof_tests.rs"]
mod proof;

use super::*;
use crate::testing::{CLUSTER, SHOP, apply, judged, verdicts, world};

/// One policy in namespace settlement, and the verdict on each of its entries.
struct Story {
    sentence: &'static str,
    /// Objects besides the shop and the cluster.
    given: &'static str,
    /// The policy's spec.
    spec: &'static str,
    then: &'static [&'static str],
}

fn tell(stories: &[Story]) {
    for Story { sentence, given, spec, then } in stories {
        let mut world = world(&[SHOP, CLUSTER]);
        if !given.is_empty() {
            apply(&mut world, given);
        }
        apply(
            &mut world,
            &format!("{{kind: AccessPolicy, metadata: {{name: p, namespace: settlement}}, spec: {spec}}}"),
        );
        assert_eq!(verdicts(&world, "settlement/p"), *then, "{sentence}");
    }
}

#[test]
fn what_is_declared_within_the_ceilings_is_open() {
    tell(&[
        Story {
            sentence: "a caller of another domain whom both domains let through proves itself by a certificate",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}",
            then: &["identity storefront/order -> identity settlement/payment 8443/TCP mtls"],
        },
        Story {
            sentence: "a caller without a namespace is one of this namespace, and needs no ceiling",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 22}]}, from: [{identity: {name: delivery}}]}",
            then: &["identity settlement/delivery -> identity settlement/payment 22/TCP mtls"],
        },
        Story {
            sentence: "a service may be allowed to call itself",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 7000, endPort: 7010}]}, from: [{identity: {name: payment}}]}",
            then: &["identity settlement/payment -> identity settlement/payment 7000-7010/TCP mtls"],
        },
        Story {
            sentence: "a whole domain may be let in, its own as well as another",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{trustDomain: storefront}, {trustDomain: settlement}]}",
            then: &[
                "trustDomain storefront -> identity settlement/payment 8443/TCP mtls",
                "trustDomain settlement -> identity settlement/payment 8443/TCP mtls",
            ],
        },
        Story {
            sentence: "a token alone means no client certificate",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}], authentication: {jwt: {}}}",
            then: &["identity storefront/order -> identity settlement/payment 8443/TCP jwt"],
        },
        Story {
            sentence: "both proofs may be demanded",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}], authentication: {mtls: {}, jwt: {}}}",
            then: &["identity storefront/order -> identity settlement/payment 8443/TCP mtls+jwt"],
        },
        Story {
            sentence: "pods without an identity prove nothing",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring], selector: {matchLabels: {app: prometheus}}}}]}",
            then: &["pods app=prometheus in monitoring -> identity settlement/payment 9090/TCP nothing"],
        },
        Story {
            sentence: "each port may be covered by an entry of its own",
            given: "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound:
  - {namespaces: [monitoring], ports: [{port: 9090}]}
  - {namespaces: [monitoring, logging], ports: [{port: 9091, endPort: 9095}]}
",
            spec: "{to: {identity: payment, ports: [{port: 9090}, {port: 9092, endPort: 9094}]}, from: [{pods: {namespaces: [monitoring]}}]}",
            then: &[
                "pods in monitoring -> identity settlement/payment 9090/TCP nothing; pods in monitoring -> identity settlement/payment 9092-9094/TCP nothing",
            ],
        },
    ]);
}

#[test]
fn what_names_something_that_is_not_there_is_closed() {
    tell(&[
        Story {
            sentence: "nobody calls an identity that does not exist",
            given: "",
            spec: "{to: {identity: refund, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {anywhere: {}}]}",
            then: &[
                "CalleeNotFound: ServiceIdentity settlement/refund, which is to be called, does not exist: create it, or correct to.identity",
                "CalleeNotFound: ServiceIdentity settlement/refund, which is to be called, does not exist: create it, or correct to.identity",
            ],
        },
        Story {
            sentence: "nobody calls an identity that was not accepted",
            given: "{kind: ServiceIdentity, metadata: {name: payment-two, namespace: settlement}, spec: {serviceAccountName: payment}}",
            spec: "{to: {identity: payment-two, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}",
            then: &[
                "CalleeNotFound: ServiceIdentity settlement/payment-two, which is to be called, is not accepted: see its status",
            ],
        },
        Story {
            sentence: "a bad entry is closed and named, and the good ones stand",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: orders, namespace: storefront}}, {identity: {name: order, namespace: storefront}}, {identity: {name: web, namespace: frontend}}, {trustDomain: storefront.example}]}",
            then: &[
                "CallerNotFound: ServiceIdentity storefront/orders does not exist: create it, or correct the name",
                "identity storefront/order -> identity settlement/payment 8443/TCP mtls",
                "CallerNotFound: ServiceIdentity frontend/web does not exist, and namespace frontend is in no TrustDomain: correct the name, or admit it as pods",
                "CallerNotFound: TrustDomain storefront.example does not exist: create it, or correct the name (of the object, not its SPIFFE name)",
            ],
        },
        Story {
            sentence: "a domain whose name another one holds proves nothing",
            given: "{kind: TrustDomain, metadata: {name: impostor}, spec: {trustDomain: storefront.example, namespaces: [elsewhere], certificateAuthority: {selfSigned: {}}}}",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{trustDomain: impostor}]}",
            then: &[
                "CallerNotFound: TrustDomain impostor holds no trust-domain name, so that nobody can prove to be in it: see its status",
            ],
        },
    ]);
}

#[test]
fn what_is_above_a_ceiling_is_closed() {
    tell(&[
        Story {
            sentence: "by port: that a Service says 443 does not count when it leads to pod port 22",
            given: "
kind: TrustDomain
metadata: {name: settlement}
spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}, inbound: [{trustDomains: [storefront], ports: [{port: 443}]}]}
---
kind: TrustDomain
metadata: {name: storefront}
spec: {trustDomain: storefront.example, namespaces: [storefront], certificateAuthority: {selfSigned: {}}, outbound: [{trustDomains: [settlement], ports: [{port: 443}, {port: 80}]}]}
---
{kind: Service, metadata: {name: payment, namespace: settlement}, spec: {selector: {app.kubernetes.io/name: payment}, ports: [{port: 443, targetPort: 22}]}}
",
            spec: "{to: {identity: payment, ports: [{port: 443}]}, from: [{identity: {name: order, namespace: storefront}}]}",
            then: &[
                "InboundNotAllowed: inbound[0] of TrustDomain settlement admits trustDomains [storefront] only on pod port 443/TCP, not on 22/TCP: ask the platform team to add it to ports; and outbound[0] of TrustDomain storefront lets its members reach trustDomains [settlement] only on pod port 443/TCP, 80/TCP, not on 22/TCP: ask the platform team to add it to ports",
            ],
        },
        Story {
            sentence: "by protocol",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 9090, protocol: UDP}]}, from: [{pods: {namespaces: [monitoring]}}]}",
            then: &["InboundNotAllowed: inbound[1] of TrustDomain settlement admits namespaces [monitoring] only on pod port 9090/TCP, not on 9090/UDP: ask the platform team to add it to ports"],
        },
        Story {
            sentence: "by a range that reaches beyond the entry's",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 9090, endPort: 9091}]}, from: [{pods: {namespaces: [monitoring]}}]}",
            then: &["InboundNotAllowed: inbound[1] of TrustDomain settlement admits namespaces [monitoring] only on pod port 9090/TCP, not on 9090-9091/TCP: ask the platform team to add it to ports"],
        },
        Story {
            sentence: "by domain: anywhere does not admit another domain's members, only trustDomains does",
            given: "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound: [{anywhere: {}, clusterAddresses: true}, {namespaces: [storefront]}, {cidrs: [0.0.0.0/0]}]
",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {trustDomain: storefront}]}",
            then: &[
                "InboundNotAllowed: TrustDomain settlement has no inbound entry that admits trustDomains [storefront] on port 8443/TCP: ask the platform team to add one",
                "InboundNotAllowed: TrustDomain settlement has no inbound entry that admits trustDomains [storefront] on port 8443/TCP: ask the platform team to add one",
            ],
        },
        Story {
            sentence: "by consent: the callee's domain alone is not enough",
            given: "{kind: TrustDomain, metadata: {name: storefront}, spec: {trustDomain: storefront.example, namespaces: [storefront], certificateAuthority: {selfSigned: {}}, outbound: [{anywhere: {}, clusterAddresses: true}]}}",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}",
            then: &["OutboundNotAllowed: TrustDomain storefront has no outbound entry that lets its members reach trustDomains [settlement] on port 8443/TCP: ask the platform team to add one"],
        },
        Story {
            sentence: "by consent: the caller's domain alone is not enough",
            given: "{kind: TrustDomain, metadata: {name: settlement}, spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}}}",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}",
            then: &["InboundNotAllowed: TrustDomain settlement has no inbound entry that admits trustDomains [storefront] on port 8443/TCP: ask the platform team to add one"],
        },
        Story {
            sentence: "by consent: port in one entry and domain in another do not add up",
            given: "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound: [{trustDomains: [storefront], ports: [{port: 1}]}, {trustDomains: [other], ports: [{port: 8443}]}]
",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}]}",
            then: &["InboundNotAllowed: inbound[0] of TrustDomain settlement admits trustDomains [storefront] only on pod port 1/TCP, not on 8443/TCP: ask the platform team to add it to ports"],
        },
        Story {
            sentence: "by identity: on the way in, and on the way out, also where a whole domain would go out",
            given: "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound: [{trustDomains: [storefront], identities: [{name: delivery}, {name: payment, namespace: settlement}]}]
---
kind: TrustDomain
metadata: {name: storefront}
spec:
  trustDomain: storefront.example
  namespaces: [storefront]
  certificateAuthority: {selfSigned: {}}
  outbound: [{trustDomains: [settlement], identities: [{name: order}]}]
",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {identity: {name: inventory, namespace: storefront}}, {trustDomain: storefront}]}",
            then: &[
                "identity storefront/order -> identity settlement/payment 8443/TCP mtls",
                "OutboundNotAllowed: outbound[0] of TrustDomain storefront lets its members reach trustDomains [settlement] only for order, not for storefront/inventory: ask the platform team to add it to identities",
                "OutboundNotAllowed: outbound[0] of TrustDomain storefront lets its members reach trustDomains [settlement] only for order, not for every member: ask the platform team to add it to identities",
            ],
        },
        Story {
            sentence: "by proof: one of the accepted ones must be demanded",
            given: "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound: [{trustDomains: [storefront], acceptedAuthentication: [CallerJwt]}, {namespaces: [monitoring], acceptedAuthentication: [Mtls]}]
",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {pods: {namespaces: [monitoring]}}]}",
            then: &[
                "InboundNotAllowed: inbound[0] of TrustDomain settlement admits trustDomains [storefront] only with CallerJwt, and the policy demands Mtls: demand it in authentication, or ask the platform team to accept it",
                "InboundNotAllowed: inbound[1] of TrustDomain settlement admits namespaces [monitoring] only with Mtls, and the policy demands None: demand it in authentication, or ask the platform team to accept it",
            ],
        },
        Story {
            sentence: "by namespace: every one that the pods may be in must be admitted by one entry",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring, default]}}]}",
            then: &["InboundNotAllowed: TrustDomain settlement has no inbound entry that admits namespaces [default, monitoring] on port 9090/TCP: ask the platform team to add one"],
        },
        Story {
            sentence: "where nothing may come in, neither may anyone, nor an address, nor the API server",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 9090}]}, from: [{anywhere: {}}, {cidr: 203.0.113.0/24}, {kubernetesAPI: {}}]}",
            then: &[
                "InboundNotAllowed: TrustDomain settlement has no inbound entry that admits anywhere on port 9090/TCP: ask the platform team to add one",
                "InboundNotAllowed: TrustDomain settlement has no inbound entry that admits cidrs [203.0.113.0/24] on port 9090/TCP: ask the platform team to add one",
                "InboundNotAllowed: TrustDomain settlement has no inbound entry that admits kubernetesAPI on port 9090/TCP: ask the platform team to add one",
            ],
        },
    ]);
}

#[test]
fn what_is_missing_is_told_from_what_is_not_allowed() {
    let mut world = world(&[SHOP]);
    apply(
        &mut world,
        "
kind: AccessPolicy
metadata: {name: p, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: nobody}}, {anywhere: {}}, {trustDomain: nowhere}]
",
    );
    let judged = judged(&world, "settlement/p");
    let told: Vec<_> = judged.refusals.iter().map(|r| (r.index, r.source.as_str(), r.unresolved)).collect();
    assert_eq!(
        told,
        [(0, "identity settlement/nobody", true), (1, "anywhere", false), (2, "trustDomain nowhere", true)]
    );
}

#[test]
fn a_namespace_that_does_not_exist_is_named_and_closes_nothing() {
    let mut world = world(&[SHOP]);
    world.apply(crate::world::Change::Namespace("monitoring".to_owned(), None));
    apply(
        &mut world,
        "
kind: AccessPolicy
metadata: {name: p, namespace: settlement}
spec: {to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring]}}]}
",
    );
    assert_eq!(judged(&world, "settlement/p").grants.len(), 1);
    let problem = &judged(&world, "settlement/p").problems[0];
    assert_eq!((problem.condition, problem.reason), (ConditionType::ResolvedRefs, Reason::NamespaceNotFound));
    assert_eq!(problem.message, "namespace monitoring does not exist: create it, or correct pods.namespaces");
    apply(&mut world, "{kind: Namespace, metadata: {name: monitoring}}");
    assert_eq!(judged(&world, "settlement/p").problems, []);
}

#[test]
fn all_of_128_entries_are_judged_each_alone() {
    let mut world = world(&[SHOP]);
    let mut identities: Vec<String> = (0..128)
        .filter(|n| n % 2 == 0)
        .map(|n| format!("{{kind: ServiceIdentity, metadata: {{name: s{n}, namespace: storefront}}, spec: {{}}}}"))
        .collect();
    let from: Vec<String> = (0..128).map(|n| format!("{{identity: {{name: s{n}, namespace: storefront}}}}")).collect();
    identities.push(format!(
        "{{kind: AccessPolicy, metadata: {{name: p, namespace: settlement}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, from: [{}]}}}}",
        from.join(", ")
    ));
    apply(&mut world, &identities.join("\n---\n"));
    let judged = judged(&world, "settlement/p");
    assert!(judged.grants.iter().map(|grant| grant.index).eq((0..128).step_by(2)));
    assert!(judged.refusals.iter().map(|refusal| refusal.index).eq((1..128).step_by(2)));
}

#[test]
fn a_draft_is_judged_like_any_other() {
    let spec = "to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {anywhere: {}}]";
    let mut world = world(&[SHOP]);
    apply(
        &mut world,
        &format!(
            "
{{kind: AccessPolicy, metadata: {{name: p, namespace: settlement}}, spec: {{{spec}}}}}
---
{{kind: AccessPolicy, metadata: {{name: draft, namespace: settlement}}, spec: {{{spec}, enforcement: Audit}}}}
"
        ),
    );
    assert!(judged(&world, "settlement/draft").draft && !judged(&world, "settlement/p").draft);
    assert_eq!(verdicts(&world, "settlement/draft"), verdicts(&world, "settlement/p"));
}

#[test]
fn an_entry_that_is_not_exactly_one_thing_is_refused_even_if_the_schema_was_passed_by() {
    tell(&[
        Story {
            sentence: "two callers in one entry, none in another",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{anywhere: {}, trustDomain: storefront}, {}]}",
            then: &[
                "Invalid: the entry must name exactly one of identity, trustDomain, pods, cidr, anywhere and kubernetesAPI",
                "Invalid: the entry must name exactly one of identity, trustDomain, pods, cidr, anywhere and kubernetesAPI",
            ],
        },
        Story {
            sentence: "two callees",
            given: "",
            spec: "{to: {identity: payment, kubernetesAPI: {}, ports: [{port: 8443}]}, from: [{identity: {name: delivery}}]}",
            then: &["Invalid: to must name exactly one of identity, pods, external and kubernetesAPI"],
        },
        Story {
            sentence: "no port",
            given: "",
            spec: "{to: {identity: payment}, from: [{identity: {name: delivery}}]}",
            then: &["Invalid: no port is named: name at least one in to.ports"],
        },
        Story {
            sentence: "an authentication that demands nothing",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: delivery}}], authentication: {}}",
            then: &["Invalid: authentication demands nothing: name mtls, jwt or both, or leave it out for the default"],
        },
        Story {
            sentence: "rules that nothing could check",
            given: "",
            spec: "{to: {kubernetesAPI: {}}, from: [{identity: {name: payment}}], rules: [{methods: [GET]}]}",
            then: &[
                "Invalid: rules need a callee with an identity, since nothing else could check them: leave them out",
            ],
        },
    ]);
}
