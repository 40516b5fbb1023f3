//! A token service beside the operator, with an etcd of its own, for one story.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use super::{ETCD_IMAGE, Story};

/// Where it is.
pub const NAMESPACE: &str = "ringfence-token-service";
const CLASS: &str = "token-store";

/// The installation with a token service, which goes at the end.
pub struct TokenService<'a> {
    pub story: &'a Story,
}

impl Drop for TokenService<'_> {
    fn drop(&mut self) {
        let story = self.story;
        if std::thread::panicking() {
            for (what, line) in [
                ("pods", format!("get pods --namespace={NAMESPACE} --output=wide")),
                ("token service", format!("logs deployment/token-service --tail=30 --namespace={NAMESPACE}")),
                ("store", format!("logs token-store-0 --tail=30 --namespace={NAMESPACE}")),
                ("what is declared", "get ringfence --all-namespaces --output=wide".to_owned()),
            ] {
                eprintln!("{what}:\n{}", story.try_kubectl(&line).unwrap_or_else(|error| error));
            }
        }
        let back = story.installation.helm("upgrade ringfence charts/ringfence --reset-values --wait --timeout=2m");
        for line in [
            format!("delete accesspolicies,serviceidentities --all --namespace={NAMESPACE}"),
            format!("delete namespaces orders {NAMESPACE} --wait=false --ignore-not-found"),
            "delete trustdomains orders token-service --wait=false --ignore-not-found".to_owned(),
            "delete persistentvolumes --all --wait=false".to_owned(),
        ] {
            if let (Err(error), false) = (story.try_kubectl(&line), std::thread::panicking()) {
                panic!("{error}");
            }
        }
        if let (Err(error), false) = (back, std::thread::panicking()) {
            panic!("{error:#}");
        }
    }
}

impl<'a> TokenService<'a> {
    /// Upgrades the release to one with a token service, which may read these Secrets with registered clients; its pods wait for
    /// what is declared then.
    pub fn begin(story: &'a Story, client_secrets: &[&str]) -> Self {
        let this = Self { story };
        let node = story.get("nodes")["items"][0]["metadata"]["name"].clone();
        let volumes: Vec<Value> = (0..3).map(|member| this.volume(member, &node)).collect();
        story.apply(&volumes);
        let (repository, tag) = ETCD_IMAGE.rsplit_once(':').unwrap();
        let store = json!({"etcd": {"managed": {
            "image": {"repository": repository, "tag": tag, "command": ["/etcd"]},
            "storage": {"size": "1Gi", "storageClassName": CLASS},
        }}});
        let values = json!({"tokenService": {
            "enabled": true, "createNamespace": true, "clientSecrets": client_secrets, "store": store,
        }});
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("values.json");
        fs::write(&file, values.to_string()).unwrap();
        let upgrade = format!("upgrade ringfence charts/ringfence --values={}", file.display());
        let told = story.installation.helm(&upgrade).unwrap();
        assert!(told.contains("its pods wait for certificates"), "{told}");
        this
    }

    /// Room for a member, in a folder of the node.
    fn volume(&self, member: usize, node: &Value) -> Value {
        let folder = format!("/var/lib/token-store-{member}");
        let made = self.story.cluster().node().unwrap().command("mkdir").arg(&folder).status().unwrap();
        assert!(made.success());
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("token-store-{member}")},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
                "persistentVolumeReclaimPolicy": "Retain", "local": {"path": folder},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
                ]}]}},
            },
        })
    }

    pub fn everything_gets_ready(&self) {
        let (story, started) = (self.story, Instant::now());
        for file in ["1-token-service.yaml", "2-token-store.yaml"] {
            story.apply_file(&format!("examples/token-service/{file}"));
        }
        for kind in ["serviceidentities.ringfence.dev", "accesspolicies.ringfence.dev"] {
            story.all_ready(kind, NAMESPACE);
        }
        for workload in ["statefulset/token-store", "deployment/token-service"] {
            story.kubectl(&format!("rollout status {workload} --timeout=180s --namespace={NAMESPACE}"));
        }
        eprintln!("sts: store and token service were ready {:?} after they were declared", started.elapsed());
    }
}
