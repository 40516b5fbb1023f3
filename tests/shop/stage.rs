//! The shop on its nodes, with a token service, a customer outside of the cluster, and those who have no business there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use ringfence::controller::SystemEntropy;
use ringfence_cluster::{OPERATOR_NAMESPACE, Tool, pack_image, tool};
use ringfence_core::pki::{CaGenerations, Entropy as _, LeafProfile, SecretData, Usages, issue_leaf, tls_secret_data};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::attempts::From;
use crate::SERVICES;
use crate::support::Story;
use crate::support::TokenService;

/// What the services, and those who only call, run.
const IMAGE: &str = "ringfence.dev/shop:1";
/// What traces are sent to.
const COLLECTOR_IMAGE: &str = "ringfence.dev/otelcol:1";
/// Where the customer's tokens come from.
const TOKEN_SERVICE: &str = "token-service.ringfence-token-service.svc";

/// Everything that is there.
pub struct Stage<'a> {
    pub story: &'a Story,
    _token_service: TokenService<'a>,
    files: TempDir,
    /// An address that is not in the cluster.
    pub outside: SocketAddr,
    /// Something that is for sale.
    pub sku: &'static str,
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let story = self.story;
        if thread::panicking() {
            for line in [
                "get pods --all-namespaces --output=wide".to_owned(),
                "get ringfence --all-namespaces --output=wide".to_owned(),
                "logs deployment/gateway --tail=20 --namespace=storefront".to_owned(),
                "logs deployment/order --tail=20 --namespace=storefront".to_owned(),
            ] {
                eprintln!("{line}:\n{}", story.try_kubectl(&line).unwrap_or_else(|error| error));
            }
        }
        for namespace in ["storefront", "settlement"] {
            let all = "accesspolicies,serviceidentities,deployments,pods --all";
            let _ = story.try_kubectl(&format!("delete {all} --namespace={namespace}"));
        }
        let _ = story.try_kubectl("delete trustdomains storefront settlement shop-root --wait=false");
        let all = "storefront settlement strangers monitoring login";
        let _ = story.try_kubectl(&format!("delete namespaces {all} --wait=false --ignore-not-found"));
        let _ = story
            .try_kubectl(&format!("delete secret shop-keycloak --namespace={OPERATOR_NAMESPACE} --ignore-not-found"));
    }
}

impl<'a> Stage<'a> {
    /// The shop, declared and not fenced yet.
    pub fn set(story: &'a Story) -> Self {
        for (image, program) in [(IMAGE, program()), (COLLECTOR_IMAGE, tool(Tool::Otelcol).unwrap())] {
            story.cluster().import_image(&pack_image(image, &program, &[]).unwrap()).unwrap();
        }
        let token_service = TokenService::begin(story, &["shop-clients"]);
        token_service.everything_gets_ready();
        let outside = listen(story);
        let this = Self {
            story,
            _token_service: token_service,
            files: tempfile::tempdir().unwrap(),
            outside,
            sku: "tea-green",
        };
        story.apply_file("examples/shop/policies/1-namespaces.yaml");
        story.apply(&this.domains("Audit"));
        for file in [
            "policies/3-storefront.yaml",
            "policies/4-settlement.yaml",
            "running/2-gateway.yaml",
            "running/3-monitoring.yaml",
            "collector.yaml",
        ] {
            story.apply_file(&format!("examples/shop/{file}"));
        }
        for client in [("web", Some("customer")), ("visitor", None)] {
            this.register(client.0, client.1);
        }
        for namespace in ["storefront", "settlement"] {
            story.all_ready("serviceidentities.ringfence.dev", namespace);
        }
        story.apply_file("examples/shop/services.yaml");
        story.apply(&others());
        for (namespace, name) in SERVICES {
            story.kubectl(&format!("rollout status deployment/{name} --timeout=180s --namespace={namespace}"));
        }
        story.all_ready("pods", "strangers");
        story.all_ready("pods", "monitoring");
        this.save(
            "roots.pem",
            &[
                this.file("storefront", "gateway-tls", "ca.crt"),
                this.file("ringfence-token-service", "token-service-tls", "ca.crt"),
            ]
            .concat(),
        );
        this
    }

    /// What the platform team declares.
    pub fn domains(&self, enforcement: &str) -> Vec<Value> {
        let declared = domains("examples/shop/policies/2-trust-domains.yaml");
        let root = declared.into_iter().find(|domain| domain["metadata"]["name"] == "shop-root");
        let members = domains("examples/shop/running/1-trust-domains.yaml").into_iter().map(|mut domain| {
            domain["spec"]["enforcement"] = json!(enforcement);
            // One that a customer has is to be refused for another reason than its age.
            if let Some(built_in) = domain["spec"].pointer_mut("/tokenIssuers/0/builtIn") {
                built_in["tokenLifetime"] = json!("5m");
            }
            domain
        });
        root.into_iter().chain(members).collect()
    }

