//! The time, and how far it is from the API server's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::header::DATE;
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use tower::{Layer, Service};

/// Nothing is issued while the clocks differ by more than this.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Pause after which a unit for which nothing could be issued is looked at again.
pub(super) const SKEW_PAUSE: Duration = Duration::from_secs(15);

/// A source of the present time; tests bring their own.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The operator's clock, compared with the `Date` of every answer of the API server.
#[derive(Clone)]
pub struct Clock {
    now: Now,
    /// What the API server's clock said last, and when that was by a clock that nobody sets.
    theirs: Arc<Mutex<Option<(Timestamp, Instant)>>>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("theirs", &self.theirs).finish_non_exhaustive()
    }
}

impl Clock {
    /// A clock that reads from this source.
    pub fn new(now: Now) -> Self {
        Self { now, theirs: Arc::default() }
    }

    /// The clock of the system.
    pub fn system() -> Self {
        Self::new(Arc::new(Timestamp::now))
    }

    /// The present time in whole seconds, as Kubernetes keeps it.
    pub fn now(&self) -> Timestamp {
        let now = self.exactly_now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// The present time, with all its digits.
    pub(super) fn exactly_now(&self) -> Timestamp {
        (self.now)()
    }

    /// By how much the clock is ahead of the API server's (negative: behind), if that is too much to issue anything. It
    /// shows at once when the clock is set, though the API server may not have answered anything since.
    pub fn skew(&self) -> Option<SignedDuration> {
        let (theirs, seen) = (*self.theirs.lock().unwrap_or_else(PoisonError::into_inner))?;
        let elapsed = i64::try_from(seen.elapsed().as_secs()).unwrap_or(i64::MAX);
        let theirs = theirs.as_second().saturating_add(elapsed);
        let ahead = SignedDuration::from_secs((self.now)().as_second() - theirs);
        (ahead.abs() > TOLERANCE).then_some(ahead)
    }

    /// That the clock is too far off, if it is: the beginning of a sentence.
    pub(super) fn complaint(&self) -> Option<String> {
        let ahead = self.skew()?;
        let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
        Some(format!("the operator's clock is {:#} {direction} the API server's", ahead.abs()))
    }

    pub(super) fn observe(&self, date: &str) {
        if let Ok(theirs) = jiff::fmt::rfc2822::parse(date) {
            let mut last = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((theirs.timestamp(), Instant::now()));
        }
    }
}

/// Looks at the `Date` of every answer.
impl<S> Layer<S> for Clock {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, clock: self.clone() }
    }
}

/// A client whose answers set the clock's skew.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    inner: S,
    clock: Clock,
}

impl<S, Req, Res> Service<Request<Req>> for Observed<S>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let clock = self.clock.clone();
        let answer: Pin<Box<_>> = Box::pin(self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(date) = answer.headers().get(DATE).and_then(|date| date.to_str().ok()) {
                clock.observe(date);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_more_than_five_minutes_off_is_skewed_in_either_direction() {
        let cases = [("12:00:00", None), ("12:04:59", None), ("12:05:01", Some(-301)), ("10:00:00", Some(7200))];
        for (theirs, skew) in cases {
            let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
            let clock = Clock::new(Arc::new(move || noon));
            clock.observe(&format!("Sun, 01 Mar 2026 {theirs} GMT"));
            assert_eq!(clock.skew().map(|skew| skew.as_secs()), skew, "{theirs}");
        }
    }
}
