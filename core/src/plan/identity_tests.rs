//! What an identity still needs.

use std::collections::BTreeMap;

use super::*;
use crate::api::{ConditionType, Reason, SigningAlgorithm};
use crate::jwt::testing::signing_key;
use crate::jwt::{SigningKeyFacts, signing_key_secret_data};
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::plan::trust::MAX_CONTENT;
use crate::testing::{CLUSTER, SHOP, key};
use crate::world::{Change, Unit};

/// Order calls payment with a token of its own, anyone in storefront calls inventory, and order goes out.
const POLICIES: &str = r"
kind: AccessPolicy
metadata: {name: pay, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: order, namespace: storefront}}]
  authentication: {jwt: {}}
---
kind: AccessPolicy
metadata: {name: look, namespace: storefront}
spec: {to: {identity: inventory, ports: [{port: 8443}]}, from: [{trustDomain: storefront}, {pods: {namespaces: [monitoring]}}]}
---
kind: AccessPolicy
metadata: {name: draft, namespace: storefront}
spec: {to: {identity: inventory, ports: [{port: 22}]}, from: [{identity: {name: order}}], enforcement: Audit}
";

fn at_rest() -> Operator {
    Operator::at_rest(&[SHOP, CLUSTER, POLICIES])
}

fn plan(operator: &Operator, name: &str) -> IdentityPlan {
    identity_plan(&operator.world, &key(name), now()).unwrap()
}

/// The files with which an identity verifies its peers.
fn trust(operator: &Operator, name: &str) -> BTreeMap<String, String> {
    let world = &operator.world;
    let identity = world.identity(&key(name)).unwrap();
    let judged: Vec<Arc<JudgedPolicy>> = world.judged_of(&key(name)).filter(|judged| !judged.draft).cloned().collect();
    let grants: Vec<&Grant> = judged.iter().flat_map(|judged| &judged.grants).collect();
    trust_data(world, identity, &judged, &grants)
}

/// A version of an output that differs from the one that is known.
fn changed<T: Clone>(found: &OutputFacts<T>, content: T) -> Option<OutputFacts<T>> {
    Some(OutputFacts { resource_version: "900".to_owned(), content, ..found.clone() })
}

/// An output that nobody of ours has written.
fn foreign<T>(content: T) -> Option<OutputFacts<T>> {
    let (uid, resource_version) = ("theirs".to_owned(), "1".to_owned());
    Some(OutputFacts {
        uid,
        resource_version,
        owner_uid: None,
        marked: false,
        template: None,
        keystore_record: None,
        restored: false,
        recorded_hash: None,
        content,
    })
}

#[test]
fn a_plan_carried_out_leaves_nothing_to_do() {
    let mut operator = Operator::new(&[SHOP, CLUSTER, POLICIES]);
    let log = operator.work();
    for output in
        ["Secret storefront/order-tls", "Secret storefront/order-signing-key", "ConfigMap storefront/order-trust"]
    {
        assert!(log.contains(&format!("create {output}")), "{output} in {log:?}");
    }
    assert_eq!(operator.left(), []);
    operator.look_at_everything();
    assert_eq!(operator.work(), [""; 0], "a restart writes nothing");
}

#[test]
fn nothing_is_issued_before_there_is_a_ca() {
    let operator = Operator::new(&[SHOP]);
    let CertificateStep::Blocked(problem) = plan(&operator, "storefront/order").certificate else { panic!() };
    assert_eq!(problem.message, "TrustDomain storefront has no CA to sign with yet: see its status");
    assert_eq!(
        plan(&operator, "storefront/order").signing_key,
        Some(SigningKeyStep::Generate { reason: RegenerateReason::Missing, replaces: None }),
        "a signing key needs none"
    );
}

