//! The same command as a plugin of kubectl: under the name `kubectl-ringfence`, on the path, it is `kubectl ringfence`,
//! and its help says so.

use std::ffi::OsString;
use std::path::Path;

use clap::{Command, CommandFactory, FromArgMatches};

use super::Arguments;

impl Arguments {
    /// Takes the arguments of this process; ends it when they are wrong, or ask for help.
    #[must_use]
    pub fn of_command_line() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let matches = command(arguments.first()).get_matches_from(arguments);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command as the name that it was called by has it.
fn command(name: Option<&OsString>) -> Command {
    let command = Arguments::command();
    let name = name.and_then(|name| Path::new(name).file_name());
    if name.is_some_and(|name| name == "kubectl-ringfence") { command.bin_name("kubectl ringfence") } else { command }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_make_sense() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_names_the_command_as_it_was_called() {
        let help = |name: &str, arguments: &[&str]| {
            let called = OsString::from(name);
            let all = std::iter::once(name).chain(arguments.iter().copied());
            command(Some(&called)).try_get_matches_from(all).unwrap_err().to_string()
        };
        assert!(help("/usr/bin/kubectl-ringfence", &["status", "--help"]).contains("Usage: kubectl ringfence status"));
        assert!(help("kubectl-ringfence", &["--help"]).contains("Usage: kubectl ringfence "));
        assert!(help("ringfence", &["status", "--help"]).contains("Usage: ringfence status"));
    }
}
