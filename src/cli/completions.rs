//! `ringfence completions`: what a shell needs to complete the command line.

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "\
For example: ringfence completions bash > /etc/bash_completion.d/ringfence

Exit codes:
  0  printed
  2  it could not be printed")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// The script.
    pub(super) fn script(&self) -> Result<String> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Arguments::command(), "ringfence", &mut script);
        String::from_utf8(script).context("the script is not text")
    }
}
