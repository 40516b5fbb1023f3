//! What the stories share: a cluster and a store, the documents of the operator, replicas, and clients.

mod client;
mod directory;
#[path = "../../stories/support/eventually.rs"]
mod eventually;
mod installation;
mod issuer;
mod market;
mod member;
mod replica;
mod shop;

pub use client::Client;
pub use directory::{directory, grant};
pub use eventually::eventually;
pub use installation::{Installation, apply, cluster};
pub use issuer::ForeignIssuer;
pub use market::{Market, registration};
pub use member::{Domain, Member, now};
pub use replica::Replica;
pub use shop::Shop;
