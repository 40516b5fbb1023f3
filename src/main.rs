//! The `ringfence` command.

use std::process::ExitCode;

use ringfence::cli::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::of_command_line();
    match arguments.run() {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}
