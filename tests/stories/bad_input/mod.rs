//! Bad input: it is refused, with a condition that names the object and what to do, and nothing else that worked changes.

mod authorities;
mod clock;
mod collisions;
mod domains;
mod identities;
mod names;
mod policies;
mod schema;
mod stored;
