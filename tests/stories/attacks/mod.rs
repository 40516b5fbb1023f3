//! Attacks, each under its own name: by tenants, by members of other domains, by permitted callers. None gets further than
//! what it was granted, and where the operator can see it, it says so.

mod ceilings;
mod keys;
mod names;
mod outputs;
mod peers;
mod pods;