    /// Runs the customer's command, which is outside of the cluster.
    pub fn customer(&self, arguments: &[&str]) -> String {
        self.customer_of("web", arguments)
    }

    pub fn customer_of(&self, client: &str, arguments: &[&str]) -> String {
        said(&self.customer_command(client, arguments).output().unwrap())
    }

    pub fn customer_command(&self, client: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(["customer", "--client-id", client, "--client-secret-file", &self.saved(client)]);
        command.args(["--roots", &self.saved("roots.pem")]);
        for (name, namespace, app) in [
            ("gateway.storefront.svc", "storefront", "gateway"),
            (TOKEN_SERVICE, "ringfence-token-service", "token-service"),
        ] {
            command.args(["--resolve", &format!("{name}={}", self.address_of(namespace, app))]);
        }
        command.args(["--gateway", "https://gateway.storefront.svc:8443"]);
        command.args(arguments);
        command
    }

    /// A call from outside of the cluster.
    pub fn outside_request(&self, name: &str, path: &str, token: Option<&str>) -> String {
        let mut command = Command::new(program());
        let roots = self.files.path().join("roots.pem");
        let connect = format!("{}:8443", self.address_of("storefront", "gateway"));
        command.args(["request", "--connect", &connect, "--roots"]).arg(roots);
        if let Some(token) = token {
            command.args(["--bearer", token]);
        }
        said(&command.arg(format!("https://{name}{path}")).output().unwrap())
    }

    /// Takes a customer's token back.
    pub fn revoke(&self, token: &str) {
        let secret = fs::read_to_string(self.files.path().join("web")).unwrap();
        let basic = STANDARD.encode(format!("web:{}", secret.trim_end()));
        let mut command = Command::new(program());
        let connect = format!("{}:8443", self.address_of("ringfence-token-service", "token-service"));
        command.args(["request", "--connect", &connect, "--roots"]).arg(self.files.path().join("roots.pem"));
        command.args(["-H", &format!("authorization: Basic {basic}")]);
        command.args(["-H", "content-type: application/x-www-form-urlencoded", "-d", &format!("token={token}")]);
        let answer = said(&command.arg(format!("https://{TOKEN_SERVICE}:8443/revoke")).output().unwrap());
        assert!(answer.starts_with("answered 200"), "{answer}");
    }

    /// The address of a pod.
    pub fn address_of(&self, namespace: &str, name: &str) -> String {
        let line = format!(
            "get pods --namespace={namespace} --selector=app.kubernetes.io/name={name} --field-selector=status.phase=Running --output=jsonpath={{.items[0].status.podIP}}"
        );
        self.story.kubectl(&line)
    }

