//! Stories about single policies: what is declared, and what comes of each `from` entry.

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
fn callers_that_cannot_prove_what_is_demanded_are_closed() {
    tell(&[
        Story {
            sentence: "a token needs a key to sign it with",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {identity: {name: inventory, namespace: storefront}}], authentication: {jwt: {}}}",
            then: &[
                "identity storefront/order -> identity settlement/payment 8443/TCP jwt",
                "NoSigningKey: ServiceIdentity storefront/inventory has no key to sign a token with: set signingKey in it, {} is enough",
            ],
        },
        Story {
            sentence: "nothing can be demanded of those without an identity",
            given: "{kind: TrustDomain, metadata: {name: settlement}, spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}, inbound: [{anywhere: {}}]}}",
            spec: "{to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring]}}, {anywhere: {}}, {cidr: 203.0.113.0/24}, {kubernetesAPI: {}}], authentication: {mtls: {}}}",
            then: &[
                "Invalid: pods in monitoring has no identity that it could prove: put it into a policy of its own, without authentication",
                "Invalid: anywhere has no identity that it could prove: put it into a policy of its own, without authentication",
                "Invalid: cidr 203.0.113.0/24 has no identity that it could prove: put it into a policy of its own, without authentication",
                "Invalid: kubernetesAPI has no identity that it could prove: put it into a policy of its own, without authentication",
            ],
        },
        Story {
            sentence: "a token can't be demanded of a whole domain",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{trustDomain: storefront}], authentication: {mtls: {}, jwt: {}}}",
            then: &[
                "Invalid: a token that the caller signs can't be asked of trustDomain storefront: name the callers one by one, or demand mtls alone",
            ],
        },
        Story {
            sentence: "an audience must be one of the callee's",
            given: "",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}], authentication: {jwt: {audiences: ['https://payment.example']}}}",
            then: &[
                "AudienceNotFound: https://payment.example is no audience of ServiceIdentity settlement/payment, which has spiffe://settlement.example/ns/settlement/sa/payment: name one of these in authentication.jwt.audiences, or add it there",
            ],
        },
        Story {
            sentence: "a wildcard needs the consent of the callee's domain",
            given: "{kind: Service, metadata: {name: payment, namespace: settlement}, spec: {selector: {app.kubernetes.io/name: payment}, ports: [{port: 8443}]}}",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}], authentication: {jwt: {audiences: ['*.settlement.svc']}}}",
            then: &[
                "AudienceNotAllowed: the audience *.settlement.svc is a wildcard, which TrustDomain settlement does not allow: name one of payment.settlement.svc, payment.settlement.svc.cluster.local, spiffe://settlement.example/ns/settlement/sa/payment in authentication.jwt.audiences",
            ],
        },
    ]);
}

#[test]
fn a_wildcard_audience_must_stand_for_an_audience_of_the_callee() {
    let given = "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  signingKeys: {allowWildcardAudiences: true}
  inbound: [{trustDomains: [storefront]}]
---
{kind: Service, metadata: {name: payment, namespace: settlement}, spec: {selector: {app.kubernetes.io/name: payment}, ports: [{port: 8443}]}}
";
    let audiences = |audience: &str| {
        let mut world = world(&[SHOP, given]);
        apply(
            &mut world,
            &format!(
                "
kind: AccessPolicy
metadata: {{name: p, namespace: settlement}}
spec:
  to: {{identity: payment, ports: [{{port: 8443}}]}}
  from: [{{identity: {{name: order, namespace: storefront}}}}]
  authentication: {{jwt: {{audiences: ['{audience}']}}}}
"
            ),
        );
        let judged = judged(&world, "settlement/p");
        let granted =
            judged.grants.iter().flat_map(|grant| grant.authentication.jwt.clone()).flat_map(|jwt| jwt.audiences);
        granted.chain(judged.refusals.iter().map(|refusal| refusal.reason.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(audiences("*.settlement.svc"), ["*.settlement.svc"]);
    assert_eq!(audiences("*.storefront.svc"), ["AudienceNotFound"]);
    assert_eq!(audiences("*.svc"), ["AudienceNotFound"], "a wildcard stands for one label");
    assert_eq!(audiences("*"), ["AudienceNotFound"]);
    assert_eq!(audiences("pay*.settlement.svc"), ["AudienceNotFound"]);
}

#[test]
fn the_shortest_token_lifetime_counts() {
    let lifetime = |storefront: &str, settlement: &str, policy: &str| {
        let mut world = world(&[SHOP]);
        apply(&mut world, &format!("
kind: TrustDomain
metadata: {{name: storefront}}
spec: {{trustDomain: storefront.example, namespaces: [storefront], certificateAuthority: {{selfSigned: {{}}}}, outbound: [{{trustDomains: [settlement]}}], signingKeys: {{{storefront}}}}}
---
kind: TrustDomain
metadata: {{name: settlement}}
spec: {{trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {{selfSigned: {{}}}}, inbound: [{{trustDomains: [storefront]}}], signingKeys: {{{settlement}}}}}
---
kind: AccessPolicy
metadata: {{name: p, namespace: settlement}}
spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, from: [{{identity: {{name: order, namespace: storefront}}}}], authentication: {{jwt: {{{policy}}}}}}}
"));
        judged(&world, "settlement/p").grants[0].authentication.jwt.as_ref().unwrap().max_lifetime.as_secs()
    };
    assert_eq!(lifetime("", "", ""), 300, "five minutes when nobody says anything");
    assert_eq!(lifetime("", "", "maxLifetime: 1m"), 60);
    assert_eq!(lifetime("", "", "maxLifetime: 1h"), 300, "a policy never goes beyond a domain");
    assert_eq!(lifetime("maxTokenLifetime: 30s", "maxTokenLifetime: 10m", "maxLifetime: 1m"), 30);
    assert_eq!(lifetime("maxTokenLifetime: 10m", "maxTokenLifetime: 20s", ""), 20);
    assert_eq!(lifetime("maxTokenLifetime: 10m", "", ""), 300, "each domain that says nothing says five minutes");
    assert_eq!(lifetime("maxTokenLifetime: 10m", "maxTokenLifetime: 20m", ""), 600);
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
