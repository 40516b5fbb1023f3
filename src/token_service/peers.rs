//! Who is at the other end of a connection: its address and, if it showed one, its certificate.

use std::net::IpAddr;

use ringfence_workload::PeerCertificate;

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: IpAddr,
    /// What it showed in the handshake.
    pub(super) certificate: Option<PeerCertificate>,
}
