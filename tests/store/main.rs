//! What the token service's replicas remember together, in real etcds: each test has one of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]

mod outages;
mod silence;
mod support;
mod uses;
