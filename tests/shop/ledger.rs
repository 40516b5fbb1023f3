//! One line for each expectation, whether it holds or not; the story fails at its end if one does not.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was expected until now.
#[derive(Default)]
pub struct Ledger {
    failed: RefCell<Vec<String>>,
}

impl Ledger {
    /// Looks until what is seen is as expected, or for as long as anything may take. Gives how long that took.
    pub fn comes_to(&self, what: &str, look: impl Fn() -> String, as_expected: impl Fn(&str) -> bool) -> Duration {
        let started = Instant::now();
        loop {
            let seen = look();
            let (holds, late) = (as_expected(&seen), started.elapsed() > PATIENCE);
            if holds || late {
                self.note(what, &seen, holds);
                return started.elapsed();
            }
        }
    }

    /// Looks once.
    pub fn is(&self, what: &str, seen: &str, as_expected: bool) {
        self.note(what, seen, as_expected);
    }

    fn note(&self, what: &str, seen: &str, holds: bool) {
        let seen: String = seen.trim_end().chars().take(if holds { 200 } else { 2000 }).collect();
        let line = format!("{} {what}: {seen}", if holds { "ok  " } else { "FAIL" });
        eprintln!("{line}");
        if !holds {
            self.failed.borrow_mut().push(line);
        }
    }

    pub fn finish(self) {
        let failed = self.failed.into_inner();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}
