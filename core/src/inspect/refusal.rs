//! Why a peer would refuse something. Reasons are an API: the same in text, JSON and the documentation.

use serde::Serialize;

/// Why a peer would refuse something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The reason in one word.
    pub reason: RefusalReason,
    /// The same in a sentence, with what to do.
    pub message: String,
}

/// The reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum RefusalReason {
    /// The text is no PEM, holds no certificate, or a certificate does not parse.
    Malformed,
    /// The private key can't be read.
    KeyUnreadable,
    /// The private key is not the certificate's.
    KeyMismatch,
    /// The leaf is not valid any more.
    Expired,
    /// The leaf is not valid yet.
    NotYetValid,
    /// The leaf may not be used for this side of a TLS connection.
    WrongUsage,
    /// The certificate presented first is an authority's.
    IsAuthority,
    /// The leaf does not have exactly one SPIFFE ID of a service account.
    NoSpiffeId,
    /// The chain does not lead to the bundle.
    UnknownIssuer,
    /// A certificate above the leaf is not valid now.
    AuthorityExpired,
    /// The chain leads to the bundle and is refused for another reason.
    ChainRefused,
    /// The leaf does not have the name that the server is called by.
    NameMismatch,
    /// The stored key id is not the key's thumbprint.
    KeyIdMismatch,
    /// A document is not what a reader expects.
    Unreadable,
}

impl RefusalReason {
    /// The reason with its sentence.
    pub(super) fn because(self, message: impl Into<String>) -> Refusal {
        Refusal { reason: self, message: message.into() }
    }
}
