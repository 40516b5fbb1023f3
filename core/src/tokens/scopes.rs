//! Scopes (RFC 6749, section 3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Denial, DenialReason, OAuthError};

/// A set of scopes; written as scope tokens with a space between, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scopes(BTreeSet<String>);

/// Longest text of a scope parameter, in octets.
const MAX_LENGTH: usize = 8192;
/// Most scope tokens in one.
const MAX_SCOPES: usize = 128;

impl Scopes {
    /// The scope tokens.
    #[must_use]
    pub fn as_set(&self) -> &BTreeSet<String> {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the other has all of these.
    #[must_use]
    pub fn is_subset(&self, other: &BTreeSet<String>) -> bool {
        self.0.is_subset(other)
    }
}

impl FromStr for Scopes {
    type Err = Denial;

    fn from_str(text: &str) -> Result<Self, Denial> {
        let malformed = Denial::new(OAuthError::InvalidScope, DenialReason::ScopeMalformed);
        if text.len() > MAX_LENGTH {
            return Err(malformed);
        }
        let scopes: BTreeSet<String> = text.split(' ').filter(|token| !token.is_empty()).map(str::to_owned).collect();
        if scopes.len() > MAX_SCOPES || !scopes.iter().all(|token| is_scope_token(token)) {
            return Err(malformed);
        }
        Ok(Self(scopes))
    }
}

/// Whether a text is one scope token: printable ASCII without space, quotation mark and backslash.
pub(super) fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

impl From<BTreeSet<String>> for Scopes {
    fn from(scopes: BTreeSet<String>) -> Self {
        Self(scopes)
    }
}

impl TryFrom<String> for Scopes {
    type Error = Denial;

    fn try_from(text: String) -> Result<Self, Denial> {
        text.parse()
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.to_string()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scopes_are_a_set_with_one_spelling() {
        let scopes: Scopes = "write read read".parse().unwrap();
        assert_eq!(scopes.to_string(), "read write");
        assert_eq!("".parse::<Scopes>(), Ok(Scopes::default()));
        let many: Vec<_> = (0..129).map(|n| n.to_string()).collect();
        let long = "a".repeat(MAX_LENGTH + 1);
        for text in ["a\tb", "a\nb", "\"", "\\", "é", "a\u{0}", &many.join(" "), &long] {
            let denial = text.parse::<Scopes>().unwrap_err();
            assert_eq!(denial, Denial::new(OAuthError::InvalidScope, DenialReason::ScopeMalformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_made_of_scope_tokens_and_survives(text in "\\PC{0,40}") {
            if let Ok(scopes) = text.parse::<Scopes>() {
                prop_assert!(scopes.as_set().iter().all(|scope| is_scope_token(scope)));
                prop_assert_eq!(scopes.to_string().parse(), Ok(scopes));
            }
        }
    }
}