#[test]
fn an_output_of_someone_else_is_left_alone_and_the_others_are_written() {
    let mut operator = Operator::new(&[SHOP, CLUSTER, POLICIES]);
    operator.apply(Change::Secret(key("storefront/order-tls"), foreign(SecretFacts::Other)));
    operator.apply(Change::Secret(key("storefront/order-signing-key"), foreign(SecretFacts::Other)));
    operator.apply(Change::ConfigMap(key("storefront/inventory-trust"), foreign("theirs".to_owned())));
    operator.apply(Change::NetworkPolicy(key("storefront/ringfence-inventory"), foreign("theirs".to_owned())));
    let log = operator.work();
    assert!(!log.iter().any(|line| line.starts_with("replace") || line.starts_with("delete")), "{log:?}");
    let blocked = |name: &str| plan(&operator, name).blocked().into_iter().cloned().collect::<Vec<_>>();
    let taken = |kind: &str, name: &str| name_taken(kind, &key(name));
    assert_eq!(
        blocked("storefront/order"),
        [taken("Secret", "storefront/order-tls"), taken("Secret", "storefront/order-signing-key")]
    );
    assert_eq!(
        blocked("storefront/inventory"),
        [taken("ConfigMap", "storefront/inventory-trust"), taken("NetworkPolicy", "storefront/ringfence-inventory")]
    );
    let units = ["storefront/inventory", "storefront/order"].map(|name| Unit::Identity(key(name)));
    assert_eq!(operator.left(), units, "nothing else is held up");
    operator.forget("Secret", "storefront/order-tls");
    assert_eq!(operator.work(), ["create Secret storefront/order-tls"], "when it is gone, its place is taken");
}

#[test]
fn what_someone_changed_is_written_again_over_that_very_version() {
    let mut operator = at_rest();
    let (map, policy) = (key("storefront/order-trust"), key("storefront/ringfence-order"));
    let found = operator.world.config_map(&map).unwrap().clone();
    let found_policy = operator.world.network_policy(&policy).unwrap().clone();
    operator.apply(Change::ConfigMap(map, changed(&found, "more".to_owned())));
    operator.apply(Change::NetworkPolicy(policy, changed(&found_policy, "wider".to_owned())));
    let plan = plan(&operator, "storefront/order");
    let Step::Write { replaces, drift, .. } = plan.trust else { panic!() };
    assert_eq!((replaces, drift), (Some((found.uid, "900".to_owned())), true));
    let Step::Write { replaces, drift, .. } = plan.network_policy else { panic!() };
    assert_eq!((replaces, drift), (Some((found_policy.uid, "900".to_owned())), true));
    operator.work();
    assert_eq!(operator.left(), []);
}

#[test]
fn what_was_declared_anew_is_no_drift() {
    let mut operator = at_rest();
    operator.forget("AccessPolicy", "settlement/pay");
    let Step::Write { replaces: Some(_), drift: false, .. } = plan(&operator, "settlement/payment").network_policy
    else {
        panic!("the edge is not closed")
    };
    let log = operator.work();
    let both = ["storefront/order", "settlement/payment"].map(|name| name.split_once('/').unwrap());
    for (namespace, name) in both {
        assert!(log.contains(&format!("replace NetworkPolicy {namespace}/ringfence-{name}")), "{log:?}");
        assert!(log.contains(&format!("replace ConfigMap {namespace}/{name}-trust")), "{log:?}");
    }
    assert_eq!(log.len(), 4, "{log:?}");
}

#[test]
fn a_secret_that_lost_its_label_or_gained_a_key_keeps_its_certificate() {
    let mut operator = at_rest();
    let name = key("storefront/order-tls");
    let found = operator.world.secret(&name).unwrap().clone();
    let SecretFacts::Certificate(Ok(facts)) = &found.content else { panic!() };
    let mut more = facts.clone();
    more.extra_keys.insert("note".to_owned());
    let rewritten = |operator: &Operator| match plan(operator, "storefront/order").certificate {
        CertificateStep::Rewrite { reason, replaces } => (reason, replaces.1),
        other => panic!("{other:?}"),
    };
    let unmarked = OutputFacts { marked: false, resource_version: "900".to_owned(), ..found.clone() };
    operator.apply(Change::Secret(name.clone(), Some(unmarked)));
    assert_eq!(rewritten(&operator), (RewriteReason::EncodingChanged, "900".to_owned()));
    let more = OutputFacts { content: SecretFacts::Certificate(Ok(more)), resource_version: "901".to_owned(), ..found };
    operator.apply(Change::Secret(name, Some(more)));
    assert_eq!(rewritten(&operator), (RewriteReason::ExtraKeys, "901".to_owned()));
    assert_eq!(operator.work(), ["replace Secret storefront/order-tls"]);
    assert_eq!(operator.left(), []);
}

