//! Token issuers that a domain names: what the API server refuses, who gets the way to them, and what callees are told.

mod schema;
mod tokens;
mod ways;
