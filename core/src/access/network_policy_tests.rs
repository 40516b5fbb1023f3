//! The objects that follow from grants, as the API server would show them.

use serde_json::Value;

use super::*;
use crate::testing::{CLUSTER, SHOP, apply, grants_of, identity, world};
use crate::world::{World, content_hash};

const DNS: &str = "
{kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {selector: {k8s-app: kube-dns}, clusterIPs: [10.96.0.10], ports: [{name: dns, port: 53, protocol: UDP}]}}
---
kind: EndpointSlice
metadata: {name: kube-dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.2]}]
ports: [{name: dns, port: 5353, protocol: UDP}, {name: dns-tcp, port: 5353, protocol: TCP}, {name: metrics, port: 9153, protocol: TCP}]
";

fn policy_of(world: &World, name: &str) -> NetworkPolicySpec {
    let identity = identity(world, name);
    identity_policy(identity, &grants_of(world, identity), world.cluster.dns().as_ref())
}

fn json(spec: &NetworkPolicySpec) -> Value {
    serde_json::to_value(spec).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn an_edge_opens_both_sides_by_the_names_of_namespaces() {
    let mut world = world(&[SHOP, DNS]);
    apply(
        &mut world,
        "
kind: AccessPolicy
metadata: {name: p, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: order, namespace: storefront}}]
",
    );
    assert_eq!(
        json(&policy_of(&world, "settlement/payment")),
        yaml(
            "
podSelector: {matchLabels: {app.kubernetes.io/name: payment}}
policyTypes: [Ingress, Egress]
ingress:
- from:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: storefront}}
    podSelector: {matchLabels: {app.kubernetes.io/name: order}}
  ports: [{port: 8443, protocol: TCP}]
egress:
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    podSelector: {matchLabels: {k8s-app: kube-dns}}
  ports: [{port: 5353, protocol: TCP}, {port: 5353, protocol: UDP}]
"
        )
    );
    assert_eq!(
        json(&policy_of(&world, "storefront/order")),
        yaml(
            "
podSelector: {matchLabels: {app.kubernetes.io/name: order}}
policyTypes: [Ingress, Egress]
ingress: []
egress:
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    podSelector: {matchLabels: {k8s-app: kube-dns}}
  ports: [{port: 5353, protocol: TCP}, {port: 5353, protocol: UDP}]
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: settlement}}
    podSelector: {matchLabels: {app.kubernetes.io/name: payment}}
  ports: [{port: 8443, protocol: TCP}]
"
        )
    );
    assert_eq!(json(&policy_of(&world, "settlement/delivery"))["ingress"], yaml("[]"), "nobody else is touched");
}

#[test]
fn the_baseline_lets_nothing_through_but_dns() {
    let world = world(&[DNS]);
    assert_eq!(
        json(&baseline_policy(world.cluster.dns().as_ref())),
        yaml(
            "
podSelector: {}
policyTypes: [Ingress, Egress]
ingress: []
egress:
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    podSelector: {matchLabels: {k8s-app: kube-dns}}
  ports: [{port: 5353, protocol: TCP}, {port: 5353, protocol: UDP}]
"
        )
    );
    assert_eq!(
        json(&baseline_policy(None)),
        yaml("{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [], egress: []}")
    );
}

#[test]
fn a_node_local_cache_is_reached_by_its_address_and_the_service_s() {
    let cache = "{kind: Pod, metadata: {name: cache, namespace: kube-system, labels: {k8s-app: node-local-dns}}, spec: {containers: [{name: main}]}}";
    let world = world(&[DNS, cache]);
    assert_eq!(
        json(&baseline_policy(world.cluster.dns().as_ref()))["egress"],
        yaml(
            "
- to:
  - {ipBlock: {cidr: 10.96.0.10/32}}
  - {ipBlock: {cidr: 169.254.20.10/32}}
  ports: [{port: 53, protocol: TCP}, {port: 53, protocol: UDP}]
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    podSelector: {matchLabels: {k8s-app: kube-dns}}
  ports: [{port: 5353, protocol: TCP}, {port: 5353, protocol: UDP}]
"
        )
    );
}

