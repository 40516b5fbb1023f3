//! When an identity is looked at although nothing changes.

use ringfence_core::pki::next_renewal;
use ringfence_core::plan::{restart_due, rolls_until};
use ringfence_core::world::{NamespacedName, SecretFacts};

use super::Pass;
use crate::controller::queue::Ended;

impl Pass<'_> {
    /// Nothing is left to do until its certificate is to be renewed, a rollover ends, workloads are to be rolled,
    /// or something is to be tried again.
    pub(super) fn until_renewal(&self) -> Ended {
        let world = self.context.world();
        let rolled = world.service_identity(self.key).and_then(|object| rolls_until(object));
        let rolled = rolled.filter(|until| *until > self.now);
        let renewal = world.identity(self.key).and_then(|identity| {
            let found = world.secret(&NamespacedName::new(self.key.namespace.clone(), identity.tls_secret.clone()))?;
            let SecretFacts::Certificate(Ok(facts)) = &found.content else { return None };
            next_renewal(facts, world.generations(&identity.domain)?, &identity.uid)
        });
        let restart = world.service_identity(self.key).and_then(|object| restart_due(object));
        let restart = restart.filter(|due| *due > self.now);
        renewal.into_iter().chain(rolled).chain(restart).chain(self.again).min().map_or(Ended::Done, Ended::At)
    }
}
