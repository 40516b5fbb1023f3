//! A gateway that answers with what it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::response::IntoResponse;
use axum::{Json, Router};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Domain, Server};

pub(in crate::front) struct Gateway {
    pub(in crate::front) url: String,
    asked: Arc<AtomicU64>,
    _server: Server,
}

impl Gateway {
    pub(super) async fn start(storefront: &Domain) -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let counting = asked.clone();
        let router = Router::new().fallback(move |request: Request| {
            counting.fetch_add(1, Ordering::Relaxed);
            answer(request)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, storefront.service("gateway").called_by("front").pod(), router).await;
        Self { url: format!("https://localhost:{}", server.port), asked, _server: server }
    }

    /// How often it was asked.
    pub(in crate::front) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn answer(request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
    let headers = Value::Object(headers.collect());
    let path = head.uri.path_and_query().unwrap().as_str();
    let hops = json!([{"service": "gateway", "caller": "front", "by": "all of it", "policy": "storefront/gateway"}]);
    let status = if head.method == "POST" { StatusCode::CREATED } else { StatusCode::OK };
    let told = [("x-hops", hops.to_string()), ("retry-after", "7".to_owned()), ("set-cookie", "its=own".to_owned())];
    (status, told, Json(json!({"method": head.method.as_str(), "path": path, "headers": headers, "body": body})))
}
