//! A value that is misspelt or of the wrong type is refused, not ignored.

use serde_json::{Value, json};

use crate::helm::{chart, template};

#[test]
fn what_the_chart_does_not_know_is_refused() {
    let cases = [
        ("a misspelt value", json!({"replicaCount": 2}), "'replicaCount' not allowed"),
        ("no replica at all", json!({"replicas": 0}), "/replicas"),
        ("half a replica", json!({"replicas": 1.5}), "/replicas"),
        ("a crowd of replicas", json!({"replicas": 10}), "/replicas"),
        ("a budget for nothing", json!({"podDisruptionBudget": {"maxUnavailable": 0}}), "/podDisruptionBudget"),
        ("a share that is none", json!({"podDisruptionBudget": {"maxUnavailable": "half"}}), "/podDisruptionBudget"),
        ("a budget of another kind", json!({"podDisruptionBudget": {"minAvailable": 1}}), "'minAvailable' not allowed"),
        (
            "a spread over nothing",
            json!({"topologySpreadConstraints": [{"maxSkew": 1}]}),
            "/topologySpreadConstraints/0",
        ),
        ("one below another", json!({"image": {"version": "1"}}), "'version' not allowed"),
        ("a kind of limits", json!({"resources": {"limit": {}}}), "'limit' not allowed"),
        ("a string for a switch", json!({"admission": {"enabled": "no"}}), "/admission/enabled"),
        ("a number for a tag", json!({"image": {"tag": 1.37}}), "/image/tag"),
        ("no repository", json!({"image": {"repository": ""}}), "/image/repository"),
        ("another pull policy", json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        ("another log format", json!({"log": {"format": "xml"}}), "/log/format"),
        ("an address without a length", json!({"cluster": {"cidrs": ["10.0.0.0"]}}), "/cluster/cidrs/0"),
        ("a name for an address", json!({"cluster": {"nodeLocalDNS": ["dns"]}}), "/cluster/nodeLocalDNS/0"),
        ("a port that is taken", json!({"metrics": {"port": 8081}}), "/metrics/port"),
        ("a port for others", json!({"metrics": {"port": 80}}), "/metrics/port"),
        ("a number for an interval", json!({"metrics": {"podMonitor": {"interval": "30"}}}), "interval"),
        ("a switch for settings", json!({"metrics": {"rules": true}}), "/metrics/rules"),
        ("a host for a URL", json!({"tracing": {"endpoint": "collector:4318"}}), "/tracing/endpoint"),
        (
            "something to scrape where nothing is served",
            json!({"metrics": {"enabled": false, "podMonitor": {"enabled": true}}}),
            "metrics.podMonitor and metrics.serviceMonitor need metrics.enabled",
        ),
        ("one argument for a list", json!({"extraArgs": "--help"}), "/extraArgs"),
        ("a switch for a label", json!({"podLabels": {"a": true}}), "/podLabels/a"),
        ("a list for a selector", json!({"nodeSelector": ["a"]}), "/nodeSelector"),
    ];
    for (case, values, complaint) in cases {
        let error = template(&values).failure();
        assert!(error.contains(complaint), "{case}: {error}");
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let read = |file: &str| std::fs::read_to_string(chart().join(file)).unwrap();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let names = |value: &Value| {
        let names = value.as_object().unwrap().keys().filter(|name| *name != "global");
        names.cloned().collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&values), names(&schema["properties"]));
}
