//! Who asks the token service.

use std::net::IpAddr;

use crate::pki::SpiffeId;

/// A client that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// A service.
    Identity(ServiceClient),
    /// A client outside the cluster.
    Registered(RegisteredClient),
}

/// A service, and how it proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceClient {
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// How.
    pub proof: ClientProof,
}

/// How a service proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientProof {
    /// By its certificate (RFC 8705).
    Certificate {
        /// SHA-256 of the certificate's DER, base64url.
        thumbprint: String,
    },
    /// By a JWT that its key signed (RFC 7523).
    Key,
    /// By a token of its Kubernetes service account.
    ServiceAccount,
}

/// A client outside the cluster. Its registration is looked up with each decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredClient {
    /// Its id: the key in the Secret.
    pub id: String,
    /// Name of the Secret that registers it, by which its domains are told.
    pub secret_name: String,
    /// Where it calls from, which each domain that it gets a token for must admit; none for one that does not call now.
    pub address: Option<IpAddr>,
}

impl Client {
    /// The `client_id`: a SPIFFE ID, or a registered client's id.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Identity(service) => service.spiffe_id.to_string(),
            Self::Registered(registered) => registered.id.clone(),
        }
    }
}
