//! Backup and restore against real API servers, with the very commands of docs/operations/backup.md: the CAs are those that
//! were there, and nothing that is valid is issued anew.
#![allow(clippy::print_stderr, reason = "a test says what it last saw")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "not every story uses all that they share")]

mod lost;
mod objects;
mod page;
mod snapshot;
#[path = "../stories/support/mod.rs"]
mod support;
