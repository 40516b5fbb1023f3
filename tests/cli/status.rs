//! `ringfence status` against a real API server.

use std::path::Path;

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use ringfence_cluster::{Cluster, Options};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::command::{Ran, path, ringfence, ringfence_in, ringfence_with};
use crate::support::{Story, Trust, begin_alone, condition, identity, policy};

#[tokio::test]
async fn a_shop_in_order_is_all_well() {
    let story = Story::begin("status-well").await;
    let Trust { domain, namespace } = shop(&story).await;
    let ran = ringfence_in(&story, &["status", "-n", &namespace]).await;
    assert_eq!((ran.code, ran.complaints.as_str()), (0, ""), "{}", ran.output);
    assert!(ran.output.starts_with("1 trust domain, 2 identities, 1 access policy: all is well\n"), "{}", ran.output);
    assert!(ran.output.lines().all(|line| line.chars().count() <= 100), "{}", ran.output);

    let json = ringfence_in(&story, &["status", "--domain", &domain, "-o", "json"]).await.json();
    assert_eq!([&json["well"], &json["findings"]], [&json!(true), &json!([])]);
    assert_eq!(json["trustDomains"][0]["namespaces"], json!([namespace]));
    let order = find(&json["identities"], "order");
    let object = Api::<ServiceIdentity>::namespaced(story.client.clone(), &namespace).get("order").await.unwrap();
    let status = object.status.unwrap();
    assert_eq!(order["spiffeID"], json!(status.spiffe_id));
    assert_eq!(order["signingKeyID"], json!(status.signing_key.unwrap().key_id));
    assert_eq!(order["certificate"]["renewalTime"], json!(status.certificate.unwrap().renewal_time));
    let policy = find(&json["accessPolicies"], "payment");
    assert_eq!([&policy["edges"], &policy["entries"]], [1, 1]);

    let everything = ringfence_in(&story, &["status", "-A", "-o", "yaml"]).await;
    let everything: Value = serde_saphyr::from_str(&everything.output).unwrap();
    assert!(everything["trustDomains"].as_array().unwrap().iter().any(|row| row["name"] == json!(domain)));
}

#[tokio::test]
async fn a_refused_policy_is_named_first_with_exit_code_1() {
    let story = Story::begin("status-refused").await;
    let Trust { namespace, .. } = shop(&story).await;
    let callers = |from: Value| json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": from});
    let outside = json!([{"identity": {"name": "order"}}, {"cidr": "203.0.113.0/24"}]);
    story.ready_policy(&namespace, "partly", callers(outside)).await;
    let partly = ringfence_in(&story, &["status", "-n", &namespace]).await;
    assert_eq!(partly.code, 1);
    let named = format!("refused   AccessPolicy {namespace}/partly: InboundNotAllowed");
    says(&partly, &["1 refused", &named, "from[1] (cidr", "1 of 2"]);

    story.judged_policy(&namespace, "zero", callers(json!([{"identity": {"name": "nobody"}}]))).await;
    let refused = ringfence_in(&story, &["status", "-n", &namespace]).await;
    assert_eq!(refused.code, 1);
    says(&refused, &["1 not ready", &format!("not ready AccessPolicy {namespace}/zero: CallerNotFound"), "0 of 1"]);
    let row = |name: &str| refused.output.find(&format!("\n{namespace}/{name} ")).unwrap();
    assert!(row("zero") < row("payment"), "problems come first");
    let json = ringfence_in(&story, &["status", "-n", &namespace, "-o", "json"]).await.json();
    assert_eq!(find(&json["accessPolicies"], "zero")["well"], false);
    let findings: Vec<Value> =
        json["findings"].as_array().unwrap().iter().map(|finding| finding["severity"].clone()).collect();
    assert_eq!(findings, ["NotReady", "Refused"]);
}

