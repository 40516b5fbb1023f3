//! Attacks, each by name: two replicas of the token service, and whoever wants more of them than the access graph gives.

mod bound;
mod confused;
mod crowd;
mod forge;
mod forged;
mod fuzz;
mod graph;
mod registered;
mod replayed;
mod requests;
mod shop;
mod wire;
