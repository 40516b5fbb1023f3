//! Whether the API server can be reached: told once when it can't, and once when it can again. What it asks for, to come
//! back later, holds for every request, and no request waits for an answer for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tower::{BoxError, Layer, Service};
use tracing::{info, warn};

use super::error::chain;

/// How long the beginning of an answer may take. The API server itself gives up after a minute.
const LONGEST_ANSWER: Duration = Duration::from_secs(70);
/// However long it is asked to wait, it asks again after this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// An outage that begins so soon after the last one was told is not told.
const QUIET: Duration = Duration::from_secs(60);

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {LONGEST_ANSWER:?}")]
struct Silent;

/// What is known of the API server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Nothing is sent before this. It is asked when a request is about to pass, ahead of whether it still may.
    not_before: Option<Instant>,
    /// Since when it can't be reached.
    out_since: Option<Instant>,
    /// Whether that was told.
    told: bool,
    /// When an outage was told last.
    told_at: Option<Instant>,
}

impl Reach {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when nothing is sent, if so.
    fn not_before(&self) -> Option<Instant> {
        self.state().not_before.filter(|time| Instant::now() < *time)
    }

    /// Takes note of an answer.
    fn answered<B>(&self, answer: &Response<B>) {
        let status = answer.status();
        let after = retry_after(answer).filter(|_| is_overload(status));
        if let Some(after) = after {
            let mut state = self.state();
            state.not_before = state.not_before.max(Some(Instant::now() + after.min(LONGEST_WAIT)));
        }
        if !is_overload(status) {
            return self.is_back();
        }
        if self.is_news() {
            let (status, retry_after) = (status.as_u16(), after.map(|after| after.as_secs()));
            warn!(status, retry_after, "the API server takes no requests now: everything waits and goes on by itself");
        }
    }

    /// Takes note of a request that was not answered.
    fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        if self.is_news() {
            let error = chain(error);
            warn!(error, "the API server can't be reached: everything waits and goes on by itself");
        }
    }

    /// Whether it could be reached until now, and somebody should be told.
    fn is_news(&self) -> bool {
        let (mut state, now) = (self.state(), Instant::now());
        if state.out_since.is_some() {
            return false;
        }
        state.out_since = Some(now);
        state.told = state.told_at.is_none_or(|told| now >= told + QUIET);
        if state.told {
            state.told_at = Some(now);
        }
        state.told
    }

    fn is_back(&self) {
        let mut state = self.state();
        if let Some(since) = state.out_since.take()
            && std::mem::take(&mut state.told)
        {
            drop(state);
            info!(seconds = since.elapsed().as_secs(), "the API server can be reached again");
        }
    }
}

/// Whether the API server, or whatever stands before it, can't do anything at the moment.
pub(super) fn is_overload(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn retry_after<B>(answer: &Response<B>) -> Option<Duration> {
    // The API server only ever says seconds, never a date.
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl<S> Layer<S> for Reach {
    type Service = Reaching<S>;

    fn layer(&self, inner: S) -> Reaching<S> {
        Reaching { inner, reach: self.clone(), waiting: None }
    }
}

/// A client that waits when it is asked to.
#[derive(Debug)]
pub(crate) struct Reaching<S> {
    inner: S,
    reach: Reach,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S, Req, Res> Service<Request<Req>> for Reaching<S>
where
    S: Service<Request<Req>, Response = Response<Res>, Error = BoxError>,
    S::Future: Send + 'static,
    Res: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            }
            let Some(time) = self.reach.not_before() else { return self.inner.poll_ready(context) };
            self.waiting = Some(Box::pin(sleep_until(time)));
        }
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let (reach, answer) = (self.reach.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = timeout(LONGEST_ANSWER, answer).await.unwrap_or_else(|_| Err(Silent.into()));
            match &answer {
                Ok(answer) => reach.answered(answer),
                Err(error) => reach.failed(error.as_ref()),
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    /// Answers with a status and a `Retry-After` each; after the last one it is silent.
    struct Scripted(VecDeque<(u16, &'static str)>);

    impl Service<Request<()>> for Scripted {
        type Response = Response<()>;
        type Error = BoxError;
        type Future = BoxFuture<'static, Result<Response<()>, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let Some((status, after)) = self.0.pop_front() else { return Box::pin(std::future::pending()) };
            let mut answer = Response::builder().status(status);
            if !after.is_empty() {
                answer = answer.header(RETRY_AFTER, after);
            }
            Box::pin(async move { Ok(answer.body(()).unwrap()) })
        }
    }

    async fn ask(client: &mut Reaching<Scripted>) -> Result<u16, BoxError> {
        poll_fn(|context| client.poll_ready(context)).await?;
        Ok(client.call(Request::new(())).await?.status().as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_before_the_time_that_was_asked_for_and_that_is_a_minute_at_most() {
        let cases = [
            ("seven seconds", (429, "7"), 7),
            ("none", (429, ""), 0),
            ("an hour", (503, "3600"), 60),
            ("more than there is", (503, "18446744073709551615"), 60),
            ("a date", (503, "Wed, 21 Oct 2026 07:28:00 GMT"), 0),
            ("said of something that is there", (200, "7"), 0),
            ("said of one object", (404, "7"), 0),
        ];
        for (case, first, seconds) in cases {
            let mut client = Reach::default().layer(Scripted([first, (200, "")].into()));
            assert_eq!(ask(&mut client).await.unwrap(), first.0);
            let asked = Instant::now();
            assert_eq!(ask(&mut client).await.unwrap(), 200);
            assert_eq!(asked.elapsed().as_secs(), seconds, "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_nobody_answers_ends() {
        let mut client = Reach::default().layer(Scripted([].into()));
        let asked = Instant::now();
        assert_eq!(ask(&mut client).await.unwrap_err().to_string(), "the API server did not answer within 70s");
        assert_eq!(asked.elapsed(), LONGEST_ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_news_once_and_one_soon_after_it_is_not() {
        let reach = Reach::default();
        let news = || [(); 3].map(|()| reach.is_news());
        assert_eq!(news(), [true, false, false]);
        reach.is_back();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(news(), [false, false, false]);
        reach.is_back();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(news(), [true, false, false]);
    }
}
