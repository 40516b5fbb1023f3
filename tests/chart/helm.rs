//! Running Helm on the chart.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kube::Resource;
use ringfence_cluster::{OPERATOR_NAMESPACE, Tool, tool};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ringfence")
}

/// Helm with nothing of the user's, and a folder of its own to be kept until it has run.
pub(crate) struct Helm {
    folder: TempDir,
    command: Command,
}

impl Helm {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(tool(Tool::Helm).unwrap());
        command.args(arguments).env_remove("KUBECONFIG");
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, folder.path().join(home));
        }
        Self { folder, command }
    }

    pub(crate) fn values(mut self, values: &Value) -> Self {
        let file = self.folder.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        self.command.arg("--values").arg(file);
        self
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn cluster(mut self, kubeconfig: &Path) -> Self {
        self.command.env("KUBECONFIG", kubeconfig);
        self
    }

    pub(crate) fn output(mut self) -> Output {
        self.command.output().unwrap()
    }

    /// Standard output, of a run that must succeed.
    pub(crate) fn success(self) -> String {
        let output = self.output();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error, of a run that must fail.
    pub(crate) fn failure(self) -> String {
        let output = self.output();
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

/// `helm template` with some values.
pub(crate) fn template(values: &Value) -> Helm {
    let chart = chart();
    Helm::new(&["template", "any-release", chart.to_str().unwrap(), "--namespace", OPERATOR_NAMESPACE]).values(values)
}

/// Everything that the chart installs with some values.
pub(crate) fn render(values: &Value) -> Vec<Value> {
    let mut documents = documents(&template(values).success());
    documents.retain(|document| !is_hook(document));
    documents
}

/// What the chart installs for a moment, when something is done with the release.
pub(crate) fn hooks(values: &Value) -> Vec<Value> {
    let mut documents = documents(&template(values).success());
    documents.retain(is_hook);
    documents
}

fn is_hook(document: &Value) -> bool {
    document["metadata"]["annotations"].get("helm.sh/hook").is_some()
}

/// The documents of a YAML stream.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple::<Value>(yaml).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The documents of one kind, as that kind.
pub(crate) fn of_kind<K: Resource<DynamicType = ()> + DeserializeOwned>(documents: &[Value]) -> Vec<K> {
    let kind = (json!(K::api_version(&())), json!(K::kind(&())));
    let wanted = documents.iter().filter(|document| (&document["apiVersion"], &document["kind"]) == (&kind.0, &kind.1));
    wanted.map(|document| serde_json::from_value(document.clone()).unwrap()).collect()
}

/// What a `ringfence` command prints.
pub(crate) fn ringfence(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn helm_has_nothing_to_complain_of() {
    Helm::new(&["lint", "--strict", chart().to_str().unwrap()]).success();
}
