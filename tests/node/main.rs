//! Real pods and real packets: stories on a node, with the operator running as its users run it, from the chart.
//!
//! They need root, and are skipped without it. All of them share one cluster.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(clippy::print_stderr, reason = "a test says what it skips and what it measured")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(unreachable_pub, reason = "it is all one binary")]

mod admission;
mod changes;
mod files;
mod install;
mod lifecycle;
mod restart;
mod shop;
mod support;
mod takeover;
mod token_service;

/// The stories are about one.
const NODES: u8 = 1;
