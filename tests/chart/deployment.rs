//! The operator's pod: restricted, probed, and told what the values say.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Capabilities, PodSpec, PodTemplateSpec, SecurityContext, ServiceAccount};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use ringfence_cluster::OPERATOR_NAMESPACE;
use serde_json::{Value, json};

use crate::helm::{hooks, of_kind, render};

fn deployment(values: &Value) -> Deployment {
    let mut found = of_kind::<Deployment>(&render(values));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn the_pod_meets_the_restricted_pod_security_standard() {
    let pod = deployment(&json!({})).spec.unwrap().template.spec.unwrap();
    let context = pod.security_context.clone().unwrap();
    assert_eq!(context.run_as_non_root, Some(true));
    assert_ne!(context.run_as_user, Some(0));
    assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
    assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
    assert!(pod.volumes.is_none() && pod.init_containers.is_none());
    assert_eq!(pod.containers.len(), 1);
    let wanted = SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    };
    assert_eq!(pod.containers[0].security_context, Some(wanted));
    assert!(pod.containers[0].ports.iter().flatten().all(|port| port.host_port.is_none()));
}

#[test]
fn the_pod_is_probed_where_the_operator_answers() {
    let pod = deployment(&json!({})).spec.unwrap().template.spec.unwrap();
    let container = &pod.containers[0];
    let health = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some("health")).unwrap();
    assert_eq!(health.container_port, 8081);
    for (probe, path) in [(&container.liveness_probe, "/livez"), (&container.readiness_probe, "/readyz")] {
        let get = probe.as_ref().unwrap().http_get.as_ref().unwrap();
        assert_eq!((get.path.as_deref(), &get.port), (Some(path), &IntOrString::String("health".to_owned())));
    }
}

