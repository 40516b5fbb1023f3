//! The map of the house: `controller` is the operator, `cli` the verbs, `ringfence_core` every decision.

pub mod cli;
pub mod controller;
