//! Random models.

use super::issuers::{built_in, issuers, tokens};
use super::*;

/// Models of 2 to 4 domains.
pub(crate) fn models() -> impl Strategy<Value = Model> {
    (2usize..=4).prop_flat_map(|count| {
        let domain = (
            prop::collection::vec(entries(count, true), 0..6),
            prop::collection::vec(entries(count, false), 0..6),
            issuers(),
        )
            .prop_map(|(inbound, outbound, issuers)| Domain { inbound, outbound, issuers });
        let token_service = (namespace(count), prop::sample::select(&["x", "y", "y", "nobody"][..]));
        let lists = (
            namespace(count),
            prop::sample::select(&IDENTITIES[..]),
            prop::sample::select(&["sts", "sts", "login", "nobody"][..]),
        );
        (
            prop::collection::vec(domain, count),
            prop::collection::vec(policies(count), 1..8),
            prop::option::weighted(0.9, token_service),
            prop::collection::btree_set(lists, 0..48),
        )
            .prop_map(|(domains, policies, token_service, lists)| Model {
                domains,
                policies,
                token_service,
                lists,
            })
    })
}

/// Models in which most of what is declared is about tokens of the built-in issuer.
pub(crate) fn token_models() -> impl Strategy<Value = Model> {
    let (often, seldom) = (|| prop::bool::weighted(0.8), || prop::bool::weighted(0.2));
    let issuers = prop::collection::vec((prop::option::weighted(0.9, built_in()), often()), 4);
    let policies = prop::collection::vec((often(), seldom(), any::<bool>(), seldom(), any::<bool>()), 8);
    (models(), issuers, policies, prop::collection::vec(often(), 16)).prop_map(
        |(mut model, issuers, policies, lists)| {
            let all = Other::Domains((0..model.domains.len()).collect());
            for (domain, (issuer, is_open)) in model.domains.iter_mut().zip(issuers) {
                domain.issuers.retain(|issuer| !issuer.is_built_in());
                domain.issuers.extend(issuer);
                if is_open {
                    domain
                        .inbound
                        .extend([all.clone(), Other::Anywhere].map(|other| Entry::open(other, vec!["IssuerJwt"])));
                    domain.outbound.push(Entry { accepted: None, ..Entry::open(all.clone(), Vec::new()) });
                }
            }
            for (policy, (by_token, mtls, introspected, one_time, outside)) in model.policies.iter_mut().zip(policies) {
                if by_token && matches!(policy.to, To::Identity(..)) {
                    let token = Token::Issuer { name: Some("sts"), introspected, one_time };
                    policy.authentication = Some((mtls, Some(token)));
                    policy.from.extend(outside.then_some(From::Anywhere));
                }
            }
            let lists = model.identities().zip(lists).filter(|(_, lists)| *lists);
            let lists: Vec<_> = lists.map(|((namespace, name), _)| (namespace, name, "sts")).collect();
            model.lists.extend(lists);
            model
        },
    )
}

impl Entry {
    /// One for all ports and identities.
    fn open(other: Other, accepted: Vec<&'static str>) -> Self {
        let (ports, identities) = (Vec::new(), Vec::new());
        Self { other, ports, identities, cluster_addresses: false, accepted: Some(accepted) }
    }
}

fn namespace(count: usize) -> impl Strategy<Value = String> {
    (0..count, prop::sample::select(&["a", "b"])).prop_map(|(domain, letter)| format!("d{domain}{letter}"))
}

fn cidr() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &["203.0.113.0/24", "203.0.113.0/25", "10.0.0.0/8", "10.244.0.0/16", "192.0.2.0/24", "0.0.0.0/0"][..],
    )
}

fn port_ranges() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let singles =
        prop::collection::btree_set(PORTS, 1..3).prop_map(|ports| ports.into_iter().map(|port| (port, port)).collect());
    prop_oneof![3 => singles, 1 => (1u16..=3, 0u16..=2).prop_map(|(first, more)| vec![(first, first + more)])]
}

