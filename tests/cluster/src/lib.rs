//! A real Kubernetes cluster on one machine, without a container engine: a control plane and, for pods, nodes.
//!
//! ```no_run
//! use ringfence_cluster::{Cluster, Options};
//!
//! # fn main() -> anyhow::Result<()> {
//! let cluster = Cluster::start(&Options::default())?;
//! println!("{}", cluster.kubectl(&["get", "namespaces"])?);
//! cluster.stop()
//! # }
//! ```
//!
//! The servers are the upstream ones, built from their public Go modules when they are first needed ([`tool`]) and kept
//! in the user's cache. A cluster ends with the process that started it, however that ends, and leaves nothing behind.

pub mod background;
mod cache;
mod certs;
mod cluster;
mod control_plane;
mod etcd;
mod helm;
mod keycloak;
mod kubeconfig;
mod layout;
mod node;
mod packages;
mod ports;
mod process;
mod ringfence;
mod servers;
mod supervisor;

pub use cache::tool;
pub use certs::Credential;
pub use cluster::{Cluster, Options, Target};
pub use control_plane::Server;
pub use etcd::Etcd;
pub use helm::helm;
pub use keycloak::{KEYCLOAK_HOST, KEYCLOAK_PORT, Keycloak};
pub use node::{NETCHECK_IMAGE, Node, NodeOptions, pack_image};
pub use packages::Python;
pub use ports::reserve;
pub use ringfence::{OPERATOR_NAMESPACE, OPERATOR_USER, rights};
pub use servers::Tool;
