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
        ("a switch for settings of restarts", json!({"restart": true}), "/restart"),
        ("restarts of something", json!({"restart": {"kinds": []}}), "'kinds' not allowed"),
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
        ("a digest that is none", json!({"image": {"digest": "sha256:abc"}}), "/image/digest"),
        ("a tag in the repository", json!({"image": {"repository": "registry:5000/ringfence:1"}}), "/image/repository"),
        ("an image without a repository", json!({"image": {"repository": null}}), "missing property 'repository'"),
        ("an address of its own", json!({"listenAddress": "127.0.0.1"}), "/listenAddress"),
        ("a switch for a policy", json!({"networkPolicy": true}), "/networkPolicy"),
        ("no way to the API server", json!({"networkPolicy": {"apiServerPorts": []}}), "/networkPolicy/apiServerPorts"),
        ("no such port", json!({"networkPolicy": {"dnsPorts": [65536]}}), "/networkPolicy/dnsPorts/0"),
        (
            "a name for a peer",
            json!({"networkPolicy": {"metricsFrom": ["monitoring"]}}),
            "/networkPolicy/metricsFrom/0",
        ),
        ("in for out", json!({"networkPolicy": {"extraEgress": [{"from": []}]}}), "'from' not allowed"),
        ("root", json!({"podSecurityContext": {"runAsUser": 0}}), "/podSecurityContext/runAsUser"),
        ("maybe root", json!({"podSecurityContext": {"runAsNonRoot": false}}), "/podSecurityContext/runAsNonRoot"),
        (
            "all system calls",
            json!({"podSecurityContext": {"seccompProfile": null}}),
            "missing property 'seccompProfile'",
        ),
        ("privileges", json!({"securityContext": {"privileged": true}}), "'privileged' not allowed"),
        ("a capability", json!({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}), "'add' not allowed"),
        ("a folder of the node", json!({"extraVolumes": [{"name": "a", "hostPath": {}}]}), "'hostPath' not allowed"),
        ("a volume of nothing", json!({"extraVolumes": [{"name": "a"}]}), "/extraVolumes/0"),
        ("a mount nowhere", json!({"extraVolumeMounts": [{"name": "a"}]}), "missing property 'mountPath'"),
        ("a variable without a name", json!({"extraEnv": [{"value": "a"}]}), "missing property 'name'"),
        ("a number for a variable", json!({"extraEnv": [{"name": "A", "value": 1}]}), "/extraEnv/0/value"),
        (
            "a variable twice",
            json!({"extraEnv": [{"name": "RINGFENCE_LOG", "value": "trace"}]}),
            "extraEnv can't hold RINGFENCE_LOG: it follows from log.filter",
        ),
        (
            "an argument twice",
            json!({"extraArgs": ["--metrics-address=off"]}),
            "extraArgs can't hold --metrics-address: it follows from metrics and listenAddress",
        ),
        (
            "a label that the Deployment selects by",
            json!({"podLabels": {"app.kubernetes.io/component": "other"}}),
            "podLabels can't hold app.kubernetes.io/component: the chart gives this label itself",
        ),
        (
            "a label twice",
            json!({"metrics": {"rules": {"labels": {"helm.sh/chart": "other"}}}}),
            "metrics.rules.labels can't hold helm.sh/chart",
        ),
        ("an object of no kind", json!({"extraObjects": [{"metadata": {"name": "a"}}]}), "'apiVersion', 'kind'"),
        ("an empty text", json!({"extraObjects": [""]}), "/extraObjects/0"),
        ("a number for an annotation", json!({"serviceAccount": {"annotations": {"a": 1}}}), "/annotations/a"),
        ("another sort of affinity", json!({"affinity": {"hostAffinity": {}}}), "'hostAffinity' not allowed"),
        ("a taint without a sense", json!({"tolerations": [{"effect": "Never"}]}), "/tolerations/0/effect"),
        ("nothing at all", json!({"tracing": null}), "missing property 'tracing'"),
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

#[test]
fn the_schema_leaves_nothing_open_but_what_other_schemas_are_about() {
    let read = std::fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&read).unwrap();
    let mut open = Vec::new();
    find_open(&schema, "", &mut open);
    // Values of other charts; a volume of a sort that Kubernetes knows; objects of any kind.
    open.retain(|place| {
        !["/properties/global", "/extraObjects/"].iter().any(|known| place.contains(known))
            && !place.starts_with("/properties/extraVolumes/items/properties/")
    });
    assert_eq!(open, [""; 0]);
}

/// Where a schema describes an object in which there may be anything.
fn find_open(schema: &Value, place: &str, open: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            if schema["type"] == "object" && !fields.contains_key("additionalProperties") {
                open.push(place.to_owned());
            }
            for (key, below) in fields {
                find_open(below, &format!("{place}/{key}"), open);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find_open(item, place, open)),
        _ => {}
    }
}

#[test]
fn every_value_is_explained_where_it_is_set() {
    let values = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let mut explained = Vec::<(usize, bool)>::new();
    let mut comment = false;
    for line in values.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if text.starts_with('#') {
            comment = true;
        } else if let Some((name, value)) = text.split_once(':').filter(|_| !text.starts_with('-')) {
            while explained.last().is_some_and(|(above, _)| *above >= depth) {
                explained.pop();
            }
            // Either by itself, or with those that it is next to, or with all that it is part of.
            let above = explained.iter().any(|(_, explained)| *explained);
            assert!(comment || above || value.is_empty(), "{name} is not explained");
            explained.push((depth, comment));
            comment &= depth == 0;
        } else if text.is_empty() {
            comment = false;
        }
    }
}
