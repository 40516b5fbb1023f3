//! The token service: off unless it is asked for, in a namespace of its own, with the rights that it uses.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Namespace, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::ResourceExt;
use ringfence_cluster::{Cluster, OPERATOR_NAMESPACE, Options};
use serde_json::{Value, json};

use crate::helm::{Helm, chart, documents, of_kind, render, template};

const NAMESPACE: &str = "ringfence-token-service";

/// The token service with more values of its own.
pub(crate) fn enabled(values: Value) -> Value {
    let mut service = values;
    service["enabled"] = json!(true);
    json!({"tokenService": service})
}

fn deployments(values: &Value) -> (Deployment, Deployment) {
    let deployments = of_kind::<Deployment>(&render(values));
    let named = |name: &str| deployments.iter().find(|deployment| deployment.name_any() == name).unwrap().clone();
    (named("ringfence"), named("token-service"))
}

fn container(deployment: Deployment) -> Container {
    deployment.spec.unwrap().template.spec.unwrap().containers.remove(0)
}

#[test]
fn it_is_off_and_then_nothing_knows_of_it() {
    let documents = render(&json!({}));
    assert!(documents.iter().all(|document| document["metadata"]["namespace"] != NAMESPACE));
    let deployment = of_kind::<Deployment>(&documents).remove(0);
    assert!(container(deployment).args.unwrap().iter().all(|argument| !argument.contains("token-service")));
}

#[test]
fn both_processes_know_the_same_of_each_other() {
    let (operator, service) = deployments(&enabled(json!({})));
    assert_eq!(service.namespace().as_deref(), Some(NAMESPACE));
    let issuer = format!("https://token-service.{NAMESPACE}.svc:8443");
    let wanted = [
        format!("--token-service={NAMESPACE}/token-service"),
        "--token-service-port=8443".to_owned(),
        format!("--token-service-issuer={issuer}"),
    ];
    assert!(container(operator).args.unwrap().ends_with(&wanted));
    let store = |member: usize| format!("--store=https://token-store-{member}.token-store.{NAMESPACE}.svc:2379");
    let wanted = [
        "token-service".to_owned(),
        "--namespace=$(POD_NAMESPACE)".to_owned(),
        "--identity=token-service".to_owned(),
        format!("--issuer={issuer}"),
        "--address=0.0.0.0:8443".to_owned(),
        "--health-address=0.0.0.0:8081".to_owned(),
        "--metrics-address=0.0.0.0:9090".to_owned(),
        store(0),
        store(1),
        store(2),
    ];
    assert_eq!(container(service).args.unwrap(), wanted);
}

#[test]
fn the_values_reach_it() {
    let values = json!({
        "image": {"repository": "example/ringfence", "tag": "edge"},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "high", "metrics": {"enabled": false}, "listenAddress": "[::]",
        "log": {"filter": "debug"}, "tracing": {"endpoint": "http://collector:4318"},
        "tokenService": {
            "enabled": true, "namespace": "sts", "createNamespace": true, "replicas": 1, "port": 9443,
            "issuer": "https://sts.example.com/shop", "clientSecrets": ["shop-clients"],
            "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "yes"}},
            "extraArgs": ["--client-rate=50"], "resources": {"limits": {"memory": "1Gi"}},
            "topologySpreadConstraints": [],
            "store": {"etcd": {"endpoints": ["https://etcd.storage.svc:2379"], "secretName": "etcd-client"}},
        },
    });
    let documents = render(&values);
    let (operator, service) = deployments(&values);
    assert_eq!((service.namespace().as_deref(), service.spec.as_ref().unwrap().replicas), (Some("sts"), Some(1)));
    let pod = service.spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.node_selector.unwrap()["kubernetes.io/os"], "linux");
    assert_eq!(pod.priority_class_name.as_deref(), Some("high"));
    assert!(pod.tolerations.is_some() && pod.topology_spread_constraints.is_none());
    let container = container(service);
    assert_eq!(container.image.as_deref(), Some("example/ringfence:edge"));
    let arguments = container.args.unwrap();
    for argument in [
        "--issuer=https://sts.example.com/shop",
        "--address=[::]:9443",
        "--metrics-address=off",
        "--store=https://etcd.storage.svc:2379",
        "--store-secret=etcd-client",
        "--client-rate=50",
    ] {
        assert!(arguments.iter().any(|given| given == argument), "{argument} is not in {arguments:?}");
    }
    let issuer = "--token-service-issuer=https://sts.example.com/shop".to_owned();
    assert!(crate::token_service::container(operator).args.unwrap().contains(&issuer));
    let services = of_kind::<Service>(&documents);
    let spec = services[0].spec.as_ref().unwrap();
    assert_eq!((spec.type_.as_deref(), spec.ports.as_ref().unwrap()[0].port), (Some("LoadBalancer"), 9443));
    // The addresses of clients count, and no node may put its own in their place.
    assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
    assert_eq!(services[0].annotations()["example.com/internal"], "yes");
    let namespace = of_kind::<Namespace>(&documents).remove(0);
    assert_eq!(namespace.name_any(), "sts");
    assert_eq!(namespace.annotations()["helm.sh/resource-policy"], "keep");
    assert_eq!(namespace.labels()["pod-security.kubernetes.io/enforce"], "restricted");
    let budgets = of_kind::<PodDisruptionBudget>(&documents);
    assert!(budgets.iter().all(|budget| budget.name_any() == "ringfence"), "one pod protects nothing");
}