#[test]
fn another_signing_key_than_the_recorded_one_is_thrown_away() {
    let mut operator = at_rest();
    let name = key("storefront/order-signing-key");
    let found = operator.world.secret(&name).unwrap().clone();
    let smuggled = signing_key_secret_data(&signing_key(SigningAlgorithm::ES256), None);
    let smuggled = SigningKeyFacts::of_secret(&smuggled).map(Box::new);
    operator.apply(Change::Secret(name, changed(&found, SecretFacts::SigningKey(smuggled))));
    let replaces = Some((found.uid, "900".to_owned()));
    let step = plan(&operator, "storefront/order").signing_key;
    assert_eq!(step, Some(SigningKeyStep::Generate { reason: RegenerateReason::UnexpectedKey, replaces }));
    let log = operator.work();
    assert!(
        log.contains(&"replace ConfigMap settlement/payment-trust".to_owned()),
        "verifiers learn the new one: {log:?}"
    );
    assert_eq!(operator.left(), []);
}

#[test]
fn an_identity_gets_the_keys_of_its_signers_and_the_bundles_of_its_peers_and_no_others() {
    let operator = at_rest();
    let files = |name: &str| trust(&operator, name).into_keys().collect::<Vec<_>>();
    let always = ["access.json", "callees.pem", "callers.pem", "crl.pem", "jwks.json"];
    assert_eq!(
        files("settlement/payment"),
        [
            always[0],
            "bundle.storefront.example.pem",
            always[1],
            always[2],
            always[3],
            always[4],
            "jwks.storefront.order.json"
        ]
    );
    assert_eq!(files("settlement/delivery"), always, "nobody calls it");
    assert_eq!(
        files("storefront/order"),
        [
            always[0],
            "bundle.settlement.example.pem",
            "bundle.storefront.example.pem",
            always[1],
            always[2],
            always[3],
            always[4]
        ],
        "it calls payment, and inventory as everyone in storefront may"
    );
    let payment = trust(&operator, "settlement/payment");
    assert_eq!(payment["callers.pem"], "", "a token alone means no client certificate");
    assert!(payment["jwks.json"].contains("spiffe://storefront.example/ns/storefront/sa/order"));
    let inventory = trust(&operator, "storefront/inventory");
    assert!(inventory["callers.pem"].contains("BEGIN CERTIFICATE"));
    assert!(!inventory["access.json"].contains("22"), "a draft delivers nothing");
}

#[test]
fn what_does_not_fit_into_a_config_map_is_not_written() {
    let path = "x".repeat(MAX_CONTENT);
    let policy = format!(
        "{{kind: AccessPolicy, metadata: {{name: huge, namespace: storefront}}, spec: {{to: {{identity: inventory, ports: [{{port: 80}}]}}, from: [{{identity: {{name: order}}}}], rules: [{{paths: [/{path}]}}]}}}}"
    );
    let mut operator = at_rest();
    operator.show(&policy);
    let Step::Blocked(problem) = plan(&operator, "storefront/inventory").trust else { panic!() };
    assert_eq!((problem.condition, problem.reason), (ConditionType::TooLarge, Reason::TooLarge));
    let log = operator.work();
    assert!(!log.contains(&"replace ConfigMap storefront/inventory-trust".to_owned()));
    operator.forget("AccessPolicy", "storefront/huge");
    operator.work();
    assert_eq!(operator.left(), []);
}

