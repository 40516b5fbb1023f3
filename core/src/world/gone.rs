//! What is gone stays gone, in whatever order the news comes in.

use std::collections::{BTreeSet, VecDeque};

/// So many objects are remembered; the news of one come within seconds of each other.
const MEMORY: usize = 1024;

/// UIDs of the objects that went last. The answer to a write can come in after a watch told that the object is gone; no
/// watch would ever correct it.
#[derive(Debug, Default)]
pub(super) struct Gone {
    uids: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Gone {
    /// Remembers an object that is gone.
    pub(super) fn remember(&mut self, uid: &str) {
        if self.uids.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    /// Forgets one that is there after all: another of its name was gone.
    pub(super) fn forget(&mut self, uid: &str) {
        if self.uids.remove(uid) {
            self.order.retain(|gone| gone != uid);
        }
    }

    /// Whether an object is known to be gone.
    pub(super) fn contains(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_no_more() {
        let mut gone = Gone::default();
        for number in 0..=MEMORY {
            gone.remember(&number.to_string());
            gone.remember(&number.to_string());
        }
        assert!(!gone.contains("0"));
        assert!(gone.contains("1") && gone.contains(&MEMORY.to_string()));
        assert_eq!((gone.uids.len(), gone.order.len()), (MEMORY, MEMORY));
        gone.forget("1");
        gone.forget("0");
        assert!(!gone.contains("1") && gone.contains("2"));
        assert_eq!((gone.uids.len(), gone.order.len()), (MEMORY - 1, MEMORY - 1));
    }
}
