//! `ringfence audit`: which edges that are in use would close if audited domains were enforced.

mod cluster;
mod text;

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use ringfence_core::audit;

use super::connection::{Access, run};
use super::declared;
use super::operator::Cluster;
use super::output::Output;

/// Which flows, and what they are held against.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  no edge that is in use would close
  1  an edge that is in use would close: see what to declare
  2  it could not be judged

Flows are what `hubble observe --follow --output json` writes, or Cilium's own export of flows. They are held against the
NetworkPolicies that Ringfence would write if every TrustDomain in Audit were in Enforce; NetworkPolicies of others, which
could only let more through, do not count. Needs the right to list TrustDomains, ServiceIdentities, AccessPolicies,
Namespaces, Services, Pods, Nodes, ServiceCIDRs and EndpointSlices; nothing is written, and no Secret is read.

What was not recorded can't be judged: record as long as the rarest job needs.")]
pub(super) struct Audit {
    /// Recorded flows, one JSON object a line; `-` is standard input. May be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    flows: Vec<PathBuf>,
    /// YAML files, or folders of them, in place of a cluster: TrustDomains, ServiceIdentities, AccessPolicies, and what
    /// they name (Namespaces, Services, Pods).
    #[arg(conflicts_with_all = ["kubeconfig", "context"])]
    paths: Vec<PathBuf>,
    /// Namespace of the operator.
    #[arg(long, value_name = "NAME", default_value = "ringfence-system")]
    operator_namespace: String,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    output: Output,
}

impl Audit {
    /// Judges the flows, and prints what would close.
    pub(super) fn run(self) -> Result<ExitCode> {
        let recordings = self.flows.iter().map(|file| open(file)).collect::<Result<Vec<_>>>()?;
        let settings = self.cluster.settings(&self.operator_namespace)?;
        let (world, notes) = if self.paths.is_empty() {
            run(async { cluster::world(&self.access.open().await?, settings).await })?
        } else {
            (declared::world(settings, &self.paths)?, Vec::new())
        };
        let mut audit = audit::Audit::new(world)?;
        for (file, recording) in self.flows.iter().zip(recordings) {
            read(file, recording, &mut audit)?;
        }
        let report = audit.finish(notes)?;
        self.output.print(&report, text::text)?;
        Ok(if report.well { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

/// Opens a recording. What can't be opened is known before anything else is asked.
fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(stdin().lock()));
    }
    let opened = File::open(file).with_context(|| unreadable(file))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Hands over a recording line by line: it may be larger than memory.
fn read(file: &Path, mut recording: Box<dyn BufRead>, audit: &mut audit::Audit) -> Result<()> {
    let name = file.display().to_string();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if recording.read_until(b'\n', &mut line).with_context(|| unreadable(file))? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            audit.take(&name, number, text);
        }
    }
    Ok(())
}

fn unreadable(file: &Path) -> String {
    format!("the flows in {} can't be read", file.display())
}
