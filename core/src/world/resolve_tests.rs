//! What becomes of a ServiceIdentity: what it gets, and what it is told instead.

use jiff::SignedDuration;

use crate::testing::{CLUSTER, SHOP, apply, complaints, forget, identity, in_words, key, world};
use crate::world::World;

/// Storefront may have names of its own, settlement only one of them.
const NAMES: &str = r"
kind: TrustDomain
metadata: {name: storefront}
spec:
  trustDomain: storefront.example
  namespaces: [storefront]
  certificateAuthority: {selfSigned: {}}
  outbound:
  - {trustDomains: [settlement], ports: [{port: 8443}]}
  certificates:
    duration: 12h
    allowedNames:
    - {name: shop.example.com, namespaces: [storefront, settlement]}
    - {name: SHOP.example.org, namespaces: [storefront]}
    - {name: shop.example.net, namespaces: [settlement]}
    - {name: shop, namespaces: [storefront]}
    - {name: '*.example.com', namespaces: [storefront]}
    - {name: pay.settlement.svc, namespaces: [storefront]}
    - {name: deep.pay.settlement.svc.cluster.local, namespaces: [storefront]}
    - {name: something.cluster.local, namespaces: [storefront]}
    - {name: api.monitoring, namespaces: [storefront]}
    - {name: under_score.example.com, namespaces: [storefront]}
    - {name: 203.0.113.7, namespaces: [storefront]}
    - {name: '2001:db8::7', namespaces: [storefront]}
    - {name: 10.244.0.7, namespaces: [storefront]}
    - {name: 10.96.0.1, namespaces: [storefront]}
    - {name: 192.0.2.10, namespaces: [storefront]}
    - {name: 127.0.0.1, namespaces: [storefront]}
";

fn given(spec: &str) -> World {
    world(&[SHOP, CLUSTER, NAMES, &sid("storefront/web", spec)])
}

fn sid(name: &str, spec: &str) -> String {
    let key = key(name);
    format!("{{kind: ServiceIdentity, metadata: {{name: {}, namespace: {}}}, spec: {spec}}}", key.name, key.namespace)
}

fn names(world: &World, name: &str) -> Vec<String> {
    let identity = identity(world, name);
    identity.dns_names.iter().cloned().chain(identity.ip_addresses.iter().map(ToString::to_string)).collect()
}

#[test]
fn names_that_the_domain_allows_are_had_in_one_spelling() {
    let stories = [
        ("{dnsNames: [shop.example.com]}", "shop.example.com"),
        ("{dnsNames: [Shop.Example.ORG]}", "shop.example.org"),
        ("{ipAddresses: [203.0.113.7]}", "203.0.113.7"),
        ("{ipAddresses: ['2001:DB8:0::7']}", "2001:db8::7"),
        ("{ipAddresses: ['::ffff:203.0.113.7']}", "203.0.113.7"),
    ];
    for (spec, name) in stories {
        let world = given(spec);
        assert_eq!(names(&world, "storefront/web"), [name], "{spec}");
        assert_eq!(complaints(&world, "storefront/web"), [""; 0]);
    }
}

#[test]
fn names_that_could_mean_another_are_refused_whatever_is_allowed() {
    let of_services = "names of Services come from the field services alone";
    let of_cluster = "it is an address of the cluster itself";
    let stories = [
        ("shop", "a name without a dot means something else in every namespace"),
        ("*.example.com", "wildcards are not accepted"),
        ("pay.settlement.svc", of_services),
        ("deep.pay.settlement.svc.cluster.local", of_services),
        ("something.cluster.local", of_services),
        ("api.monitoring", "inside the cluster it could mean a Service in namespace monitoring"),
        ("under_score.example.com", "it is no DNS name"),
        ("10.244.0.7", of_cluster),
        ("10.96.0.1", of_cluster),
        ("192.0.2.10", of_cluster),
        ("127.0.0.1", of_cluster),
    ];
    for (name, why) in stories {
        let world = given(&format!("{{dnsNames: [shop.example.com, '{name}']}}"));
        let complaint = format!("Accepted NameNotAllowed: the name {name} is refused: {why}");
        assert_eq!(complaints(&world, "storefront/web"), [complaint]);
        assert_eq!(names(&world, "storefront/web"), ["shop.example.com"], "the others stand");
    }
}

