//! What a browser shows for what is kept for it here.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Longest text that is looked at; those that are drawn here have 43 characters.
const LONGEST: usize = 64;

/// 256 bits that nobody can guess. Who has them has what is kept for them.
pub(super) struct Ticket(Zeroizing<String>);

/// All that is kept of a ticket: by it, it is known again, and by nothing that is kept here could one be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stub([u8; 32]);

impl Ticket {
    pub(super) fn draw() -> Self {
        let mut bits = Zeroizing::new([0; 32]);
        rand::fill(&mut *bits).expect("the system has a random number generator");
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bits)))
    }

    /// One that a browser shows.
    pub(super) fn shown(text: &str) -> Option<Self> {
        (1..=LONGEST).contains(&text.len()).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(super) fn stub(&self) -> Stub {
        let mut stub = [0; 32];
        stub.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        Stub(stub)
    }

    /// For the cookie alone.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tickets_are_the_same_and_one_is_known_again_by_its_stub() {
        let (one, other) = (Ticket::draw(), Ticket::draw());
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), 43);
        assert_eq!(Ticket::shown(one.text()).unwrap().stub(), one.stub());
        assert!(!format!("{one:?} {:?}", one.stub()).contains(one.text()));
        assert!(Ticket::shown("").is_none() && Ticket::shown(&"x".repeat(65)).is_none());
    }
}
