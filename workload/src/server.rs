//! Serving a port of the pod as `access.json` has it.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt};
use tracing::{debug, warn};

use crate::authorize::{Decision, Peer, authorize};
use crate::refusal::Refusal;
use crate::verifier::{Anchors, ClientCertificates, PeerCertificate};
use crate::workload::Workload;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the head of a request may be on its way.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests that are there may still take when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause when no connection can be taken, most often because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most connections at once; who does not fit in waits in the kernel's queue.
const CONNECTIONS: usize = 1024;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;
type Observer = Arc<dyn Fn(&Decision<'_>) + Send + Sync>;

/// A port of the pod. Made by [`Workload::server`].
pub struct Server {
    workload: Workload,
    port: u16,
    observer: Observer,
}

impl Server {
    pub(crate) fn new(workload: Workload, port: u16) -> Self {
        Self { workload, port, observer: Arc::new(|_| {}) }
    }

    /// Tells of every decision, for logs and metrics.
    #[must_use]
    pub fn on_decision(mut self, observer: impl Fn(&Decision<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Serves until told to stop: HTTP/1.1 and HTTP/2, over TLS 1.2 and 1.3. Each request is looked at by `access.json` as it
    /// is at that moment, also on connections that are older; what reaches the service has a [`Caller`](crate::Caller) among
    /// its extensions. Others are answered with 401, 403 or 503, or the like in gRPC.
    pub async fn serve<S, B>(self, listener: TcpListener, service: S, stop: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (server, end) = (Arc::new(self), CancellationToken::new());
        let (tls, places) = (server.tls(), Arc::new(Semaphore::new(CONNECTIONS)));
        let connections = GracefulShutdown::new();
        let accepting = async {
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        warn!(%error, "no connection can be taken");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let (server, tls, service, end) = (Arc::clone(&server), tls.clone(), service.clone(), end.clone());
                let watcher = connections.watcher();
                tokio::spawn(async move {
                    if let Some((stream, peer)) = server.handshake(&tls, stream).await {
                        let connection = server.talk(stream, peer, service);
                        let _ = end.run_until_cancelled(watcher.watch(connection)).await;
                    }
                    drop(place);
                });
            }
        };
        stop.run_until_cancelled(accepting).await;
        if timeout(DRAIN, connections.shutdown()).await.is_err() {
            warn!("connections that did not end in time are ended");
        }
        end.cancel();
    }

    fn tls(&self) -> TlsAcceptor {
        let provider = self.workload.provider();
        let verifier = ClientCertificates::of_port(
            self.workload.materials(),
            Arc::clone(provider),
            crate::material::Material::ask,
            self.port,
        );
        let mut tls = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .expect("the library's own cryptography speaks both versions")
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.workload.shown());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A session that is taken up again would bring a certificate that nobody looked at.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        TlsAcceptor::from(Arc::new(tls))
    }

    async fn handshake(&self, tls: &TlsAcceptor, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Peer)> {
        // What comes of a failure is that answers come a little later.
        let _ = stream.set_nodelay(true);
        let address = stream.peer_addr().ok()?.ip().to_canonical();
        let epoch = self.workload.material().epoch();
        let stream = match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                debug!(%address, %error, "a handshake failed");
                return None;
            }
            Err(_) => {
                debug!(%address, "a handshake took too long");
                return None;
            }
        };
        let certificate = match stream.get_ref().1.peer_certificates() {
            None => None,
            Some(chain) => Some(PeerCertificate::new(chain, Some(epoch))?),
        };
        Some((stream, Peer { address, certificate }))
    }

    /// Answers the requests of one connection.
    fn talk<S, B>(
        self: Arc<Self>,
        stream: TlsStream<TcpStream>,
        peer: Peer,
        service: S,
    ) -> impl hyper_util::server::graceful::GracefulConnection + Send + use<S, B>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let peer = Arc::new(peer);
        let answering = service_fn(move |request| {
            let (server, peer, service) = (Arc::clone(&self), Arc::clone(&peer), service.clone());
            async move { Ok::<_, Infallible>(server.answer(&peer, request, service).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIMEOUT);
        builder.serve_connection(TokioIo::new(stream), answering).into_owned()
    }

    async fn answer<S, B>(&self, peer: &Peer, request: Request<Incoming>, service: S) -> Answer
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        let outcome = authorize(&self.workload, self.port, peer, &head).await;
        let told = outcome.as_ref().map_err(|refusal| *refusal);
        (self.observer)(&Decision { port: self.port, path: head.uri.path(), outcome: told });
        match outcome {
            Err(refusal) => refused(refusal, &head.headers),
            Ok(caller) => {
                head.extensions.insert(caller);
                match service.oneshot(Request::from_parts(head, body)).await {
                    Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
                    Err(error) => {
                        warn!(error = %error.into(), "the service failed");
                        let mut answer = Response::new(Empty::new().map_err(Into::into).boxed_unsync());
                        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                        answer
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("port", &self.port).finish_non_exhaustive()
    }
}

/// The caller is told which kind of proof was missing, in the words of this library, and nothing about who would be let in.
fn refused(refusal: Refusal, headers: &HeaderMap) -> Answer {
    let reason = HeaderValue::from_static(refusal.reason());
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        let mut answer = Response::new(Empty::new().map_err(Into::into).boxed_unsync());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(refusal.grpc_code()));
        headers.insert("grpc-message", reason);
        return answer;
    }
    let body = Full::from(format!("{{\"error\":\"{}\"}}\n", refusal.reason()));
    let mut answer = Response::new(body.map_err(Into::into).boxed_unsync());
    *answer.status_mut() = refusal.status();
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 6750, section 3.
    let challenge = match refusal {
        Refusal::TokenRequired => Some("Bearer"),
        Refusal::TokenNotAccepted(_) => Some("Bearer error=\"invalid_token\""),
        _ => None,
    };
    if let Some(challenge) = challenge {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    answer
}