#[test]
fn names_that_are_not_allowed_here_are_refused() {
    for name in ["shop.example.net", "other.example.com", "198.51.100.1"] {
        let world = given(&format!("{{dnsNames: [{name}]}}"));
        let complaint = format!(
            "Accepted NameNotAllowed: the name {name} is refused: TrustDomain storefront does not allow it for namespace storefront; ask the platform team to add it to certificates.allowedNames"
        );
        assert_eq!(complaints(&world, "storefront/web"), [complaint]);
        assert_eq!(names(&world, "storefront/web"), [""; 0]);
    }
}

#[test]
fn a_name_has_one_holder_who_may_have_it() {
    let mut world = given("{dnsNames: [shop.example.com]}");
    apply(&mut world, &sid("storefront/late", "{dnsNames: [shop.example.com]}"));
    let taken = "Accepted NameClaimed: the name shop.example.com belongs to ServiceIdentity storefront/web, which claimed it first: choose another, or change that one";
    assert_eq!(complaints(&world, "storefront/late"), [taken]);

    let touched = apply(&mut world, &NAMES.replace("shop.example.com,", "other.example.com,"));
    assert!(in_words(&touched).contains(&"identity storefront/late".to_owned()));
    assert_eq!(names(&world, "storefront/web"), [""; 0], "it is not allowed any more");
    apply(&mut world, NAMES);
    assert_eq!(complaints(&world, "storefront/late"), [taken], "the first has it back");

    let touched = forget(&mut world, "ServiceIdentity", "storefront/web");
    assert!(in_words(&touched).contains(&"identity storefront/late".to_owned()));
    assert_eq!(names(&world, "storefront/late"), ["shop.example.com"]);
}

#[test]
fn whoever_may_not_have_a_name_keeps_nobody_from_it() {
    let mut world = world(&[SHOP, &sid("settlement/payment", "{dnsNames: [shop.example.com]}")]);
    apply(&mut world, NAMES);
    apply(&mut world, &sid("storefront/web", "{dnsNames: [shop.example.com]}"));
    assert_eq!(names(&world, "storefront/web"), ["shop.example.com"], "settlement allows no names at all");
    assert_eq!(names(&world, "settlement/payment"), [""; 0]);
}

#[test]
fn a_namespace_that_comes_into_being_takes_back_names_that_could_mean_it() {
    let mut world = given("{dnsNames: [shop.example.com]}");
    let touched = apply(&mut world, "{kind: Namespace, metadata: {name: com}}");
    assert_eq!(in_words(&touched), ["member com", "fence com", "identity storefront/web"]);
    assert_eq!(names(&world, "storefront/web"), [""; 0]);
    forget(&mut world, "Namespace", "com");
    assert_eq!(names(&world, "storefront/web"), ["shop.example.com"]);
}

#[test]
fn an_address_that_becomes_one_of_the_cluster_is_taken_back() {
    let mut world = given("{ipAddresses: [203.0.113.7]}");
    let touched = apply(&mut world, "{kind: ServiceCIDR, metadata: {name: more}, spec: {cidrs: [203.0.113.0/24]}}");
    assert_eq!(in_words(&touched), ["identity storefront/web"]);
    assert_eq!(names(&world, "storefront/web"), [""; 0]);
}

