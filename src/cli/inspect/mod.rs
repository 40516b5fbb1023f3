//! `ringfence inspect`: what is in a Secret, a ConfigMap, a PEM file or behind a port, and why a peer would refuse it.

mod handshake;
mod objects;
mod source;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use ringfence_core::inspect::{
    Bundle, Question, Report, inspect_chain, inspect_config_map, inspect_file, inspect_secret,
};
use ringfence_core::pki::{PeerUsage, SecretData};
use serde::Serialize;

use super::connection::{Connection, run};
use super::output::Output;
use handshake::Handshake;
use source::Source;

/// What to look at, and with what.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  nothing that was looked at stands against it
  1  a peer would refuse it: the reasons are listed
  2  it could not be looked

A peer looks at the clock, the SPIFFE ID, the usage, the chain up to the bundle of the trust domain that the SPIFFE ID
names, and then into its access.json: only the last is not done here. Private keys are compared and never printed.")]
pub(super) struct Inspect {
    /// `secret/NAME`, `configmap/NAME`, a PEM file, or HOST:PORT, where TLS is spoken. A file whose name looks like one of
    /// the others is written with a path, e.g. `./localhost:443`.
    source: String,
    /// What the chain must lead to: a PEM file, or `cluster` for the issuing CAs of the trust domain that the SPIFFE ID
    /// names, as the operator's namespace has them. Unset: for a Secret `cluster`, or if you may not read that, the
    /// Secret's `ca.crt`; for everything else nothing.
    #[arg(long, value_name = "FILE|cluster")]
    bundle: Option<PathBuf>,
    /// The name that HOST:PORT is asked for (SNI), and that the certificate of whatever source must have. Unset: HOST is
    /// asked for, and no name is demanded, as peers go by the SPIFFE ID.
    #[arg(long, value_name = "NAME")]
    servername: Option<String>,
    /// Namespace of the operator.
    #[arg(long, value_name = "NAME", default_value = "ringfence-system")]
    operator_namespace: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// What was found, and where.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    /// What was looked at.
    source: String,
    /// When, RFC 3339.
    time: Timestamp,
    /// The object of Ringfence that it belongs to, e.g. `ServiceIdentity shop/order`; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// How the TLS connection went; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<Handshake>,
    /// What there is.
    #[serde(flatten)]
    report: Report,
    /// What is worth knowing beside.
    notes: Vec<String>,
}