#[test]
fn it_reads_its_own_secrets_and_writes_its_own_keys() {
    let documents = render(&enabled(json!({"clientSecrets": ["shop-clients"]})));
    let role = of_kind::<Role>(&documents).into_iter().find(|role| role.name_any() == "token-service").unwrap();
    assert_eq!(role.namespace().as_deref(), Some(NAMESPACE));
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["token-service-jwks"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["secrets"],
         "resourceNames": ["shop-clients", "token-service-keys", "token-service-tls"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["token-service-keys"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["create"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ]);
    assert_eq!(json!(role.rules), rules);
    let roles = of_kind::<ClusterRole>(&documents);
    let everywhere = roles.iter().find(|role| role.name_any() == "ringfence-token-service").unwrap();
    let rules = json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]);
    assert_eq!(json!(everywhere.rules), rules);
}

#[test]
fn its_pods_are_restricted_probed_spread_and_disrupted_one_at_a_time() {
    let documents = render(&enabled(json!({})));
    let (operator, service) = deployments(&enabled(json!({})));
    let selector = json!(service.spec.as_ref().unwrap().selector);
    let (operator, service) = (json!(operator.spec), json!(service.spec));
    let pod = |deployment: &Value| deployment["template"]["spec"].clone();
    assert_eq!(pod(&service)["securityContext"], pod(&operator)["securityContext"]);
    for part in ["securityContext", "livenessProbe", "readinessProbe", "image"] {
        assert_eq!(pod(&service)["containers"][0][part], pod(&operator)["containers"][0][part], "{part}");
    }
    assert_eq!(service["strategy"], operator["strategy"]);
    // The labels by which its ServiceIdentity finds it by default.
    assert_eq!(selector["matchLabels"]["app.kubernetes.io/name"], "token-service");
    assert_eq!(pod(&service)["topologySpreadConstraints"][0]["labelSelector"], selector);
    let budgets = of_kind::<PodDisruptionBudget>(&documents);
    let budget = budgets.iter().find(|budget| budget.name_any() == "token-service").unwrap();
    assert_eq!(json!(budget.spec.as_ref().unwrap().selector), selector);
}

#[test]
fn what_can_not_be_is_refused() {
    for (case, values, complaint) in [
        ("the operator's namespace", json!({"namespace": "ringfence-system"}), "can't be the release's namespace"),
        ("a namespace of the system", json!({"namespace": "kube-system"}), "/tokenService/namespace"),
        ("a plain issuer", json!({"issuer": "http://sts.example.com"}), "/tokenService/issuer"),
        ("an issuer with a query", json!({"issuer": "https://sts.example.com?a"}), "/tokenService/issuer"),
        ("a plain store", json!({"store": {"etcd": {"endpoints": ["http://etcd:2379"]}}}), "/etcd/endpoints/0"),
        ("a path of the store", json!({"store": {"etcd": {"endpoints": ["https://e:2379/v3"]}}}), "/endpoints/0"),
        (
            "a Secret for no store",
            json!({"store": {"etcd": {"secretName": "a"}}}),
            "set tokenService.store.etcd.endpoints",
        ),
        ("two members", json!({"store": {"etcd": {"managed": {"replicas": 2}}}}), "/managed/replicas"),
        ("no room", json!({"store": {"etcd": {"managed": {"storage": {"size": ""}}}}}), "/storage/size"),
        ("an argument twice", json!({"extraArgs": ["--store-secret=a"]}), "it follows from tokenService.store"),
        ("a port twice", json!({"port": 9090}), "tokenService.port and metrics.port are both 9090"),
        ("the port of health", json!({"port": 8081}), "/tokenService/port"),
        ("another sort of store", json!({"store": {"redis": {}}}), "'redis' not allowed"),
    ] {
        let error = template(&enabled(values)).failure();
        assert!(error.contains(complaint), "{case}: {error}");
    }
    let error = template(&json!({"extraArgs": ["--token-service=a/b"]})).failure();
    assert!(error.contains("extraArgs can't hold --token-service: it follows from tokenService"), "{error}");
}

