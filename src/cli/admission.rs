//! `ringfence admission`: the ValidatingAdmissionPolicies, the same files that the chart installs.

use clap::Args;

/// Who the operator is, for the policies.
#[derive(Debug, Args)]
pub(super) struct Admission {
    /// User name of the operator.
    #[arg(long, default_value = "system:serviceaccount:ringfence-system:ringfence")]
    operator_username: String,
    /// Namespace of the operator.
    #[arg(long, default_value = "ringfence-system")]
    namespace: String,
}

const FILES: &[&str] = &[
    include_str!("../../charts/ringfence/admission/kinds.yaml"),
    include_str!("../../charts/ringfence/admission/status.yaml"),
    include_str!("../../charts/ringfence/admission/outputs.yaml"),
    include_str!("../../charts/ringfence/admission/operator.yaml"),
    include_str!("../../charts/ringfence/admission/operator-workloads.yaml"),
    include_str!("../../charts/ringfence/admission/finalizers.yaml"),
    include_str!("../../charts/ringfence/admission/foreign-network-policies.yaml"),
    include_str!("../../charts/ringfence/admission/membership-labels.yaml"),
    include_str!("../../charts/ringfence/admission/pod-service-accounts.yaml"),
    include_str!("../../charts/ringfence/admission/token-service.yaml"),
];

impl Admission {
    /// All of them as one YAML stream.
    pub(super) fn yaml(&self) -> String {
        let files = FILES.iter().map(|file| {
            format!("---\n{}\n", file.trim_start_matches("---\n").trim_end())
                .replace("OPERATOR_USERNAME", &self.operator_username)
                .replace("OPERATOR_NAMESPACE", &self.namespace)
        });
        files.collect()
    }
}
