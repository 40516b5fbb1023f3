//! Stories about parties without an identity: addresses, pods, the API server.

use super::*;

#[test]
fn addresses_are_let_in_as_far_as_the_ceiling_goes() {
    let given = "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound:
  - {cidrs: [203.0.113.0/24, 10.0.0.0/8], ports: [{port: 1}]}
  - {anywhere: {}, ports: [{port: 2}]}
  - {cidrs: [10.0.0.0/8], clusterAddresses: true, ports: [{port: 3}]}
  - {kubernetesAPI: {}, ports: [{port: 4}]}
  - {cidrs: ['::/0'], ports: [{port: 5}]}
";
    tell(&[
        Story {
            sentence: "a range inside one that is admitted is, a wider one is not",
            given,
            spec: "{to: {identity: payment, ports: [{port: 1}]}, from: [{cidr: 203.0.113.128/25}, {cidr: 203.0.112.0/23}, {cidr: 0.0.0.0/0}]}",
            then: &[
                "cidr 203.0.113.128/25 -> identity settlement/payment 1/TCP nothing",
                "InboundNotAllowed: inbound[1] of TrustDomain settlement admits cidrs [203.0.112.0/23] only on pod port 2/TCP, not on 1/TCP: ask the platform team to add it to ports",
                "InboundNotAllowed: inbound[1] of TrustDomain settlement admits anywhere only on pod port 2/TCP, not on 1/TCP: ask the platform team to add it to ports",
            ],
        },
        Story {
            sentence: "the cluster's own addresses need clusterAddresses",
            given,
            spec: "{to: {identity: payment, ports: [{port: 1}]}, from: [{cidr: 10.244.0.0/25}, {cidr: 10.244.0.0/24}]}",
            then: &[
                "ClusterAddresses: 10.244.0.0/25 lies within the cluster's own addresses: name an identity or pods, or ask the platform team for an entry with clusterAddresses: true",
                "ClusterAddresses: 10.244.0.0/24 lies within the cluster's own addresses: name an identity or pods, or ask the platform team for an entry with clusterAddresses: true",
            ],
        },
        Story {
            sentence: "with clusterAddresses they are admitted",
            given,
            spec: "{to: {identity: payment, ports: [{port: 3}]}, from: [{cidr: 10.244.0.0/25}]}",
            then: &["cidr 10.244.0.0/25 -> identity settlement/payment 3/TCP nothing"],
        },
        Story {
            sentence: "anywhere admits every kind of stranger",
            given,
            spec: "{to: {identity: payment, ports: [{port: 2}]}, from: [{anywhere: {}}, {cidr: 203.0.112.0/23}, {pods: {namespaces: [monitoring]}}, {kubernetesAPI: {}}]}",
            then: &[
                "anywhere -> identity settlement/payment 2/TCP nothing",
                "cidr 203.0.112.0/23 -> identity settlement/payment 2/TCP nothing",
                "pods in monitoring -> identity settlement/payment 2/TCP nothing",
                "kubernetesAPI -> identity settlement/payment 2/TCP nothing",
            ],
        },
        Story {
            sentence: "a range of length 0 is anywhere, in a policy as in a ceiling, of either family",
            given,
            spec: "{to: {identity: payment, ports: [{port: 5}]}, from: [{cidr: '::/0'}, {cidr: 0.0.0.0/0}, {anywhere: {}}]}",
            then: &[
                "anywhere -> identity settlement/payment 5/TCP nothing",
                "anywhere -> identity settlement/payment 5/TCP nothing",
                "anywhere -> identity settlement/payment 5/TCP nothing",
            ],
        },
        Story {
            sentence: "the API server is let in by its own entry",
            given,
            spec: "{to: {identity: payment, ports: [{port: 4}]}, from: [{kubernetesAPI: {}}, {anywhere: {}}]}",
            then: &[
                "kubernetesAPI -> identity settlement/payment 4/TCP nothing",
                "InboundNotAllowed: inbound[1] of TrustDomain settlement admits anywhere only on pod port 2/TCP, not on 4/TCP: ask the platform team to add it to ports",
            ],
        },
        Story {
            sentence: "a range that is none is refused with the one that was meant",
            given,
            spec: "{to: {identity: payment, ports: [{port: 1}]}, from: [{cidr: 203.0.113.7/24}, {cidr: 203.0.113.0/33}, {cidr: '::ffff:203.0.113.0/120'}, {cidr: 203.0.113.0/24}]}",
            then: &[
                "InvalidCidr: 203.0.113.7/24 has bits set behind its prefix: write 203.0.113.0/24 for the whole range, or 203.0.113.7/32 for the one address",
                "InvalidCidr: 203.0.113.0/33 is no address range: write an address and a prefix length, such as 203.0.113.0/24",
                "InvalidCidr: ::ffff:203.0.113.0/120 holds IPv4 addresses written as IPv6, which no packet carries: write them as IPv4",
                "cidr 203.0.113.0/24 -> identity settlement/payment 1/TCP nothing",
            ],
        },
    ]);
}

#[test]
fn pods_of_a_fenced_namespace_need_an_identity() {
    tell(&[
        Story {
            sentence: "as callers, even together with others",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring, storefront]}}]}",
            then: &[
                "FencedPods: namespace storefront is in TrustDomain storefront, where pods have identities: name an identity instead of pods",
            ],
        },
        Story {
            sentence: "as callees",
            given: "",
            spec: "{to: {pods: {namespaces: [storefront], ports: [{port: 5432}]}}, from: [{identity: {name: payment}}]}",
            then: &[
                "FencedPods: namespace storefront is in TrustDomain storefront, where pods have identities: name an identity instead of pods",
            ],
        },
        Story {
            sentence: "and a selector must be one that Kubernetes takes, or it would spoil everyone's NetworkPolicy",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring], selector: {matchLabels: {'bad key': x}}}}, {pods: {namespaces: [monitoring], selector: {matchExpressions: [{key: a, operator: In}]}}}, {pods: {namespaces: [Monitoring!]}}]}",
            then: &[
                "Invalid: the selector can't be used: \"bad key\" is no label key",
                "Invalid: the selector can't be used: the operator In of a needs values",
                "Invalid: \"Monitoring!\" can't be the name of a namespace: correct it in pods.namespaces",
            ],
        },
    ]);
}

