//! A steady load of orders.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::session::Session;

/// Failures that are printed.
const SHOWN: usize = 10;

/// What became of the orders.
#[derive(Default)]
struct Tally {
    succeeded: u64,
    failed: u64,
    slowest: Duration,
    first_failures: Vec<String>,
}

/// One order.
struct Outcome {
    begun: Duration,
    took: Duration,
    failure: Option<String>,
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        self.slowest = self.slowest.max(outcome.took);
        let Some(failure) = &outcome.failure else {
            self.succeeded += 1;
            return;
        };
        self.failed += 1;
        if self.first_failures.len() < SHOWN {
            self.first_failures.push(format!("  after {:.1?}: {failure}\n", outcome.begun));
        }
    }

    fn in_words(&self) -> String {
        let Self { succeeded, failed, slowest, first_failures } = self;
        format!("{succeeded} succeeded, {failed} failed, the slowest took {slowest:.1?}\n{}", first_failures.concat())
    }
}

/// Orders so many times, or until told to stop.
pub(super) async fn run(session: Arc<Session>, order: &Value, count: u64, interval: Duration) -> Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (started, mut orders, mut tally) = (Instant::now(), JoinSet::new(), Tally::default());
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun = 0;
    while count == 0 || begun < count {
        tokio::select! {
            _ = ticks.tick() => {
                begun += 1;
                orders.spawn(place(session.clone(), order.clone(), started));
            }
            Some(Ok(outcome)) = orders.join_next() => tally.count(&outcome),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    while let Some(outcome) = orders.join_next().await {
        tally.count(&outcome?);
    }
    super::print(&tally.in_words())?;
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn place(session: Arc<Session>, order: Value, started: Instant) -> Outcome {
    let begun = Instant::now();
    let failure = match session.ask(Method::POST, "/orders", Some(&order), None).await {
        Ok(answered) if answered.status.is_success() => None,
        Ok(answered) => Some(format!("{}, correlation id {}", answered.in_words(), answered.correlation)),
        Err(error) => Some(format!("{error:#}")),
    };
    Outcome { begun: begun - started, took: begun.elapsed(), failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_failures_are_counted_and_the_first_are_shown() {
        let mut tally = Tally::default();
        for number in 0..20 {
            let failure = (number % 2 == 0).then(|| format!("no {number}"));
            tally.count(&Outcome { begun: Duration::from_secs(number), took: Duration::from_millis(number), failure });
        }
        let words = tally.in_words();
        assert!(
            words.starts_with("10 succeeded, 10 failed, the slowest took 19.0ms\n  after 0.0ns: no 0\n"),
            "{words}"
        );
        assert_eq!(words.lines().count(), 1 + SHOWN);
    }
}