pub(crate) fn entries(count: usize, inbound: bool) -> impl Strategy<Value = Entry> {
    let other = prop_oneof![
        1 => Just(Other::Anywhere),
        5 => prop::collection::btree_set(0..count, 1..=count).prop_map(|domains| Other::Domains(domains.into_iter().collect())),
        2 => prop::collection::btree_set(prop::sample::select(&OUTSIDE[..]), 1..=2).prop_map(|names| Other::Namespaces(names.into_iter().map(str::to_owned).collect())),
        2 => prop::collection::btree_set(cidr(), 1..=2).prop_map(|cidrs| Other::Cidrs(cidrs.into_iter().collect())),
        1 => Just(Other::KubernetesApi),
    ];
    let ports = prop_oneof![4 => Just(Vec::new()), 1 => port_ranges()];
    let identity = (prop::sample::select(&IDENTITIES[..]), prop::option::of(namespace(count)))
        .prop_map(|(name, namespace)| (name.to_owned(), namespace));
    let identities = prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec(identity, 1..3)];
    let accepted =
        prop::option::weighted(0.15, prop::sample::subsequence(vec!["Mtls", "CallerJwt", "IssuerJwt", "None"], 1..=4));
    let accepted = accepted.prop_map(move |accepted| accepted.filter(|_| inbound));
    (other, ports, identities, prop::bool::weighted(0.2), accepted).prop_map(
        |(other, ports, identities, cluster_addresses, accepted)| Entry {
            other,
            ports,
            identities,
            cluster_addresses,
            accepted,
        },
    )
}

pub(crate) fn sources(count: usize) -> impl Strategy<Value = From> {
    let name = prop::sample::select(&["x", "x", "x", "y", "y", "nobody"][..]);
    let outside = prop::sample::select(&["out-a", "out-b", "out-a", "out-b", "d0a"][..]).prop_map(str::to_owned);
    prop_oneof![
        6 => (namespace(count), name).prop_map(|(namespace, name)| From::Identity(namespace, name)),
        2 => (0..=count).prop_map(From::Domain),
        2 => (prop::collection::btree_set(outside, 1..=2), prop::option::of(prop::sample::select(&["red", "blue"][..])))
            .prop_map(|(namespaces, tier)| From::Pods(namespaces.into_iter().collect(), tier)),
        2 => cidr().prop_map(From::Cidr),
        1 => Just(From::Anywhere),
        1 => Just(From::KubernetesApi),
    ]
}

fn policies(count: usize) -> impl Strategy<Value = Policy> {
    let name = prop::sample::select(&["x", "x", "x", "y", "y", "y", "nobody"][..]);
    let outside = prop::sample::select(&["out-a", "out-b", "d0a"][..]).prop_map(str::to_owned);
    let to = prop_oneof![
        6 => (name, port_ranges()).prop_map(|(name, ports)| To::Identity(name, ports)),
        1 => (outside, PORTS).prop_map(|(namespace, port)| To::Pods(namespace, port)),
        1 => (cidr(), PORTS).prop_map(|(cidr, port)| To::External(cidr, port)),
        1 => Just(To::KubernetesApi),
    ];
    let authentication = prop_oneof![
        1 => Just((true, None)),
        3 => tokens().prop_map(|token| (false, Some(token))),
        1 => tokens().prop_map(|token| (true, Some(token))),
    ];
    let authentication = prop::option::weighted(0.5, authentication);
    (namespace(count), to, prop::collection::vec(sources(count), 1..5), authentication, prop::bool::weighted(0.1))
        .prop_map(|(namespace, to, mut from, authentication, draft)| {
            // To a callee without an identity only identities of the policy's own namespace may go.
            if !matches!(to, To::Identity(..)) {
                from[0] = From::Identity(namespace.clone(), "x");
            }
            Policy { namespace, to, from, authentication, draft }
        })
}
