//! The cluster with a node that all stories share, and Ringfence in it, installed from the chart.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use anyhow::{Context as _, Result};
use ringfence_cluster::{
    Cluster, NodeOptions, OPERATOR_NAMESPACE, OPERATOR_USER, Options, Tool, helm, pack_image, tool,
};
use serde_json::Value;

/// The image with etcd in it, as `/etcd`.
pub const ETCD_IMAGE: &str = "ringfence.dev/etcd:1";

/// A cluster that Ringfence is installed in.
pub struct Installation {
    pub cluster: Cluster,
    turn: RwLock<()>,
    /// How many lines of the audit log have been looked at.
    audited: Mutex<usize>,
}

/// A story's right to be there while others are, or alone.
pub enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Installation {
    /// The one that all stories share; it ends with the process. None without root.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Installation, String>> = OnceLock::new();
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            eprintln!("skipped: a cluster with a node needs root");
            return None;
        }
        let started = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        Some(started.as_ref().unwrap_or_else(|error| panic!("{error}")))
    }

    fn start() -> Result<Self> {
        let started = Instant::now();
        let image = pack_image(
            concat!("ringfence:", env!("CARGO_PKG_VERSION")),
            Path::new(env!("CARGO_BIN_EXE_ringfence")),
            &[],
        )?;
        let etcd = pack_image(ETCD_IMAGE, &tool(Tool::Etcd)?, &[])?;
        let nodes = NodeOptions::several(crate::NODES, &[image, etcd]);
        let observe_flows = nodes.len() > 1;
        let cluster = Cluster::start(&Options { nodes, observe_flows, ..Options::default() })?;
        eprintln!("a cluster: {:?}", started.elapsed());
        cluster.kubectl(&["create", "namespace", OPERATOR_NAMESPACE])?;
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl(&["label", "namespace", OPERATOR_NAMESPACE, restricted])?;
        let this = Self { cluster, turn: RwLock::new(()), audited: Mutex::new(0) };
        this.install()?;
        eprintln!("with Ringfence in it: {:?}", started.elapsed());
        Ok(this)
    }

    /// Installs the chart with its own values; returns when the operator is ready.
    pub fn install(&self) -> Result<String> {
        self.helm("install ringfence charts/ringfence --wait --timeout 2m").with_context(|| {
            let logs = ["logs", "deployment/ringfence", "--tail=20", "--namespace", OPERATOR_NAMESPACE];
            self.cluster.kubectl(&logs).unwrap_or_else(|error| format!("{error:#}"))
        })
    }

    /// Runs Helm in the operator's namespace.
    pub fn helm(&self, line: &str) -> Result<String> {
        helm(Some(self.cluster.kubeconfig()), &format!("{line} --namespace {OPERATOR_NAMESPACE}"))
    }

    pub fn share(&'static self) -> Turn {
        Turn::Shared { _guard: self.turn.read().unwrap_or_else(PoisonError::into_inner) }
    }

    pub fn alone(&'static self) -> Turn {
        Turn::Alone { _guard: self.turn.write().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Requests of the operator since it was last asked for them, and the status codes of their answers.
    pub fn operator_requests(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.cluster.audit_log()).unwrap();
        let mut audited = self.audited();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let events = whole.lines().skip(*audited).map(|line| serde_json::from_str::<Value>(line).unwrap());
        let requests = events.filter(|event| event["user"]["username"] == OPERATOR_USER).collect();
        *audited = whole.lines().count();
        requests
    }

    fn audited(&self) -> MutexGuard<'_, usize> {
        self.audited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
