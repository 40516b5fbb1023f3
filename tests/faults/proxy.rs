//! Between the operator and the API server: passes everything on, but for the trouble that a test asks for.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use axum::http::{Method, Response};
use futures::StreamExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use crate::support::TestCluster;

/// A request, as the operator sent it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub at: Instant,
}

impl Asked {
    pub fn is_write(&self) -> bool {
        !self.method.is_safe()
    }

    /// Whether it is about who leads, or a watch, which lasts.
    pub fn is_of_lease(&self) -> bool {
        self.path.contains("/leases")
    }

    pub fn is_watch(&self) -> bool {
        self.path.contains("watch=")
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// It is refused: come back in so many seconds.
    Later(u64),
    /// Its answer comes late.
    Late(Duration),
    /// It is carried out, and the answer is lost.
    Lost,
}

type Troubles = Box<dyn FnMut(&Asked) -> Option<Trouble> + Send>;

struct Between {
    client: Client,
    troubles: Mutex<Troubles>,
    asked: Mutex<Vec<Asked>>,
}

/// The proxy; its kubeconfig is the operator's in its eyes.
pub struct Proxy {
    between: Arc<Between>,
    kubeconfig: NamedTempFile,
}

impl Proxy {
    pub async fn start(cluster: &TestCluster) -> Self {
        let own = Kubeconfig::read_from(cluster.operator_kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(own, &KubeConfigOptions::default()).await.unwrap();
        // What the API server answers is what the operator gets.
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let between = Between { client, troubles: Mutex::new(Box::new(|_| None)), asked: Mutex::default() };
        let between = Arc::new(between);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&between));
        tokio::spawn(axum::serve(listener, router).into_future());
        let kubeconfig = NamedTempFile::new().unwrap();
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "clusters": [{"name": "proxy", "cluster": {"server": server}}], "users": [{"name": "proxy", "user": {}}],
        });
        std::fs::write(kubeconfig.path(), content.to_string()).unwrap();
        Self { between, kubeconfig }
    }

    pub fn kubeconfig(&self) -> &Path {
        self.kubeconfig.path()
    }

    /// From now on requests get into this trouble.
    pub fn make(&self, troubles: impl FnMut(&Asked) -> Option<Trouble> + Send + 'static) {
        *self.between.troubles.lock().unwrap() = Box::new(troubles);
    }

    /// What was asked since this was asked the last time.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.between.asked.lock().unwrap())
    }
}

async fn pass_on(State(between): State<Arc<Between>>, request: Request) -> Response<Body> {
    let path = request.uri().path_and_query().unwrap().to_string();
    let asked = Asked { method: request.method().clone(), path: path.clone(), at: Instant::now() };
    let trouble = between.troubles.lock().unwrap()(&asked);
    between.asked.lock().unwrap().push(asked);
    match trouble {
        Some(Trouble::Later(seconds)) => {
            let refusal = Response::builder().status(429).header(RETRY_AFTER, seconds);
            return refusal.body(Body::from("Too many requests, please try again later.\n")).unwrap();
        }
        Some(Trouble::Late(time)) => tokio::time::sleep(time).await,
        Some(Trouble::Lost) | None => {}
    }
    let (head, body) = request.into_parts();
    let mut on = http::Request::builder().method(head.method).uri(path);
    for (name, value) in &head.headers {
        if ![HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            on = on.header(name, value);
        }
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let Ok(answer) = between.client.send(on.body(kube::client::Body::from(body)).unwrap()).await else {
        return Response::builder().status(502).body(Body::empty()).unwrap();
    };
    let (head, body) = answer.into_parts();
    if matches!(trouble, Some(Trouble::Lost)) {
        // Only then it has surely been carried out.
        drop(Body::new(body).into_data_stream().collect::<Vec<_>>().await);
        let broken = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("lost")) });
        return Response::builder().status(head.status).body(Body::from_stream(broken)).unwrap();
    }
    let mut back = Response::builder().status(head.status);
    for (name, value) in &head.headers {
        if ![CONNECTION, TRANSFER_ENCODING].contains(name) {
            back = back.header(name, value);
        }
    }
    back.body(Body::new(body)).unwrap()
}
