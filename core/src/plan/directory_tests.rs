//! What the token service is told, when, and that nothing secret is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::pki::testing::now;
use crate::plan::testing::{Operator, TOKEN_SHOP as SHOP, token_installation, token_service};
use crate::plan::{Outcome, domain_status, member_step};
use crate::testing::{DNS, apply, condition, forget, in_words, key};
use crate::world::{Change, IssuerFacts, TokenService};

fn at_rest(yaml: &[&str]) -> Operator {
    let mut operator = Operator::in_world(token_installation(yaml));
    operator.work();
    operator
}

/// The shop without an issuer whose keys would have to be fetched.
fn without_login() -> String {
    SHOP.lines().filter(|line| !line.contains("login")).map(|line| format!("{line}\n")).collect()
}

fn told_in(operator: &Operator, namespace: &str) -> Option<Value> {
    let found = operator.directories.get(&key(&format!("sts/tokens.{namespace}")))?;
    Some(serde_json::from_str(&found.data.as_ref().unwrap()["directory.json"]).unwrap())
}

/// The policies whose grants the token service is told of, once for each.
fn policies_in(operator: &Operator, namespace: &str) -> Vec<String> {
    let told = told_in(operator, namespace).unwrap_or_else(|| panic!("it is told nothing of {namespace}"));
    told["grants"].as_array().unwrap().iter().map(|grant| grant["policy"].as_str().unwrap().to_owned()).collect()
}

