//! The token service's own keys, in generations: the next one is published before its first use, and the old ones stay for
//! as long as there are tokens of theirs.

mod document;
mod plan;
mod ring;

pub use document::{Generation, GenerationPhase, Generations, GenerationsError, NewKeys};
pub use plan::{KeyChange, KeyPlan, KeySettings, plan};
pub(super) use ring::OPAQUE_PREFIX;
pub use ring::{KeyRing, OwnToken};
