//! What the operator may do, to the letter, and what the cluster's own roles gain.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role};
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde_json::json;

use crate::helm::{of_kind, render};

/// Resource, with its group, and verbs.
fn permissions(rules: &[PolicyRule]) -> BTreeMap<String, BTreeSet<String>> {
    let mut permissions = BTreeMap::<String, BTreeSet<String>>::new();
    for rule in rules {
        assert!(rule.resource_names.is_none() && rule.non_resource_urls.is_none());
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let resource = format!("{resource}.{group}").trim_end_matches('.').to_owned();
                permissions.entry(resource).or_default().extend(rule.verbs.iter().cloned());
            }
        }
    }
    permissions
}

fn expected(table: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
    let verbs = |verbs: &str| verbs.split(' ').map(str::to_owned).collect();
    table.iter().map(|(resource, allowed)| ((*resource).to_owned(), verbs(allowed))).collect()
}

#[test]
fn the_operator_may_do_this_and_no_more() {
    let documents = render(&json!({}));
    let roles: Vec<String> = of_kind::<Role>(&documents).iter().map(ResourceExt::name_any).collect();
    assert_eq!(roles, ["ringfence-lease"]);
    let bindings = of_kind::<ClusterRoleBinding>(&documents);
    assert_eq!(bindings.len(), 1);
    let subjects = bindings[0].subjects.clone().unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!(
        (subjects[0].kind.as_str(), subjects[0].name.as_str(), subjects[0].namespace.as_deref()),
        ("ServiceAccount", "ringfence", Some(OPERATOR_NAMESPACE))
    );
    let roles = of_kind::<ClusterRole>(&documents);
    let role = roles.iter().find(|role| role.name_any() == bindings[0].role_ref.name).unwrap();
    let written = "get list watch create update delete";
    let wanted = expected(&[
        ("trustdomains.ringfence.dev", "get list watch update patch"),
        ("serviceidentities.ringfence.dev", "get list watch update patch"),
        ("accesspolicies.ringfence.dev", "get list watch"),
        ("trustdomains/status.ringfence.dev", "update patch"),
        ("serviceidentities/status.ringfence.dev", "update patch"),
        ("accesspolicies/status.ringfence.dev", "update patch"),
        ("trustdomains/finalizers.ringfence.dev", "update"),
        ("serviceidentities/finalizers.ringfence.dev", "update"),
        ("secrets", written),
        ("configmaps", written),
        ("networkpolicies.networking.k8s.io", written),
        ("namespaces", "list watch"),
        ("pods", "list watch"),
        ("services", "list watch"),
        ("nodes", "list watch"),
        ("endpointslices.discovery.k8s.io", "list watch"),
        ("servicecidrs.networking.k8s.io", "list watch"),
        ("events.events.k8s.io", "create patch"),
    ]);
    assert_eq!(permissions(role.rules.as_deref().unwrap()), wanted);
}

#[test]
fn admins_of_a_namespace_declare_and_grant_and_others_look() {
    let roles = of_kind::<ClusterRole>(&render(&json!({})));
    let aggregated = |to: &str| {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{to}");
        let mut found = roles.iter().filter(|role| role.labels().get(&label).is_some_and(|value| value == "true"));
        let role = found.next().map(|role| permissions(role.rules.as_deref().unwrap())).unwrap_or_default();
        assert!(found.next().is_none());
        role
    };
    let write = "get list watch create update patch delete deletecollection";
    let written = expected(&[("serviceidentities.ringfence.dev", write), ("accesspolicies.ringfence.dev", write)]);
    assert_eq!(aggregated("admin"), written);
    let read = "get list watch";
    let seen = expected(&[
        ("trustdomains.ringfence.dev", read),
        ("serviceidentities.ringfence.dev", read),
        ("accesspolicies.ringfence.dev", read),
    ]);
    assert_eq!(aggregated("view"), seen);
    // Kubernetes gives `edit` all that `view` has; it gets no more.
    assert_eq!(aggregated("edit"), BTreeMap::new());
}

#[test]
fn the_clusters_own_roles_can_be_left_alone() {
    let roles = of_kind::<ClusterRole>(&render(&json!({"rbac": {"aggregate": false}})));
    assert_eq!(roles.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["ringfence"]);
}
