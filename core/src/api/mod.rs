//! The three kinds of the group `ringfence.dev`, version `v1alpha1`: one file per kind.
#![allow(unreachable_pub, reason = "the schema derive makes private copies of the public structs")]

mod access_policy;
mod algorithms;
mod certificate_options;
mod common;
mod conditions;
mod restart;
mod service_identity;
mod token_issuer;
mod trust_domain;

pub use access_policy::{
    AccessPolicy, AccessPolicySpec, AccessPolicyStatus, Authentication, ExternalCallee, HttpRule, JwtRequirement,
    PodsCallee, PolicyEnforcement, PolicyPort, Signer, Source, SourceStatus, Target, TokenValidation,
};
pub use algorithms::{CertificateAlgorithm, SigningAlgorithm};
pub use certificate_options::{CertificateUsage, PasswordSecretRef, Pkcs12Keystores, SecretTemplate};
pub use common::{
    Empty, IdentityRef, LabelSelector, LabelSelectorOperator, LabelSelectorRequirement, PodPeer, Protocol,
};
pub use conditions::{ConditionType, Reason, find_condition, set_condition};
pub use restart::{IdentityRestart, RestartStatus, Workload, WorkloadKind};
pub use service_identity::{
    CertificateStatus, IdentityCertificate, IdentityRotation, IdentitySigningKey, IssuedCertificate, RotationMode,
    RotationStatus, RotationTarget, ServiceIdentity, ServiceIdentitySpec, ServiceIdentityStatus, SigningKeyStatus,
};
pub use token_issuer::{
    BuiltInIssuer, ClientAuthentication, ClientSecretRef, IssuerEndpoint, RegisteredClients, TokenFormat, TokenIssuer,
};
pub use trust_domain::{
    AcceptedAuthentication, AllowedName, AuthorityStatus, CeilingPort, CertificateAuthority, CertificateSettings,
    Enforcement, ForeignPolicies, InboundCeiling, OutboundCeiling, ParentAuthority, SecretAuthority,
    SelfSignedAuthority, SigningKeySettings, TrustDomain, TrustDomainSpec, TrustDomainStatus,
};

/// API group of the three kinds.
pub const GROUP: &str = "ringfence.dev";
/// Served and stored version of the three kinds.
pub const VERSION: &str = "v1alpha1";