    /// A Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> SecretData {
        let secret = self.story.get(&format!("secret {name} --namespace={namespace}"));
        let data = secret["data"].as_object().unwrap().iter();
        data.map(|(key, value)| (key.clone(), STANDARD.decode(value.as_str().unwrap()).unwrap())).collect()
    }

    fn file(&self, namespace: &str, secret: &str, file: &str) -> Vec<u8> {
        self.secret(namespace, secret).get(file).unwrap().to_vec()
    }

    /// A file of a ConfigMap.
    pub fn delivered(&self, namespace: &str, name: &str, file: &str) -> String {
        self.story.get(&format!("configmap {name} --namespace={namespace}"))["data"][file].as_str().unwrap().to_owned()
    }

    /// Puts a file beside the others that customers have.
    pub fn save(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Where such a file is.
    pub fn saved(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// Customers believe another root, too.
    pub fn believe(&self, root: &str) {
        let known = fs::read_to_string(self.saved("roots.pem")).unwrap();
        self.save("roots.pem", format!("{known}{root}").as_bytes());
    }

    /// What monitoring gets where it reads a service's measurements.
    pub fn scraped(&self, namespace: &str, service: &str) -> String {
        let monitoring = From { namespace: "monitoring", pod: "prometheus" };
        let url = format!("http://{}:9090/metrics", self.address_of(namespace, service));
        monitoring.request(self.story, &[&url], None)
    }

    /// What a service has counted under a name, by its labels, as monitoring reads it.
    pub fn measured(&self, service: &str, name: &str) -> String {
        let all = self.scraped("storefront", service);
        let words: Vec<&str> = all.split_whitespace().collect();
        let series = words.windows(2).filter(|words| words[0].starts_with(&format!("shop_{name}_total{{")));
        series.map(|words| words.join(" ")).collect::<Vec<_>>().join(", ")
    }

    fn register(&self, client: &str, scope: Option<&str>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(["client", client, "--secret-name", "shop-clients"]);
        command.args(scope.map(|scope| ["--scope", scope]).into_iter().flatten());
        let made = command.output().unwrap();
        assert!(made.status.success());
        let told = String::from_utf8(made.stderr).unwrap();
        self.save(client, told.lines().nth(1).unwrap().as_bytes());
        let entry = self.save(&format!("{client}.yaml"), &made.stdout);
        self.story.kubectl(&format!("apply --server-side --field-manager={client} --filename={}", entry.display()));
    }

    /// Pods with the labels and the account of a service, and what was stolen: they are where the service is in the network, and
    /// get none of its calls, since they are never ready.
    pub fn let_intruders_in(&self) {
        let loot = self.loot();
        let data: BTreeMap<&String, String> =
            loot.iter().map(|(name, octets)| (name, STANDARD.encode(octets))).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "loot", "namespace": "storefront"}, "data": data});
        let pod = |name: &str| {
            let mut pod = idle("storefront", &format!("{name}-intruder"), name, name);
            pod["spec"]["volumes"] = json!([{"name": "loot", "secret": {"secretName": "loot"}}]);
            pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "loot", "mountPath": "/loot"}]);
            pod["spec"]["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["/nothing"]}});
            pod
        };
        self.story.kubectl("delete pods gateway-intruder order-intruder --namespace=storefront --ignore-not-found");
        self.story.apply(&[secret, pod("gateway"), pod("order")]);
        for name in ["gateway", "order"] {
            let running = "--for=jsonpath={.status.phase}=Running --timeout=120s --namespace=storefront";
            self.story.kubectl(&format!("wait pod {name}-intruder {running}"));
        }
    }

    pub fn intruder(&self, service: &str) -> From {
        let pod = if service == "gateway" { "gateway-intruder" } else { "order-intruder" };
        From { namespace: "storefront", pod }
    }

    fn loot(&self) -> BTreeMap<String, Vec<u8>> {
        let mut loot = BTreeMap::new();
        let mut take = |name: &str, secret: &SecretData| {
            for (file, end) in [("tls.crt", "crt"), ("tls.key", "key")] {
                loot.insert(format!("{name}.{end}"), secret.get(file).unwrap().to_vec());
            }
        };
        for (name, namespace) in [("gateway", "storefront"), ("order", "storefront"), ("payment", "settlement")] {
            take(name, &self.secret(namespace, &format!("{name}-tls")));
        }
        take("expired", &self.expired());
        loot
    }

    /// A certificate of gateway that storefront's own CA issued, and that has expired.
    fn expired(&self) -> SecretData {
        let generations = CaGenerations::from_secret_data(&self.secret(OPERATOR_NAMESPACE, "storefront-ca")).unwrap();
        let profile = LeafProfile {
            spiffe_id: "spiffe://storefront/ns/storefront/sa/gateway".parse().unwrap(),
            common_name: None,
            dns_names: ["gateway.storefront.svc".to_owned()].into(),
            ip_addresses: Default::default(),
            usages: Usages::BOTH,
            algorithm: ringfence_core::api::CertificateAlgorithm::EcdsaP256,
            duration: SignedDuration::from_secs(1),
        };
        let key = SystemEntropy.private_key(profile.algorithm).unwrap();
        let leaf =
            issue_leaf(&profile, generations.signing().unwrap(), &key, &SystemEntropy.serial(), Timestamp::now())
                .unwrap();
        tls_secret_data(&leaf, &generations)
    }
}

/// The shop's program, which `cargo test --workspace` and `cargo build --workspace` put beside the operator's.
pub fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_ringfence")).with_file_name("shop");
    assert!(program.exists(), "{} is not built: cargo build --package ringfence-shop", program.display());
    program
}

/// The TrustDomains of a file of the repository, with the shortest certificates there are.
pub fn domains(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let mut domains: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    // A root is above others, and signs for no service.
    for domain in domains.iter_mut().filter(|domain| domain["metadata"]["name"] != "shop-root") {
        domain["spec"]["certificates"]["duration"] = json!("5m");
    }
    domains
}

/// What a command printed, or complained about.
pub fn said(output: &Output) -> String {
    let octets = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    String::from_utf8_lossy(octets).trim_end().to_owned()
}

/// Pods that have nothing to do with the shop, or only say so.
fn others() -> Vec<Value> {
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let account =
        json!({"metadata": {"name": "order", "namespace": "strangers"}, "apiVersion": "v1", "kind": "ServiceAccount"});
    vec![
        namespace("strangers"),
        account,
        idle("strangers", "stranger", "stranger", "default"),
        idle("strangers", "copy", "order", "order"),
        idle("settlement", "stray", "stray", "default"),
        idle("monitoring", "prometheus", "prometheus", "default"),
    ]
}

/// A pod to call from.
fn idle(namespace: &str, name: &str, application: &str, account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app.kubernetes.io/name": application}},
        "spec": {
            "serviceAccountName": account, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "containers": [{"name": "service", "image": IMAGE, "imagePullPolicy": "Never", "args": ["wait"]}],
        },
    })
}

/// A server outside of the cluster.
fn listen(story: &Story) -> SocketAddr {
    let listener = TcpListener::bind((story.cluster().node().unwrap().outside_address(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // It takes the connection; what is said on it matters to nobody.
            let _ = stream.read(&mut [0; 1]).and_then(|_| stream.write_all(b"\n"));
        }
    });
    address
}
