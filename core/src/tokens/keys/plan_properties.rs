//! The keys of a token service that runs for days, whatever its clock does.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{KeySettings, plan};
use crate::tokens::keys::{GenerationPhase, Generations};
use crate::tokens::testing::{new_keys, now};

/// What goes on between two plans, in minutes.
#[derive(Clone, Debug)]
enum Step {
    /// The clock goes on.
    Wait(i64),
    /// The clock is set, by so much.
    SetClock(i64),
    /// The key set is published.
    Publish,
}

/// A token: which key made it, and when by the clock and in truth.
struct Token {
    kid: String,
    clock: i64,
    truth: i64,
}

const LONGEST_LIFETIME: i64 = 60;
const PUBLISHED_BEFORE: i64 = 10;

/// A token service that plans every minute and makes a token each time.
#[derive(Default)]
struct Service {
    clock: i64,
    truth: i64,
    stored: Generations,
    /// By key, since when in truth.
    published: BTreeMap<String, i64>,
    tokens: Vec<Token>,
    first: Option<String>,
}

impl Service {
    fn time(&self) -> Timestamp {
        now().checked_add(SignedDuration::from_mins(self.clock)).unwrap()
    }

    fn kids(&self) -> BTreeSet<String> {
        self.stored.iter().map(|generation| generation.kid().to_owned()).collect()
    }

    fn publish(&mut self) {
        let kids = self.kids();
        self.published.retain(|kid, _| kids.contains(kid));
        for kid in kids {
            self.published.entry(kid).or_insert(self.truth);
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish => self.publish(),
            Step::SetClock(minutes) => self.clock += minutes,
            Step::Wait(minutes) => (0..*minutes).try_for_each(|_| self.minute())?,
        }
        Ok(())
    }

    fn minute(&mut self) -> Result<(), TestCaseError> {
        (self.clock, self.truth) = (self.clock + 1, self.truth + 1);
        let published = self.published.keys().cloned().collect();
        let plan = plan(self.time(), &self.stored, &published, &KeySettings::default(), new_keys).unwrap();
        prop_assert!(plan.next >= self.time(), "never to be looked at again before now");
        self.stored = plan.generations;
        let active = self.stored.iter().filter(|key| matches!(key.phase, GenerationPhase::Active { .. }));
        let active: Vec<String> = active.map(|key| key.kid().to_owned()).collect();
        prop_assert_eq!(active.len(), 1);
        self.first.get_or_insert_with(|| active[0].clone());
        self.tokens.push(Token { kid: active[0].clone(), clock: self.clock, truth: self.truth });
        self.verify()
    }

    /// All tokens of the last hour that are good by the clock are verified by the keys that are there.
    fn verify(&mut self) -> Result<(), TestCaseError> {
        let (clock, truth, keys) = (self.clock, self.truth, self.kids());
        self.tokens.retain(|token| truth - token.truth <= LONGEST_LIFETIME);
        for token in &self.tokens {
            let good = token.clock <= clock && clock < token.clock + LONGEST_LIFETIME;
            prop_assert!(!good || keys.contains(&token.kid), "made at {}, read at {clock}", token.clock);
        }
        Ok(())
    }

    /// The key that makes tokens was published for long enough, but for the very first.
    fn was_published_before(&self) -> Result<(), TestCaseError> {
        let Some(token) = self.tokens.last().filter(|token| self.first.as_ref() != Some(&token.kid)) else {
            return Ok(());
        };
        let since = self.published.get(&token.kid);
        prop_assert!(since.is_some_and(|since| token.truth - since >= PUBLISHED_BEFORE), "{since:?} {}", token.truth);
        Ok(())
    }
}

/// Steps of a clock that is only ever set back.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0i64..200).prop_map(Step::Wait),
        2 => (0i64..3000).prop_map(Step::Wait),
        2 => prop_oneof![0i64..5, 0i64..5000].prop_map(|minutes| Step::SetClock(-minutes)),
        5 => Just(Step::Publish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn keys_are_published_before_they_are_used_and_kept_after(steps in proptest::collection::vec(step(), 1..30)) {
        let mut service = Service::default();
        for step in steps {
            service.step(&step)?;
            service.was_published_before()?;
            prop_assert!(service.stored.iter().count() <= 12, "{} generations", service.stored.iter().count());
        }
    }

    /// The clock is behind for a while, by days or minutes, and right again.
    #[test]
    fn a_clock_that_was_behind_makes_no_good_token_bad(before in 0i64..4000, wrong in -5000i64..0, long in 0i64..90) {
        let mut service = Service::default();
        let clock = [(before, 0), (long, wrong), (LONGEST_LIFETIME + 90, -wrong)];
        for (minutes, set) in clock {
            service.step(&Step::SetClock(set))?;
            for _ in 0..minutes {
                service.step(&Step::Wait(1))?;
                service.step(&Step::Publish)?;
            }
        }
    }
}
