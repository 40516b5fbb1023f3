//! What stories share: a cluster with an operator, namespaces of their own, and waiting for conditions.

mod alone;
mod cluster;
mod declare;
mod eventually;
mod expect;
mod family;
mod issuer;
mod judges;
mod kubelet;
mod observe;
mod openssl;
mod outputs;
mod peer;
mod pods;
mod replica;
mod wait;

pub use alone::begin_alone;
pub use cluster::{Operation, TestCluster, guard};
pub use declare::{Story, Trust, domain, identity, policy, service};
pub use eventually::eventually;
pub use expect::{Bystanders, closed, says};
pub use family::passes;
pub use issuer::{Answer, TestIssuer, key_set};
pub use judges::{Connection, OUTSIDE, Workload, cyclonus, network_policies, np_guard};
pub use kubelet::Forward;
pub use observe::{Write, condition, config_map, event_reasons, events_about, secret, writes_since};
pub use openssl::OpenSsl;
pub use outputs::{History, Namespaced, edit, essence, in_namespace, is_owned_by, is_question, versions};
pub use peer::{Peer, handshake, now, uri_of, webpki_verifies};
pub use pods::pod;
pub use replica::Replica;
pub use wait::{gone, wait_for};
