//! `/livez` and `/readyz`.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves both until told to stop. Each says what is wrong, if something is.
///
/// # Errors
/// When the address can't be bound.
pub(crate) async fn serve(
    address: SocketAddr,
    live: impl Fn() -> Option<String> + Clone + Send + Sync + 'static,
    ready: impl Fn() -> Option<String> + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let answer = |trouble: Option<String>| match trouble {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, trouble),
    };
    let live = move || std::future::ready(answer(live()));
    let ready = move || std::future::ready(answer(ready()));
    let router = Router::new().route("/livez", get(live)).route("/readyz", get(ready));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}
