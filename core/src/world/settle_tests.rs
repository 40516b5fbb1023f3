//! In whatever order things change, what follows from them is settled: the same as if it were worked out anew.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{forget, show};
use crate::world::{Settings, TokenService};

const NAMESPACES: [&str; 3] = ["n0", "n1", "n2"];

/// Something that happens to one object: it is as told, or gone.
#[derive(Clone, Debug)]
struct Event {
    kind: &'static str,
    namespace: Option<&'static str>,
    name: &'static str,
    /// Nothing when it is gone.
    object: Option<Value>,
}

impl Event {
    fn key(&self) -> String {
        self.namespace.map_or(self.name.to_owned(), |namespace| format!("{namespace}/{}", self.name))
    }
}

fn event(
    kind: &'static str,
    namespace: Option<&'static str>,
    name: &'static str,
    object: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Event> {
    prop::option::weighted(0.85, object).prop_map(move |object| Event { kind, namespace, name, object })
}

fn namespace() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMESPACES[..])
}

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(all, 0..=all.len())
}

/// Issuers of a domain: the built-in one with a client outside, and one in pods of a namespace that may be fenced.
fn token_issuers() -> impl Strategy<Value = Vec<Value>> {
    let built_in = prop_oneof![
        Just(json!({"name": "sts", "builtIn": {}})),
        Just(json!({"name": "sts", "builtIn": {"clients": {"secretName": "c", "cidrs": ["203.0.113.0/24"]}}})),
    ];
    let endpoint = prop::option::of(namespace()).prop_map(|pods| {
        let endpoint = pods.map(|name| json!({"pods": {"namespaces": [name]}, "ports": [{"port": 443}]}));
        json!({"name": "login", "issuer": "https://login.example", "endpoint": endpoint})
    });
    (prop::option::of(built_in), prop::option::of(endpoint))
        .prop_map(|(built_in, outside)| built_in.into_iter().chain(outside).collect())
}

/// Domains that fight over three namespaces and two trust-domain names.
fn domains() -> impl Strategy<Value = Event> {
    (prop::sample::select(&["d0", "d1", "d2"][..])).prop_flat_map(|name| {
        let spec = (
            some_of(&NAMESPACES),
            prop::option::of(prop::sample::select(&["one", "two"][..])),
            some_of(&NAMESPACES),
            some_of(&["d0", "d1", "d2"]),
            prop::option::of(1..4),
            any::<bool>(),
            token_issuers(),
        );
        let object = spec.prop_map(|(namespaces, trust_domain, may_name, friends, day, held, issuers)| {
            let border: Vec<_> =
                [json!({"trustDomains": friends})].into_iter().filter(|_| !friends.is_empty()).collect();
            let created = day.map(|day| format!("2026-01-0{day}T00:00:00Z"));
            json!({
                "metadata": {"creationTimestamp": created},
                "spec": {
                    "namespaces": namespaces, "trustDomain": trust_domain, "certificateAuthority": {"selfSigned": {}},
                    "certificates": {"allowedNames": [{"name": "shop.example.com", "namespaces": may_name}]},
                    "inbound": border, "outbound": border, "tokenIssuers": issuers,
                },
                "status": held.then(|| json!({"namespaces": namespaces})),
            })
        });
        event("TrustDomain", None, name, object)
    })
}