#[test]
fn what_is_printed_after_the_installation_is_what_the_examples_hold() {
    let read = |file: &str| std::fs::read_to_string(chart().join(file)).unwrap();
    for file in ["1-token-service.yaml", "2-token-store.yaml"] {
        assert_eq!(read(&format!("token-service/{file}")), read(&format!("../../examples/token-service/{file}")));
    }
    let notes = |values: Value| {
        let chart = chart();
        let install =
            ["install", "ringfence", chart.to_str().unwrap(), "--namespace=ringfence-system", "--dry-run=client"];
        let printed = Helm::new(&install).values(&enabled(values)).success();
        let (_, notes) = printed.split_once("NOTES:\n").unwrap();
        notes.to_owned()
    };
    let declared = |notes: &str| {
        let from = notes.find("# What the token service needs of Ringfence itself").unwrap();
        let text = &notes[from..];
        let end = text.find("\n\nThen TrustDomains").unwrap();
        documents(text[..end].split("\n\nIt also has to be let out").next().unwrap())
    };
    let examples = |files: &[&str], namespace: &str| {
        let text: Vec<String> = files.iter().map(|file| read(file).replace(NAMESPACE, namespace)).collect();
        documents(&text.join("\n---\n"))
    };
    let both = ["token-service/1-token-service.yaml", "token-service/2-token-store.yaml"];
    assert_eq!(declared(&notes(json!({}))), examples(&both, NAMESPACE));
    assert_eq!(declared(&notes(json!({"namespace": "sts"}))), examples(&both, "sts"));
    let external = notes(json!({"store": {"etcd": {"endpoints": ["https://etcd.storage.svc:2379"]}}}));
    assert_eq!(declared(&external), examples(&both[..1], NAMESPACE));
    assert!(external.contains("let out to the etcd at https://etcd.storage.svc:2379"));
}

#[test]
fn a_real_api_server_takes_it_and_the_examples() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let helm = |values: Value| {
        let chart = chart();
        let install = ["upgrade", "--install", "ringfence", chart.to_str().unwrap(), "--namespace", OPERATOR_NAMESPACE];
        Helm::new(&install).argument("--create-namespace").cluster(cluster.kubeconfig()).values(&values)
    };
    let refusal = helm(enabled(json!({}))).failure();
    assert!(refusal.contains("namespaces \"ringfence-token-service\" not found"), "{refusal}");
    helm(enabled(json!({"createNamespace": true, "clientSecrets": ["shop-clients"]}))).success();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/token-service");
    for folder in [examples.clone(), examples.join("orders")] {
        cluster.kubectl(&["apply", "--server-side", &format!("--filename={}", folder.display())]).unwrap();
    }
    let user = "--as=system:serviceaccount:ringfence-token-service:token-service";
    let may = |question: &str, namespace: &str| {
        let question: Vec<&str> = question.split(' ').collect();
        let asked = [&["auth", "can-i"], question.as_slice(), &[user, "--namespace", namespace]].concat();
        cluster.kubectl(&asked).is_ok_and(|answer| answer.trim() == "yes")
    };
    for (question, namespace, expected) in [
        ("watch secrets/token-service-keys", NAMESPACE, true),
        ("watch secrets/shop-clients", NAMESPACE, true),
        ("list secrets", NAMESPACE, false),
        ("watch secrets/token-store-tls", NAMESPACE, false),
        ("delete secrets/token-service-keys", NAMESPACE, false),
        ("watch configmaps", OPERATOR_NAMESPACE, false),
        ("watch secrets/token-service-keys", OPERATOR_NAMESPACE, false),
        ("list pods", NAMESPACE, false),
        ("create tokenreviews.authentication.k8s.io", "default", true),
    ] {
        assert_eq!(may(question, namespace), expected, "{question} in {namespace}");
    }

    // Without it nothing of it is left but the namespace, with what was declared.
    helm(json!({"tokenService": {"enabled": false}})).success();
    let left = cluster.kubectl(&["get", "deployments,statefulsets,services,roles", "--output=name", "-n", NAMESPACE]);
    assert_eq!(left.unwrap(), "");
    let declared = cluster.kubectl(&["get", "serviceidentities", "--output=name", "-n", NAMESPACE]).unwrap();
    assert_eq!(declared.lines().count(), 2, "{declared}");
    cluster.stop().unwrap();
}
