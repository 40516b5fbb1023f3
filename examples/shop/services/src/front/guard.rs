//! What every request must have, and every answer gets, so that the pages of others can do nothing here in a customer's name.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};

use crate::problem::Problem;

/// A header that the page's script sends with whatever changes something. Scripts of others can't without asking first
/// (Cross-Origin Resource Sharing), and nobody answers them here; forms and links can't at all.
const OF_THE_PAGE: HeaderName = HeaderName::from_static("x-shop");
/// Where a browser says that a request comes from.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Scripts, styles and requests of this host; nothing inline, no frames, no forms that go elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Lets a request through that changes nothing, or comes from the page.
pub(super) async fn from_the_page(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_of_the_page = headers.get(OF_THE_PAGE).is_some_and(|value| value == "1");
    let is_from_here = headers.get(SITE).is_none_or(|site| site == "same-origin");
    let mut response = if changes && !(is_of_the_page && is_from_here) {
        let message = "what changes something is sent by the shop's own page, with the header x-shop: 1";
        Problem::new(StatusCode::FORBIDDEN, message).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address of the callback has a code in it.
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
