//! One story's view of the cluster.

use std::fs;
use std::path::Path;

use ringfence_cluster::{Cluster, OPERATOR_NAMESPACE};
use serde_json::{Value, json};

use super::installation::{Installation, Turn};

/// A story: it uses namespaces and TrustDomains of its own, whose names begin with its name.
pub struct Story {
    pub name: &'static str,
    pub installation: &'static Installation,
    _turn: Turn,
}

impl Story {
    /// Begins a story beside others. None without root.
    pub fn begin(name: &'static str) -> Option<Self> {
        let installation = Installation::shared()?;
        Some(Self { name, installation, _turn: installation.share() })
    }

    /// Begins a story that no other one would survive. None without root.
    pub fn begin_alone(name: &'static str) -> Option<Self> {
        let installation = Installation::shared()?;
        Some(Self { name, installation, _turn: installation.alone() })
    }

    pub fn cluster(&self) -> &'static Cluster {
        &self.installation.cluster
    }

    /// Runs kubectl with a line of arguments, parted at its spaces; what it complains about is the error.
    pub fn try_kubectl(&self, line: &str) -> Result<String, String> {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.cluster().kubectl(&arguments).map_err(|error| format!("{error:#}"))
    }

    /// Runs kubectl, which must succeed.
    pub fn kubectl(&self, line: &str) -> String {
        self.try_kubectl(line).unwrap_or_else(|error| panic!("kubectl {line}: {error}"))
    }

    /// What `kubectl get` finds, as JSON.
    pub fn get(&self, line: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {line} --output=json"))).unwrap()
    }

    /// Runs a kubectl verb that reads objects from a file, with these objects.
    pub fn try_with(&self, verb: &str, objects: &[Value]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("objects.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        fs::write(&file, list.to_string()).unwrap();
        self.try_kubectl(&format!("{verb} --filename={}", file.display()))
    }

    /// Applies objects.
    pub fn apply(&self, objects: &[Value]) {
        self.try_with("apply --server-side", objects).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Applies a file of the repository.
    pub fn apply_file(&self, file: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        self.kubectl(&format!("apply --server-side --filename={}", file.display()));
    }

    /// Creates a namespace `<story>-<suffix>`.
    pub fn namespace(&self, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.name);
        self.kubectl(&format!("create namespace {name}"));
        name
    }

    /// Waits until all objects of a kind in a namespace are ready.
    pub fn all_ready(&self, kind: &str, namespace: &str) {
        let ready = format!("wait {kind} --all --for=condition=Ready --timeout=120s --namespace={namespace}");
        if let Err(error) = self.try_kubectl(&ready) {
            panic!("{error}\n{}", self.kubectl(&format!("describe {kind} --namespace={namespace}")));
        }
    }

    /// The Lease of the replicas.
    pub fn lease(&self) -> Value {
        self.get(&format!("lease ringfence --namespace={OPERATOR_NAMESPACE}"))["spec"].clone()
    }

    /// The pod that leads.
    pub fn leader(&self) -> String {
        self.lease()["holderIdentity"].as_str().unwrap().rsplit_once('_').unwrap().0.to_owned()
    }

    /// The operator did what it had to, and was never refused anything, but for what came too late to a namespace that ends.
    pub fn assert_rights_suffice(&self) {
        let requests = self.installation.operator_requests();
        let is_late = |status: &Value| {
            let causes = status["details"]["causes"].as_array();
            causes.is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"))
        };
        let is_refused = |status: &Value| status["code"] == 403 && !is_late(status);
        let refused = requests.iter().filter(|request| is_refused(&request["responseStatus"]));
        let refused: Vec<String> = refused.map(|event| format!("{} {}", event["verb"], event["objectRef"])).collect();
        assert!(refused.is_empty(), "{}", refused.join("\n"));
    }
}
