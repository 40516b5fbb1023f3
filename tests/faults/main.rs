//! Bad times: the API server away, slow or full, objects refused or changed by others, kinds missing, ports taken, disks
//! full. What the program says then is compared with `docs/operations/troubleshooting.md`.
#![allow(clippy::print_stderr, reason = "a test says what it last saw")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "not every test uses all that stories share")]

mod answers;
mod begin;
mod kinds;
mod outage;
mod page;
mod proxy;
mod refusals;
mod start;
#[path = "../stories/support/mod.rs"]
mod support;