#[tokio::test]
async fn only_the_three_kinds_are_read_and_no_more_than_one_may() {
    let story = Story::begin("status-rights").await;
    let Trust { namespace, domain } = shop(&story).await;
    let user = format!("{}-developer", story.name);
    let role = json!({"metadata": {"name": "look"}, "rules": [{
        "apiGroups": ["ringfence.dev"], "resources": ["serviceidentities", "accesspolicies"], "verbs": ["list"],
    }]});
    story.create::<Role>(&namespace, role).await;
    let binding = json!({
        "metadata": {"name": "look"}, "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "look"},
    });
    story.create::<RoleBinding>(&namespace, binding).await;
    let kubeconfig = story.cluster.cluster().kubeconfig_for(&user, &[]).unwrap();

    let own = ringfence_with(&kubeconfig, &["status", "-n", &namespace]).await;
    assert_eq!(own.code, 0, "{own:?}");
    says(&own, &["0 trust domains, 2 identities", "Not seen: you may not read TrustDomains"]);
    for arguments in [vec!["status", "-A"], vec!["status", "--domain", &domain], vec!["status", "-n", "default"]] {
        let ran = ringfence_with(&kubeconfig, &arguments).await;
        assert_eq!((ran.code, ran.output.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.complaints.starts_with("ERROR you may not read "), "{}", ran.complaints);
        assert_eq!(ran.complaints.lines().count(), 1, "{}", ran.complaints);
    }
    let log = std::fs::read_to_string(story.cluster.cluster().audit_log()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut asked: Vec<String> = events
        .filter(|event| event["user"]["username"] == json!(user))
        .map(|event| {
            format!("{} {}", event["verb"].as_str().unwrap(), event["objectRef"]["resource"].as_str().unwrap())
        })
        .collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ["list accesspolicies", "list serviceidentities", "list trustdomains"]);
}

#[tokio::test]
async fn who_is_behind_is_told_when_no_operator_runs() {
    let (story, _turn) = begin_alone("status-behind").await;
    let operation = story.cluster.operate().await;
    let Trust { namespace, .. } = shop(&story).await;
    operation.stop().await;
    assert_eq!(ringfence_in(&story, &["status", "-n", &namespace]).await.code, 0);
    let policies = Api::<AccessPolicy>::namespaced(story.client.clone(), &namespace);
    story.change(policies, "payment", json!({"enforcement": "Audit"})).await;
    story.create::<ServiceIdentity>(&namespace, identity("new", json!({}))).await;
    let ran = ringfence_in(&story, &["status", "-n", &namespace]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    says(
        &ran,
        &[
            "1 not ready, 1 behind",
            &format!("not ready ServiceIdentity {namespace}/new: Pending"),
            &format!("behind    AccessPolicy {namespace}/payment: Behind"),
            "see whether the operator runs",
        ],
    );

    // A listing comes in pages.
    for number in 0..501 {
        story.create::<ServiceIdentity>(&namespace, identity(&format!("page-{number}"), json!({}))).await;
    }
    let ran = ringfence_in(&story, &["status", "-n", &namespace]).await;
    says(&ran, &["504 identities", "… and 484 more; --full shows them"]);
    assert!(ran.output.lines().count() < 100, "{}", ran.output);
}

#[test]
fn a_cluster_without_the_kinds_is_told_from_an_empty_one() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let ran = ringfence(&["status", "-A", "--kubeconfig", path(cluster.kubeconfig())]);
    assert_eq!((ran.code, ran.output.as_str()), (2, ""));
    assert!(ran.complaints.contains("the cluster does not have the kinds of Ringfence"), "{}", ran.complaints);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_asked_is_a_sentence_with_exit_code_2() {
    let folder = tempfile::TempDir::new().unwrap();
    let kubeconfig = |text: &str| {
        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, text).unwrap();
        file
    };
    let story = Story::begin("status-unreachable").await;
    let working = std::fs::read_to_string(story.cluster.cluster().kubeconfig()).unwrap();
    let server = working.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap();
    // Nothing listens there: the port of this listener is free again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = kubeconfig(&working.replace(server, &format!("https://{free}")));
    fails(&dead, &["status", "-A"], &format!("the API server at https://{free}/ can't be asked for TrustDomains"))
        .await;
    // What a parser says of it would show the token.
    let torn = kubeconfig("users:\n- name: me\n  user:\n    token: very-secret\n   oops: [");
    let ran = fails(&torn, &["status", "-A"], "kubeconfig can't be used: it is no kubeconfig").await;
    assert!(!ran.complaints.contains("very-secret"), "{}", ran.complaints);
    let working = story.cluster.cluster().kubeconfig();
    fails(working, &["status", "--context", "nowhere"], "failed to load current context: nowhere").await;
    fails(working, &["status", "--domain", "nowhere"], "there is no TrustDomain nowhere").await;
    fails(Path::new("/nowhere"), &["status"], "/nowhere can't be used").await;
}

async fn fails(kubeconfig: &Path, arguments: &[&str], complaint: &str) -> Ran {
    let ran = ringfence_with(kubeconfig, arguments).await;
    assert_eq!((ran.code, ran.output.as_str()), (2, ""), "{arguments:?}");
    assert!(ran.complaints.contains(complaint), "{complaint:?} is in {}", ran.complaints);
    assert_eq!(ran.complaints.lines().count(), 1, "one sentence: {}", ran.complaints);
    ran
}

/// Two identities, of which one may call the other, once everything is ready.
async fn shop(story: &Story) -> Trust {
    let trust = story.trust("shop", json!({})).await;
    story.ready_identity(&trust.namespace, "order", json!({"signingKey": {}})).await;
    story.ready_identity(&trust.namespace, "payment", json!({})).await;
    let spec =
        json!({"to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}]});
    story.ready_policy(&trust.namespace, "payment", spec).await;
    let is_ready = |domain: &TrustDomain| condition(domain, "Ready").0 == "True";
    story.wait_domain(&trust.domain, "become ready", is_ready).await;
    trust
}

fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.output.contains(word), "{word:?} is in\n{}", ran.output);
    }
}

fn find(rows: &Value, name: &str) -> Value {
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
}
