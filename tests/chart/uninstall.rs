//! What runs before the chart is uninstalled, with no more rights than that takes.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde_json::{Value, json};

use crate::helm::{hooks, of_kind};

fn rights(rules: &[PolicyRule]) -> Vec<(Vec<String>, Vec<String>, Vec<String>)> {
    let all = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
    rules.iter().map(|rule| (all(&rule.resources), all(&rule.resource_names), rule.verbs.clone())).collect()
}

#[test]
fn a_job_with_an_account_of_its_own_stops_the_operator_and_releases_what_waits_for_it() {
    let hooks = hooks(&json!({
        "image": {"repository": "example/ringfence", "tag": "edge"}, "nodeSelector": {"kubernetes.io/os": "linux"},
    }));
    let is_pre_delete = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete";
    assert_eq!((hooks.len(), hooks.iter().all(is_pre_delete)), (6, true));
    let job = of_kind::<Job>(&hooks).remove(0);
    let weight = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook-weight"].as_str().unwrap().to_owned();
    let before = hooks.iter().filter(|object| object["kind"] != "Job").all(|object| weight(object) == "-1");
    assert!(before, "its rights come first");
    let template = job.spec.unwrap().template;
    let component = &template.metadata.unwrap().labels.unwrap()["app.kubernetes.io/component"];
    assert_ne!(component, "operator", "it does not wait for itself");
    let pod = template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("ringfence-uninstall"));
    assert!(pod.node_selector.unwrap().contains_key("kubernetes.io/os"));
    let container = &pod.containers[0];
    assert_eq!(container.image.as_deref(), Some("example/ringfence:edge"));
    let namespace = format!("--namespace={OPERATOR_NAMESPACE}");
    assert_eq!(container.args.clone().unwrap(), ["release-finalizers", &namespace]);
    assert_eq!(of_kind::<ServiceAccount>(&hooks)[0].name_any(), "ringfence-uninstall");

    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let cluster_role = of_kind::<ClusterRole>(&hooks).remove(0);
    assert_eq!(
        rights(&cluster_role.rules.unwrap()),
        [(words(&["trustdomains", "serviceidentities"]), words(&[]), words(&["get", "list", "patch"]))]
    );
    let role = of_kind::<Role>(&hooks).remove(0);
    assert_eq!(
        rights(&role.rules.unwrap()),
        [
            (words(&["deployments/scale"]), words(&["ringfence"]), words(&["patch"])),
            (words(&["pods"]), words(&[]), words(&["list", "watch"])),
        ]
    );
    let subjects = of_kind::<RoleBinding>(&hooks).remove(0).subjects.unwrap();
    let cluster_wide = of_kind::<ClusterRoleBinding>(&hooks).remove(0).subjects.unwrap();
    for subject in [&subjects[0], &cluster_wide[0]] {
        assert_eq!((&*subject.name, subject.namespace.as_deref()), ("ringfence-uninstall", Some(OPERATOR_NAMESPACE)));
    }
}

#[test]
fn it_is_left_out_for_tools_that_would_run_it_at_once() {
    assert_eq!(hooks(&json!({"uninstallHook": {"enabled": false}})), [] as [Value; 0]);
}