/// What is declared, the Service and the pod that there are, the names that come of it, and the complaints.
type Lending<'a> = (&'a str, &'a str, String, String, &'a [&'a str], &'a [&'a str]);

#[test]
fn services_lend_their_names() {
    let service =
        |spec: &str| format!("{{kind: Service, metadata: {{name: web, namespace: storefront}}, spec: {spec}}}");
    let plain = service("{selector: {app.kubernetes.io/name: web}}");
    let pod = |labels: &str| {
        format!(
            "{{kind: Pod, metadata: {{name: p, namespace: storefront, labels: {{{labels}}}}}, spec: {{serviceAccountName: web, containers: [{{name: main}}]}}}}"
        )
    };
    let ours = "app.kubernetes.io/name: web, side: a";
    let full = ["web.storefront.svc", "web.storefront.svc.cluster.local"];
    let headless = ["*.web.storefront.svc", "web.storefront.svc", "web.storefront.svc.cluster.local"];
    let none = [""; 0];
    let stories: [Lending<'_>; 9] = [
        ("the one named like it, without being asked", "{}", plain.clone(), pod(ours), &full, &none),
        ("before there is a pod", "{services: [web]}", plain.clone(), String::new(), &full, &none),
        (
            "a headless one, for each pod",
            "{}",
            service("{clusterIP: None, selector: {side: a}}"),
            pod(ours),
            &headless,
            &none,
        ),
        ("none, if that is asked for", "{services: []}", plain.clone(), pod(ours), &none, &none),
        ("one that is not there is no matter by default", "{}", String::new(), pod(ours), &none, &none),
        (
            "one that is asked for and not there",
            "{services: [web]}",
            String::new(),
            pod(ours),
            &none,
            &[
                "ResolvedRefs ServiceNotFound: Service storefront/web does not exist: create it, or take it out of services",
            ],
        ),
        (
            "one without a selector may lead anywhere",
            "{services: [web]}",
            service("{}"),
            pod(ours),
            &none,
            &["ResolvedRefs ServiceMismatch: Service storefront/web can't lend its names: it has no selector"],
        ),
        (
            "one that leads to others",
            "{services: [web]}",
            service("{selector: {side: a}}"),
            pod("side: a"),
            &none,
            &[
                "ResolvedRefs ServiceMismatch: Service storefront/web can't lend its names: it selects pod p, which is not of this identity",
            ],
        ),
        (
            "one that leads to others is no matter by default",
            "{}",
            service("{selector: {side: a}}"),
            pod("side: a"),
            &none,
            &none,
        ),
    ];
    for (story, spec, service, pod, lent, complaint) in stories {
        let mut world = given(spec);
        for object in [service, pod].iter().filter(|object| !object.is_empty()) {
            let touched = in_words(&apply(&mut world, object));
            assert!(lent.is_empty() || touched.contains(&"identity storefront/web".to_owned()), "{story}: {touched:?}");
        }
        assert_eq!(names(&world, "storefront/web"), lent, "{story}");
        assert_eq!(complaints(&world, "storefront/web"), complaint, "{story}");
    }
}

#[test]
fn audiences_shaped_like_a_service_belong_to_that_service() {
    let mut world = given("{}");
    apply(
        &mut world,
        "{kind: Service, metadata: {name: web, namespace: storefront}, spec: {selector: {app.kubernetes.io/name: web}}}",
    );
    let own =
        ["spiffe://storefront.example/ns/storefront/sa/web", "web.storefront.svc", "web.storefront.svc.cluster.local"];
    assert!(identity(&world, "storefront/web").audiences.iter().eq(&own), "by default its own names");
    apply(
        &mut world,
        &sid(
            "storefront/web",
            "{audiences: [https://shop.example, web.storefront.svc, 'spiffe://storefront.example/ns/storefront/sa/web']}",
        ),
    );
    assert_eq!(complaints(&world, "storefront/web"), [""; 0]);
    for foreign in [
        "payment.settlement.svc",
        "payment.settlement.svc.cluster.local.",
        "spiffe://storefront.example/ns/storefront/sa/order",
    ] {
        apply(&mut world, &sid("storefront/web", &format!("{{audiences: [https://shop.example, '{foreign}']}}")));
        let complaint = format!(
            "Accepted AudienceTaken: the audience {foreign} has the shape of another service's name and belongs to that service alone"
        );
        assert_eq!(complaints(&world, "storefront/web"), [complaint]);
        assert!(identity(&world, "storefront/web").audiences.iter().eq(["https://shop.example"]));
    }
}

#[test]
fn an_audience_is_shared_only_by_domains_that_have_nothing_to_do_with_each_other() {
    let apart = NAMES.replace("{trustDomains: [settlement], ports: [{port: 8443}]}", "{namespaces: [monitoring]}");
    let settlement = "{kind: TrustDomain, metadata: {name: settlement}, spec: {trustDomain: settlement.example, namespaces: [settlement], certificateAuthority: {selfSigned: {}}}}";
    let wants = "{audiences: [tokens]}";
    let mut world = world(&[&apart, settlement, &sid("storefront/web", wants)]);
    apply(&mut world, &sid("settlement/payment", wants));
    apply(&mut world, &sid("storefront/late", wants));
    let taken = "Accepted AudienceTaken: the audience tokens belongs to ServiceIdentity storefront/web, which claimed it first: choose another";
    assert_eq!(complaints(&world, "storefront/late"), [taken]);
    assert_eq!(complaints(&world, "settlement/payment"), [""; 0]);
    apply(&mut world, NAMES);
    assert_eq!(complaints(&world, "settlement/payment"), [taken], "storefront calls settlement now");
    apply(&mut world, &apart);
    assert_eq!(complaints(&world, "settlement/payment"), [""; 0]);
    let issuer = "tokenIssuers: [{name: sts, builtIn: {}}]";
    apply(&mut world, &apart.replace("  certificateAuthority", &format!("  {issuer}\n  certificateAuthority")));
    assert_eq!(complaints(&world, "settlement/payment"), [""; 0], "settlement takes no tokens of this issuer");
    apply(&mut world, &settlement.replace("certificateAuthority", &format!("{issuer}, certificateAuthority")));
    assert_eq!(complaints(&world, "settlement/payment"), [taken], "a token of the issuer would be good at both");
    apply(&mut world, settlement);
    assert_eq!(complaints(&world, "settlement/payment"), [""; 0]);
}

#[test]
fn a_certificate_lives_as_long_as_is_asked_within_limits() {
    let too_long = "Accepted DurationTooLong: certificate.duration is above the limit of TrustDomain storefront, 12h: that limit is used";
    let too_short = "Accepted Invalid: certificate.duration is below 5m, which is used instead: set it to at least 5m";
    let stories: [(&str, i64, &[&str]); 5] = [
        ("{}", 12 * 60, &[]),
        ("{certificate: {duration: 1h}}", 60, &[]),
        ("{certificate: {duration: 12h}}", 12 * 60, &[]),
        ("{certificate: {duration: 13h}}", 12 * 60, &[too_long]),
        ("{certificate: {duration: 1m}}", 5, &[too_short]),
    ];
    for (spec, minutes, complaint) in stories {
        let world = given(spec);
        let duration = identity(&world, "storefront/web").certificate_duration;
        assert_eq!(duration, SignedDuration::from_mins(minutes), "{spec}");
        assert_eq!(complaints(&world, "storefront/web"), complaint, "{spec}");
    }
}

#[test]
fn what_could_never_be_written_is_refused_as_a_whole() {
    let stories = [
        (
            "storefront/baseline",
            "{}",
            "the name baseline is taken by the NetworkPolicy ringfence-baseline: choose another",
        ),
        (
            "storefront/web",
            "{podSelector: {}}",
            "podSelector must not be empty, it would take in every pod: name labels",
        ),
        (
            "storefront/web",
            "{podSelector: {matchLabels: {app: 'a b'}}}",
            "podSelector can't be used: \"a b\" is no label value; correct it",
        ),
        (
            "storefront/web",
            "{signingKey: {secretName: web-tls}}",
            "certificate and signingKey need a Secret each, not both web-tls: name another",
        ),
    ];
    for (name, spec, why) in stories {
        let world = world(&[SHOP, &sid(name, spec)]);
        assert!(world.identity(&key(name)).is_none(), "{spec}");
        assert_eq!(complaints(&world, name), [format!("Accepted Invalid: {why}")]);
    }
}

#[test]
fn pods_that_are_not_what_they_should_be_are_named() {
    let pod = |name: &str, spec: &str| {
        format!(
            "{{kind: Pod, metadata: {{name: {name}, namespace: storefront, labels: {{app.kubernetes.io/name: web, also: twin}}}}, spec: {{{spec}, containers: [{{name: main}}]}}}}"
        )
    };
    let mut world = given("{}");
    apply(&mut world, &pod("good", "serviceAccountName: web"));
    assert!(identity(&world, "storefront/web").pods.any);
    assert_eq!(complaints(&world, "storefront/web"), [""; 0]);
    for number in 1..=6 {
        apply(&mut world, &pod(&format!("old-{number}"), "serviceAccountName: default"));
    }
    apply(&mut world, &pod("bare", "serviceAccountName: web, hostNetwork: true"));
    let account = "Unenforceable ServiceAccountMismatch: pods old-1, old-2, old-3, old-4, old-5 and 1 more match the selector and run under another service account than web: they get the network access but not the identity; restart them under it";
    let network = "Unenforceable HostNetwork: pods bare use the node's network, where no NetworkPolicy applies: run them without hostNetwork";
    assert_eq!(complaints(&world, "storefront/web"), [account, network]);
    let twin = sid("storefront/twin", "{podSelector: {matchLabels: {also: twin}}}");
    let touched = apply(&mut world, &twin);
    assert!(in_words(&touched).contains(&"identity storefront/web".to_owned()));
    let overlap = |other: &str| {
        format!(
            "Unenforceable SelectorOverlap: pods match this identity and also {other}: they would have the edges of all; make the selectors exclusive"
        )
    };
    assert_eq!(complaints(&world, "storefront/web")[0], overlap("twin"));
    assert_eq!(complaints(&world, "storefront/twin")[0], overlap("web"));
    forget(&mut world, "ServiceIdentity", "storefront/twin");
    assert_eq!(complaints(&world, "storefront/web"), [account, network]);
}
