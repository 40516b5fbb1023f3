//! The verbs of the command, one file each. Exit codes: 0 for success, 1 when something was refused, 2 when it could not
//! be done.

mod admission;
mod audit;
mod client;
mod completions;
mod connection;
mod crds;
mod declared;
mod inspect;
mod log;
mod manual;
mod operator;
mod output;
mod plugin;
mod process;
mod reference;
mod release_finalizers;
mod render;
mod schema;
mod status;
mod text;
mod token_service;
mod token_service_flags;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

/// Gives every service a provable identity and puts a fence around it.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// How log lines look.
    #[arg(long, env = "RINGFENCE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto, global = true)]
    log_format: LogFormat,
    /// What is logged, e.g. `info` or `ringfence=debug,kube=info`.
    #[arg(long, env = "RINGFENCE_LOG", default_value = "info", global = true)]
    log: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people on a terminal and for verbs that answer people; JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what is ready, what was refused, and who is behind.
    Status(status::Status),
    /// Show what is in a Secret, a PEM file or behind a port, and why a peer would refuse it.
    Inspect(inspect::Inspect),
    /// Show which edges that are in use would close if audited domains were enforced, and what to declare.
    Audit(audit::Audit),
    /// Run the operator.
    Operator(operator::Operator),
    /// Run the token service.
    TokenService(token_service::TokenService),
    /// Make the secret of a client outside the cluster, and its entry in the Secret that registers it.
    Client(client::Client),
    /// Stop the operator and take its finalizers off everything: what the chart does before it is uninstalled.
    ReleaseFinalizers(release_finalizers::ReleaseFinalizers),
    /// Show, without a cluster, what the operator would write for some files.
    Render(render::Render),
    /// Print the CustomResourceDefinitions, or write them to files.
    Crds(crds::Crds),
    /// Print the ValidatingAdmissionPolicies.
    Admission(admission::Admission),
    /// Print the JSON Schema of access.json.
    AccessSchema,
    /// Print the API reference as Markdown.
    Reference,
    /// Print the completions of a shell.
    Completions(completions::Completions),
    /// Write the manual pages.
    Man(manual::Manual),
}

impl Arguments {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// What could not be done, with the reason.
    pub fn run(self) -> Result<ExitCode> {
        let endpoint = match &self.verb {
            Verb::Operator(operator) => operator.otlp_endpoint(),
            Verb::TokenService(service) => service.otlp_endpoint(),
            _ => None,
        };
        let for_people = matches!(self.verb, Verb::Status(_) | Verb::Inspect(_) | Verb::Audit(_));
        let _log = log::start(self.log_format, for_people, &self.log, endpoint)?;
        match self.verb {
            Verb::Status(status) => status.run(),
            Verb::Inspect(inspect) => inspect.run(),
            Verb::Audit(audit) => audit.run(),
            Verb::Operator(operator) => operator.run(),
            Verb::TokenService(service) => service.run(),
            Verb::Client(client) => client.run(),
            Verb::ReleaseFinalizers(release) => release.run(),
            Verb::Render(render) => render.run(),
            Verb::Crds(crds) => crds.run(),
            Verb::Admission(admission) => print(&admission.yaml()),
            Verb::AccessSchema => print(&schema::access()?),
            Verb::Reference => print(&reference::markdown()?),
            Verb::Completions(completions) => print(&completions.script()?),
            Verb::Man(manual) => manual.run(),
        }
    }
}

/// Prints to standard output; a reader that goes away is no error.
fn print(text: &str) -> Result<ExitCode> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output can't be written")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Several documents as one YAML stream.
fn yaml_stream<T: serde::Serialize>(documents: impl IntoIterator<Item = T>) -> Result<String> {
    let mut stream = String::new();
    for document in documents {
        stream.push_str("---\n");
        stream.push_str(&serde_saphyr::to_string(&document).context("a document can't be written as YAML")?);
    }
    Ok(stream)
}
