//! The token service as the chart installs it and as `examples/token-service` declares it: with an etcd of its own, in a fence
//! of its own, reached by those that list it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Caller, NAMESPACE, Observation, Story, Target, TokenService, come_to, object, pod, service};

const ISSUER: &str = "https://token-service.ringfence-token-service.svc:8443";

#[test]
fn a_service_that_lists_the_token_service_gets_tokens_from_it_and_others_do_not_even_reach_it() {
    let Some(story) = Story::begin_alone("sts") else { return };
    let scene = TokenService::begin(&story, &[]);
    scene.everything_gets_ready();
    scene.declare_the_orders();
    scene.who_lists_it_reaches_it_and_nobody_else();
    let token = scene.order_gets_a_token();
    scene.what_one_pod_revokes_the_other_knows(&token);
    scene.a_member_of_the_store_may_go();
    scene.nothing_was_refused();
    story.assert_rights_suffice();
}

impl TokenService<'_> {
    /// `examples/token-service/orders/orders.yaml` with pods, and a bystander who lists no issuer.
    fn declare_the_orders(&self) {
        let story = self.story;
        story.apply_file("examples/token-service/orders/orders.yaml");
        story.apply(&[object("ServiceIdentity", Some("orders"), "bystander", json!({}))]);
        story.apply(&service("orders", "bystander"));
        for kind in ["serviceidentities.ringfence.dev", "accesspolicies.ringfence.dev"] {
            story.all_ready(kind, "orders");
        }
        let elsewhere = story.namespace("elsewhere");
        let mut order = pod("orders", "order", "order", "order");
        order["spec"]["volumes"] = json!([
            {"name": "tls", "secret": {"secretName": "order-tls"}},
            {"name": "trust", "configMap": {"name": "order-trust"}},
        ]);
        order["spec"]["containers"][0]["volumeMounts"] = json!([
            {"name": "tls", "mountPath": "/order-tls", "readOnly": true},
            {"name": "trust", "mountPath": "/order-trust", "readOnly": true},
        ]);
        story.apply(&[
            order,
            pod("orders", "payment", "payment", "payment"),
            pod("orders", "bystander", "bystander", "bystander"),
            pod(&elsewhere, "stranger", "stranger", "default"),
        ]);
        story.all_ready("pods", "orders");
        story.all_ready("pods", &elsewhere);
    }

    fn who_lists_it_reaches_it_and_nobody_else(&self) {
        let target = |label: &str, address: &str| Target {
            label: label.to_owned(),
            address: format!("{address}.{NAMESPACE}.svc:{}", if label == "sts" { 8443 } else { 2379 }),
            answers: None,
        };
        let targets = [target("sts", "token-service"), target("store", "token-store-0.token-store")];
        let elsewhere = format!("{}-elsewhere", self.story.name);
        let callers = [("orders", "order"), ("orders", "payment"), ("orders", "bystander"), (&*elsewhere, "stranger")];
        let mut expected = Observation::new();
        for (_, name) in callers {
            let reached = if name == "order" { "open" } else { "dropped" };
            expected.insert((name.to_owned(), "sts".to_owned()), reached.to_owned());
            expected.insert((name.to_owned(), "store".to_owned()), "dropped".to_owned());
        }
        let callers = callers.map(|(namespace, name)| (Caller::pod(namespace, name), targets.to_vec()));
        come_to(self.story, "only order reaches the token service, and nobody its store", &callers, &expected);
    }

    /// Sends a form from order's pod, with its certificate.
    fn post(&self, endpoint: &str, fields: &[&str]) -> (u16, Value) {
        let fields = fields.join(" ");
        let sent = format!("exec --namespace=orders order -- /netcheck post order {ISSUER}/{endpoint} {fields}");
        let said = self.story.kubectl(&sent);
        let (status, body) = said.trim_end().split_once(' ').unwrap_or((said.trim_end(), ""));
        let status = status.parse().unwrap_or_else(|_| panic!("{endpoint}: {said}"));
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn order_gets_a_token(&self) -> String {
        let started = Instant::now();
        let grant = ["grant_type=client_credentials", "audience=payment.orders.svc"];
        // What the operator tells the token service takes a moment to arrive.
        let (status, answer) = loop {
            let (status, answer) = self.post("token", &grant);
            if status == 200 || started.elapsed() > Duration::from_secs(60) {
                break (status, answer);
            }
        };
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["scope"], &answer["token_type"]), (&json!("payments"), &json!("Bearer")), "{answer}");
        eprintln!("sts: the first token came after {:?}", started.elapsed());
        let (status, refusal) = self.post("token", &[grant[0], "audience=bystander.orders.svc"]);
        assert_eq!((status, &refusal["error"]), (400, &json!("invalid_target")), "{refusal}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Each request has a connection of its own, so that either pod answers some of them.
    fn what_one_pod_revokes_the_other_knows(&self, token: &str) {
        let field = format!("token={token}");
        let active = || {
            let (status, answer) = self.post("introspect", &[&field]);
            assert_eq!(status, 200, "{answer}");
            answer["active"].as_bool().unwrap()
        };
        assert!((0..4).all(|_| active()));
        assert_eq!(self.post("revoke", &[&field]).0, 200);
        assert!((0..10).all(|_| !active()));
    }

    fn a_member_of_the_store_may_go(&self) {
        let story = self.story;
        story.kubectl(&format!("delete pod token-store-0 --namespace={NAMESPACE} --wait=false"));
        let grant = ["grant_type=client_credentials", "audience=payment.orders.svc"];
        let asked = Instant::now();
        for _ in 0..5 {
            let (status, answer) = self.post("token", &grant);
            assert_eq!(status, 200, "{answer}");
            let field = format!("token={}", answer["access_token"].as_str().unwrap());
            let (status, answer) = self.post("introspect", &[&field]);
            assert_eq!((status, &answer["active"]), (200, &json!(true)), "{answer}");
        }
        eprintln!("sts: without a member of the store five tokens and introspections took {:?}", asked.elapsed());
        // It comes back with what it had.
        story.kubectl(&format!("rollout status statefulset/token-store --timeout=120s --namespace={NAMESPACE}"));
    }

    /// The token service has the rights that it uses.
    fn nothing_was_refused(&self) {
        let account = format!("system:serviceaccount:{NAMESPACE}:token-service");
        let log = fs::read_to_string(self.story.cluster().audit_log()).unwrap();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let events = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own: Vec<Value> = events.filter(|event| event["user"]["username"] == *account).collect();
        assert!(own.iter().any(|event| event["verb"] == "create"), "it wrote nothing");
        let refused: BTreeSet<String> = own
            .iter()
            .filter(|event| event["responseStatus"]["code"] == 403)
            .map(|event| format!("{} {}", event["verb"], event["objectRef"]))
            .collect();
        assert_eq!(refused, BTreeSet::new());
    }
}
