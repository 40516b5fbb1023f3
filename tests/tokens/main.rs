//! Stories about the token service: its processes, a real API server and a real store. What the operator writes for it is
//! written by hand here, so that each story says it all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(clippy::needless_pass_by_value, reason = "json!({}) is written where it is used")]
#![allow(unreachable_pub, reason = "not every story uses all that they share")]

mod attacks;
mod certificate;
mod clients;
mod documents;
mod events;
mod flags;
mod issuers;
mod keys;
mod limits;
mod replicas;
mod secrecy;
mod support;