/// Identities that fight over a service account, a Service, a name and an audience.
fn identities() -> impl Strategy<Value = Event> {
    (namespace(), prop::sample::select(&["a", "b"][..])).prop_flat_map(|(namespace, name)| {
        let flags = prop::collection::vec(any::<bool>(), 7);
        let issuers = some_of(&["sts", "login"]);
        let declared = (flags, prop::option::of(any::<bool>()), 1..4, issuers, prop::bool::weighted(0.2));
        let object = declared.prop_map(|(flags, accepted, day, issuers, suspended)| {
            let wants = |flag: usize, value: Value| flags[flag].then_some(value);
            let conditions = accepted.map(|accepted| {
                let status = if accepted { "True" } else { "False" };
                json!([{"type": "Accepted", "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
            });
            json!({
                "metadata": {
                    "creationTimestamp": format!("2026-01-0{day}T00:00:00Z"),
                    "deletionTimestamp": (flags[5] && flags[6]).then_some("2026-02-01T00:00:00Z"),
                },
                "spec": {
                    "serviceAccountName": wants(0, json!("shared")), "signingKey": wants(1, json!({})),
                    "services": wants(2, json!(["web"])), "audiences": wants(3, json!(["tokens"])),
                    "dnsNames": wants(4, json!("shop.example.com")).into_iter().collect::<Vec<_>>(),
                    "podSelector": wants(5, json!({"matchLabels": {"app": "x"}})), "tokenIssuers": issuers,
                    "suspended": suspended,
                },
                "status": conditions.map(|conditions| json!({"conditions": conditions})),
            })
        });
        event("ServiceIdentity", Some(namespace), name, object)
    })
}

fn policies() -> impl Strategy<Value = Event> {
    (namespace(), prop::sample::select(&["p", "q"][..])).prop_flat_map(|(of, name)| {
        let to = prop_oneof![
            4 => prop::sample::select(&["a", "b"][..]).prop_map(|name| json!({"identity": name, "ports": [{"port": 80}]})),
            1 => namespace().prop_map(|name| json!({"pods": {"namespaces": [name], "ports": [{"port": 80}]}})),
        ];
        let from = prop_oneof![
            4 => (namespace(), prop::sample::select(&["a", "b"][..]))
                .prop_map(|(namespace, name)| json!({"identity": {"name": name, "namespace": namespace}})),
            2 => prop::sample::select(&["d0", "d1", "d2"][..]).prop_map(|name| json!({"trustDomain": name})),
            1 => namespace().prop_map(|name| json!({"pods": {"namespaces": [name]}})),
        ];
        let authentication = prop_oneof![
            2 => Just(json!({"mtls": {}})),
            1 => Just(json!({"jwt": {"audiences": ["tokens"]}})),
            1 => Just(json!({"jwt": {"signer": "Issuer", "issuer": "sts"}})),
            1 => Just(json!({"jwt": {"signer": "Issuer", "validation": "Introspection"}})),
        ];
        let object = (to, prop::collection::vec(from, 1..3), prop::option::of(authentication))
            .prop_map(|(to, from, authentication)| json!({"spec": {"to": to, "from": from, "authentication": authentication}}));
        event("AccessPolicy", Some(of), name, object)
    })
}

/// What else there is: namespaces (one of them named like a top-level domain), Services and pods.
fn surroundings() -> impl Strategy<Value = Event> {
    let labels = || prop::sample::select(vec![json!({"app": "x"}), json!({"app.kubernetes.io/name": "a"}), json!({})]);
    prop_oneof![
        2 => prop::sample::select(&["n0", "n1", "n2", "com"][..])
            .prop_flat_map(|name| event("Namespace", None, name, Just(json!({})))),
        1 => (namespace(), prop::sample::select(&["web", "a"][..])).prop_flat_map(move |(namespace, name)| {
            let service = labels().prop_map(|selector| json!({"spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}}));
            event("Service", Some(namespace), name, service)
        }),
        1 => (namespace(), prop::sample::select(&["x", "y"][..])).prop_flat_map(move |(namespace, name)| {
            let pod = labels().prop_map(|labels| json!({"metadata": {"labels": labels}, "spec": {"serviceAccountName": "a", "containers": []}}));
            event("Pod", Some(namespace), name, pod)
        }),
        1 => event("Node", None, "one", Just(json!({"spec": {"podCIDRs": ["203.0.113.0/25"]}}))),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![3 => domains(), 5 => identities(), 4 => policies(), 3 => surroundings()]
}

/// A world that is told events. What comes again after it was gone has another UID.
#[derive(Default)]
struct Story {
    world: World,
    gone: BTreeMap<(&'static str, String), u32>,
}

impl Story {
    fn new() -> Self {
        let identity = NamespacedName::new("n0", "a");
        let token_service = Some(TokenService { identity, port: 8443, issuer: "https://sts.example".to_owned() });
        let mut world = World::new(Settings { token_service, ..Settings::default() });
        for namespace in NAMESPACES {
            show(&mut world, json!({"kind": "Namespace", "metadata": {"name": namespace}}));
        }
        Self { world, gone: BTreeMap::new() }
    }

    fn tell(&mut self, event: &Event) -> BTreeSet<Unit> {
        let (kind, key) = (event.kind, event.key());
        let times = self.gone.entry((kind, key.clone())).or_default();
        let Some(mut object) = event.object.clone() else {
            *times += 1;
            return forget(&mut self.world, kind, &key);
        };
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(event.name);
        object["metadata"]["namespace"] = json!(event.namespace);
        object["metadata"]["uid"] = json!(format!("{key} {times}"));
        show(&mut self.world, object)
    }
}

/// Everything that follows from the objects, and from who came first.
fn conclusions(world: &World) -> impl PartialEq + std::fmt::Debug + use<> {
    let membership = (world.membership.domain_of.clone(), world.membership.names.clone());
    (membership, world.resolved.clone(), world.judged.clone())
}

/// Works out anew everything of which a change should have.
fn settle_everything(world: &mut World) -> BTreeSet<Unit> {
    let domains: BTreeSet<String> = world.domains.keys().cloned().collect();
    let names = world
        .domains
        .values()
        .map(|domain| domain.claimed_name().to_owned())
        .chain(world.membership.names.keys().cloned());
    let dirty = Dirty {
        names: names.collect(),
        namespaces: world.namespaces.keys().chain(world.membership.domain_of.keys()).cloned().collect(),
        domains,
        identities: world.identities.keys().chain(world.resolved.keys()).cloned().collect(),
        policies: world
            .policies
            .keys()
            .cloned()
            .chain(world.judged.keys().filter_map(|o| o.policy().cloned()))
            .collect(),
        implied: (world.identities.keys().cloned().map(Origin::Identity))
            .chain(world.domains.keys().cloned().map(Origin::Clients))
            .chain(world.all_implied().map(|(origin, _)| origin.clone()))
            .collect(),
        units: BTreeSet::new(),
    };
    world.settle(dirty)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_is_left_unsettled(before in prop::collection::vec(events(), 0..12), after in prop::collection::vec(events(), 1..24)) {
        let mut story = Story::new();
        for event in &before {
            story.tell(event);
        }
        story.world.listed();
        for event in &after {
            story.tell(event);
            let settled = conclusions(&story.world);
            settle_everything(&mut story.world);
            prop_assert_eq!(settled, conclusions(&story.world), "after {:?}", event);
        }
    }

    #[test]
    fn whoever_ends_up_otherwise_is_touched(events in prop::collection::vec(events(), 1..24)) {
        let mut story = Story::new();
        story.world.listed();
        for event in &events {
            let (resolved, judged) = (story.world.resolved.clone(), story.world.judged.clone());
            let touched = story.tell(event);
            let keys = resolved.keys().chain(story.world.resolved.keys());
            for key in keys.filter(|key| resolved.get(key) != story.world.resolved.get(key)) {
                prop_assert!(touched.contains(&Unit::Identity(key.clone())), "{}", key);
            }
            let keys = judged.keys().chain(story.world.judged.keys());
            for key in keys.filter(|key| judged.get(key) != story.world.judged.get(key)) {
                let unit = match key {
                    Origin::Policy(key) => Unit::Policy(key.clone()),
                    Origin::Identity(key) => Unit::Identity(key.clone()),
                    Origin::Clients(domain) => Unit::Domain(domain.clone()),
                };
                prop_assert!(touched.contains(&unit), "{}", key);
            }
        }
    }

    #[test]
    fn before_everything_is_listed_the_order_says_nothing(
        (listing, shuffled) in prop::collection::vec(events(), 1..24).prop_flat_map(|events| {
            // Each object is listed once.
            let mut seen = BTreeSet::new();
            let listing: Vec<Event> = events.into_iter().filter(|event| event.object.is_some() && seen.insert((event.kind, event.key()))).collect();
            (Just(listing.clone()), Just(listing).prop_shuffle())
        })
    ) {
        let worlds = [listing, shuffled].map(|events| {
            let mut story = Story::new();
            events.iter().for_each(|event| drop(story.tell(event)));
            story.world.listed();
            story.world
        });
        prop_assert_eq!(conclusions(&worlds[0]), conclusions(&worlds[1]));
    }
}

/// A follower sees in which way another one decides, after it has seen what is decided about.
#[test]
fn what_another_one_decided_meanwhile_stands_when_this_one_takes_over() {
    let domain = |name: &str, day: u8, status: &Value| {
        json!({
            "kind": "TrustDomain",
            "metadata": {"name": name, "uid": name, "generation": 1, "creationTimestamp": format!("2026-01-0{day}T00:00:00Z")},
            "spec": {"namespaces": ["n0"], "certificateAuthority": {"selfSigned": {}}},
            "status": status,
        })
    };
    let identity = |name: &str, day: u8, accepted: Option<&str>| {
        let condition = |status: &str| {
            json!({
                "observedGeneration": 1,
                "conditions": [{"type": "Accepted", "status": status, "reason": "Accepted", "message": "",
                                "lastTransitionTime": "2026-01-05T00:00:00Z"}],
            })
        };
        json!({
            "kind": "ServiceIdentity",
            "metadata": {"name": name, "namespace": "n0", "uid": name, "generation": 1,
                         "creationTimestamp": format!("2026-01-0{day}T00:00:00Z")},
            "spec": {"serviceAccountName": "only-one"},
            "status": accepted.map(condition),
        })
    };
    let mut world = World::new(Settings::default());
    let holders = |world: &World| {
        let accepted = world.resolved.iter().filter(|(_, resolved)| resolved.identity.is_some());
        let accepted: Vec<String> = accepted.map(|(key, _)| key.name.clone()).collect();
        (world.membership.domain_of.get("n0").cloned(), accepted)
    };
    show(&mut world, json!({"kind": "Namespace", "metadata": {"name": "n0"}}));
    for (name, day) in [("older", 1), ("younger", 2)] {
        show(&mut world, domain(name, day, &Value::Null));
        show(&mut world, identity(name, day, None));
    }
    assert_eq!(holders(&world), (Some("older".to_owned()), vec!["older".to_owned()]));
    show(&mut world, domain("younger", 2, &json!({"namespaces": ["n0"]})));
    show(&mut world, identity("older", 1, Some("False")));
    show(&mut world, identity("younger", 2, Some("True")));
    world.listed();
    let decided = (Some("younger".to_owned()), vec!["younger".to_owned()]);
    assert_eq!(holders(&world), decided);
    world.listed();
    show(&mut world, domain("older", 1, &json!({"namespaces": ["n0"]})));
    assert_eq!(holders(&world), decided, "from now on it decides itself");
}

/// Whether the properties above say something: there must be conflicts, and not only those.
#[test]
fn the_random_stories_are_full_of_conflicts_and_not_only_of_them() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..300 {
        let events = prop::collection::vec(events(), 24).new_tree(&mut runner).unwrap().current();
        let mut story = Story::new();
        story.world.listed();
        events.iter().for_each(|event| drop(story.tell(event)));
        for resolved in story.world.resolved.values() {
            *seen.entry(if resolved.identity.is_some() { "valid" } else { "refused" }.to_owned()).or_default() += 1;
            resolved.problems.iter().for_each(|problem| *seen.entry(problem.reason.to_string()).or_default() += 1);
        }
        for judged in story.world.judged.values() {
            let kind = match judged.origin {
                Origin::Policy(_) => "grants",
                Origin::Identity(_) => "an implied edge",
                Origin::Clients(_) => "a client outside",
            };
            *seen.entry(kind.to_owned()).or_default() += judged.grants.len();
            judged.problems.iter().for_each(|problem| *seen.entry(problem.reason.to_string()).or_default() += 1);
            judged.refusals.iter().for_each(|refusal| *seen.entry(refusal.reason.to_string()).or_default() += 1);
            let proofs = judged.grants.iter().map(|grant| grant.authentication.as_str());
            proofs.for_each(|proof| *seen.entry(proof.to_owned()).or_default() += 1);
        }
    }
    for expected in [
        "valid",
        "refused",
        "grants",
        "NotInTrustDomain",
        "ServiceAccountTaken",
        "ServiceTaken",
        "AudienceTaken",
        "NameClaimed",
        "NameNotAllowed",
        "SelectorOverlap",
        "ServiceAccountMismatch",
        "ServiceNotFound",
        "IssuerNotFound",
        "IssuerWithoutEndpoint",
        "Suspended",
        "an implied edge",
        "a client outside",
        "TokenServiceNotFound",
        "FencedPods",
        "issuer-jwt",
        "NoTokenIssuer",
        "IssuerNotListed",
    ] {
        assert!(seen.get(expected).is_some_and(|times| *times > 0), "{expected} never happens: {seen:?}");
    }
}
