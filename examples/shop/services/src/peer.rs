//! Calls to services that speak HTTP and JSON.

use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use ringfence_workload::Client;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::Instrument;

use crate::errand::{self, Errand};
use crate::hop::Hops;
use crate::problem::Problem;

/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// A service that is called by certificate.
#[derive(Clone)]
pub(crate) struct Peer {
    client: Client,
    host: String,
    patience: Duration,
}

/// What a service answered, and the hops that it took.
pub(crate) struct Answer<T> {
    pub(crate) content: T,
    pub(crate) hops: Hops,
}

impl Peer {
    /// A service by its DNS name, that may take so long to answer.
    pub(crate) fn new(client: Client, host: impl Into<String>, patience: Duration) -> Self {
        Self { client, host: host.into(), patience }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, errand: &Errand, path: &str) -> Result<Answer<T>, Problem> {
        self.ask(errand, Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        errand: &Errand,
        path: &str,
        content: &Value,
    ) -> Result<Answer<T>, Problem> {
        self.ask(errand, Method::POST, path, content.to_string().into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        errand: &Errand,
        method: Method,
        path: &str,
        content: Bytes,
    ) -> Result<Answer<T>, Problem> {
        let what = path.split_once('?').map_or(path, |(path, _)| path);
        let span = errand::span(&self.host, &format!("{method} {what}"));
        let mut request = Request::new(Full::new(content));
        *request.headers_mut() = errand.headers_with_customer(&span);
        request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("it is a header's value"));
        *request.method_mut() = method;
        let uri = format!("https://{}{path}", self.host).parse();
        *request.uri_mut() = uri.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, format!("there is no {path}")))?;
        let (head, content) = self.exchange(request).instrument(span).await?.into_parts();
        if head.status.is_success() {
            let unreadable = |error| Problem::of_callee(&self.host, &format!("its answer can't be read: {error}"));
            let content = serde_json::from_slice(&content).map_err(unreadable)?;
            return Ok(Answer { content, hops: Hops::of_response(&head.headers) });
        }
        Err(self.problem(head.status, &content))
    }

    /// Makes a request, and waits for the answer, whatever its status, for as long as the service may take.
    pub(crate) async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Problem> {
        let answered = tokio::time::timeout(self.patience, exchange(&self.client, request, LONGEST_ANSWER)).await;
        answered
            .map_err(|_| Problem::of_callee(&self.host, &format!("no answer in {:?}", self.patience)))?
            .map_err(|error| Problem::of_callee(&self.host, &format!("{error:#}")))
    }

    /// What the customer did wrong is the customer's to know; that this service was not let in is not.
    fn problem(&self, status: StatusCode, content: &[u8]) -> Problem {
        let told: Value = serde_json::from_slice(content).unwrap_or_default();
        let message = told["error"].as_str().map_or_else(|| String::from_utf8_lossy(content).into(), str::to_owned);
        match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT => Problem::new(status, message),
            _ => Problem::of_callee(&self.host, &format!("{}: {message}", status.as_u16())),
        }
    }
}

/// Makes a request, and reads the answer: as many bytes of it at most.
pub(crate) async fn exchange(
    client: &Client,
    request: Request<Full<Bytes>>,
    longest: usize,
) -> anyhow::Result<Response<Bytes>> {
    let (head, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, longest).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed).context("its answer broke off")?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
