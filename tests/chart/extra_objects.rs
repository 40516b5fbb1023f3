//! Objects of the user's that come with the chart.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde_json::json;

use crate::helm::{of_kind, render};

#[test]
fn an_object_is_taken_as_it_stands_and_a_text_is_a_template() {
    let config_map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let mut literal = config_map("literal");
    literal["data"] = json!({"text": "{{ .Release.Namespace }} stays"});
    let mut template = config_map("template");
    template["data"] = json!({"text": "{{ .Release.Namespace }} in {{ .Values.cluster.domain }}"});
    let templates = format!("{template}\n---\n{}", config_map("second"));
    let documents = render(&json!({"extraObjects": [literal, templates], "cluster": {"domain": "example.local"}}));
    let found = of_kind::<ConfigMap>(&documents);
    assert_eq!(found.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["literal", "template", "second"]);
    let text = |index: usize| found[index].data.as_ref().unwrap()["text"].clone();
    assert_eq!(text(0), "{{ .Release.Namespace }} stays");
    assert_eq!(text(1), format!("{OPERATOR_NAMESPACE} in example.local"));
    assert_eq!(documents.len(), render(&json!({})).len() + 3);
}

#[test]
fn there_are_none_by_default() {
    assert_eq!(of_kind::<ConfigMap>(&render(&json!({}))), []);
}
