//! `shop customer`: someone who buys, on the command line.

mod load;
mod session;
mod show;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use http::{Method, Uri};
use serde_json::{Value, json};

use self::session::{Answered, Session};
use crate::stock::Line;

/// Gets an access token by client credentials, or by a name and a password, and shops with it.
#[derive(Debug, Args)]
pub(crate) struct Customer {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    errand: Errand,
}

/// Where the shop is, and how to get in.
#[derive(Debug, Args)]
struct Access {
    /// The gateway.
    #[arg(long, default_value = "https://gateway.storefront.svc")]
    gateway: Uri,
    /// Where the issuer gives out tokens.
    #[arg(long, default_value = "https://token-service.ringfence-token-service.svc:8443/token")]
    token_endpoint: Uri,
    /// The client's id at the issuer.
    #[arg(long)]
    client_id: String,
    /// File with its secret.
    #[arg(long)]
    client_secret_file: PathBuf,
    /// Whose token it is to be: that of somebody with a name and a password at the issuer, in place of the client's own.
    #[arg(long, requires = "password_file")]
    username: Option<String>,
    /// File with the password.
    #[arg(long, requires = "username")]
    password_file: Option<PathBuf>,
    /// Roots by which the issuer and the gateway are verified (PEM).
    #[arg(long, required = true, value_delimiter = ',')]
    roots: Vec<PathBuf>,
    /// Whom the token is for.
    #[arg(long, default_value = "gateway.storefront.svc")]
    audience: String,
    /// What the token is for; empty for nothing in particular.
    #[arg(long, default_value = "customer")]
    scope: String,
    /// The address of a name that the system does not know, as `NAME=ADDRESS`. May be given several times.
    #[arg(long = "resolve", value_parser = resolved)]
    resolved: Vec<(String, IpAddr)>,
    /// Make a new connection for each call.
    #[arg(long)]
    new_connections: bool,
}

#[derive(Debug, Subcommand)]
enum Errand {
    /// Searches for things on sale, by GraphQL.
    Search { text: String },
    /// Orders things, by REST.
    Order {
        /// What, and how many of it, as `SKU:QUANTITY`.
        #[arg(required = true, value_parser = line)]
        items: Vec<Line>,
        /// A name for the order: sent again under the same name it is the same order.
        #[arg(long, conflicts_with = "count")]
        key: Option<String>,
        /// Order so many times; 0 until told to stop. Then only what did not work is printed, and how many did.
        #[arg(long)]
        count: Option<u64>,
        /// Begin a new order every so many milliseconds, whether the last was answered or not.
        #[arg(long, default_value_t = 100, requires = "count")]
        interval_ms: u64,
    },
    /// Prints the access token, to be used otherwise.
    Token {
        /// The one after it, which the refresh token gets.
        #[arg(long)]
        refreshed: bool,
    },
}

fn resolved(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write it as NAME=ADDRESS")?;
    Ok((name.to_owned(), address.parse().map_err(|_| format!("{address} is no address"))?))
}

fn line(text: &str) -> Result<Line, String> {
    let (sku, quantity) = text.split_once(':').unwrap_or((text, "1"));
    let quantity = quantity.parse().map_err(|_| format!("{quantity} is no quantity"))?;
    Ok(Line { sku: sku.to_owned(), quantity })
}

impl Customer {
    /// # Errors
    /// When there is no token, or no answer.
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let names: BTreeMap<String, IpAddr> = self.access.resolved.iter().cloned().collect();
        let session = Session::new(self.access, names)?;
        match self.errand {
            Errand::Search { text } => search(&session, &text).await,
            Errand::Order { items, count: Some(count), interval_ms, .. } => {
                load::run(Arc::new(session), &order(&items), count, Duration::from_millis(interval_ms)).await
            }
            Errand::Order { items, key, .. } => place(&session, &items, key).await,
            Errand::Token { refreshed } => {
                let token = if refreshed { session.refreshed().await? } else { session.token().await? };
                print(&format!("{token}\n"))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn order(items: &[Line]) -> Value {
    json!({"items": items})
}

async fn search(session: &Session, text: &str) -> Result<ExitCode> {
    let query = "query($text: String) { items(search: $text) { sku name price inStock } }";
    let asked = json!({"query": query, "variables": {"text": text}});
    let answered = session.ask(Method::POST, "/graphql", Some(&asked), None).await?;
    finish(&answered, |content| match content["data"]["items"].as_array() {
        Some(items) => Ok(show::items(items)),
        None => Err(content["errors"].to_string()),
    })
}

async fn place(session: &Session, items: &[Line], key: Option<String>) -> Result<ExitCode> {
    let answered = session.ask(Method::POST, "/orders", Some(&order(items)), key.as_deref()).await?;
    finish(&answered, |content| Ok(show::placed(content)))
}

/// Prints what was answered, and by which hops.
fn finish(answered: &Answered, show: impl FnOnce(&Value) -> Result<String, String>) -> Result<ExitCode> {
    let shown = if answered.status.is_success() { show(&answered.content) } else { Err(answered.in_words()) };
    let (text, code) = match shown {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(refusal) => (format!("refused: {refusal}\n"), ExitCode::FAILURE),
    };
    print(&format!("{text}\ncorrelation id {}\n{}", answered.correlation, show::hops(&answered.hops)))?;
    Ok(code)
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output can't be written")
}
