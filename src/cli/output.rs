//! Output for people, in text that fits a screen, and for programs, in JSON or YAML.

use std::io::{ErrorKind, Write};

use anstream::AutoStream;
use anyhow::{Context, Result};
use clap::{Args, ColorChoice, ValueEnum};
use serde::Serialize;

/// How it is to look.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// For people, or for programs. Fields of JSON and YAML are stable; times in them are RFC 3339.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    output: Format,
    /// Whether text is coloured. `auto`: on terminals, unless NO_COLOR is set.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

impl Output {
    /// Prints a report: itself, or what `text` makes of it. A reader that goes away is no error.
    pub(super) fn print<T: Serialize>(&self, report: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        let printed = match self.output {
            Format::Text => text(report),
            Format::Json => serde_json::to_string_pretty(report).context("the report can't be written as JSON")? + "\n",
            Format::Yaml => super::yaml_stream([report])?,
        };
        let choice = match self.color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        let mut stdout = AutoStream::new(std::io::stdout().lock(), choice);
        match stdout.write_all(printed.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(error).context("standard output can't be written")
            }
            _ => Ok(()),
        }
    }
}
