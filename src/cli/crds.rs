//! `ringfence crds`: the CustomResourceDefinitions, from the Rust types.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, ResourceExt};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};

/// Where they go, and for whom.
#[derive(Debug, Args)]
pub(super) struct Crds {
    /// Write one file for each kind into this folder, in place of printing all.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Mark them so that Helm keeps them, and every object with them, when the chart is uninstalled.
    #[arg(long)]
    keep: bool,
}

impl Crds {
    /// Prints or writes them.
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut crds = definitions();
        if self.keep {
            for crd in &mut crds {
                crd.annotations_mut().insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
            }
        }
        let Some(directory) = self.directory else { return super::print(&super::yaml_stream(crds)?) };
        for crd in crds {
            let file = directory.join(format!("{}.yaml", crd.spec.names.plural));
            let text = super::yaml_stream([crd])?;
            std::fs::write(&file, text).with_context(|| format!("{} can't be written", file.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All three.
pub(super) fn definitions() -> Vec<CustomResourceDefinition> {
    vec![TrustDomain::crd(), ServiceIdentity::crd(), AccessPolicy::crd()]
}
