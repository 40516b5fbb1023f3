//! The `ringfence` command.

use std::process::ExitCode;

use clap::Parser;
use ringfence::cli::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.run() {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}
