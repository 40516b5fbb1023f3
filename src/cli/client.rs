//! `ringfence client`: makes the secret of a client outside the cluster.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use ipnet::IpNet;
use ringfence_core::tokens::{NewRegistration, Registration};
use serde_json::json;
use zeroize::Zeroizing;

/// What a client is to be.
#[derive(Debug, Args)]
pub(super) struct Client {
    /// The client's id: letters, digits, '-', '_' and '.', at most 253 of them, e.g. `shop-web`.
    id: String,
    /// Name of the Secret that the TrustDomain names in `tokenIssuers[].builtIn.clients.secretName`.
    #[arg(long)]
    secret_name: String,
    /// Namespace of the token service.
    #[arg(long, default_value = "ringfence-token-service", value_parser = super::process::namespace)]
    namespace: String,
    /// A scope that the client may ask for. May be given several times. Without any it gets tokens without scopes.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// An address range that the client calls from, e.g. `203.0.113.7/32`. May be given several times. Without any: those of the
    /// TrustDomain.
    #[arg(long = "cidr")]
    cidrs: Vec<IpNet>,
}

impl Client {
    /// Prints the entry to standard output, and the secret, this once, to standard error.
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut entropy = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *entropy).context("the system gives no random numbers")?;
        let (scopes, cidrs): (BTreeSet<_>, BTreeSet<_>) =
            (self.scopes.into_iter().collect(), self.cidrs.into_iter().collect());
        let made = NewRegistration::new(&entropy, scopes, cidrs);
        // What the token service would not read is not printed either.
        Registration::parse(&self.id, made.registration.as_bytes())?;
        let entry = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.secret_name, "namespace": self.namespace},
            "stringData": {self.id.clone(): made.registration},
        });
        let mut errors = std::io::stderr().lock();
        writeln!(errors, "The secret of {}, which is stored nowhere and shown this once:\n{}", self.id, *made.secret)
            .and_then(|()| {
                writeln!(errors, "What follows holds its hash: kubectl apply --server-side --filename=- takes it.")
            })
            .context("standard error can't be written, and the secret with it")?;
        super::print(&super::yaml_stream([entry])?)
    }
}