fn names_in(operator: &Operator, namespace: &str) -> Vec<String> {
    let told = told_in(operator, namespace).unwrap_or_else(|| panic!("it is told nothing of {namespace}"));
    told["identities"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

fn said(world: &World, domain: &str, kind: ConditionType) -> Option<String> {
    condition(&domain_status(world, domain, &Outcome::default(), now()).unwrap().conditions, kind)
}

fn directories(units: &[String]) -> Vec<&str> {
    units.iter().filter_map(|unit| unit.strip_prefix("directory sts/tokens.")).collect()
}

#[test]
fn the_token_service_is_told_who_is_there_and_who_may_call_whom_with_its_tokens() {
    let operator = at_rest(&[SHOP, DNS]);
    let back = told_in(&operator, "back").unwrap();
    let callee = "spiffe://shop.example/ns/back/sa/payment";
    assert_eq!((&back["version"], &back["namespace"]), (&json!(1), &json!("back")));
    assert_eq!(
        back["identities"],
        json!([{
            "name": "payment", "serviceAccount": "payment", "spiffeID": callee, "audiences": ["pay.example"],
            "client": true, "keys": [],
        }])
    );
    let order = "spiffe://shop.example/ns/front/sa/order";
    let once = |caller: Value| {
        json!({
            "caller": caller, "callee": callee, "audiences": ["pay.example"], "scopes": [], "maxLifetimeSeconds": 120,
            "validation": "Introspection", "mtls": false, "oneTime": true, "policy": "back/web",
        })
    };
    let cidr = json!({"kind": "Cidr", "cidr": "203.0.113.0/24", "blocks": [{"cidr": "203.0.113.0/24"}]});
    assert_eq!(
        back["grants"],
        json!([
            {
                "caller": {"kind": "Identity", "spiffeID": order, "trustDomain": "shop.example"}, "callee": callee,
                "audiences": ["pay.example"], "scopes": ["write"], "maxLifetimeSeconds": 60, "validation": "Jwks",
                "mtls": true, "oneTime": false, "policy": "back/pay",
            },
            once(cidr),
            once(json!({"kind": "TrustDomain", "trustDomain": "shop.example"})),
        ])
    );
    let domain = &back["domain"];
    for (field, value) in [
        ("name", json!("shop")),
        ("trustDomain", json!("shop.example")),
        ("tokenFormat", json!("Jwt")),
        ("tokenLifetimeSeconds", json!(120)),
        ("scopes", json!(["extra", "read"])),
        ("clients", json!({"secretName": "shop-clients", "cidrs": ["203.0.113.0/24"]})),
        ("issuers", json!([{"name": "login", "issuer": "https://login.example", "audiences": ["account"]}])),
    ] {
        assert_eq!(domain[field], value, "{field}");
    }
    let generations = operator.world.generations("shop").unwrap();
    assert_eq!(domain["bundle"], issuing_bundle(generations));
    assert_eq!(domain["revocationLists"], operator.world.revocation_lists(["shop"]));

    let front = told_in(&operator, "front").unwrap();
    assert_eq!(front["grants"], json!([]), "the callees are elsewhere");
    let order = &front["identities"][0];
    assert_eq!((&order["client"], order["keys"].as_array().unwrap().len()), (&json!(true), 1));
    let members: Vec<_> = order["keys"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!(told_in(&operator, "sts"), None, "the token service's own domain does not name it");
    let written: Directory = serde_json::from_value(back.clone()).unwrap();
    assert_eq!(serde_json::to_value(written).unwrap(), back);
}

#[test]
fn what_is_not_in_force_is_not_in_it() {
    let policy = |spec: &str| {
        format!(
            "{{kind: AccessPolicy, metadata: {{name: pay, namespace: back}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, {spec}}}}}"
        )
    };
    let by_order = "from: [{identity: {name: order, namespace: front}}]";
    let identity = |name: &str, spec: &str| {
        format!("{{kind: ServiceIdentity, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
            .replace("{name: order}", "{name: order, namespace: front}")
            .replace("{name: payment}", "{name: payment, namespace: back}")
    };
    for (what, change, policies, front, back) in [
        ("nothing changes", String::new(), 3, 1, 1),
        (
            "a draft",
            policy(&format!(
                "{by_order}, enforcement: Audit, authentication: {{jwt: {{signer: Issuer, issuer: tokens}}}}"
            )),
            2,
            1,
            1,
        ),
        ("a token that the caller signs", policy(&format!("{by_order}, authentication: {{jwt: {{}}}}")), 2, 1, 1),
        (
            "another issuer's token",
            policy(&format!(
                "{by_order}, authentication: {{jwt: {{signer: Issuer, issuer: login, audiences: [account]}}}}"
            )),
            2,
            1,
            1,
        ),
        ("a certificate alone", policy(by_order), 2, 1, 1),
        ("a caller that is suspended", identity("order", "suspended: true, tokenIssuers: [tokens]"), 2, 0, 1),
        ("a caller that does not list the issuer", identity("order", "signingKey: {}"), 2, 1, 1),
        ("a callee that is suspended", identity("payment", "suspended: true"), 0, 1, 0),
    ] {
        let mut operator = at_rest(&[SHOP, DNS]);
        if !change.is_empty() {
            operator.show(&change);
            operator.work();
        }
        assert_eq!(policies_in(&operator, "back").len(), policies, "{what}");
        assert_eq!((names_in(&operator, "front").len(), names_in(&operator, "back").len()), (front, back), "{what}");
        assert_eq!(operator.left(), [], "{what}");
    }
    let mut operator = at_rest(&[SHOP, DNS]);
    operator.show(&identity("order", "signingKey: {}"));
    operator.work();
    assert_eq!(told_in(&operator, "front").unwrap()["identities"][0]["client"], false);
}

#[test]
fn what_closes_an_identity_is_told_before_its_packets_stop_or_with_them() {
    let mut operator = at_rest(&[SHOP, DNS]);
    operator.show("{kind: ServiceIdentity, metadata: {name: order, namespace: front}, spec: {suspended: true, tokenIssuers: [tokens]}}");
    let log = operator.work();
    let place = |line: &str| log.iter().position(|found| found == line).unwrap_or_else(|| panic!("{line}: {log:#?}"));
    assert!(place("replace ConfigMap sts/tokens.front") < place("replace NetworkPolicy front/ringfence-order"));
    assert!(place("replace ConfigMap sts/tokens.back") < place("replace NetworkPolicy back/ringfence-payment"));
    operator.forget("AccessPolicy", "back/web");
    assert_eq!(
        operator.work().iter().filter(|line| line.contains("/tokens.")).collect::<Vec<_>>(),
        ["replace ConfigMap sts/tokens.back"],
        "one policy's change writes one directory"
    );
}

#[test]
fn a_directory_is_there_as_long_as_it_is_due() {
    let domain = |rest: &str| {
        format!(
            "{{kind: TrustDomain, metadata: {{name: shop}}, spec: {{trustDomain: shop.example, certificateAuthority: {{selfSigned: {{}}}}, {rest}}}}}"
        )
    };
    let names = "tokenIssuers: [{name: tokens, builtIn: {}}]";
    for (what, change, there) in [
        ("nothing changes", String::new(), &["back", "front"][..]),
        ("the domain drops the issuer", domain("namespaces: [front, back]"), &[]),
        ("another issuer alone", domain("namespaces: [front, back], tokenIssuers: [{name: login, issuer: 'https://login.example'}]"), &[]),
        ("a namespace leaves", domain(&format!("namespaces: [front], {names}")), &["front"]),
        ("a namespace comes", domain(&format!("namespaces: [front, back, third], {names}")), &["back", "front", "third"]),
        ("the token service's own namespace leaves its domain", "{kind: TrustDomain, metadata: {name: platform}, spec: {certificateAuthority: {selfSigned: {}}}}".to_owned(), &[]),
        ("the token service's own domain names it too", "{kind: TrustDomain, metadata: {name: platform}, spec: {namespaces: [sts], certificateAuthority: {selfSigned: {}}, tokenIssuers: [{name: a, builtIn: {}}]}}".to_owned(), &["back", "front", "sts"]),
        ("the domain is being deleted, and identities are left", SHOP.split("---").nth(1).unwrap().replace("name: shop}", "name: shop, deletionTimestamp: '2026-03-01T00:00:00Z', finalizers: [ringfence.dev/identities]}"), &["back", "front"]),
    ] {
        let mut operator = at_rest(&[SHOP, DNS]);
        if !change.is_empty() {
            operator.show(&change);
            operator.work();
        }
        let found: Vec<&str> = operator.directories.keys().map(|key| key.name.strip_prefix("tokens.").unwrap()).collect();
        assert_eq!(found, there, "{what}");
        assert_eq!(operator.left(), [], "{what}");
        operator.look_at_everything();
        assert_eq!(operator.work(), [""; 0], "{what}: a restart writes nothing");
    }
}

#[test]
fn without_a_token_service_nobody_is_told_anything_and_the_domain_says_so() {
    let mut operator = Operator::at_rest(&[&without_login(), DNS]);
    operator.look_at_everything();
    operator.work();
    assert!(operator.directories.is_empty());
    let said = said(&operator.world, "shop", ConditionType::ResolvedRefs).unwrap();
    assert!(said.starts_with("False TokenServiceNotFound: this installation runs no token service"), "{said}");
}

#[test]
fn a_domain_says_why_its_issuer_can_not_be_served() {
    let platform = "{kind: TrustDomain, metadata: {name: platform}, spec: {certificateAuthority: {selfSigned: {}}}}";
    let suspended = "{kind: ServiceIdentity, metadata: {name: tokens, namespace: sts}, spec: {suspended: true}}";
    for (what, change, says) in [
        ("nothing is wrong", "", "True Resolved: everything that is named exists"),
        (
            "its namespace is outside",
            platform,
            "False NotInTrustDomain: token issuer tokens can't be served, because the token service's namespace sts is in no TrustDomain: add it to the namespaces of one",
        ),
        (
            "its identity is suspended",
            suspended,
            "False TokenServiceNotFound: token issuer tokens can't be served, because its ServiceIdentity sts/tokens is not accepted: see its status",
        ),
    ] {
        let mut operator = at_rest(&[&without_login(), DNS]);
        let touched = in_words(&apply(&mut operator.world, change));
        assert_eq!(said(&operator.world, "shop", ConditionType::ResolvedRefs).unwrap(), says, "{what}");
        assert_eq!(touched.contains(&"domain shop".to_owned()), !change.is_empty(), "{what}");
    }
    let mut operator = at_rest(&[&without_login(), DNS]);
    let touched = in_words(&forget(&mut operator.world, "ServiceIdentity", "sts/tokens"));
    assert!(touched.contains(&"domain shop".to_owned()));
    let says = said(&operator.world, "shop", ConditionType::Ready).unwrap();
    assert_eq!(
        says,
        "False TokenServiceNotFound: token issuer tokens can't be served, because its ServiceIdentity sts/tokens does not exist: create it"
    );
    assert_eq!(said(&operator.world, "platform", ConditionType::Ready).unwrap(), "True Ready: the domain is in force");
}

#[test]
fn the_rights_where_the_token_service_is_stay_until_it_is_told_of_nobody() {
    let mut operator = at_rest(&[SHOP, DNS]);
    operator.forget("ServiceIdentity", "sts/tokens");
    operator.work();
    operator.apply(Change::NetworkPolicy(key("sts/ringfence-baseline"), None));
    operator.show("{kind: TrustDomain, metadata: {name: platform}, spec: {certificateAuthority: {selfSigned: {}}}}");
    assert!(!matches!(member_step(&operator.world, "sts").step, Step::Delete { .. }), "directories are still there");
    let log = operator.work();
    assert_eq!(log.last().unwrap(), "delete RoleBinding sts/ringfence");
    assert!(operator.directories.is_empty());
}

#[test]
fn a_namespace_that_goes_to_another_domain_is_told_of_anew_without_a_moment_in_between() {
    let mut operator = at_rest(&[SHOP, DNS]);
    operator.show("{kind: TrustDomain, metadata: {name: annex}, spec: {namespaces: [back], certificateAuthority: {selfSigned: {}}, tokenIssuers: [{name: sts, builtIn: {}}]}}");
    let shop = SHOP.split("---").nth(1).unwrap().replace("[front, back]", "[front]");
    operator.show(&shop);
    let log = operator.work();
    assert!(log.contains(&"replace ConfigMap sts/tokens.back".to_owned()), "{log:#?}");
    assert!(!log.contains(&"delete ConfigMap sts/tokens.back".to_owned()), "{log:#?}");
    assert_eq!(told_in(&operator, "back").unwrap()["domain"]["name"], "annex");
}

#[test]
fn where_the_token_service_was_before_nothing_is_left() {
    let mut operator = at_rest(&[SHOP, DNS]);
    let elsewhere = TokenService { identity: key("front/order"), ..token_service() };
    operator.world.settings.token_service = Some(elsewhere);
    operator.look_at_everything();
    operator.work();
    let found: Vec<String> = operator.directories.keys().map(ToString::to_string).collect();
    assert_eq!(found, ["front/tokens.back", "front/tokens.front"]);
    operator.world.settings.token_service = None;
    operator.look_at_everything();
    operator.work();
    assert!(operator.directories.is_empty());
}

#[test]
fn a_config_map_of_someone_else_is_left_alone_and_named() {
    let mut operator = at_rest(&[SHOP, DNS]);
    let taken = key("sts/tokens.third");
    let mut theirs = operator.directories[&key("sts/tokens.back")].clone();
    theirs.metadata.owner_references = None;
    theirs.metadata.uid = Some("theirs".to_owned());
    operator.apply(Change::ConfigMap(taken.clone(), Some((&theirs).into())));
    let shop = SHOP.split("---").nth(1).unwrap().replace("[front, back]", "[front, back, third]");
    operator.show(&shop);
    operator.work();
    assert!(matches!(directory_step(&operator.world, &taken).step, Step::Blocked(_)));
    let said = said(&operator.world, "shop", ConditionType::NameTaken).unwrap();
    assert!(said.starts_with("True NameTaken: ConfigMap sts/tokens.third exists and is not Ringfence's"), "{said}");
    operator.show(SHOP.split("---").nth(1).unwrap());
    assert!(directory_step(&operator.world, &taken).step.is_keep(), "nor is it deleted");
}

#[test]
fn what_others_change_is_drift() {
    let operator = at_rest(&[SHOP, DNS]);
    let back = key("sts/tokens.back");
    let mut changed = operator.directories[&back].clone();
    changed.data.as_mut().unwrap().insert("more".to_owned(), String::new());
    changed.metadata.resource_version = Some("1000000".to_owned());
    let mut world = operator.world;
    let touched = in_words(&world.apply(Change::ConfigMap(back.clone(), Some((&changed).into()))));
    assert_eq!(touched, ["directory sts/tokens.back"]);
    assert!(matches!(directory_step(&world, &back).step, Step::Write { drift: true, .. }));
    let touched = in_words(&world.apply(Change::ConfigMap(back, None)));
    assert_eq!(touched, ["domain shop", "directory sts/tokens.back"]);
    let programmed = said(&world, "shop", ConditionType::Programmed).unwrap();
    assert_eq!(programmed, "False Pending: the token service is being told of namespace back");
}

#[test]
fn a_change_touches_the_directories_in_which_it_shows_and_no_others() {
    let identity = |spec: &str| {
        format!("{{kind: ServiceIdentity, metadata: {{name: order, namespace: front}}, spec: {{{spec}}}}}")
    };
    let pay = |spec: &str| {
        format!(
            "{{kind: AccessPolicy, metadata: {{name: pay, namespace: back}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, from: [{{identity: {{name: order, namespace: front}}}}], {spec}}}}}"
        )
    };
    let jwt = "signer: Issuer, issuer: tokens, scopes: [write], maxLifetime: 1m";
    let stories: [(&str, String, &[&str]); 13] = [
        ("the pods of an identity", identity("signingKey: {}, tokenIssuers: [tokens], podSelector: {matchLabels: {a: b}}"), &[]),
        ("names in its certificate", identity("signingKey: {}, tokenIssuers: [tokens], dnsNames: [a.example]"), &[]),
        ("its audiences", identity("signingKey: {}, tokenIssuers: [tokens], audiences: [a]"), &["front"]),
        ("whether it talks to the token service", identity("signingKey: {}"), &["back", "front"]),
        ("that it is suspended", identity("signingKey: {}, tokenIssuers: [tokens], suspended: true"), &["back", "front"]),
        ("a new identity", "{kind: ServiceIdentity, metadata: {name: cart, namespace: front}, spec: {}}".to_owned(), &["front"]),
        ("an identity of a domain without", "{kind: ServiceIdentity, metadata: {name: cart, namespace: sts}, spec: {}}".to_owned(), &[]),
        ("the port of a grant", pay(&format!("authentication: {{mtls: {{}}, jwt: {{{jwt}}}}}")).replace("8443", "8444"), &[]),
        ("the scopes of a grant", pay("authentication: {mtls: {}, jwt: {signer: Issuer, issuer: tokens}}"), &["back"]),
        ("its rules", pay(&format!("authentication: {{mtls: {{}}, jwt: {{{jwt}}}}}, rules: [{{methods: [GET]}}]")), &[]),
        ("a grant by certificate", "{kind: AccessPolicy, metadata: {name: look, namespace: front}, spec: {to: {identity: order, ports: [{port: 1}]}, from: [{identity: {name: payment, namespace: back}}]}}".to_owned(), &[]),
        ("a pod", "{kind: Pod, metadata: {name: order-1, namespace: front, labels: {app.kubernetes.io/name: order}}, spec: {serviceAccountName: order, containers: [{name: main}]}}".to_owned(), &[]),
        ("what the domain says", SHOP.split("---").nth(1).unwrap().replace("extra", "more"), &["back", "front"]),
    ];
    for (story, change, touched) in stories {
        let mut world = at_rest(&[SHOP, DNS]).world;
        let all = in_words(&apply(&mut world, &change));
        assert_eq!(directories(&all), touched, "{story}: {all:#?}");
    }
    let mut world = at_rest(&[SHOP, DNS]).world;
    for (domain, touched) in [("shop", &["back", "front"][..]), ("platform", &[])] {
        let change = newer(&world, domain);
        assert_eq!(directories(&in_words(&world.apply(change))), touched, "the CA of {domain}");
    }
    let secret = key("front/order-signing-key");
    let mut facts = world.secret(&secret).unwrap().clone();
    facts.resource_version = "1000000".to_owned();
    let crate::world::SecretFacts::SigningKey(Ok(keys)) = &mut facts.content else { panic!("{facts:?}") };
    let other = crate::jwt::testing::signing_key(crate::api::SigningAlgorithm::ES256);
    let data = crate::jwt::signing_key_secret_data(&other, None);
    keys.current = crate::jwt::SigningKeyFacts::of_secret(&data).unwrap().current;
    let touched = in_words(&world.apply(Change::Secret(secret, Some(facts))));
    assert_eq!(directories(&touched), ["front"], "a new signing key");
    let keys = json!({"keys": [{"kty": "OKP"}]});
    assert_eq!(directories(&in_words(&world.apply(login(keys.clone(), None)))), ["back", "front"]);
    assert_eq!(in_words(&world.apply(login(keys.clone(), None))), [""; 0]);
    let touched = in_words(&world.apply(login(keys, Some("it does not answer"))));
    assert_eq!(touched, ["domain shop"], "the last good keys stay");
}

#[test]
fn what_does_not_fit_is_the_youngest_and_nobody_gets_tokens_by_it() {
    let policy = |name: &str, second: u32, sources: usize| {
        let sources: Vec<String> =
            (0..sources).map(|i| format!("{{cidr: 203.0.{}.{}/32}}", i / 256, i % 256)).collect();
        let scope = "s".repeat(120);
        let scopes: Vec<String> = (0..64).map(|i| format!("{scope}{i:02}")).collect();
        format!(
            "{{kind: AccessPolicy, metadata: {{name: {name}, namespace: back, creationTimestamp: '2026-01-01T00:00:{second:02}Z'}}, spec: {{to: {{identity: payment, ports: [{{port: 443}}]}}, from: [{}], authentication: {{jwt: {{signer: Issuer, issuer: tokens, scopes: [{}]}}}}}}}}",
            sources.join(", "),
            scopes.join(", ")
        )
    };
    let back = key("sts/tokens.back");
    // The oldest comes last by its name.
    let mut operator = at_rest(&[SHOP, DNS, &policy("zebra", 1, 60)]);
    assert_eq!(directory_step(&operator.world, &back).problem, None);
    operator.show(&policy("aardvark", 2, 120));
    operator.work();
    let told = policies_in(&operator, "back");
    let of = |policy: &str| told.iter().filter(|told| *told == policy).count();
    assert_eq!((of("back/pay"), of("back/web"), of("back/zebra")), (1, 2, 60), "what was there goes on");
    assert!((1..120).contains(&of("back/aardvark")));
    let problem = directory_step(&operator.world, &back).problem.unwrap();
    assert_eq!((problem.condition, problem.reason), (ConditionType::TooLarge, Reason::TooLarge));
    assert!(
        problem.message.contains("it mints no tokens by AccessPolicies back/aardvark; spread"),
        "{}",
        problem.message
    );
    assert!(operator.directories[&back].data.as_ref().unwrap()["directory.json"].len() <= MAX_CONTENT);
    operator.forget("AccessPolicy", "back/pay");
    operator.work();
    assert!(!policies_in(&operator, "back").contains(&"back/pay".to_owned()), "revoking goes on");
    operator.forget("AccessPolicy", "back/zebra");
    operator.work();
    assert_eq!(directory_step(&operator.world, &back).problem, None, "with room for all");
    let keys = json!({"keys": [{"kty": "RSA", "n": "n".repeat(MAX_CONTENT)}]});
    operator.apply(login(keys, None));
    operator.work();
    assert_eq!(told_in(&operator, "back"), None, "rather nothing than what was granted once");
    assert!(directory_step(&operator.world, &back).problem.unwrap().message.contains("by any policy"));
}

#[test]
fn without_its_ca_a_domain_is_told_of_as_before() {
    let mut operator = at_rest(&[SHOP, DNS]);
    operator.apply(Change::Authority("shop".to_owned(), None));
    let step = directory_step(&operator.world, &key("sts/tokens.back")).step;
    let Step::Blocked(problem) = step else { panic!("{step:?}") };
    assert!(problem.message.contains("TrustDomain shop has lost its CA"), "{}", problem.message);
}

/// What is known of the issuer outside.
fn login(jwks: Value, why: Option<&str>) -> Change {
    let key = IssuerKey::external("shop", "login");
    let issuer = "https://login.example".to_owned();
    Change::IssuerKeys(
        key,
        Some(Arc::new(IssuerFacts { issuer, jwks, introspection_uri: None, stale: why.map(failure) })),
    )
}

fn failure(why: &str) -> IssuerFailure {
    IssuerFailure { reason: Reason::IssuerUnreachable, since: now(), why: why.to_owned() }
}

/// A CA as it is after a write that changed nothing that matters here.
fn newer(world: &World, domain: &str) -> Change {
    let mut facts = world.authority(domain).unwrap().clone();
    facts.resource_version = "1000000".to_owned();
    Change::Authority(domain.to_owned(), Some(facts))
}
