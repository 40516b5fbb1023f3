//! When a generation is made, used, retired and removed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::document::{Generation, GenerationPhase, Generations, GenerationsError, NewKeys};

/// How long the phases last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// How long a key is published before its first use: no cache of the key set is older.
    pub publish_before: SignedDuration,
    /// How long a key is in use.
    pub rotation_period: SignedDuration,
    /// How long a retired key stays: the longest life of a token, and some time for caches and clocks.
    pub keep: SignedDuration,
}

/// What is to be written.
#[derive(Debug)]
pub struct KeyPlan {
    /// The generations as they are to be.
    pub generations: Generations,
    /// How they differ from what is stored; nothing is to be written if they don't.
    pub changes: Vec<KeyChange>,
    /// When to plan again, if nothing happens before.
    pub next: Timestamp,
}

/// A difference, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// A generation was made.
    Made {
        /// Its key's id.
        kid: String,
    },
    /// A generation was seen in the published key set.
    Published {
        /// Its key's id.
        kid: String,
    },
    /// A generation is in use from now on.
    Activated {
        /// Its key's id.
        kid: String,
    },
    /// A generation is no longer used for new tokens.
    Retired {
        /// Its key's id.
        kid: String,
    },
    /// No token of a generation can be good any more, and it is gone.
    Removed {
        /// Its key's id.
        kid: String,
    },
    /// Generations that can't be read are gone; tokens of theirs are not valid any more.
    Discarded {
        /// How many.
        count: usize,
    },
}

impl Default for KeySettings {
    /// Published for 10 minutes, in use for a day, kept for the longest life of a token (1 hour) and 10 minutes for caches.
    fn default() -> Self {
        Self {
            publish_before: SignedDuration::from_mins(10),
            rotation_period: SignedDuration::from_hours(24),
            keep: SignedDuration::from_mins(70),
        }
    }
}

/// Plans the generations for this moment. `published` are the ids of the keys in the published key set, as it was read;
/// `new_keys` makes keys.
///
/// # Errors
/// [`GenerationsError::WrongKey`] if `new_keys` does not make what it is to make.
pub fn plan(
    now: Timestamp,
    stored: &Generations,
    published: &BTreeSet<String>,
    settings: &KeySettings,
    mut new_keys: impl FnMut() -> NewKeys,
) -> Result<KeyPlan, GenerationsError> {
    let mut planning = Planning { now, settings, generations: stored.generations.clone(), changes: Vec::new() };
    if stored.unreadable > 0 {
        planning.changes.push(KeyChange::Discarded { count: stored.unreadable });
    }
    planning.note_published(published);
    planning.one_active();
    planning.rotate();
    planning.begin(&mut new_keys)?;
    if !planning.generations.iter().any(Generation::is_to_come) {
        planning.make(new_keys(), GenerationPhase::New)?;
    }
    planning.remove();
    let next = planning.next();
    Ok(KeyPlan {
        generations: Generations { generations: planning.generations, unreadable: 0 },
        changes: planning.changes,
        next,
    })
}

struct Planning<'a> {
    now: Timestamp,
    settings: &'a KeySettings,
    generations: Vec<Generation>,
    changes: Vec<KeyChange>,
}