#[test]
fn the_operator_has_its_own_account_and_knows_its_namespace() {
    let documents = render(&json!({}));
    let accounts = of_kind::<ServiceAccount>(&documents);
    assert_eq!(accounts.len(), 1);
    assert_eq!(
        (accounts[0].name_any().as_str(), accounts[0].namespace().as_deref()),
        ("ringfence", Some(OPERATOR_NAMESPACE))
    );
    let deployment = deployment(&json!({}));
    assert_eq!(deployment.namespace().as_deref(), Some(OPERATOR_NAMESPACE));
    let spec = deployment.spec.unwrap();
    let (selected, pod) = (spec.selector.match_labels.unwrap(), spec.template);
    let labels = pod.metadata.unwrap().labels.unwrap();
    assert!(selected.iter().all(|(key, value)| labels.get(key) == Some(value)));
    let pod = pod.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("ringfence"));
    let container = &pod.containers[0];
    assert_eq!(
        container.args.as_ref().unwrap(),
        &[
            "operator",
            "--namespace=$(POD_NAMESPACE)",
            "--cluster-domain=cluster.local",
            "--health-address=0.0.0.0:8081",
            "--metrics-address=0.0.0.0:9090",
        ]
    );
    assert_eq!(container.image.as_deref(), Some(concat!("ringfence:", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_values_reach_the_pod() {
    let deployment = deployment(&json!({
        "image": {"repository": "example/ringfence", "tag": "edge", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "cluster": {"domain": "example.local", "cidrs": ["10.0.0.0/8", "fd00::/8"], "nodeLocalDNS": ["169.254.20.10"]},
        "log": {"filter": "ringfence=debug", "format": "human"},
        "metrics": {"port": 9191},
        "tracing": {"endpoint": "http://collector:4318"},
        "listenAddress": "[::]",
        "extraArgs": ["--lease-duration=30s"],
        "resources": {"limits": {"cpu": 2, "memory": "1Gi"}},
        "podLabels": {"team": "platform"},
        "podAnnotations": {"example.com/note": "yes"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control-plane", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
    }));
    let pod = deployment.spec.unwrap().template;
    let metadata = pod.metadata.unwrap();
    assert_eq!(metadata.labels.unwrap()["team"], "platform");
    assert_eq!(metadata.annotations.unwrap()["example.com/note"], "yes");
    let pod = pod.spec.unwrap();
    assert_eq!(pod.node_selector.unwrap()["kubernetes.io/os"], "linux");
    assert_eq!(pod.tolerations.unwrap()[0].key.as_deref(), Some("control-plane"));
    assert!(pod.affinity.unwrap().node_affinity.is_some());
    assert_eq!(pod.priority_class_name.as_deref(), Some("system-cluster-critical"));
    let container = &pod.containers[0];
    assert_eq!(container.image.as_deref(), Some("example/ringfence:edge"));
    assert_eq!(container.image_pull_policy.as_deref(), Some("Always"));
    assert_eq!(container.resources.clone().unwrap().limits.unwrap()["memory"].0, "1Gi");
    assert_eq!(
        container.args.as_ref().unwrap()[2..],
        [
            "--cluster-domain=example.local",
            "--cluster-cidr=10.0.0.0/8",
            "--cluster-cidr=fd00::/8",
            "--node-local-dns=169.254.20.10",
            "--health-address=[::]:8081",
            "--metrics-address=[::]:9191",
            "--lease-duration=30s",
        ]
    );
    let environment = |name: &str| {
        let variable = container.env.iter().flatten().find(|variable| variable.name == name).unwrap();
        variable.value.clone().unwrap()
    };
    assert_eq!(environment("RINGFENCE_LOG"), "ringfence=debug");
    assert_eq!(environment("RINGFENCE_LOG_FORMAT"), "human");
    assert_eq!(environment("OTEL_EXPORTER_OTLP_ENDPOINT"), "http://collector:4318");
}

/// The pods of the Deployment, and of the Job before an uninstall.
fn all_pods(values: &Value) -> [PodTemplateSpec; 2] {
    let job = of_kind::<Job>(&hooks(values)).remove(0);
    [deployment(values).spec.unwrap().template, job.spec.unwrap().template]
}

fn specs(values: &Value) -> [PodSpec; 2] {
    all_pods(values).map(|pod| pod.spec.unwrap())
}

#[test]
fn the_image_is_named_by_its_content_if_that_is_known() {
    let digest = format!("sha256:{}", "0f".repeat(32));
    let tag = concat!("ringfence:", env!("CARGO_PKG_VERSION"));
    let host = "registry.example.com:5000/platform/ringfence";
    let cases = [
        (json!({}), tag.to_owned()),
        (json!({"tag": "edge"}), "ringfence:edge".to_owned()),
        (json!({"repository": host, "digest": digest}), format!("{host}@{digest}")),
        (json!({"tag": "edge", "digest": digest}), format!("ringfence@{digest}")),
    ];
    for (image, expected) in cases {
        for pod in specs(&json!({"image": image})) {
            assert_eq!(pod.containers[0].image.as_deref(), Some(expected.as_str()));
        }
    }
}

#[test]
fn credentials_for_the_registry_come_with_the_accounts() {
    let values = json!({"imagePullSecrets": [{"name": "registry"}]});
    let accounts = |documents: &[Value]| of_kind::<ServiceAccount>(documents).remove(0).image_pull_secrets;
    for account in [accounts(&render(&values)), accounts(&hooks(&values))] {
        assert_eq!(account.unwrap()[0].name, "registry");
    }
    assert_eq!((accounts(&render(&json!({}))), accounts(&hooks(&json!({})))), (None, None));
}

#[test]
fn every_pod_is_restricted_in_the_same_way() {
    let values = json!({
        "podSecurityContext": {"runAsUser": null, "runAsGroup": 2000, "seccompProfile": {"type": "Localhost", "localhostProfile": "ringfence.json"}},
        "securityContext": {"seLinuxOptions": {"level": "s0:c1,c2"}},
    });
    let [operator, hook] = specs(&json!({}));
    assert_eq!(operator.security_context, hook.security_context);
    assert_eq!(operator.containers[0].security_context, hook.containers[0].security_context);
    for pod in specs(&values) {
        let context = pod.security_context.unwrap();
        assert_eq!(
            (context.run_as_non_root, context.run_as_user, context.run_as_group),
            (Some(true), None, Some(2000))
        );
        assert_eq!(context.seccomp_profile.unwrap().localhost_profile.as_deref(), Some("ringfence.json"));
        let context = pod.containers[0].security_context.clone().unwrap();
        assert_eq!(context.se_linux_options.unwrap().level.as_deref(), Some("s0:c1,c2"));
        assert_eq!(context.allow_privilege_escalation, Some(false));
    }
}

#[test]
fn labels_and_annotations_are_added_to_the_charts_own() {
    let values = json!({
        "deploymentLabels": {"team": "platform"}, "deploymentAnnotations": {"example.com/roll": "yes"},
        "podLabels": {"pods": "own"}, "podAnnotations": {"example.com/inject": "disabled"},
        "serviceAccount": {"annotations": {"example.com/role": "ringfence"}},
    });
    let (plain, labelled) = (deployment(&json!({})), deployment(&values));
    assert_eq!(plain.metadata.annotations, None);
    let mut labels = plain.metadata.labels.unwrap();
    labels.insert("team".to_owned(), "platform".to_owned());
    assert_eq!(labelled.metadata.labels, Some(labels));
    assert_eq!(labelled.annotations()["example.com/roll"], "yes");
    assert_eq!(plain.spec.unwrap().selector, labelled.spec.unwrap().selector);
    for (plain, labelled) in all_pods(&json!({})).into_iter().zip(all_pods(&values)) {
        let (plain, labelled) = (plain.metadata.unwrap(), labelled.metadata.unwrap());
        assert_eq!(plain.annotations, None);
        assert_eq!(labelled.annotations.unwrap()["example.com/inject"], "disabled");
        let mut labels = plain.labels.unwrap();
        labels.insert("pods".to_owned(), "own".to_owned());
        assert_eq!(labelled.labels, Some(labels));
    }
    let account = |values| of_kind::<ServiceAccount>(&render(values)).remove(0);
    assert_eq!(account(&values).annotations()["example.com/role"], "ringfence");
    assert_eq!(account(&json!({})).metadata.annotations, None);
}

#[test]
fn more_variables_and_files_reach_the_operator() {
    let values = json!({
        "extraEnv": [
            {"name": "SSL_CERT_FILE", "value": "/collector/ca.crt"},
            {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {"secretKeyRef": {"name": "collector", "key": "headers"}}},
        ],
        "extraVolumes": [{"name": "collector", "configMap": {"name": "collector-root"}}],
        "extraVolumeMounts": [{"name": "collector", "mountPath": "/collector", "readOnly": true}],
    });
    let [pod, _] = specs(&values);
    let (container, volumes) = (&pod.containers[0], pod.volumes.unwrap());
    assert_eq!(volumes[0].config_map.as_ref().unwrap().name, "collector-root");
    assert_eq!(json!(container.volume_mounts), values["extraVolumeMounts"]);
    let added = container.env.as_ref().unwrap().iter().rev().take(2).rev();
    assert_eq!(json!(added.collect::<Vec<_>>()), values["extraEnv"]);
    let [pod, _] = specs(&json!({}));
    assert_eq!((pod.volumes, pod.containers[0].volume_mounts.clone()), (None, None));
}

#[test]
fn the_scheduler_is_told_nothing_that_nobody_asked_for() {
    let asked = json!({
        "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
    });
    for pod in specs(&asked) {
        assert!(pod.node_selector.is_some() && pod.tolerations.is_some());
        assert_eq!(pod.priority_class_name.as_deref(), Some("system-cluster-critical"));
    }
    for pod in specs(&json!({})) {
        assert_eq!(
            (pod.node_selector, pod.tolerations, pod.affinity, pod.priority_class_name),
            (None, None, None, None)
        );
    }
}
