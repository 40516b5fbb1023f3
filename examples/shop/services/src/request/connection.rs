//! One connection, step by step, so that it can be said which one failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Where to, and how.
pub(super) struct Connection {
    pub(super) address: String,
    pub(super) server_name: String,
    pub(super) tls: Option<rustls::ClientConfig>,
    pub(super) http2: bool,
    pub(super) patience: Duration,
}

/// The step that failed, and why.
#[derive(Debug)]
pub(super) struct Failure {
    step: &'static str,
    reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed at {}: {}", self.step, self.reason)
    }
}

impl Failure {
    pub(super) fn late(step: &'static str, patience: Duration) -> Self {
        Self { step, reason: format!("nothing came in {patience:?}") }
    }

    /// A failure after the handshake. In TLS 1.3 a server that does not take the client's certificate says so only then.
    pub(super) fn http(error: &(dyn Error + 'static)) -> Self {
        let (mut cause, mut reasons, mut step) = (Some(error), Vec::new(), "http");
        while let Some(error) = cause {
            // However deep it is wrapped, an alert keeps its words.
            if error.to_string().contains("received fatal alert") {
                step = "tls";
            }
            reasons.push(error.to_string());
            cause = error.source();
        }
        Self { step, reason: reasons.join(": ") }
    }

    fn io(step: &'static str, error: &io::Error) -> Self {
        Self { step, reason: error.to_string() }
    }
}

impl Connection {
    /// Connects, and sends one request.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let stream = self.in_time("tcp", TcpStream::connect(&self.address)).await?;
        let Some(tls) = &self.tls else { return self.speak(TokioIo::new(stream), request).await };
        let name = ServerName::try_from(self.server_name.clone());
        let name = name.map_err(|error| Failure { step: "tls", reason: error.to_string() })?;
        let connector = TlsConnector::from(Arc::new(tls.clone()));
        let stream = self.in_time("tls", connector.connect(name, stream)).await?;
        self.speak(TokioIo::new(stream), request).await
    }

    async fn in_time<T>(&self, step: &'static str, work: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        let done = timeout(self.patience, work).await.map_err(|_| Failure::late(step, self.patience))?;
        done.map_err(|error| Failure::io(step, &error))
    }

    async fn speak(
        &self,
        stream: impl Read + Write + Send + Unpin + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let answer = timeout(self.patience, async {
            if self.http2 {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                let connection = tokio::spawn(connection);
                let answer = sender.send_request(request).await;
                or_why_it_ended(answer, sender, connection).await
            } else {
                let (mut sender, connection) = http1::handshake(stream).await?;
                let connection = tokio::spawn(connection);
                let answer = sender.send_request(request).await;
                or_why_it_ended(answer, sender, connection).await
            }
        });
        let answer = answer.await.map_err(|_| Failure::late("http", self.patience))?;
        answer.map_err(|error| Failure::http(&error))
    }
}

/// A request that failed because its connection had ended says less than the connection does.
async fn or_why_it_ended<T, S>(
    answer: hyper::Result<T>,
    sender: S,
    connection: JoinHandle<hyper::Result<()>>,
) -> hyper::Result<T> {
    let Err(error) = answer else { return answer };
    drop(sender);
    Err(connection.await.ok().and_then(Result::err).unwrap_or(error))
}
