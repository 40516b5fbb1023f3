//! Stories about behaviour, told against a real API server: one binary, one module per story.
#![allow(clippy::print_stderr, reason = "a test says what it last saw")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "not every story uses all that they share")]

mod admission;
mod adoption;
mod attacks;
mod bad_input;
mod certificates;
mod deletion;
mod directory;
mod drift;
mod issuers;
mod membership;
mod observability;
mod options;
mod ownership;
mod pitfalls;
mod ports;
mod restart;
mod revocation;
mod rights;
mod rollouts;
mod shop;
mod status;
mod support;
mod takeover;
mod token_issuers;
mod tokens;
mod trust;
