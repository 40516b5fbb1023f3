//! Two replicas by default: spread, disrupted one at a time, replaced one after the other, agreeing on who leads.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde_json::{Value, json};

use crate::helm::{of_kind, render};

fn deployment(values: &Value) -> Value {
    serde_json::to_value(of_kind::<Deployment>(&render(values)).remove(0)).unwrap()
}

#[test]
fn two_replicas_run_on_different_nodes_where_there_are_two() {
    let deployment = deployment(&json!({}));
    assert_eq!(deployment["spec"]["replicas"], 2);
    let selector = &deployment["spec"]["selector"];
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }]);
    assert_eq!(deployment["spec"]["template"]["spec"]["topologySpreadConstraints"], spread);
}

#[test]
fn a_new_replica_is_ready_before_an_old_one_hands_over() {
    for replicas in [1, 2] {
        let deployment = deployment(&json!({"replicas": replicas}));
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        assert_eq!(deployment["spec"]["strategy"], strategy);
    }
}

#[test]
fn a_spread_of_ones_own_counts_the_pods_that_it_names() {
    let own = json!({
        "maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"team": "platform"}},
    });
    let pod = |values: Value| deployment(&values)["spec"]["template"]["spec"].clone();
    assert_eq!(pod(json!({"topologySpreadConstraints": [own]}))["topologySpreadConstraints"], json!([own]));
    assert_eq!(pod(json!({"topologySpreadConstraints": []}))["topologySpreadConstraints"], Value::Null);
}

#[test]
fn one_replica_is_disrupted_at_a_time_and_a_single_one_whenever_it_must() {
    let budgets = |values: Value| of_kind::<PodDisruptionBudget>(&render(&values));
    let budget = budgets(json!({})).remove(0);
    assert_eq!((budget.name_any().as_str(), budget.namespace().as_deref()), ("ringfence", Some(OPERATOR_NAMESPACE)));
    let spec = budget.spec.unwrap();
    assert_eq!((spec.max_unavailable, spec.min_available), (Some(IntOrString::Int(1)), None));
    assert_eq!(json!(spec.selector), deployment(&json!({}))["spec"]["selector"]);
    let share = budgets(json!({"replicas": 5, "podDisruptionBudget": {"maxUnavailable": "40%"}})).remove(0);
    assert_eq!(share.spec.unwrap().max_unavailable, Some(IntOrString::String("40%".to_owned())));
    assert_eq!(budgets(json!({"replicas": 1})), []);
}

#[test]
fn the_operator_may_write_its_own_lease_and_no_other() {
    let documents = render(&json!({}));
    let role = of_kind::<Role>(&documents).into_iter().find(|role| role.name_any() == "ringfence-lease").unwrap();
    assert_eq!(role.namespace().as_deref(), Some(OPERATOR_NAMESPACE));
    let rules = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["ringfence"],
         "verbs": ["list", "watch", "update"]},
    ]);
    assert_eq!(json!(role.rules), rules);
    let bindings = of_kind::<RoleBinding>(&documents);
    let binding = bindings.iter().find(|binding| binding.role_ref.name == "ringfence-lease").unwrap();
    assert_eq!(binding.namespace().as_deref(), Some(OPERATOR_NAMESPACE));
    let subjects = json!([{"kind": "ServiceAccount", "name": "ringfence", "namespace": OPERATOR_NAMESPACE}]);
    assert_eq!(json!(binding.subjects), subjects);
}
