//! Finds a port that a server can take.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};

/// Picks a free TCP port and keeps it from being picked again for a minute.
///
/// The connection that is opened and closed here leaves the port in the state TIME_WAIT: the kernel then gives it to
/// nobody who asks for any port, while a server that names it (and sets SO_REUSEADDR, as Go does) gets it.
pub fn reserve(address: IpAddr) -> Result<u16> {
    try_reserve(address).with_context(|| format!("find a free port on {address}"))
}

fn try_reserve(address: IpAddr) -> io::Result<u16> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    let client = TcpStream::connect((address, port))?;
    let (server, _) = listener.accept()?;
    // The side that closes first is the one that waits.
    drop(server);
    drop(client);
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_reserved_port_is_not_picked_again_but_can_be_taken() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ports: Vec<u16> = (0..200).map(|_| reserve(address).unwrap()).collect();
        let different: HashSet<u16> = ports.iter().copied().collect();
        assert_eq!(different.len(), ports.len());
        for port in ports {
            TcpListener::bind((address, port)).unwrap();
        }
    }
}