#[test]
fn every_kind_of_source_has_its_form() {
    let mut world = world(&[SHOP, CLUSTER]);
    apply(
        &mut world,
        "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement, ledger]
  certificateAuthority: {selfSigned: {}}
  inbound: [{anywhere: {}}]
---
{kind: Namespace, metadata: {name: logging}}
---
kind: AccessPolicy
metadata: {name: a, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 1}]}
  from: [{pods: {namespaces: [monitoring, logging]}}]
---
kind: AccessPolicy
metadata: {name: b, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 2}]}
  from: [{trustDomain: settlement}]
---
kind: AccessPolicy
metadata: {name: c, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 3, endPort: 5}]}
  from: [{cidr: 192.0.2.0/24}, {cidr: '2001:db8::/32'}]
---
kind: AccessPolicy
metadata: {name: d, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 6, protocol: UDP}]}
  from: [{anywhere: {}}]
---
kind: AccessPolicy
metadata: {name: e, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 7}]}
  from: [{kubernetesAPI: {}}]
---
kind: AccessPolicy
metadata: {name: f, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8}]}
  from: [{identity: {name: payment}}]
",
    );
    let payment = json(&policy_of(&world, "settlement/payment"));
    assert_eq!(payment["ingress"], yaml("
- ports: [{port: 6, protocol: UDP}]
- from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [logging, monitoring]}]}}]
  ports: [{port: 1, protocol: TCP}]
- from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [ledger, settlement]}]}}]
  ports: [{port: 2, protocol: TCP}]
- from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.1/32]}}, {ipBlock: {cidr: '2001:db8::/32'}}]
  ports: [{port: 3, endPort: 5, protocol: TCP}]
- from: [{ipBlock: {cidr: 192.0.2.10/32}}]
  ports: [{port: 7, protocol: TCP}]
- from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: settlement}}, podSelector: {matchLabels: {app.kubernetes.io/name: payment}}}]
  ports: [{port: 8, protocol: TCP}]
"));
    assert_eq!(payment["egress"], yaml("
- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: settlement}}, podSelector: {matchLabels: {app.kubernetes.io/name: payment}}}]
  ports: [{port: 2, protocol: TCP}, {port: 8, protocol: TCP}]
"), "it may call itself by its own name, and as a member of its domain");
}

#[test]
fn every_kind_of_callee_has_its_form() {
    let mut world = world(&[SHOP, CLUSTER]);
    apply(&mut world, "
kind: TrustDomain
metadata: {name: settlement}
spec:
  trustDomain: settlement.example
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  outbound: [{anywhere: {}}, {namespaces: [databases]}, {kubernetesAPI: {}}]
---
kind: AccessPolicy
metadata: {name: a, namespace: settlement}
spec:
  to: {pods: {namespaces: [databases], selector: {matchLabels: {app: postgres}, matchExpressions: [{key: tier, operator: NotIn, values: [test]}]}, ports: [{port: 5432}]}}
  from: [{identity: {name: payment}}]
---
kind: AccessPolicy
metadata: {name: b, namespace: settlement}
spec:
  to: {external: {cidrs: ['::/0', 198.51.100.0/24], ports: [{port: 443}]}}
  from: [{identity: {name: payment}}]
---
kind: AccessPolicy
metadata: {name: c, namespace: settlement}
spec:
  to: {kubernetesAPI: {}}
  from: [{identity: {name: payment}}]
");
    assert_eq!(
        json(&policy_of(&world, "settlement/payment"))["egress"],
        yaml(
            "
- to:
  - {ipBlock: {cidr: 0.0.0.0/0, except: [10.96.0.0/16, 10.244.0.0/24, 169.254.0.0/16, 192.0.2.1/32]}}
  - {ipBlock: {cidr: 198.51.100.0/24}}
  - {ipBlock: {cidr: '::/0', except: ['fe80::/10']}}
  ports: [{port: 443, protocol: TCP}]
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: databases}}
    podSelector: {matchLabels: {app: postgres}, matchExpressions: [{key: tier, operator: NotIn, values: [test]}]}
  ports: [{port: 5432, protocol: TCP}]
- to: [{ipBlock: {cidr: 192.0.2.10/32}}]
  ports: [{port: 6443, protocol: TCP}]
"
        )
    );
}

