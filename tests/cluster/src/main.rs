//! The command `ringfence-cluster`: a cluster to work with by hand, and the programs it is made of.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use ringfence_cluster::{Cluster, Keycloak, Tool, background, tool};

/// Runs a real Kubernetes cluster on this machine, without a container engine.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster that stays up, unless a healthy one is there; the last line says how to use it
    Up(Wish),
    /// End the cluster and remove its folder
    Down(Place),
    /// Tell whether the cluster is up; ends with 1 if not
    Status(Place),
    /// Build programs into the cache; without names, those of the control plane
    Build {
        #[arg(value_enum)]
        names: Vec<Tool>,
        /// Print the path of each
        #[arg(long)]
        print: bool,
    },
    /// Start Keycloak beside the cluster, which it ends with; the last line says where it listens
    Keycloak {
        #[command(flatten)]
        place: Place,
        /// The realm, as Keycloak imports it; `${NAME}` in it stands for an environment variable
        #[arg(long)]
        realm: PathBuf,
    },
    /// Own a cluster until killed (for `up`)
    #[command(hide = true)]
    Own(Wish),
    /// Make container images (OCI archives) known to the cluster's nodes
    Import {
        #[command(flatten)]
        place: Place,
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct Wish {
    #[command(flatten)]
    place: Place,
    /// How many nodes to start
    #[arg(long, default_value_t = 1)]
    nodes: u8,
    /// Start no node: objects are stored and controlled, but no pod runs
    #[arg(long, conflicts_with = "nodes")]
    control_plane_only: bool,
    /// Let the nodes remember which connections their pods made
    #[arg(long)]
    observe_flows: bool,
}

impl Wish {
    fn cluster(&self) -> background::Wish {
        let nodes = if self.control_plane_only { 0 } else { self.nodes };
        background::Wish { nodes, observe_flows: self.observe_flows }
    }
}

#[derive(Args)]
struct Place {
    /// The cluster's folder
    #[arg(long, default_value = ".cluster")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed; the exit code says it too.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(wish) => up(&wish),
        Command::Down(place) => down(&place.dir),
        Command::Status(place) => status(&place.dir),
        Command::Build { names, print } => build(&names, print),
        Command::Keycloak { place, realm } => {
            let cluster = Cluster::attach(&place.dir)?;
            let address = cluster.node()?.outside_address();
            Keycloak::start(&cluster, &realm, address.into(), &BTreeMap::new())?;
            say(&address.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Own(wish) => {
            background::own(&wish.place.dir, wish.cluster())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Import { place, archives } => {
            let cluster = Cluster::attach(&place.dir)?;
            archives.iter().try_for_each(|archive| cluster.import_image(archive))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(wish: &Wish) -> Result<ExitCode> {
    let kubeconfig = background::up(&wish.place.dir, wish.cluster())?;
    say(&format!("export KUBECONFIG={}", quoted(&kubeconfig)))?;
    Ok(ExitCode::SUCCESS)
}

fn down(folder: &Path) -> Result<ExitCode> {
    if !background::down(folder)? {
        say(&format!("no cluster in {}", folder.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(folder: &Path) -> Result<ExitCode> {
    let Some(cluster) = background::status(folder)? else {
        say(&format!("no cluster in {}", folder.display()))?;
        return Ok(ExitCode::FAILURE);
    };
    say(&format!("the cluster in {} is up", cluster.dir().display()))?;
    say(cluster.kubectl(&["version"])?.trim_end())?;
    say(&format!("export KUBECONFIG={}", quoted(cluster.kubeconfig())))?;
    Ok(ExitCode::SUCCESS)
}

fn build(names: &[Tool], print: bool) -> Result<ExitCode> {
    let names = if names.is_empty() { &Tool::CONTROL_PLANE } else { names };
    for name in names {
        let program = tool(*name)?;
        if print {
            say(&program.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("write to standard output")
}

/// A path as one word of a shell command.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
