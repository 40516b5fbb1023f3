//! The documents that the operator writes.

use std::collections::BTreeSet;

use ringfence_core::access::CallerName;
use ringfence_core::api::{TokenFormat, TokenValidation};
use ringfence_core::tokens::{DIRECTORY_VERSION, Directory, DirectoryDomain, DirectoryGrant};

use super::{Domain, Member};

/// The document of a namespace with these members and no grant yet.
pub fn directory(namespace: &str, domain: &Domain, members: &[&Member]) -> Directory {
    Directory {
        version: DIRECTORY_VERSION,
        namespace: namespace.to_owned(),
        domain: DirectoryDomain {
            name: domain.name.clone(),
            trust_domain: domain.name.clone(),
            bundle: domain.bundle(),
            revocation_lists: domain.revocation_lists(),
            token_format: TokenFormat::Jwt,
            token_lifetime_seconds: 300,
            scopes: BTreeSet::new(),
            clients: None,
            issuers: Vec::new(),
        },
        identities: members.iter().map(|member| member.described()).collect(),
        grants: Vec::new(),
    }
}

/// A grant that lets one member call another with a token of the token service.
pub fn grant(caller: &Member, callee: &Member) -> DirectoryGrant {
    DirectoryGrant {
        caller: CallerName::Identity {
            spiffe_id: caller.id(),
            trust_domain: caller.spiffe_id.trust_domain().to_string(),
        },
        callee: callee.id(),
        audiences: BTreeSet::from([callee.id(), callee.audience()]),
        scopes: BTreeSet::new(),
        max_lifetime_seconds: 300,
        validation: TokenValidation::Jwks,
        mtls: false,
        one_time: false,
        policy: format!("{}/{}", callee.spiffe_id.namespace(), callee.spiffe_id.service_account()),
    }
}
