//! How the token service says no: to the caller one of the standard's words, to the log and the metrics the true reason.

use std::fmt;

use crate::jwt::JwtFault;

/// An error code of the token endpoint (RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 8707, RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OAuthError {
    /// The request is not well formed.
    InvalidRequest,
    /// The client did not prove who it is.
    InvalidClient,
    /// The token or assertion that was presented is not valid.
    InvalidGrant,
    /// The scope is unknown, or not for this client.
    InvalidScope,
    /// There is no such audience for this client.
    InvalidTarget,
    /// The client may not use this grant type.
    UnauthorizedClient,
    /// There is no such grant type.
    UnsupportedGrantType,
    /// Something that is needed can't be reached now.
    TemporarilyUnavailable,
    /// The token service failed.
    ServerError,
}

impl OAuthError {
    /// The word, as the standards write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// All that the caller is told besides: always the same sentence for a word.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::InvalidRequest => "the request is not well formed",
            Self::InvalidClient => "the client could not be authenticated",
            Self::InvalidGrant => "the token that was presented is not valid for this client",
            Self::InvalidScope => "the scope is not granted to this client",
            Self::InvalidTarget => "the audience is not open to this client",
            Self::UnauthorizedClient => "the client may not do this",
            Self::UnsupportedGrantType => "the grant type is not offered",
            Self::TemporarilyUnavailable => "try again later",
            Self::ServerError => "the token service failed",
        }
    }

    /// Status of the HTTP response.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
            _ => 400,
        }
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: what the caller is told, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{error}: {reason}")]
pub struct Denial {
    /// What the caller is told.
    pub error: OAuthError,
    /// Why, for the log and the metrics alone.
    pub reason: DenialReason,
}

impl Denial {
    /// A refusal.
    #[must_use]
    pub fn new(error: OAuthError, reason: DenialReason) -> Self {
        Self { error, reason }
    }
}

macro_rules! denial_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why the token service said no. The words are stable: the log and the metrics carry them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DenialReason { $($(#[doc = $doc])+ $name,)+ }

        impl DenialReason {
            /// The CamelCase word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

denial_reasons! {
    /// The client is no identity of a domain that selects the token service, or it does not list it.
    UnknownClient,
    /// The client is suspended, gone, or no longer registered.
    ClientGone,
    /// Several Secrets register a client of this id.
    AmbiguousClient,
    /// The secret is not the registered one.
    WrongSecret,
    /// The request comes from an address that the registration does not name.
    AddressNotRegistered,
    /// The value is longer than it may be.
    TooLarge,
    /// The token or assertion is not a JWT in its compact form.
    Malformed,
    /// The JWT's header has something that is not accepted, such as `crit` or a key.
    HeaderNotAccepted,
    /// The JWT's `typ` is not one that is accepted here.
    WrongType,
    /// The JWT's `alg` is not the one of the key.
    WrongAlgorithm,
    /// The JWT names no key, or none that its issuer has.
    UnknownKey,
    /// The signature, or the seal, is wrong.
    WrongSignature,
    /// The issuer is not the expected one.
    WrongIssuer,
    /// The subject is missing, or not the expected one.
    WrongSubject,
    /// The token or assertion is meant for someone else.
    WrongAudience,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It lives longer than it may.
    LivesTooLong,
    /// It has no `jti`.
    NoId,
    /// It was used before.
    Replayed,
    /// It was revoked.
    Revoked,
    /// A certificate-bound token was presented without its certificate.
    WrongCertificate,
    /// No grant in force lets the client call anyone of this audience with a token of the built-in issuer.
    NoGrant,
    /// Several callees have this audience.
    AmbiguousAudience,
    /// None or several audiences are named, or a wildcard.
    AudienceNotOne,
    /// The scope is not one that the grant or the callee's domain allows.
    ScopeNotAllowed,
    /// The scope lacks what the grant demands.
    ScopeMissing,
    /// The scope is wider than that of the subject token, or of the registration.
    ScopeTooWide,
    /// The scope is not a list of scope tokens.
    ScopeMalformed,
    /// The grant takes one-time tokens alone.
    OneTimeOnly,
    /// The grant takes no one-time tokens.
    NotOneTime,
    /// The grant demands a certificate, and the client showed none that its token could be bound to.
    CertificateNeeded,
    /// The purpose or the context of a transaction is missing, too large, or not a JSON object.
    TransactionMalformed,
    /// Registered clients exchange no tokens.
    NotForRegisteredClients,
    /// The subject token is of another kind than was said.
    WrongSubjectType,
    /// The chain of actors is as long as it may be.
    ChainTooLong,
    /// Someone in the token's chain is suspended or gone.
    ActorGone,
    /// The issuer of the subject token is not one that the client's domain trusts.
    UntrustedIssuer,
    /// The keys of the subject token's issuer are not known yet.
    IssuerKeysUnknown,
    /// The issuer says that the token is not active.
    NotActive,
    /// The cryptographic library failed.
    CryptographyFailed,
    /// The asking client has nothing to do with the token.
    NotForThisClient,
    /// The body is not a form, or is not well formed.
    NotAForm,
    /// A parameter is there twice.
    ParameterTwice,
    /// A parameter that is needed is not there.
    ParameterMissing,
    /// A parameter is there that is not taken.
    ParameterNotTaken,
    /// There is no such grant type.
    UnknownGrantType,
    /// There is no such token type.
    UnknownTokenType,
    /// The client proves who it is in several ways at once.
    SeveralMethods,
    /// The client does not prove who it is in any way that is offered.
    NoCredentials,
    /// The client names itself as another than it proves to be.
    WrongClientId,
    /// The API server does not know the service-account token.
    NotAuthenticated,
    /// The API server can't be asked.
    ApiServerUnavailable,
    /// The issuer of the subject token can't be asked.
    IssuerUnavailable,
    /// The store can't be asked.
    StoreUnavailable,
    /// The token service has no keys yet.
    NoKeys,
}

impl From<JwtFault> for DenialReason {
    fn from(fault: JwtFault) -> Self {
        match fault {
            JwtFault::TooLarge => Self::TooLarge,
            JwtFault::Malformed => Self::Malformed,
            JwtFault::HeaderNotAccepted => Self::HeaderNotAccepted,
            JwtFault::UnknownKey => Self::UnknownKey,
            JwtFault::WrongAlgorithm => Self::WrongAlgorithm,
            JwtFault::WrongSignature => Self::WrongSignature,
            JwtFault::Expired => Self::Expired,
            JwtFault::NotYetValid => Self::NotYetValid,
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
