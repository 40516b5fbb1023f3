//! The chart: what Helm makes of it, and that a real cluster takes it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]

mod admission;
mod availability;
mod crds;
mod deployment;
mod extra_objects;
mod helm;
mod install;
mod monitoring;
mod network;
mod rbac;
mod token_service;
mod token_store;
mod uninstall;
mod values;