impl Inspect {
    /// Looks, and prints what it saw.
    pub(super) fn run(self) -> Result<ExitCode> {
        let inspection = match Source::of(&self.source)? {
            Source::Secret(name) => run(self.secret(&name)),
            Source::ConfigMap(name) => run(self.config_map(&name)),
            Source::File(path) => self.file(&path),
            Source::Live { host, port } => self.live(&host, port),
        }?;
        self.output.print(&inspection, text::text)?;
        Ok(if inspection.report.refusals().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn file(&self, path: &std::path::Path) -> Result<Inspection> {
        let text = read(path)?;
        let bundle = self.given_bundle(spiffe_id_in(&text).as_deref())?;
        let report = inspect_file(&text, &self.question(bundle.as_ref()));
        let report = report.with_context(|| format!("{} can't be inspected", path.display()))?;
        Ok(self.found(report, Vec::new()))
    }

    fn live(&self, host: &str, port: u16) -> Result<Inspection> {
        let (handshake, chain) = handshake::shake_hands(host, port, self.servername.as_deref())?;
        let unverified = inspect_chain(&chain, &self.question(None));
        let bundle = self.given_bundle(unverified.spiffe_id.map(|id| id.to_string()).as_deref())?;
        let question = Question { usage: Some(PeerUsage::Server), ..self.question(bundle.as_ref()) };
        let report = Report::Certificate(inspect_chain(&chain, &question));
        let note = "it was reached without a certificate of one's own: whom it admits is up to its access.json";
        let notes = if handshake.asks_for_client_certificate { vec![note.to_owned()] } else { Vec::new() };
        Ok(Inspection { handshake: Some(handshake), ..self.found(report, notes) })
    }

    async fn secret(&self, name: &str) -> Result<Inspection> {
        let cluster = self.connection.open().await?;
        let found = objects::secret(&cluster, name).await?;
        let mut notes = Vec::new();
        let certificate = found.data.get("tls.crt");
        let bundle = match (&self.bundle, certificate) {
            (_, None) => None,
            (Some(file), Some(_)) if !is_cluster(file) => Some(read_bundle(file)?),
            (given, Some(text)) => {
                let id = spiffe_id_in(text);
                match objects::issuing_bundle(&cluster, &self.operator_namespace, id.as_deref()).await {
                    Ok(bundle) => Some(bundle),
                    Err(error) if given.is_some() => return Err(error),
                    Err(error) => {
                        notes.push(format!("the issuing CAs could not be had: {error:#}"));
                        own_roots(&found.data)
                    }
                }
            }
        };
        let question = Question { identity_uid: found.identity_uid.as_deref(), ..self.question(bundle.as_ref()) };
        let Some(report) = inspect_secret(&found.data, &question) else {
            bail!(
                "Secret {}/{name} holds no certificate (tls.crt), signing key (private.pem) or certificate authority \
                 (generations.json): name another",
                cluster.namespace
            );
        };
        // The Secret of a CA has no owner, so that it outlives its TrustDomain.
        if found.owner.is_none() && !matches!(report, Report::Authorities(_)) {
            notes.push("no ServiceIdentity owns it: Ringfence neither wrote it nor renews it".to_owned());
        }
        let source = format!("Secret {}/{name}", cluster.namespace);
        Ok(Inspection { source, owner: found.owner, ..self.found(report, notes) })
    }

    async fn config_map(&self, name: &str) -> Result<Inspection> {
        let cluster = self.connection.open().await?;
        let (owner, data) = objects::config_map(&cluster, name).await?;
        let data = data.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let Some(report) = inspect_config_map(data, Timestamp::now()) else {
            bail!("ConfigMap {}/{name} holds no bundles, key sets or access.json: name another", cluster.namespace);
        };
        let source = format!("ConfigMap {}/{name}", cluster.namespace);
        Ok(Inspection { source, owner, ..self.found(report, Vec::new()) })
    }

    /// The bundle that was asked for by name; for a source that is not in the cluster there is no other.
    fn given_bundle(&self, spiffe_id: Option<&str>) -> Result<Option<Bundle>> {
        match &self.bundle {
            None => Ok(None),
            Some(file) if !is_cluster(file) => read_bundle(file).map(Some),
            Some(_) => run(async {
                let cluster = self.connection.open().await?;
                objects::issuing_bundle(&cluster, &self.operator_namespace, spiffe_id).await.map(Some)
            }),
        }
    }

    fn question<'a>(&'a self, bundle: Option<&'a Bundle>) -> Question<'a> {
        let server_name = self.servername.as_deref();
        Question { now: Timestamp::now(), usage: None, server_name, bundle, identity_uid: None }
    }

    fn found(&self, report: Report, notes: Vec<String>) -> Inspection {
        let (source, time) = (self.source.clone(), Timestamp::now());
        Inspection { source, time, owner: None, handshake: None, report, notes }
    }
}

fn is_cluster(bundle: &std::path::Path) -> bool {
    bundle.as_os_str() == "cluster"
}

fn read(file: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))
}

fn read_bundle(file: &std::path::Path) -> Result<Bundle> {
    let name = file.display().to_string();
    Bundle::from_pem(&name, &read(file)?).with_context(|| format!("{name} is no bundle"))
}

/// What the Secret itself says that its leaf leads to.
fn own_roots(data: &SecretData) -> Option<Bundle> {
    Bundle::from_pem("the roots in its own ca.crt", data.get("ca.crt")?).ok()
}

/// The SPIFFE ID of the first certificate of a PEM text.
fn spiffe_id_in(text: &[u8]) -> Option<String> {
    let question = Question { now: Timestamp::now(), usage: None, server_name: None, bundle: None, identity_uid: None };
    match inspect_file(text, &question) {
        Ok(Report::Certificate(report)) => report.spiffe_id.map(|id| id.to_string()),
        _ => None,
    }
}

/// The trust domain that a SPIFFE ID names.
fn trust_domain_of(spiffe_id: Option<&str>) -> Result<&str> {
    let rest = spiffe_id.and_then(|id| id.strip_prefix("spiffe://"));
    let domain = rest.and_then(|rest| rest.split('/').next());
    domain.ok_or_else(|| anyhow!("without a SPIFFE ID there is no trust domain whose CAs could be asked for"))
}