#[test]
fn callees_without_an_identity_open_the_way_out_only_as_far_as_the_ceiling_goes() {
    let given = "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  outbound:
  - {namespaces: [databases], ports: [{port: 5432}], identities: [{name: payment}]}
  - {cidrs: [198.51.100.0/24, 10.0.0.0/8], ports: [{port: 443}]}
  - {kubernetesAPI: {}}
  - {anywhere: {}, ports: [{port: 25}]}
";
    tell(&[
        Story {
            sentence: "pods outside the domains",
            given,
            spec: "{to: {pods: {namespaces: [databases], ports: [{port: 5432}]}}, from: [{identity: {name: payment}}, {identity: {name: delivery}}]}",
            then: &[
                "identity settlement/payment -> pods in databases 5432/TCP nothing",
                "OutboundNotAllowed: outbound[0] of TrustDomain settlement lets its members reach namespaces [databases] only for payment, not for settlement/delivery: ask the platform team to add it to identities",
            ],
        },
        Story {
            sentence: "anywhere means addresses, not pods and not the API server",
            given,
            spec: "{to: {pods: {namespaces: [monitoring], ports: [{port: 25}]}}, from: [{identity: {name: payment}}]}",
            then: &[
                "OutboundNotAllowed: TrustDomain settlement has no outbound entry that lets its members reach namespaces [monitoring] on port 25/TCP: ask the platform team to add one",
            ],
        },
        Story {
            sentence: "addresses, all of which must be allowed",
            given,
            spec: "{to: {external: {cidrs: [198.51.100.0/25], ports: [{port: 443}]}}, from: [{identity: {name: payment}}]}",
            then: &["identity settlement/payment -> external 198.51.100.0/25 443/TCP nothing"],
        },
        Story {
            sentence: "one address too many closes it",
            given,
            spec: "{to: {external: {cidrs: [198.51.100.0/25, 203.0.113.0/24], ports: [{port: 443}]}}, from: [{identity: {name: payment}}]}",
            then: &[
                "OutboundNotAllowed: outbound[3] of TrustDomain settlement lets its members reach cidrs [203.0.113.0/24] only on pod port 25/TCP, not on 443/TCP: ask the platform team to add it to ports",
            ],
        },
        Story {
            sentence: "the cluster's own addresses are not outside it",
            given,
            spec: "{to: {external: {cidrs: [10.96.0.0/24], ports: [{port: 443}]}}, from: [{identity: {name: payment}}]}",
            then: &[
                "ClusterAddresses: 10.96.0.0/24 lies within the cluster's own addresses: name an identity or pods, or ask the platform team for an entry with clusterAddresses: true",
            ],
        },
        Story {
            sentence: "everywhere, in both families",
            given,
            spec: "{to: {external: {cidrs: [0.0.0.0/0], ports: [{port: 25}]}}, from: [{identity: {name: payment}}]}",
            then: &["identity settlement/payment -> external 0.0.0.0/0, ::/0 25/TCP nothing"],
        },
        Story {
            sentence: "the API server, on the port that it really has",
            given,
            spec: "{to: {kubernetesAPI: {}}, from: [{identity: {name: payment}}]}",
            then: &["identity settlement/payment -> kubernetesAPI 6443/TCP nothing"],
        },
        Story {
            sentence: "only identities of this namespace go out, and nothing can be demanded of them",
            given,
            spec: "{to: {kubernetesAPI: {}}, from: [{identity: {name: order, namespace: storefront}}, {anywhere: {}}]}",
            then: &[
                "Invalid: identity storefront/order may not go to a callee without an identity from here: only identities of namespace settlement may",
                "Invalid: anywhere may not go to a callee without an identity from here: only identities of namespace settlement may",
            ],
        },
        Story {
            sentence: "nothing is demanded where nothing can check it",
            given,
            spec: "{to: {kubernetesAPI: {}}, from: [{identity: {name: payment}}], authentication: {mtls: {}}}",
            then: &[
                "Invalid: authentication needs a callee with an identity, since nothing else could check it: leave it out",
            ],
        },
        Story {
            sentence: "names of ports mean nothing there",
            given,
            spec: "{to: {pods: {namespaces: [databases], ports: [{port: postgres}]}}, from: [{identity: {name: payment}}]}",
            then: &[
                "Invalid: port postgres is a name, which only a callee with an identity can have: write the number",
            ],
        },
    ]);
}

#[test]
fn the_api_server_is_closed_until_its_addresses_are_known() {
    let mut world = world(&[SHOP]);
    apply(&mut world, "
{kind: TrustDomain, metadata: {name: settlement}, spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}, outbound: [{kubernetesAPI: {}}]}}
---
{kind: AccessPolicy, metadata: {name: p, namespace: settlement}, spec: {to: {kubernetesAPI: {}}, from: [{identity: {name: payment}}]}}
");
    let before = judged(&world, "settlement/p").refusals[0].clone();
    assert_eq!((before.reason, before.unresolved), (Reason::ApiServerUnknown, true));
    apply(&mut world, CLUSTER);
    assert_eq!(verdicts(&world, "settlement/p"), ["identity settlement/payment -> kubernetesAPI 6443/TCP nothing"]);
}
