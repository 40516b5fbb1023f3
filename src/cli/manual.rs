//! `ringfence man`: the manual pages, from the definitions of the verbs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

/// Where they go.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  written
  2  they could not be written")]
pub(super) struct Manual {
    /// Write one page for the command and one for each verb into this folder, which must be there.
    #[arg(long, value_name = "FOLDER")]
    directory: PathBuf,
}

impl Manual {
    /// Writes them.
    pub(super) fn run(&self) -> Result<ExitCode> {
        let directory = &self.directory;
        clap_mangen::generate_to(super::Arguments::command(), directory)
            .with_context(|| format!("{} can't be written to: name a folder that is there", directory.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
