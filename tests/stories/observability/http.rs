//! Plain HTTP: asking a server on this machine, and a collector of traces.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Head and body of an answer; nothing if nobody answers.
pub async fn get(address: SocketAddr, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned()))
}

/// A collector of traces, as OTLP over HTTP has it.
pub struct Collector {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Bytes>>>,
    refuses: Arc<AtomicBool>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let refuses: Arc<AtomicBool> = Arc::default();
        let (received, closed) = (Arc::clone(&requests), Arc::clone(&refuses));
        let take = async move |body: Bytes| {
            received.lock().unwrap().push(body);
            if closed.load(Ordering::Relaxed) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, requests, refuses }
    }

    /// Takes nothing from now on.
    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Everything that was sent, as it came.
    pub fn octets(&self) -> Vec<u8> {
        self.requests.lock().unwrap().concat()
    }

    /// Everything that was sent, in order.
    pub fn received(&self) -> Vec<ExportTraceServiceRequest> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap()).collect()
    }

    /// All spans.
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.received().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}
