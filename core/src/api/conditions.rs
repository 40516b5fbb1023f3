//! The words of every status: condition types and reasons. They are an API: the same in conditions, events, metrics and
//! the command line.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Type of a condition. `True` is good for the first four; the others appear only when they apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Everything below is as it should be.
    Ready,
    /// The spec is within its ceilings and in conflict with nothing.
    Accepted,
    /// Everything that the spec names exists.
    ResolvedRefs,
    /// Every object of it is written and current.
    Programmed,
    /// Something selected can't be fenced.
    Unenforceable,
    /// A foreign NetworkPolicy allows more than was declared.
    Widened,
    /// An object of someone else has the name of an output.
    NameTaken,
    /// Someone keeps changing an output.
    Contested,
    /// The operator's clock and the API server's differ too much to issue anything.
    ClockSkew,
    /// An output would not fit into an object.
    TooLarge,
    /// The identity is revoked.
    Suspended,
    /// A rotation is under way.
    RollingOver,
    /// Workloads run, or may run, with something older than what is delivered.
    RestartPending,
}

impl ConditionType {
    /// The name in the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::Unenforceable => "Unenforceable",
            Self::Widened => "Widened",
            Self::NameTaken => "NameTaken",
            Self::Contested => "Contested",
            Self::ClockSkew => "ClockSkew",
            Self::TooLarge => "TooLarge",
            Self::Suspended => "Suspended",
            Self::RollingOver => "RollingOver",
            Self::RestartPending => "RestartPending",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why something is as it is: reason of conditions and events, label of metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// The CamelCase word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The reason that a word stands for.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $(stringify!($name) => Some(Self::$name),)+ _ => None }
            }

            /// All of them, for the reference.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$((stringify!($name), concat!($($doc),+)),)+];
        }
    };
}

