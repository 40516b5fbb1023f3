//! What the API server itself refuses: attacks by name, each beside the legitimate case that passes.
//!
//! These stories share a cluster of their own: in it the admission policies are installed as the chart installs them.

mod fence;
mod finalizers;
mod kinds;
mod membership;
mod operator;
mod outputs;
mod pods;
mod token_keys;

use std::sync::OnceLock;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::api::PostParams;
use kube::core::Resource;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{Story, TestCluster, eventually, guard, identity};

/// Begins a story in the cluster that has the admission policies.
async fn begin(title: &str) -> Story {
    static GUARDED: OnceLock<TestCluster> = OnceLock::new();
    let start = || {
        GUARDED.get_or_init(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let cluster = runtime.block_on(TestCluster::start());
            guard(cluster.cluster());
            // The operator runs as long as the process does.
            drop(runtime.block_on(cluster.operate()));
            std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
            cluster
        })
    };
    let cluster = tokio::task::spawn_blocking(start).await.unwrap();
    let story = Story::begin_in(cluster, title).await;
    in_force(&story).await;
    story
}

/// Waits until the API server judges by the policies: by two that come after them and ask for the same kinds.
async fn in_force(story: &Story) {
    let namespace = story.namespace("sentinel").await;
    story.create::<ringfence_core::api::ServiceIdentity>(&namespace, identity("sentinel", json!({}))).await;
    let spec = json!({"certificateAuthority": {"selfSigned": {}}});
    let domain = json!({"metadata": {"name": namespace}, "spec": spec});
    story.create_cluster_wide::<ringfence_core::api::TrustDomain>(domain).await;
    for kind in ["TrustDomain", "ServiceIdentity"] {
        let name = format!("{namespace}-{}", kind.to_lowercase());
        let policy = json!({"metadata": {"name": name}, "spec": {
            "paramKind": {"apiVersion": "ringfence.dev/v1alpha1", "kind": kind},
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
                }],
            },
            "matchConditions": [{"name": "sentinel", "expression": format!("object.metadata.name == '{name}'")}],
            "validations": [{"expression": "false"}],
        }});
        story.create_cluster_wide::<ValidatingAdmissionPolicy>(policy).await;
        let binding = json!({"metadata": {"name": name}, "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"},
        }});
        story.create_cluster_wide::<ValidatingAdmissionPolicyBinding>(binding).await;
        let maps = Api::<ConfigMap>::namespaced(story.client.clone(), &namespace);
        refused(&name, async || create(&maps, json!({"metadata": {"name": name}})).await).await;
    }
}

/// Tries to create an object, without doing it.
async fn create<K>(api: &Api<K>, object: Value) -> Result<(), String>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let mut object = object;
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    let object = serde_json::from_value(object).unwrap();
    answer(api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await)
}

/// What the API server says to an attempt: its message, if it refuses.
fn answer<T>(result: kube::Result<T>) -> Result<(), String> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("the API server did not answer: {error}"),
    }
}

/// Tries until a policy refuses, since what it goes by takes a moment to reach the API server's memory; gives the message.
/// `policy` may be the beginning of a name.
async fn refused(policy: &str, mut attempt: impl AsyncFnMut() -> Result<(), String>) -> String {
    let by = format!("ValidatingAdmissionPolicy '{policy}");
    let mut last = Last(None);
    eventually(&format!("the policy {policy} refuses"), async || {
        last.0 = Some(attempt().await);
        let message = last.0.clone()?.err()?;
        (message.contains(&by) && !message.contains("failed to configure")).then_some(message)
    })
    .await
}

/// Tries until it passes, for the same reason.
async fn passes(what: &str, mut attempt: impl AsyncFnMut() -> Result<(), String>) {
    let mut last = Last(None);
    eventually(&format!("{what} passes"), async || {
        last.0 = Some(attempt().await);
        last.0.clone()?.ok()
    })
    .await;
}

/// The last answer to an attempt, told when the wait for another one was in vain.
struct Last(Option<Result<(), String>>);

impl Drop for Last {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last answer was {:?}", self.0);
        }
    }
}

/// A client of someone who has the role `admin` in a namespace, as an application team has.
async fn admin_of(story: &Story, namespace: &str) -> Client {
    let user = format!("{}-admin", story.name);
    let binding = json!({
        "metadata": {"name": "team"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    });
    story.create::<RoleBinding>(namespace, binding).await;
    story.cluster.client_of(&user, &[]).await
}

/// A client of someone who may do this in the whole cluster.
async fn allowed(story: &Story, user: &str, rules: Value) -> Client {
    let user = format!("{}-{user}", story.name);
    story.create_cluster_wide::<ClusterRole>(json!({"metadata": {"name": user}, "rules": rules})).await;
    let binding = json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    });
    story.create_cluster_wide::<ClusterRoleBinding>(binding).await;
    story.cluster.client_of(&user, &[]).await
}

/// No policy met a case that it could not judge: those that fail open would have let it pass unseen.
async fn nothing_went_unjudged(story: &Story) {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = story.client.request_text(request).await.unwrap();
    let judged = |line: &&str| line.starts_with("apiserver_validating_admission_policy_check_total{");
    assert!(metrics.lines().any(|line| judged(&line)), "the API server counts differently now");
    let unjudged: Vec<&str> = metrics
        .lines()
        .filter(judged)
        .filter(|line| line.contains("enforcement_action=\"allow\"") && !line.contains("error_type=\"no_error\""))
        .collect();
    assert_eq!(unjudged, Vec::<&str>::new());
}

/// Waits until a domain holds a namespace.
async fn member(story: &Story, domain: &str, namespace: &str) {
    story
        .wait_domain(domain, "hold its namespace", |domain| {
            domain.status.as_ref().is_some_and(|status| status.namespaces.iter().any(|held| held == namespace))
        })
        .await;
}
