//! What is said of a watch that was interrupted: a sentence for each reason, and no more than one a minute for each kind
//! while it lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::runtime::watcher::Error;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::error::{is_outage, said};

/// How often something that lasts is told.
const AGAIN: Duration = Duration::from_secs(60);

/// What was told last, and when.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Option<(String, Instant)>);

impl Repeats {
    /// Whether a text is to be told: it differs from the last one, or that was long ago.
    pub(crate) fn is_news(&mut self, text: &str) -> bool {
        let now = Instant::now();
        let known = self.0.as_ref().is_some_and(|(told, at)| told == text && now < *at + AGAIN);
        if !known {
            self.0 = Some((text.to_owned(), now));
        }
        !known
    }
}

/// The interruptions of all watches.
#[derive(Debug, Default)]
pub(crate) struct Interruptions {
    by_kind: BTreeMap<&'static str, Repeats>,
    behind: Repeats,
}

impl Interruptions {
    /// Tells why a watch was interrupted, if that is news.
    pub(crate) fn tell(&mut self, kind: &'static str, error: &Error) {
        let (code, outage, error) = match error {
            Error::WatchError(status) => (status.code, false, status.message.clone()),
            Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
                let code = if let kube::Error::Api(status) = error { status.code } else { 0 };
                (code, is_outage(error), said(error))
            }
            Error::NoResourceVersion => (0, false, "the API server gave no resourceVersion".to_owned()),
        };
        if outage {
            return debug!(kind, error, "the watch was interrupted and is resumed");
        }
        if code == 410 {
            // After a restart of the API server all of them are.
            if self.behind.is_news("") {
                info!("watches fell too far behind: what they are about is listed anew");
            }
            return;
        }
        if !self.by_kind.entry(kind).or_default().is_news(&error) {
            return;
        }
        match code {
            404 => warn!(
                kind,
                "the API server does not know this kind: install its CustomResourceDefinition, as the chart or ringfence crds has it; it is asked again"
            ),
            403 => warn!(
                kind,
                error,
                "this may not be watched: give this service account the rights that the chart gives it; it is asked again"
            ),
            _ => warn!(kind, error, "the watch was interrupted and is resumed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_told_once_a_minute_and_something_else_at_once() {
        let mut repeats = Repeats::default();
        let mut told = 0;
        for _ in 0..300 {
            told += u32::from(repeats.is_news("not found"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 5);
        assert!(repeats.is_news("forbidden") && repeats.is_news("not found"));
    }
}
