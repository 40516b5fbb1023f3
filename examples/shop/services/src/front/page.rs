//! The page, with its script and its style.

use axum::Router;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/app.js");
const STYLE: &str = include_str!("page/app.css");

/// The three files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", INDEX))
        .route("/app.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/app.css", file("text/css; charset=utf-8", STYLE))
}

/// The page that says why nobody was logged in.
pub(super) fn refusal(message: &'static str) -> impl IntoResponse {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Not signed in</title>\n\
         <link rel=\"stylesheet\" href=\"/app.css\">\n<main>\n<h1>Not signed in</h1>\n<p>{message}</p>\n\
         <p><a href=\"/login\">Sign in</a> or go <a href=\"/\">back to the shop</a>.</p>\n</main>\n</html>\n"
    ))
}
