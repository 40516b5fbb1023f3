//! Why a request is not let through.

use http::StatusCode;
use ringfence_core::jwt::ServiceTokenFault;

use crate::issuer_token::IssuerTokenFault;

/// Why a request is not let through. Where several entries of `access.json` were tried, the one that came furthest says why;
/// so the order of the variants counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// `access.json` lists no caller of the port.
    #[error("nobody may call this port")]
    PortNotListed,
    /// No entry is about who calls.
    #[error("no entry of access.json is about this caller")]
    CallerNotListed,
    /// The entry demands a certificate, and the connection shows none that is good.
    #[error("a client certificate is demanded")]
    CertificateRequired,
    /// The certificate was good when the connection was made, and is no longer.
    #[error("the client's certificate is not good any more")]
    CertificateNotGood,
    /// The entry is about other calls.
    #[error("the caller may not call this")]
    CallNotAllowed,
    /// The entry demands a token, and there is none.
    #[error("a token is demanded")]
    TokenRequired,
    /// The token is not accepted.
    #[error("the token is not accepted: {0}")]
    TokenNotAccepted(TokenFault),
    /// The issuer that is to be asked about the token does not answer.
    #[error("the issuer of the token can't be asked")]
    IssuerUnavailable,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum TokenFault {
    /// One that the caller signed itself.
    #[error(transparent)]
    OfCaller(#[from] ServiceTokenFault),
    /// One of an issuer.
    #[error(transparent)]
    OfIssuer(#[from] IssuerTokenFault),
    /// The file of its keys was not delivered.
    #[error("its keys are not there")]
    NoKeys,
}

impl Refusal {
    /// A CamelCase word that stays the same, for metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::PortNotListed => "PortNotListed",
            Self::CallerNotListed => "CallerNotListed",
            Self::CertificateRequired => "CertificateRequired",
            Self::CertificateNotGood => "CertificateNotGood",
            Self::CallNotAllowed => "CallNotAllowed",
            Self::TokenRequired => "TokenRequired",
            Self::TokenNotAccepted(fault) => fault.reason(),
            Self::IssuerUnavailable => "IssuerUnavailable",
        }
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TokenRequired | Self::TokenNotAccepted(_) => StatusCode::UNAUTHORIZED,
            Self::IssuerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// The code of the answer to a gRPC call.
    pub(crate) fn grpc_code(self) -> &'static str {
        match self {
            Self::TokenRequired | Self::TokenNotAccepted(_) => "16",
            Self::IssuerUnavailable => "14",
            _ => "7",
        }
    }
}

impl TokenFault {
    fn reason(self) -> &'static str {
        use ringfence_core::jwt::JwtFault as Jwt;
        let of_jwt = |fault| match fault {
            Jwt::TooLarge => "TooLarge",
            Jwt::Malformed => "Malformed",
            Jwt::HeaderNotAccepted => "HeaderNotAccepted",
            Jwt::UnknownKey => "UnknownKey",
            Jwt::WrongAlgorithm => "WrongAlgorithm",
            Jwt::WrongSignature => "WrongSignature",
            Jwt::Expired => "Expired",
            Jwt::NotYetValid => "NotYetValid",
        };
        match self {
            Self::OfCaller(ServiceTokenFault::Jwt(fault)) | Self::OfIssuer(IssuerTokenFault::Jwt(fault)) => {
                of_jwt(fault)
            }
            Self::OfCaller(ServiceTokenFault::WrongType) | Self::OfIssuer(IssuerTokenFault::WrongType) => "WrongType",
            Self::OfCaller(ServiceTokenFault::WrongIssuer) | Self::OfIssuer(IssuerTokenFault::WrongIssuer) => {
                "WrongIssuer"
            }
            Self::OfCaller(ServiceTokenFault::WrongAudience) | Self::OfIssuer(IssuerTokenFault::WrongAudience) => {
                "WrongAudience"
            }
            Self::OfCaller(ServiceTokenFault::LivesTooLong) | Self::OfIssuer(IssuerTokenFault::LivesTooLong) => {
                "LivesTooLong"
            }
            Self::OfCaller(ServiceTokenFault::NoId) => "NoId",
            Self::OfIssuer(IssuerTokenFault::NotActive) => "NotActive",
            Self::OfIssuer(IssuerTokenFault::ScopeMissing) => "ScopeMissing",
            Self::OfIssuer(IssuerTokenFault::WrongClient) => "WrongClient",
            Self::OfIssuer(IssuerTokenFault::WrongCertificate) => "WrongCertificate",
            Self::NoKeys => "NoKeys",
        }
    }
}