impl Planning<'_> {
    fn active(&self) -> Option<usize> {
        self.generations.iter().position(Generation::is_active)
    }

    /// The next one to be used, which was published first, and since when it can be.
    fn upcoming(&self) -> Option<(usize, Timestamp)> {
        let ready = self.generations.iter().enumerate().filter_map(|(place, generation)| match generation.phase {
            GenerationPhase::Next { published_at } => Some((place, after(published_at, self.settings.publish_before))),
            _ => None,
        });
        ready.min_by_key(|(_, ready)| *ready)
    }

    /// When the active generation is to be replaced.
    fn due(&self) -> Option<Timestamp> {
        let active_from = self.generations[self.active()?].active_from()?;
        // A clock that went back by more than clocks differ says nothing about how long the key is in use.
        let went_back = after(self.now, self.settings.publish_before) < active_from;
        Some(if went_back { self.now } else { after(active_from, self.settings.rotation_period) })
    }

    fn make(&mut self, keys: NewKeys, phase: GenerationPhase) -> Result<(), GenerationsError> {
        let generation = Generation::new(keys, phase)?;
        self.changes.push(KeyChange::Made { kid: generation.kid().to_owned() });
        self.generations.push(generation);
        Ok(())
    }

    fn note_published(&mut self, published: &BTreeSet<String>) {
        for generation in &mut self.generations {
            let seen = published.contains(generation.kid());
            let published_at = match generation.phase {
                GenerationPhase::New if seen => self.now,
                // The clock went back: from now on it tells how long this is.
                GenerationPhase::Next { published_at } if published_at > self.now => self.now,
                _ => continue,
            };
            generation.phase = GenerationPhase::Next { published_at };
            self.changes.push(KeyChange::Published { kid: generation.kid().to_owned() });
        }
    }

    /// Of several active ones, which no plan makes, only the last is.
    fn one_active(&mut self) {
        let last = self.generations.iter().filter_map(Generation::active_from).max();
        let mut kept = false;
        for place in 0..self.generations.len() {
            if let Some(active_from) = self.generations[place].active_from() {
                if Some(active_from) == last && !kept {
                    kept = true;
                } else {
                    self.retire(place);
                }
            }
        }
    }

    /// Puts the next generation to use when the active one is due.
    fn rotate(&mut self) {
        if let (Some(active), Some(due), Some((next, ready))) = (self.active(), self.due(), self.upcoming())
            && self.now >= due.max(ready)
        {
            self.retire(active);
            self.activate(next);
        }
    }

    /// Something must sign. If what was active is lost, the next one does, even if it was not published for long; without it
    /// a new one does: whoever has a key set has none of ours, or one that is of no use any more.
    fn begin(&mut self, new_keys: &mut impl FnMut() -> NewKeys) -> Result<(), GenerationsError> {
        if self.active().is_some() {
            return Ok(());
        }
        let upcoming = self.upcoming().map(|(place, _)| place);
        match upcoming.or_else(|| self.generations.iter().position(Generation::is_to_come)) {
            Some(place) => self.activate(place),
            None => self.make(new_keys(), GenerationPhase::Active { active_from: self.now })?,
        }
        Ok(())
    }

    fn activate(&mut self, place: usize) {
        let generation = &mut self.generations[place];
        generation.phase = GenerationPhase::Active { active_from: self.now };
        self.changes.push(KeyChange::Activated { kid: generation.kid().to_owned() });
    }

    fn retire(&mut self, place: usize) {
        let generation = &mut self.generations[place];
        let due = generation.active_from().map(|active_from| after(active_from, self.settings.rotation_period));
        // If the clock went back, there may be tokens from later than now.
        let last_used = due.map_or(self.now, |due| due.max(self.now));
        generation.phase = GenerationPhase::Retired { last_used };
        self.changes.push(KeyChange::Retired { kid: generation.kid().to_owned() });
    }

    fn remove(&mut self) {
        let (now, keep) = (self.now, self.settings.keep);
        let changes = &mut self.changes;
        self.generations.retain(|generation| match generation.phase {
            GenerationPhase::Retired { last_used } if now >= after(last_used, keep) => {
                changes.push(KeyChange::Removed { kid: generation.kid().to_owned() });
                false
            }
            _ => true,
        });
    }

    fn next(&self) -> Timestamp {
        let rotation = self.due().zip(self.upcoming()).map(|(due, (_, ready))| due.max(ready));
        let removals = self.generations.iter().filter_map(|generation| match generation.phase {
            GenerationPhase::Retired { last_used } => Some(after(last_used, self.settings.keep)),
            _ => None,
        });
        // Until the next one is seen in the key set, that is what is waited for.
        removals.chain(rotation).min().unwrap_or_else(|| after(self.now, self.settings.publish_before))
    }
}

impl Generation {
    fn active_from(&self) -> Option<Timestamp> {
        match self.phase {
            GenerationPhase::Active { active_from } => Some(active_from),
            _ => None,
        }
    }

    fn is_active(&self) -> bool {
        self.active_from().is_some()
    }

    fn is_to_come(&self) -> bool {
        matches!(self.phase, GenerationPhase::New | GenerationPhase::Next { .. })
    }
}

fn after(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "plan_properties.rs"]
mod properties;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
