//! The map of the house: `controller` is the operator, `token_service` the token service, `process` what both have as
//! processes, `cli` the verbs, `ringfence_core` every decision.

pub mod cli;
pub mod controller;
mod process;
pub mod token_service;
