//! `/livez` and `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

/// How the operator is.
#[derive(Clone, Debug, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Every watch has told all there is.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Serves `/livez` and `/readyz` until told to stop.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn serve(self, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let ready = move || {
            let ready = self.is_ready();
            async move { if ready { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "listing") } }
        };
        let router = Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(ready));
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}