reasons! {
    /// Everything holds.
    Ready,
    /// Accepted as declared.
    Accepted,
    /// Everything named exists.
    Resolved,
    /// Everything is written and current.
    Programmed,
    /// Some entries stand, others were refused.
    PartiallyAccepted,
    /// Work is under way.
    Pending,
    /// Ready, and no pod matches the selector yet.
    NoPods,
    /// Ready, and the domain or the policy is in Audit: no NetworkPolicy is written.
    Audit,
    /// Ready, and the domain's enforcement is Disabled.
    EnforcementDisabled,

    /// The namespace is in no trust domain.
    NotInTrustDomain,
    /// Another TrustDomain holds this trust-domain name.
    TrustDomainTaken,
    /// Another TrustDomain holds the namespace.
    NamespaceTaken,
    /// The namespace can't be a member.
    NamespaceNotAllowed,
    /// A namespace that is named does not exist.
    NamespaceNotFound,
    /// The parent TrustDomain does not exist.
    ParentNotFound,
    /// The parents form a cycle.
    ParentCycle,
    /// More than three levels of parents.
    ParentTooDeep,
    /// The parent has no CA to sign with yet.
    ParentNotReady,
    /// The Secret of a CA, or of a password, does not exist.
    SecretNotFound,
    /// The CA that was brought can't be used.
    InvalidCertificateAuthority,
    /// The CA Secret in the operator's namespace can't be read.
    AuthorityUnreadable,
    /// The CA Secret that the TrustDomain had is gone.
    AuthorityLost,
    /// The CA that was brought can't sign revocation lists.
    RevocationUnavailable,
    /// The CA's remaining life is too short to issue.
    AuthorityExpired,
    /// Identities still live in the domain that is being deleted.
    IdentitiesRemain,

    /// Another identity has this service account.
    ServiceAccountTaken,
    /// Another identity has this Service.
    ServiceTaken,
    /// Another identity has this audience.
    AudienceTaken,
    /// Another identity has this name.
    NameClaimed,
    /// Another identity writes to this Secret.
    SecretNameTaken,
    /// The TrustDomain does not allow this name for this namespace.
    NameNotAllowed,
    /// The value is not valid.
    Invalid,
    /// A Service that is named does not exist.
    ServiceNotFound,
    /// A Service does not select the identity's pods.
    ServiceMismatch,
    /// The duration is above the TrustDomain's.
    DurationTooLong,
    /// Pods match two identities.
    SelectorOverlap,
    /// Pods run under another service account.
    ServiceAccountMismatch,
    /// Pods use the host's network, where no NetworkPolicy applies.
    HostNetwork,
    /// Ready, and the chart does not let workloads be rolled.
    RestartDisabled,
    /// Ready, and a workload that is to be rolled does not exist.
    WorkloadNotFound,
    /// Ready, and workloads are being rolled or wait for their turn.
    Restarting,
    /// Pods of a workload that was rolled are not replaced.
    RestartStalled,
    /// A workload could not be rolled; it is tried again.
    RestartFailed,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The identity is suspended: revoked until it comes back.
    Suspended,

    /// The identity being called does not exist or is not valid.
    CalleeNotFound,
    /// The caller does not exist or is not valid.
    CallerNotFound,
    /// The caller has no signing key.
    NoSigningKey,
    /// The caller can't get a token of the issuer that is asked for.
    NoTokenIssuer,
    /// The TrustDomain has no token issuer of this name.
    IssuerNotFound,
    /// The TrustDomain has several token issuers, and the policy names none of them.
    IssuerAmbiguous,
    /// The callee is to introspect tokens and does not list their issuer.
    IssuerNotListed,
    /// Nobody can be let out to the token issuer, because the TrustDomain does not say where it is.
    IssuerWithoutEndpoint,
    /// The installation runs no token service, or the token service has no valid identity.
    TokenServiceNotFound,
    /// Opaque tokens can't be verified by keys.
    OpaqueToken,
    /// The caller's certificate is not for clients, or the callee's not for servers.
    UsageMissing,
    /// No inbound entry of the callee's domain admits this.
    InboundNotAllowed,
    /// No outbound entry of the caller's domain admits this.
    OutboundNotAllowed,
    /// No Service and no pod has this port.
    PortNotFound,
    /// Pods disagree on the number of a named port.
    PortAmbiguous,
    /// The pods lie in a fenced namespace and need an identity.
    FencedPods,
    /// The address range can't be parsed.
    InvalidCidr,
    /// The address range lies inside the cluster and the ceiling does not set clusterAddresses.
    ClusterAddresses,
    /// The API server's addresses are not known yet.
    ApiServerUnknown,
    /// An audience that the policy asks for is not one of the callee's.
    AudienceNotFound,
    /// The TrustDomain does not allow wildcard audiences.
    AudienceNotAllowed,
    /// A second policy grants the same with less proof.
    WeakerGrant,
    /// No from entry is accepted.
    NothingAccepted,
    /// A token issuer can't be reached; the last good keys of it stay in use.
    IssuerUnreachable,
    /// What a token issuer answers can't be used; the last good keys of it stay in use.
    IssuerInvalid,

    /// An object of someone else has the output's name.
    NameTaken,
    /// Someone keeps changing an output.
    Contested,
    /// A foreign NetworkPolicy allows more than was declared.
    ForeignPolicy,
    /// No DNS pods were found, so that DNS is closed.
    DnsNotFound,
    /// The clocks differ too much.
    ClockSkew,
    /// The object would be too large.
    TooLarge,
    /// A write failed; it is tried again.
    WriteFailed,
    /// This build of the operator can't write keystores.
    KeystoresUnavailable,

    /// A certificate was issued.
    Issued,
    /// A certificate was renewed.
    Renewed,
    /// The Secret of a certificate was brought to what is declared; the certificate stayed.
    SecretUpdated,
    /// A workload was rolled, because what it was delivered has changed.
    Restarted,
    /// Credentials for a token issuer were delivered.
    CredentialsDelivered,
    /// Credentials for a token issuer were taken away again.
    CredentialsRemoved,
    /// A signing key was generated.
    SigningKeyGenerated,
    /// An output was changed by someone else and put back.
    DriftCorrected,
    /// An edge was opened.
    EdgeOpened,
    /// An edge was closed.
    EdgeClosed,
    /// A Secret from a backup was taken over as it is.
    Restored,
    /// A certificate authority was generated or taken over.
    AuthorityCreated,
    /// Ready, and what may be in other hands was distrusted at once: requests may fail until all have the new one.
    Compromised,
    /// Certificates were put on a revocation list.
    Revoked,
    /// The keys of a token issuer were fetched, and are new.
    IssuerKeysFetched,
    /// The namespace was fenced.
    Fenced,
    /// The fence of the namespace was removed.
    Unfenced,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The condition of this type.
pub fn find_condition(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Sets one condition in a list that `previous` was the last version of; the transition time moves only when the status
/// flips.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    previous: &[Condition],
    (kind, status): (ConditionType, bool),
    reason: Reason,
    message: String,
    (generation, now): (Option<i64>, Timestamp),
) {
    let status = if status { "True" } else { "False" };
    let last_transition_time = find_condition(previous, kind)
        .filter(|old| old.status == status)
        .map_or_else(|| Time(now), |old| old.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != kind.as_str());
    conditions.push(Condition {
        last_transition_time,
        message,
        observed_generation: generation,
        reason: reason.as_str().to_owned(),
        status: status.to_owned(),
        type_: kind.as_str().to_owned(),
    });
}
