//! Stories about what a caller must prove.

use super::*;

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
fn who_can_not_show_a_certificate_where_one_is_needed_is_told_and_nobody_else_is_touched() {
    const CALLS_ONLY: &str = "{kind: ServiceIdentity, metadata: {name: order, namespace: storefront}, spec: {signingKey: {}, certificate: {usages: [ClientAuth]}}}";
    const SERVES_ONLY: &str = "{kind: ServiceIdentity, metadata: {name: order, namespace: storefront}, spec: {signingKey: {}, certificate: {usages: [ServerAuth]}}}";
    tell(&[
        Story {
            sentence: "a caller without ClientAuth can't prove itself by certificate",
            given: SERVES_ONLY,
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {identity: {name: inventory, namespace: storefront}}]}",
            then: &[
                "UsageMissing: the certificate of ServiceIdentity storefront/order is not for clients: add ClientAuth to certificate.usages in it",
                "identity storefront/inventory -> identity settlement/payment 8443/TCP mtls",
            ],
        },
        Story {
            sentence: "but by a token it can",
            given: SERVES_ONLY,
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}], authentication: {jwt: {}}}",
            then: &["identity storefront/order -> identity settlement/payment 8443/TCP jwt"],
        },
        Story {
            sentence: "a caller need not be a server",
            given: CALLS_ONLY,
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}], authentication: {mtls: {}, jwt: {}}}",
            then: &["identity storefront/order -> identity settlement/payment 8443/TCP mtls+jwt"],
        },
        Story {
            sentence: "a callee without ServerAuth can be called by nobody who must prove anything, a whole domain included",
            given: "{kind: ServiceIdentity, metadata: {name: payment, namespace: settlement}, spec: {certificate: {usages: [ClientAuth]}}}",
            spec: "{to: {identity: payment, ports: [{port: 8443}]}, from: [{identity: {name: order, namespace: storefront}}, {trustDomain: storefront}]}",
            then: &[
                "UsageMissing: the certificate of ServiceIdentity settlement/payment is not for servers: add ServerAuth to certificate.usages in it",
                "UsageMissing: the certificate of ServiceIdentity settlement/payment is not for servers: add ServerAuth to certificate.usages in it",
            ],
        },
        Story {
            sentence: "where nothing is proved, no certificate is needed",
            given: "{kind: ServiceIdentity, metadata: {name: payment, namespace: settlement}, spec: {certificate: {usages: [ClientAuth]}}} \n---\n {kind: TrustDomain, metadata: {name: settlement}, spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}, inbound: [{anywhere: {}}]}}",
            spec: "{to: {identity: payment, ports: [{port: 9090}]}, from: [{pods: {namespaces: [monitoring]}}]}",
            then: &["pods in monitoring -> identity settlement/payment 9090/TCP nothing"],
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
        judged(&world, "settlement/p").grants[0].authentication.jwt.as_ref().unwrap().max_lifetime.unwrap().as_secs()
    };
    assert_eq!(lifetime("", "", ""), 300, "five minutes when nobody says anything");
    assert_eq!(lifetime("", "", "maxLifetime: 1m"), 60);
    assert_eq!(lifetime("", "", "maxLifetime: 1h"), 300, "a policy never goes beyond a domain");
    assert_eq!(lifetime("maxTokenLifetime: 30s", "maxTokenLifetime: 10m", "maxLifetime: 1m"), 30);
    assert_eq!(lifetime("maxTokenLifetime: 10m", "maxTokenLifetime: 20s", ""), 20);
    assert_eq!(lifetime("maxTokenLifetime: 10m", "", ""), 300, "each domain that says nothing says five minutes");
    assert_eq!(lifetime("maxTokenLifetime: 10m", "maxTokenLifetime: 20m", ""), 600);
}
