//! Whether this replica may write: the one place through which every write goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use http::{Method, Request, Response, Uri};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// Lets reading pass always, and writing only as long as this replica leads by its own reckoning. It is asked at each
/// request, so that a process that stood still for a while does not write what another one has long taken over.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Open>>);

#[derive(Clone, Copy, Debug, Default)]
enum Open {
    #[default]
    No,
    Until(Instant),
    Always,
}

/// A write of a replica that does not lead.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead, so that it writes nothing")]
struct NotLeading;

impl Gate {
    /// There is no other replica.
    pub(super) fn open(&self) {
        self.set(Open::Always);
    }

    /// Nobody else leads before this.
    pub(super) fn open_until(&self, time: Instant) {
        self.set(Open::Until(time));
    }

    pub(super) fn close(&self) {
        self.set(Open::No);
    }

    fn set(&self, open: Open) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn lets_pass(&self, method: &Method) -> bool {
        let open = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        method.is_safe()
            || match open {
                Open::No => false,
                Open::Until(time) => Instant::now() < time,
                Open::Always => true,
            }
    }
}

/// Whether a request only asks what the operator may do, although it is sent as a write is.
fn asks(uri: &Uri) -> bool {
    uri.path().ends_with("/selfsubjectaccessreviews")
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.clone() }
    }
}

/// A client that writes only while it may.
#[derive(Clone, Debug)]
pub(super) struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S, Req, Res> Service<Request<Req>> for Gated<S>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    Res: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        if asks(request.uri()) || self.gate.lets_pass(request.method()) {
            let answer = self.inner.call(request);
            async { answer.await.map_err(Into::into) }.boxed()
        } else {
            async { Err(NotLeading.into()) }.boxed()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_passes_while_the_replica_leads_and_no_longer() {
        let gate = Gate::default();
        let passes = || [Method::GET, Method::POST].map(|method| gate.lets_pass(&method));
        assert_eq!(passes(), [true, false], "before it leads");
        gate.open_until(Instant::now() + Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(passes(), [true, true]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(passes(), [true, false], "nobody had to close it");
        gate.open();
        assert_eq!(passes(), [true, true]);
        gate.close();
        assert_eq!(passes(), [true, false]);
    }
}