#[test]
fn an_identity_that_is_refused_later_is_closed_and_keeps_its_credentials() {
    let mut operator = at_rest();
    let empty = "{kind: ServiceIdentity, metadata: {name: inventory, namespace: storefront}, spec: {signingKey: {secretName: inventory-tls}}}";
    operator.show(empty);
    assert!(identity_plan(&operator.world, &key("storefront/inventory"), now()).is_none());
    let log = operator.work();
    assert!(log.contains(&"replace NetworkPolicy storefront/ringfence-inventory".to_owned()), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with("delete") || line.contains("inventory-tls")), "{log:?}");
    assert!(refused_step(&operator.world, &key("storefront/inventory")).is_keep());
    operator
        .show("{kind: ServiceIdentity, metadata: {name: inventory, namespace: storefront}, spec: {podSelector: {}}}");
    assert_eq!(
        operator.work(),
        ["delete NetworkPolicy storefront/ringfence-inventory"],
        "there are no such pods, and the baseline stands"
    );
}

#[test]
fn what_is_being_deleted_is_left_to_the_garbage_collector() {
    let mut operator = at_rest();
    operator.show("{kind: ServiceIdentity, metadata: {name: inventory, namespace: storefront, deletionTimestamp: '2026-03-01T00:00:00Z'}, spec: {}}");
    assert!(identity_plan(&operator.world, &key("storefront/inventory"), now()).is_none());
    assert!(refused_step(&operator.world, &key("storefront/inventory")).is_keep());
    let log = operator.work();
    assert!(log.iter().all(|line| !line.contains("inventory")), "only its peers change: {log:?}");
    assert!(log.contains(&"replace ConfigMap storefront/order-trust".to_owned()), "{log:?}");
}

#[test]
fn a_restored_secret_becomes_the_identitys_as_it_is() {
    let mut operator = at_rest();
    let names = ["storefront/order-tls", "storefront/order-signing-key"].map(key);
    let show = |operator: &mut Operator, restored: bool| {
        for name in &names {
            let found = operator.world.secret(name).unwrap().clone();
            // Another object of the same name: UIDs do not survive.
            let (uid, resource_version) = (format!("restored-{restored}"), "900".to_owned());
            let bare = OutputFacts {
                uid,
                resource_version,
                owner_uid: None,
                marked: false,
                restored,
                content: found.content,
                ..found
            };
            operator.apply(Change::Secret(name.clone(), Some(bare)));
        }
        let plan = plan(operator, "storefront/order");
        (plan.certificate, plan.signing_key.unwrap())
    };
    let taken = |name: &NamespacedName| name_taken("Secret", name);
    let blocked = (CertificateStep::Blocked(taken(&names[0])), SigningKeyStep::Blocked(taken(&names[1])));
    assert_eq!(show(&mut operator, false), blocked, "nobody says whose it is");
    let replaces = ("restored-true".to_owned(), "900".to_owned());
    let certificate = CertificateStep::Rewrite { reason: RewriteReason::Restored, replaces: replaces.clone() };
    let signing_key = SigningKeyStep::Rewrite { reason: SigningKeyRewriteReason::Restored, replaces };
    assert_eq!(show(&mut operator, true), (certificate, signing_key));
}

#[test]
fn what_needs_a_lost_ca_is_left_as_it_is_and_the_fence_is_not() {
    let mut operator = at_rest();
    operator.apply(Change::Authority("storefront".to_owned(), None));
    operator.forget("AccessPolicy", "storefront/look");
    let log = operator.work();
    assert!(log.contains(&"replace NetworkPolicy storefront/ringfence-inventory".to_owned()), "{log:?}");
    let Step::Blocked(problem) = plan(&operator, "settlement/payment").trust else { panic!() };
    assert_eq!(
        problem.message,
        "ConfigMap settlement/payment-trust is left as it is, because TrustDomain storefront has lost its CA: see its status"
    );
    assert!(!log.iter().any(|line| line.contains("payment-trust") || line.contains("Secret")), "{log:?}");
}
