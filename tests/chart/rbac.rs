//! What the operator may do, to the letter, and what the cluster's own roles gain.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde_json::{Value, json};

use crate::helm::{of_kind, render};

/// Resource, with its group and, where it is only about one object, its name; and verbs.
fn permissions(rules: &[PolicyRule]) -> BTreeMap<String, BTreeSet<String>> {
    let mut permissions = BTreeMap::<String, BTreeSet<String>>::new();
    for rule in rules {
        assert!(rule.non_resource_urls.is_none());
        let name = match rule.resource_names.as_deref().unwrap_or_default() {
            [] => String::new(),
            [name] => format!(" {name}"),
            names => panic!("more than one name: {names:?}"),
        };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let resource = format!("{resource}.{group}").trim_end_matches('.').to_owned() + &name;
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

/// A ClusterRole of the chart.
fn cluster_role(documents: &[Value], name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let roles = of_kind::<ClusterRole>(documents);
    let role = roles.iter().find(|role| role.name_any() == name).unwrap();
    permissions(role.rules.as_deref().unwrap())
}

fn is_the_operator(subjects: Option<Vec<Subject>>) {
    let subjects = subjects.unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!(
        (subjects[0].kind.as_str(), subjects[0].name.as_str(), subjects[0].namespace.as_deref()),
        ("ServiceAccount", "ringfence", Some(OPERATOR_NAMESPACE))
    );
}

#[test]
fn the_operator_sees_no_secret_of_the_cluster_and_changes_nothing_but_statuses_and_its_own_access() {
    let documents = render(&json!({}));
    let bindings = of_kind::<ClusterRoleBinding>(&documents);
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0].role_ref.name, "ringfence");
    is_the_operator(bindings[0].subjects.clone());
    let wanted = expected(&[
        ("trustdomains.ringfence.dev", "get list watch patch"),
        ("serviceidentities.ringfence.dev", "get list watch patch"),
        ("accesspolicies.ringfence.dev", "get list watch"),
        ("trustdomains/status.ringfence.dev", "patch"),
        ("serviceidentities/status.ringfence.dev", "patch"),
        ("accesspolicies/status.ringfence.dev", "patch"),
        ("rolebindings.rbac.authorization.k8s.io", "create"),
        ("rolebindings.rbac.authorization.k8s.io ringfence", "list watch update delete"),
        ("clusterroles.rbac.authorization.k8s.io ringfence-member", "bind"),
        ("networkpolicies.networking.k8s.io", "list watch"),
        ("namespaces", "list watch"),
        ("pods", "list watch"),
        ("services", "list watch"),
        ("nodes", "list watch"),
        ("endpointslices.discovery.k8s.io", "list watch"),
        ("servicecidrs.networking.k8s.io", "list watch"),
        ("events.events.k8s.io", "create"),
    ]);
    assert_eq!(cluster_role(&documents, "ringfence"), wanted);
}

#[test]
fn what_it_may_in_a_member_namespace_is_bound_by_nobody_but_the_operator() {
    let documents = render(&json!({}));
    let written = "get list watch create update delete";
    let wanted = expected(&[
        ("secrets", written),
        ("configmaps", written),
        ("networkpolicies.networking.k8s.io", "create update delete"),
    ]);
    assert_eq!(cluster_role(&documents, "ringfence-member"), wanted);
    let bindings = of_kind::<RoleBinding>(&documents);
    assert!(bindings.iter().all(|binding| binding.role_ref.kind == "Role"));
}

#[test]
fn workloads_are_touched_only_where_that_was_asked_for_and_only_in_member_namespaces() {
    let (off, on) = (render(&json!({})), render(&json!({"restart": {"enabled": true}})));
    let mut wanted = cluster_role(&off, "ringfence-member");
    assert!(wanted.keys().all(|resource| !resource.ends_with(".apps")));
    wanted.extend(expected(&[
        ("deployments.apps", "get patch"),
        ("statefulsets.apps", "get patch"),
        ("daemonsets.apps", "get patch"),
    ]));
    assert_eq!(cluster_role(&on, "ringfence-member"), wanted);
    assert_eq!(cluster_role(&on, "ringfence"), cluster_role(&off, "ringfence"));
    let arguments = |documents: &[Value]| {
        let deployment = of_kind::<Deployment>(documents).remove(0);
        deployment.spec.unwrap().template.spec.unwrap().containers[0].args.clone().unwrap()
    };
    let flag = "--restart-workloads".to_owned();
    assert_eq!((arguments(&off).contains(&flag), arguments(&on).contains(&flag)), (false, true));
}

#[test]
fn in_its_own_namespace_it_keeps_the_authorities() {
    let documents = render(&json!({}));
    let (roles, bindings) = (of_kind::<Role>(&documents), of_kind::<RoleBinding>(&documents));
    let names: BTreeSet<String> = roles.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, BTreeSet::from(["ringfence".to_owned(), "ringfence-lease".to_owned()]));
    assert!(roles.iter().all(|role| role.namespace().as_deref() == Some(OPERATOR_NAMESPACE)));
    assert_eq!(bindings.iter().map(|binding| binding.role_ref.name.clone()).collect::<BTreeSet<_>>(), names);
    for binding in bindings {
        assert_eq!(binding.namespace().as_deref(), Some(OPERATOR_NAMESPACE));
        is_the_operator(binding.subjects);
    }
    let written = "get list watch create update delete";
    let wanted = expected(&[("secrets", written), ("configmaps", written)]);
    let role = roles.iter().find(|role| role.name_any() == "ringfence").unwrap();
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
    assert_eq!(roles.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["ringfence", "ringfence-member"]);
}
