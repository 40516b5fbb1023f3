//! What Ringfence finds in a cluster before anything is declared.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cluster::Cluster;
use crate::helm::helm;

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "ringfence-system";

/// User name of the operator, as the chart has it.
pub const OPERATOR_USER: &str = "system:serviceaccount:ringfence-system:ringfence";

/// The repository's root.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// More often than anybody has to ask until the API server has learnt of a role.
const ATTEMPTS: usize = 100;

/// The operator's rights, as the chart has them when workloads may be rolled.
pub fn rights() -> Result<String> {
    helm(
        None,
        &format!(
            "template ringfence charts/ringfence --namespace {OPERATOR_NAMESPACE} --set restart.enabled=true --show-only templates/rbac.yaml --show-only templates/lease-role.yaml"
        ),
    )
}

impl Cluster {
    /// Installs the three kinds, without the chart, and makes the operator's namespace and a Service for DNS, which a
    /// cluster without a node lacks. Returns when the kinds are served.
    pub fn install_kinds(&self) -> Result<()> {
        let repository = Path::new(REPOSITORY);
        let kinds = format!("--filename={}", repository.join("crds").display());
        let dns = format!("--filename={}", repository.join("examples/shop/dns-service.yaml").display());
        self.kubectl(&["create", "namespace", OPERATOR_NAMESPACE])?;
        self.kubectl(&["create", &kinds, &dns])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &kinds])?;
        Ok(())
    }

    /// Gives the operator its rights, and no others, as the chart does. Returns a kubeconfig of the operator when they are
    /// in force.
    pub fn install_rights(&self) -> Result<PathBuf> {
        let file = self.dir().join("rights.yaml");
        fs::write(&file, rights()?).with_context(|| format!("write {}", file.display()))?;
        self.kubectl(&["create", &format!("--filename={}", file.display())])?;
        self.operator_kubeconfig()
    }

    /// A kubeconfig of the operator, as soon as the rights that it was given are in force.
    pub fn operator_kubeconfig(&self) -> Result<PathBuf> {
        let user = format!("--as={OPERATOR_USER}");
        let own = format!("--namespace={OPERATOR_NAMESPACE}");
        let everywhere = ["auth", "can-i", "list", "trustdomains.ringfence.dev", &user];
        let in_its_namespace = ["auth", "can-i", "list", "secrets", &user, &own];
        // kubectl ends with an error where the answer is no, and takes its time over it.
        let in_force = || self.kubectl(&everywhere).is_ok() && self.kubectl(&in_its_namespace).is_ok();
        if !(0..ATTEMPTS).any(|_| in_force()) {
            bail!("the operator's roles did not come into force");
        }
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{OPERATOR_NAMESPACE}")];
        self.kubeconfig_for(OPERATOR_USER, &groups)
    }
}
