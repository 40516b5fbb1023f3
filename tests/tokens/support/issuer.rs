//! An issuer that others run, as far as introspection goes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ringfence_cluster::Credential;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// It answers whatever it is told to, and remembers what it was asked.
#[derive(Clone)]
pub struct ForeignIssuer {
    pub address: SocketAddr,
    /// What it answers.
    pub answer: Arc<Mutex<Value>>,
    /// `Authorization` and body of each request.
    pub asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl ForeignIssuer {
    /// Starts one with this certificate.
    pub async fn start(credential: &Credential) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(json!({"active": false}))),
            asked: Arc::default(),
        };
        let chain = CertificateDer::pem_slice_iter(credential.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config =
            ServerConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let issuer = this.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, issuer) = (acceptor.clone(), issuer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| issuer.clone().answer(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        this
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let body = body.collect().await.unwrap().to_bytes();
        self.asked.lock().unwrap().push((authorization.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap()));
        Ok(Response::new(Full::new(self.answer.lock().unwrap().to_string().into())))
    }

    /// Its identifier.
    pub fn identifier(&self) -> String {
        format!("https://localhost:{}/realms/shop", self.address.port())
    }

    /// Where it introspects.
    pub fn introspection_uri(&self) -> String {
        format!("{}/introspect", self.identifier())
    }
}
