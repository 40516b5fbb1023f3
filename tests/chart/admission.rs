//! The chart installs the same admission policies as `ringfence admission` prints.

use ringfence_cluster::{OPERATOR_NAMESPACE, OPERATOR_USER};
use serde_json::{Value, json};

use crate::helm::{documents, render, ringfence, template};

fn policies(documents: &[Value]) -> Vec<Value> {
    let mut policies: Vec<Value> = documents
        .iter()
        .filter(|document| document["apiVersion"] == "admissionregistration.k8s.io/v1")
        .cloned()
        .collect();
    policies.sort_by_key(|policy| (policy["kind"].to_string(), policy["metadata"]["name"].to_string()));
    policies
}

#[test]
fn the_command_and_the_chart_have_the_same_policies() {
    let printed = ringfence(&["admission", "--operator-username", OPERATOR_USER, "--namespace", OPERATOR_NAMESPACE]);
    let printed = policies(&documents(&printed));
    assert_eq!(printed.len(), 26);
    assert_eq!(policies(&render(&json!({}))), printed);
}

#[test]
fn no_placeholder_is_left() {
    let rendered = template(&json!({})).success();
    assert!(rendered.contains(&format!("request.userInfo.username != '{OPERATOR_USER}'")));
    assert!(!rendered.contains("OPERATOR_"), "a placeholder was not replaced");
}

#[test]
fn every_policy_is_bound_once_and_denies() {
    let (bindings, policies): (Vec<Value>, Vec<Value>) = policies(&render(&json!({})))
        .into_iter()
        .partition(|policy| policy["kind"] == "ValidatingAdmissionPolicyBinding");
    assert_eq!(bindings.len(), policies.len());
    for (binding, policy) in bindings.iter().zip(&policies) {
        assert_eq!(binding["metadata"]["name"], policy["metadata"]["name"]);
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
        // Without this a namespace without identities, or a cluster without domains, could do nothing.
        let all = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
        let wanted = if policy["spec"]["paramKind"].is_null() { &Value::Null } else { &all };
        assert_eq!(&binding["spec"]["paramRef"], wanted);
    }
}

#[test]
fn the_policies_can_be_left_out() {
    assert!(policies(&render(&json!({"admission": {"enabled": false}}))).is_empty());
}
