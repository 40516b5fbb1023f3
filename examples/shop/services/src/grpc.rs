//! Calls to services that speak gRPC.

use std::time::Duration;

use ringfence_workload::OnBehalfOf;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument;

use crate::errand::{self, Errand};
use crate::hop::Hops;
use crate::peer::Answer;
use crate::problem::Problem;

/// Makes one call, with the customer as claim `obo` in the token that the workload library signs for it.
pub(crate) async fn call<M, T>(
    errand: &Errand,
    (host, method): (&str, &str),
    patience: Duration,
    message: M,
    send: impl AsyncFnOnce(Request<M>) -> Result<Response<T>, Status>,
) -> Result<Answer<T>, Problem> {
    let span = errand::span(host, method);
    let mut request = Request::new(message);
    *request.metadata_mut() = MetadataMap::from_headers(errand.headers(&span));
    let customer = serde_json::to_value(&errand.customer).unwrap_or_default();
    request.extensions_mut().insert(OnBehalfOf(customer));
    let answered = tokio::time::timeout(patience, send(request)).instrument(span).await;
    let answer = answered
        .map_err(|_| Problem::of_callee(host, &format!("no answer in {patience:?}")))?
        .map_err(|status| problem(host, &status))?;
    let hops = Hops::of_response(answer.metadata().as_ref());
    Ok(Answer { content: answer.into_inner(), hops })
}

fn problem(host: &str, status: &Status) -> Problem {
    match status.code() {
        Code::InvalidArgument => Problem::new(http::StatusCode::BAD_REQUEST, status.message()),
        Code::AlreadyExists => Problem::new(http::StatusCode::CONFLICT, status.message()),
        code => Problem::of_callee(host, &format!("{code:?}: {}", status.message())),
    }
}
