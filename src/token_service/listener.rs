//! Connections: TLS, as many as there is room for, each with limits of time and size, and all of them ended in order.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringfence_workload::{ClientCertificates, PeerCertificate};
use rustls::server::ServerSessionMemoryCache;
use rustls::{HandshakeKind, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::http;
use super::metrics::{Handshake, Limit};
use super::peers::Peer;
use super::places::Places;
use super::state::State;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the head of a request may be on its way; so long a connection stays open on which nobody asks, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head of a request, in octets.
const LARGEST_HEAD: usize = 16 * 1024;
/// Most header fields of a request.
const MOST_HEADERS: usize = 64;
/// Sessions that clients may take up again without a full handshake.
const SESSIONS: usize = 4096;
/// Pause when no connection can be taken, most often because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections at an address.
pub(super) struct Listener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    state: Arc<State>,
    places: Arc<Places>,
    drain: Duration,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub(super) async fn bind(
        address: SocketAddr,
        connections: usize,
        drain: Duration,
        state: Arc<State>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let verifier = ClientCertificates::optional(Arc::clone(&state.snapshot), Arc::clone(&state.provider));
        let mut tls = ServerConfig::builder_with_provider(Arc::clone(&state.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(&state.certificate) as _);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session that is taken up again brings a certificate that nobody looked at: peers are verified again then.
        tls.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        tls.send_tls13_tickets = 1;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        Ok(Self { listener, acceptor, state, places: Arc::new(Places::new(connections)), drain })
    }

    /// Serves until told to stop; then no further connection is taken, and requests that are there are answered.
    pub(super) async fn serve(self, stop: CancellationToken) {
        let (connections, end, drain) = (TaskTracker::new(), CancellationToken::new(), self.drain);
        stop.run_until_cancelled(self.accept(&connections, &stop, &end)).await;
        connections.close();
        if timeout(drain, connections.wait()).await.is_err() {
            warn!(connections = connections.len(), "connections that did not end in time are ended");
            end.cancel();
            connections.wait().await;
        }
    }

    /// Takes one connection after the other, while there is room. Who does not fit in waits in the kernel's queue; what
    /// an address has beyond its share is closed.
    async fn accept(self, connections: &TaskTracker, stop: &CancellationToken, end: &CancellationToken) {
        loop {
            let Ok(place) = self.places.free().await else { return };
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "no connection can be taken");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.places.take(place, address.ip()) else {
                self.state.metrics.limited(Limit::Connections);
                continue;
            };
            let (acceptor, state) = (self.acceptor.clone(), Arc::clone(&self.state));
            let (stop, end) = (stop.clone(), end.clone());
            connections.spawn(async move {
                let _open = state.metrics.connection();
                // Boxed: what is left of a handshake need not be kept as long as the connection.
                if let Some((stream, peer)) = Box::pin(handshake(&acceptor, &state, stream, address.ip())).await {
                    end.run_until_cancelled(talk(stream, peer, state, &stop)).await;
                }
                drop(place);
            });
        }
    }
}

/// Brings a connection to where requests can be read from it, and says who is at its other end.
async fn handshake(
    acceptor: &TlsAcceptor,
    state: &State,
    stream: TcpStream,
    address: IpAddr,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    // What comes of a failure is that answers come a little later.
    let _ = stream.set_nodelay(true);
    let epoch = state.snapshot.load().epoch;
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // By far the most frequent are probes of the port, and clients that don't trust us.
            state.metrics.handshake(Handshake::Failed);
            debug!(%address, %error, "a handshake failed");
            return None;
        }
        Err(_) => {
            state.metrics.handshake(Handshake::TimedOut);
            return None;
        }
    };
    let (_, tls) = stream.get_ref();
    let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
    let certificate = match tls.peer_certificates() {
        None => None,
        Some(chain) => Some(PeerCertificate::new(chain, (!resumed).then_some(epoch))?),
    };
    state.metrics.handshake(if resumed { Handshake::Resumed } else { Handshake::Full });
    Some((stream, Peer { address: address.to_canonical(), certificate }))
}

/// Answers the requests of one connection.
async fn talk(stream: TlsStream<TcpStream>, peer: Peer, state: Arc<State>, stop: &CancellationToken) {
    let peer = Arc::new(peer);
    let service = service_fn(move |request| {
        let (state, peer) = (Arc::clone(&state), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(http::answer(&state, &peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ends is the other side's affair: what was asked on it was answered, or nobody is there any more.
    tokio::select! {
        _ = &mut connection => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
