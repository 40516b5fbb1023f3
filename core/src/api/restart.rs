//! Workloads that are rolled because they can't reload what they are delivered.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which workloads are rolled when what the identity is delivered has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRestart {
    /// Workloads of this namespace, e.g. `[{kind: Deployment, name: order}]`. At least 1, at most 16; each once.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    pub workloads: Vec<Workload>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its name, e.g. `order`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// A kind of workload, of the API group `apps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet. With the update strategy OnDelete its pods wait until someone deletes them.
    StatefulSet,
    /// A DaemonSet. With the update strategy OnDelete its pods wait until someone deletes them.
    DaemonSet,
}

impl WorkloadKind {
    /// The name that Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }
}

/// What the named workloads are to run with, and whether they do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// Hash over certificate, keys, bundles and key sets as they are delivered, hexadecimal SHA-256; the value of the
    /// annotation `ringfence.dev/credentials-hash` that rolls a workload.
    pub hash: String,
    /// Since when that is delivered. A pod whose files were brought in before has something older.
    pub since: Time,
    /// When the identity got its first certificate. A pod from before that has nothing of it and is left alone. Unset once
    /// what a new identity is delivered has been put together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Time>,
    /// Generation of the spec whose workloads all run with it. Unset: some may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_generation: Option<i64>,
}
