//! The token service's decisions: who gets a token for whom, what is in it, and which keys sign it. It knows nothing of the
//! cluster but the [`Directory`] documents, which the operator writes.

mod assertion;
mod claims;
mod client;
mod denial;
mod directory;
mod foreign;
mod graph;
mod introspect;
pub mod keys;
mod members;
mod mint;
#[cfg(test)]
mod properties;
mod registration;
mod scopes;
#[cfg(test)]
mod testing;

pub use assertion::{
    MAX_ASSERTION_LIFETIME_SECONDS, VerifiedAssertion, is_only_for, unverified_issuer, verify_assertion,
};
pub use claims::{Actor, Claims, Confirmation, IntrospectionResponse, MAX_ACTORS, SubjectId, TokenKind};
pub use client::{Client, ClientProof, RegisteredClient, ServiceClient};
pub use denial::{Denial, DenialReason, OAuthError};
pub use directory::{
    DIRECTORY_FILE, DIRECTORY_VERSION, Directory, DirectoryClients, DirectoryDomain, DirectoryGrant, DirectoryIdentity,
    DirectoryIssuer, directory_config_map, directory_namespace,
};
pub use foreign::{ForeignSubject, foreign_issuer_of, may_be_shown, read_foreign_introspection, verify_foreign};
pub use graph::TokenGraph;
pub use introspect::{Introspected, Usage, introspect, may_revoke};
pub use keys::OwnToken;
pub use members::{DirectoryError, ForeignIssuer, Granted, MAX_TOKEN_LIFETIME_SECONDS, Service};
pub use mint::{Issuance, Minting, Subject, TokenRequest, Transaction, client_credentials, exchange};
pub use registration::{NewRegistration, Registration, RegistrationError};
pub use scopes::Scopes;
