//! What Ringfence finds in a cluster before anything is declared.

use std::path::Path;

use anyhow::Result;

use crate::cluster::Cluster;

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "ringfence-system";

/// User name of the operator, as the chart has it.
pub const OPERATOR_USER: &str = "system:serviceaccount:ringfence-system:ringfence";

impl Cluster {
    /// Installs the three kinds, without the chart, and makes the operator's namespace and a Service for DNS, which a
    /// cluster without a node lacks. Returns when the kinds are served.
    pub fn install_kinds(&self) -> Result<()> {
        let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let kinds = format!("--filename={}", repository.join("crds").display());
        let dns = format!("--filename={}", repository.join("examples/shop/dns-service.yaml").display());
        self.kubectl(&["create", "namespace", OPERATOR_NAMESPACE])?;
        self.kubectl(&["create", &kinds, &dns])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &kinds])?;
        Ok(())
    }
}
