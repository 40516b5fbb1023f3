//! The verbs for users: what they print of a cluster, of files and of live ports, and how they exit.
#![allow(clippy::print_stderr, reason = "a test says what it last saw")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "not every test uses all that stories share")]

mod audit;
mod certificates;
mod command;
mod files;
mod generated;
mod live;
mod secrets;
mod status;
#[path = "../stories/support/mod.rs"]
mod support;
