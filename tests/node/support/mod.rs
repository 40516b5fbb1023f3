//! What stories share: a cluster with Ringfence in it, pods, and attempts to connect.

mod declare;
mod installation;
mod packets;
mod story;
mod token_service;

pub use declare::{object, pod, service};
pub use installation::ETCD_IMAGE;
pub use packets::{Caller, Observation, Target, come_to, without_interruption};
pub use ringfence_cluster::OPERATOR_NAMESPACE;
pub use story::Story;
pub use token_service::{NAMESPACE, TokenService};
