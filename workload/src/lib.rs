//! What a Rust service needs to use what Ringfence delivers to it.
//!
//! A pod mounts the Secret `<identity>-tls`, the ConfigMap `<identity>-trust` and, if the service signs tokens, the Secret
//! `<identity>-signing-key`; for each issuer that knows it by a secret, the Secret `<identity>-<issuer>-client`.
//! [`Workload`] reads them, follows every change, and makes of them:
//!
//! - a **server** ([`Workload::server`]), which asks for client certificates where `access.json` says so, verifies them with
//!   the bundle of the trust domain that the peer's SPIFFE ID names, and lets a request through only if one entry of
//!   `access.json` is satisfied as a whole: certificate, token, and what may be called;
//! - a **client** ([`Workload::client`]), which calls those whom `access.json` names, proves to be talking to them and to
//!   nobody else, shows the own certificate, and adds the token that the callee demands. It reaches the token issuers that
//!   the service talks to as well ([`Workload::issuer`]).
//!
//! ```no_run
//! use std::path::Path;
//! use ringfence_workload::{Mounts, Workload};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn run<S, B>(router: S) -> Result<(), Box<dyn std::error::Error>>
//! # where
//! #     S: tower::Service<http::Request<hyper::body::Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
//! #     S::Future: Send,
//! #     S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
//! #     B: hyper::body::Body<Data = hyper::body::Bytes> + Send + 'static,
//! #     B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
//! # {
//! let workload = Workload::open(Mounts::below(Path::new("/var/run/ringfence")))?;
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8443").await?;
//! workload.server(8443).serve(listener, router, CancellationToken::new()).await;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here talks to Kubernetes. What is refused while files change is what the files of that moment refuse; files
//! that can't be read leave the last good ones in force, and say so ([`Workload::reloads`]).

mod authorize;
mod certificate;
mod client;
mod decide;
mod issuer;
mod issuer_token;
mod material;
mod mounts;
mod refusal;
mod server;
mod verifier;
mod workload;

pub use authorize::{Caller, Decision};
pub use certificate::{CertificateFault, certified_key};
pub use client::{CallError, Client, IssuerToken, OnBehalfOf, SubjectToken};
pub use issuer::{ClientCredentials, IssuerError, TokenIssuer};
pub use issuer_token::IssuerTokenFault;
pub use material::MaterialFault;
pub use mounts::{MountFault, Mounts};
pub use refusal::{Refusal, TokenFault};
pub use server::Server;
pub use verifier::{Anchors, ClientCertificates, PeerCertificate};
pub use workload::{OpenError, Reload, Workload};
