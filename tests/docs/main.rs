//! The documentation: every page can be reached, every link leads somewhere, and what a page tells its reader to do is
//! done as it is written there, on a real cluster, and must show what the page shows.
//!
//! On the pages that are followed
//! - a `yaml` block whose first line is `# <name>.yaml` is a file of the reader's; any other is an excerpt;
//! - a block `sh` is run, and each of its commands must succeed;
//! - a block `console` has commands after `$ ` and below each of them what it prints: all of it, but for a line `...`, and
//!   for what is never the same twice (see [`shown`]). A command that shows an error must fail, any other must succeed;
//! - a block that is marked `not-run` is not run. It has to be in the list of those as well, with the reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(clippy::print_stderr, reason = "a test says what it skips and how long it took")]
#![allow(unreachable_pub, reason = "it is all one binary")]

mod book;
mod follow;
mod page;
mod reader;
mod shown;
mod stage;
