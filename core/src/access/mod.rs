//! Who may call whom: AccessPolicies judged against their ceilings, and the NetworkPolicies and documents that follow.

mod callee;
mod caller;
mod ceiling;
mod cidr;
mod document;
mod document_tokens;
mod edges;
mod foreign;
mod grant;
mod implied;
mod issuer_token;
mod judge;
mod network_policy;
mod ports;
mod proof;
mod reference;
mod weaker;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod properties;

pub use ceiling::ceiling_problems;
pub use cidr::blocks;
pub use document::{
    ACCESS_VERSION, AccessCallee, AccessCaller, AccessDocument, AccessPort, AccessProof, AccessRule, AddressBlock,
    CalleeName, CallerName, ClientCertificates, PortRange, access_document, access_schema, bundle_file,
};
pub use document_tokens::{
    AccessIssuer, AccessToken, declared_issuer, issuer_key_set_file, issuer_roots_file, key_set_file, verified_issuers,
};
pub use edges::{Edge, closed, edges, opened};
pub use foreign::{Widening, widening};
pub use grant::{
    Authenticated, Grant, GrantSource, GrantTarget, IpBlock, IssuerToken, JudgedPolicy, Objection, Origin, Peer,
    Refusal, ResolvedJwt, ResolvedPort, ResolvedSigner,
};
pub use implied::{from_registered_clients, issuer_problems, to_issuers};
pub use judge::judge;
pub use network_policy::{baseline_policy, closed_policy, identity_policy};
pub use ports::resolve_ports;
pub(crate) use proof::DEFAULT_TOKEN_LIFETIME;
pub(crate) use reference::{End, Engine, Side};
pub use weaker::weaker_grants;
