//! Every decision of Ringfence. Nothing here has a client, a runtime, a clock or an environment:
//! time, serial numbers and keys come in as arguments, and what to write comes out as values.

pub mod access;
pub mod api;
pub mod audit;
pub mod inspect;
pub mod issuers;
pub mod jwt;
pub mod overview;
pub mod pki;
pub mod plan;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod world;
