//! The three kinds in the chart are those of the Rust types, and outlive the release.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use serde_json::json;

use crate::helm::{chart, of_kind, render, ringfence};

#[test]
fn the_kinds_are_generated_from_the_types() {
    let generated = ringfence(&["crds", "--keep"]);
    let generated = format!("{{{{- if .Values.crds.enabled }}}}\n{generated}{{{{- end }}}}\n");
    let file = chart().join("templates/crds.yaml");
    let found = std::fs::read_to_string(&file).unwrap();
    assert!(
        found == generated,
        "{} is not made of what `ringfence crds --keep` prints: run `make generate`",
        file.display()
    );
}

#[test]
fn the_kinds_stay_when_the_release_goes() {
    let crds = of_kind::<CustomResourceDefinition>(&render(&json!({})));
    let names: BTreeSet<_> = crds.iter().map(|crd| crd.spec.names.plural.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["trustdomains", "serviceidentities", "accesspolicies"]));
    for crd in crds {
        assert_eq!(crd.annotations().get("helm.sh/resource-policy").map(String::as_str), Some("keep"));
    }
}

#[test]
fn the_kinds_can_come_from_elsewhere() {
    let without = render(&json!({"crds": {"enabled": false}}));
    assert_eq!(of_kind::<CustomResourceDefinition>(&without), []);
    assert_eq!(without.len() + 3, render(&json!({})).len());
}