#[test]
fn callers_with_the_same_ports_share_a_rule_and_a_caller_s_ports_add_up() {
    let mut world = world(&[SHOP]);
    apply(
        &mut world,
        "
kind: AccessPolicy
metadata: {name: a, namespace: storefront}
spec:
  to: {identity: inventory, ports: [{port: 2}, {port: 1}]}
  from: [{identity: {name: order}}, {identity: {name: gateway}}, {identity: {name: order}}]
---
kind: AccessPolicy
metadata: {name: b, namespace: storefront}
spec:
  to: {identity: inventory, ports: [{port: 2}, {port: 3}]}
  from: [{identity: {name: order}}]
---
kind: AccessPolicy
metadata: {name: c, namespace: storefront}
spec:
  to: {identity: inventory, ports: [{port: 1}, {port: 2}]}
  from: [{identity: {name: inventory}}]
",
    );
    let caller = |name: &str| {
        format!(
            "{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: storefront}}}}, podSelector: {{matchLabels: {{app.kubernetes.io/name: {name}}}}}}}"
        )
    };
    let expected = format!(
        "
- {{from: [{}, {}], ports: [{{port: 1, protocol: TCP}}, {{port: 2, protocol: TCP}}]}}
- {{from: [{}], ports: [{{port: 1, protocol: TCP}}, {{port: 2, protocol: TCP}}, {{port: 3, protocol: TCP}}]}}
",
        caller("gateway"),
        caller("inventory"),
        caller("order")
    );
    assert_eq!(json(&policy_of(&world, "storefront/inventory"))["ingress"], yaml(&expected));
}

#[test]
fn a_domain_without_namespaces_lets_nobody_in_rather_than_everybody() {
    let mut world = world(&[SHOP]);
    apply(&mut world, "
{kind: TrustDomain, metadata: {name: root}, spec: {certificateAuthority: {selfSigned: {}}, outbound: [{trustDomains: [settlement]}]}}
---
kind: TrustDomain
metadata: {name: settlement}
spec: {namespaces: [settlement], certificateAuthority: {selfSigned: {}}, inbound: [{trustDomains: [root]}]}
---
kind: AccessPolicy
metadata: {name: p, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{trustDomain: root}]
");
    assert_eq!(grants_of(&world, identity(&world, "settlement/payment")).len(), 1);
    assert_eq!(json(&policy_of(&world, "settlement/payment"))["ingress"], yaml("[]"));
}

#[test]
fn an_enforced_policy_counts_and_a_draft_does_not() {
    let policy = |enforcement: &str| {
        let mut world = world(&[SHOP]);
        apply(
            &mut world,
            &format!(
                "
kind: AccessPolicy
metadata: {{name: p, namespace: settlement}}
spec:
  to: {{identity: payment, ports: [{{port: 8443}}]}}
  from: [{{identity: {{name: order, namespace: storefront}}}}]
  enforcement: {enforcement}
"
            ),
        );
        policy_of(&world, "settlement/payment").ingress.unwrap().len()
    };
    assert_eq!((policy("Enforce"), policy("Audit")), (1, 0));
}

#[test]
fn what_the_api_server_returns_has_the_same_hash() {
    let mut world = world(&[SHOP, CLUSTER, DNS]);
    apply(
        &mut world,
        "
kind: AccessPolicy
metadata: {name: p, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}, {port: 9000, endPort: 9010, protocol: UDP}]}
  from: [{identity: {name: delivery}}, {trustDomain: settlement}]
",
    );
    for spec in
        [policy_of(&world, "settlement/payment"), policy_of(&world, "settlement/delivery"), baseline_policy(None)]
    {
        // The API server leaves out empty lists, and has nothing left to fill in: protocols and types are explicit.
        let mut stored = json(&spec);
        for list in ["ingress", "egress"] {
            if stored[list] == yaml("[]") {
                stored.as_object_mut().unwrap().remove(list);
            }
        }
        let stored: NetworkPolicySpec = serde_json::from_value(stored).unwrap();
        assert_eq!(content_hash(&stored), content_hash(&spec));
        let ports = json(&spec).to_string().matches("\"port\":").count();
        assert_eq!(json(&spec).to_string().matches("\"protocol\":").count(), ports);
    }
}
