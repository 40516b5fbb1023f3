//! Which workloads are rolled, when, and that nothing else is.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::{CertificateStatus, WorkloadKind};
use crate::pki::testing::now;
use crate::plan::testing::{Operator, SIGNED_CALL};
use crate::plan::{Outcome, identity_plan, identity_status};
use crate::testing::{DNS, SHOP, condition, key};

fn at(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

/// An operator that may roll workloads, and an identity that names one.
fn operator(identity: &str, restart: bool) -> Operator {
    let mut operator = Operator::new(&[]);
    operator.world.settings.restart = restart;
    for yaml in [SHOP, DNS, SIGNED_CALL] {
        operator.show(yaml);
    }
    change(&mut operator, identity, |spec| {
        spec["restart"] = json!({"workloads": [{"kind": "Deployment", "name": "main"}]});
    });
    operator
}

fn change(operator: &mut Operator, identity: &str, change: impl FnOnce(&mut Value)) {
    let object = operator.world.service_identity(&key(identity)).unwrap();
    let mut object = serde_json::to_value(object.as_ref()).unwrap();
    object["metadata"]["generation"] = (object["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
    change(&mut object["spec"]);
    operator.show_one(object);
    operator.work();
}

fn hash(operator: &Operator, identity: &str) -> Option<String> {
    identity_plan(&operator.world, &key(identity), now()).unwrap().credentials
}

fn recorded(operator: &Operator, identity: &str) -> Option<RestartStatus> {
    operator.world.service_identity(&key(identity)).unwrap().status.clone().unwrap().restart
}

#[test]
fn certificate_keys_bundles_and_key_sets_count_and_nothing_else_does() {
    let before = || {
        let operator = operator("settlement/payment", true);
        let hash = hash(&operator, "settlement/payment").unwrap();
        (operator, hash)
    };
    let (mut operator, old) = before();
    operator.look_at_everything();
    operator.work();
    assert_eq!(hash(&operator, "settlement/payment").unwrap(), old, "nothing changed");
    // How long a token may live stands in access.json alone.
    operator.show(&SIGNED_CALL.replace("jwt: {}", "jwt: {maxLifetime: 1m}"));
    operator.work();
    assert_eq!(hash(&operator, "settlement/payment").unwrap(), old, "access.json");

    let rotate = |operator: &mut Operator, identity: &str, target: &str| {
        change(operator, identity, |spec| {
            spec["rotation"] = json!({"id": "once", "target": target, "mode": "Compromised"});
        });
    };
    let (mut operator, old) = before();
    rotate(&mut operator, "storefront/order", "Certificate");
    assert_eq!(hash(&operator, "settlement/payment").unwrap(), old, "crl.pem, for a peer's certificate");
    let (mut operator, old) = before();
    rotate(&mut operator, "settlement/payment", "Certificate");
    assert_ne!(hash(&operator, "settlement/payment").unwrap(), old, "its certificate");
    let (mut operator, old) = before();
    rotate(&mut operator, "storefront/order", "SigningKey");
    assert_ne!(hash(&operator, "settlement/payment").unwrap(), old, "the key set of one that calls it");
    let (mut operator, old) = before();
    change(&mut operator, "settlement/payment", |spec| spec["signingKey"] = json!({}));
    assert_ne!(hash(&operator, "settlement/payment").unwrap(), old, "its signing key");
    let (mut operator, old) = before();
    operator.forget("AccessPolicy", "settlement/pay");
    operator.work();
    assert_ne!(hash(&operator, "settlement/payment").unwrap(), old, "the bundle of one that calls it");
}

#[test]
fn without_the_opt_in_a_condition_says_what_to_set_and_nothing_else_suffers() {
    let operator = operator("storefront/order", false);
    let status = identity_status(&operator.world, &key("storefront/order"), &Outcome::default(), now()).unwrap();
    let said = |kind| condition(&status.conditions, kind).unwrap();
    let off = "True RestartDisabled: restarts are off, so that nobody rolls Deployment main when certificates change: set restart.enabled: true in the values of the chart, or take restart out of the spec";
    assert_eq!(said(ConditionType::RestartPending), off);
    assert_eq!(said(ConditionType::Ready), off);
    assert_eq!(said(ConditionType::Programmed), "True Programmed: everything is written and current");
    assert!(status.certificate.is_some());
    assert_eq!((status.restart, hash(&operator, "storefront/order")), (None, None));
}

#[test]
fn an_identity_without_restart_has_no_hash_and_no_account() {
    let operator = operator("storefront/order", true);
    assert!(hash(&operator, "storefront/order").is_some());
    assert_eq!((hash(&operator, "storefront/gateway"), recorded(&operator, "storefront/gateway")), (None, None));
}

/// What the status says next, of an identity that is delivered `hash` and had this account.
fn next(before: Option<RestartStatus>, had_a_certificate: bool, restarted: bool, seconds: i64) -> RestartStatus {
    let operator = operator("storefront/order", true);
    let plan = identity_plan(&operator.world, &key("storefront/order"), now()).unwrap();
    let leaf = leaf_of(&operator.world, &plan.identity).unwrap();
    let mut object = operator.world.service_identity(&key("storefront/order")).unwrap().as_ref().clone();
    object.metadata.generation = Some(7);
    let mut status = object.status.take().unwrap();
    status.certificate = status.certificate.filter(|_: &CertificateStatus| had_a_certificate);
    let hash = plan.credentials.clone().unwrap();
    status.restart = before.map(|before| RestartStatus { hash: before.hash.replace("current", &hash), ..before });
    object.status = Some(status);
    let restarted = restarted.then(|| Restarted { hash: hash.clone(), generation: Some(7) });
    let next = restart_status(&object, &plan, Some(leaf), restarted.as_ref(), at(seconds)).unwrap();
    assert_eq!(next.hash, hash);
    next
}

#[test]
fn what_is_delivered_is_put_on_record_with_the_time_from_which_pods_have_it() {
    let account = |hash: &str, since: i64, first: Option<i64>| RestartStatus {
        hash: hash.to_owned(),
        since: Time(at(since)),
        first: first.map(|first| Time(at(first))),
        completed_generation: Some(7),
    };
    // Account before, whether it had a certificate, when it is looked at; since, first, completed.
    let cases = [
        ("new", None, false, 3, (0, Some(0), None)),
        ("restart is asked for later", None, true, 3000, (0, None, None)),
        ("nothing changed", Some(account("current", 0, None)), true, 3000, (0, None, Some(7))),
        ("renewed", Some(account("old", 0, None)), true, 3000, (3000, None, None)),
        ("still being put together", Some(account("old", 2, Some(0))), true, 5, (5, Some(0), None)),
        ("put together for long", Some(account("old", 2, Some(0))), true, 12, (12, None, None)),
    ];
    for (case, before, had, seconds, (since, first, completed)) in cases {
        let next = next(before, had, false, seconds);
        let expected = (at(since), first.map(at), completed);
        assert_eq!((next.since.0, next.first.map(|first| first.0), next.completed_generation), expected, "{case}");
    }
    let completed =
        next(Some(RestartStatus { completed_generation: None, ..account("current", 0, None) }), true, true, 20);
    assert_eq!(completed.completed_generation, Some(7));
    let another = next(Some(account("old", 0, None)), true, true, 20);
    assert_eq!(another.completed_generation, None, "something else was rolled out");
}

#[test]
fn workloads_are_looked_at_when_a_change_has_settled_until_all_are_through() {
    let mut operator = operator("storefront/order", true);
    let plan = |operator: &Operator| {
        let plan = identity_plan(&operator.world, &key("storefront/order"), now()).unwrap();
        restart_plan(&operator.world, &plan)
    };
    let wanted = plan(&operator).unwrap();
    assert_eq!((wanted.since, wanted.due), (at(0), at(10)));
    assert_eq!(wanted.workloads, [Workload { kind: WorkloadKind::Deployment, name: "main".to_owned() }]);
    let through = |operator: &mut Operator| {
        let outcome = Outcome { restarted: plan(operator).map(RestartPlan::done), ..Outcome::default() };
        let status = identity_status(&operator.world, &key("storefront/order"), &outcome, at(20));
        let mut object = operator.world.service_identity(&key("storefront/order")).unwrap().as_ref().clone();
        object.status = status;
        operator.apply(crate::world::Change::Identity(key("storefront/order"), Some(object.into())));
        operator.work();
    };
    through(&mut operator);
    assert_eq!(plan(&operator), None);
    assert_eq!(restart_due(operator.world.service_identity(&key("storefront/order")).unwrap()), None);
    change(&mut operator, "storefront/order", |spec| {
        spec["restart"]["workloads"] = json!([{"kind": "StatefulSet", "name": "other"}]);
    });
    let wanted = plan(&operator).unwrap();
    assert_eq!((wanted.since, wanted.workloads[0].to_string()), (at(0), "StatefulSet other".to_owned()));
    through(&mut operator);
    assert_eq!(plan(&operator), None);
    change(&mut operator, "storefront/order", |spec| spec["restart"] = Value::Null);
    assert_eq!((plan(&operator), recorded(&operator, "storefront/order")), (None, None));
}

#[test]
fn a_suspended_identity_keeps_its_account_and_rolls_nothing() {
    let mut operator = operator("storefront/order", true);
    let before = recorded(&operator, "storefront/order").unwrap();
    change(&mut operator, "storefront/order", |spec| spec["suspended"] = json!(true));
    assert_eq!(recorded(&operator, "storefront/order"), Some(before.clone()));
    change(&mut operator, "storefront/order", |spec| spec["suspended"] = json!(false));
    let after = recorded(&operator, "storefront/order").unwrap();
    assert_ne!(after.hash, before.hash, "what comes back is new");
}

/// Pods by name: when their files came in, what they were rolled for, and their label.
fn show(operator: &mut Operator, pods: &[(&str, Option<i64>, Option<&str>, &str)]) {
    for (name, files, rolled_for, app) in pods {
        let mut pod = json!({
            "kind": "Pod", "metadata": {"name": name, "namespace": "storefront", "labels": {"app": app}},
            "spec": {"serviceAccountName": "order", "containers": []}, "status": {"phase": "Pending"},
        });
        if let Some(files) = files {
            let time = at(*files).to_string();
            pod["status"]["conditions"] =
                json!([{"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": time}]);
        }
        if let Some(hash) = rolled_for {
            pod["metadata"]["annotations"] = json!({"ringfence.dev/credentials-hash": hash});
        }
        operator.show_one(pod);
    }
}

fn wanted(since: i64, first: Option<i64>) -> RestartPlan {
    RestartPlan {
        workloads: Vec::new(),
        hash: "new".to_owned(),
        due: at(since + 10),
        since: at(since),
        first: first.map(at),
        generation: Some(1),
    }
}

#[test]
fn a_pod_is_from_before_when_its_files_came_in_before_and_it_was_not_rolled_for_this() {
    let main = LabelSelector::label("app", "main");
    let cases = [
        ("long before", Some(-3600), None, "main", 1),
        ("a second before", Some(99), None, "main", 1),
        ("while the kubelet may have had the older one", Some(101), None, "main", 1),
        ("after", Some(102), None, "main", 0),
        ("still to start", None, None, "main", 0),
        ("rolled for this, by a clock that is behind", Some(90), Some("new"), "main", 0),
        ("rolled for something else", Some(90), Some("old"), "main", 1),
        ("of another workload", Some(90), None, "other", 0),
    ];
    for (case, files, rolled_for, app, expected) in cases {
        let mut operator = operator("storefront/order", true);
        show(&mut operator, &[("one", files, rolled_for, app)]);
        assert_eq!(wanted(100, None).pods_from_before(&operator.world, "storefront", &main), expected, "{case}");
        assert_eq!(wanted(100, None).pods_from_before(&operator.world, "settlement", &main), 0, "{case}, elsewhere");
    }
}

#[test]
fn while_an_identity_is_new_only_pods_that_started_with_less_are_from_before() {
    let main = LabelSelector::label("app", "main");
    // First certificate, last change, when files came in.
    let cases = [
        ("ran before there was an identity", 0, 5, -3600, 0),
        ("started before the bundle was there", 0, 5, 3, 1),
        ("started after all was there", 0, 5, 8, 0),
        ("waited for the Secret, and nothing came later", 0, 0, 1, 0),
    ];
    for (case, first, since, files, expected) in cases {
        let mut operator = operator("storefront/order", true);
        show(&mut operator, &[("one", Some(files), None, "main")]);
        let wanted = wanted(since, Some(first));
        assert_eq!(wanted.pods_from_before(&operator.world, "storefront", &main), expected, "{case}");
    }
}

#[test]
fn the_start_of_a_pod_is_remembered_and_touches_nothing() {
    let mut operator = operator("storefront/order", true);
    let labels = json!({"app.kubernetes.io/name": "order"});
    let pod = |status: Value| {
        json!({"kind": "Pod", "metadata": {"name": "one", "namespace": "storefront", "labels": labels},
            "spec": {"serviceAccountName": "order", "containers": []}, "status": status})
    };
    operator.show_one(pod(json!({"phase": "Pending"})));
    operator.work();
    let running = json!({"phase": "Running", "startTime": at(1).to_string()});
    let touched = crate::testing::show(&mut operator.world, pod(running));
    assert_eq!(touched, BTreeSet::new());
    let (_, pod) = operator.world.pods_in("storefront").next().unwrap();
    assert_eq!(pod.start.files_since, Some(at(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever pods there are, replacing those from before leaves none, and nothing is rolled a second time.
    #[test]
    fn once_pods_from_before_are_replaced_none_is_left(
        pods in prop::collection::vec((prop::option::of(-100_i64..200), any::<bool>()), 0..12),
        since in 0_i64..100,
        new in any::<bool>(),
    ) {
        let mut operator = Operator::new(&[]);
        let main = LabelSelector::label("app", "main");
        let wanted = wanted(since, new.then_some(since / 2));
        let names: Vec<String> = (0..pods.len()).map(|number| format!("pod-{number:02}")).collect();
        let all: Vec<_> = names
            .iter()
            .zip(&pods)
            .map(|(name, (files, rolled))| (name.as_str(), *files, rolled.then_some("new"), "main"))
            .collect();
        show(&mut operator, &all);
        let before = wanted.pods_from_before(&operator.world, "storefront", &main);
        let old: Vec<_> = all
            .iter()
            .filter(|(_, files, rolled, _)| rolled.is_none() && files.is_some_and(|files| files < since))
            .filter(|(_, files, ..)| !new || files.is_some_and(|files| files >= since / 2))
            .collect();
        prop_assert!(before >= old.len() || new && since / 2 == since, "{} of {}", before, old.len());
        let replaced: Vec<_> = all.iter().map(|(name, _, _, app)| (*name, Some(since + 12), Some("new"), *app)).collect();
        show(&mut operator, &replaced);
        prop_assert_eq!(wanted.pods_from_before(&operator.world, "storefront", &main), 0);
    }
}
