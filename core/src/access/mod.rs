//! Who may call whom: AccessPolicies judged against their ceilings, and the NetworkPolicies and documents that follow.

mod callee;
mod caller;
mod ceiling;
mod cidr;
mod document;
mod edges;
mod foreign;
mod grant;
mod judge;
mod network_policy;
mod ports;
mod proof;
mod weaker;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;

pub use ceiling::ceiling_problems;
pub use cidr::blocks;
pub use document::{
    ACCESS_VERSION, AccessCallee, AccessCaller, AccessDocument, AccessPort, AccessProof, AccessRule, AccessToken,
    AddressBlock, CalleeName, CallerName, ClientCertificates, PortRange, access_document, access_schema, bundle_file,
    key_set_file,
};
pub use edges::{Edge, closed, edges, opened};
pub use foreign::{Widening, widening};
pub use grant::{
    Authenticated, Grant, GrantSource, GrantTarget, IpBlock, JudgedPolicy, Objection, Peer, Refusal, ResolvedJwt,
    ResolvedPort,
};
pub use judge::judge;
pub use network_policy::{baseline_policy, closed_policy, identity_policy};
pub use ports::resolve_ports;
pub use weaker::weaker_grants;
