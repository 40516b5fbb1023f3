//! What is remembered of an identity when a look at it ends.

use std::collections::BTreeSet;

use ringfence_core::world::Unit;

use super::Pass;

impl Pass<'_> {
    /// Remembers which outputs are in place, so that a missing one is known to have been deleted by someone else.
    pub(super) fn note_in_place(&self) {
        let mut outputs = BTreeSet::new();
        {
            let world = self.context.world();
            let Some(identity) = world.identity(self.key) else { return };
            let is_ours = |owner: Option<&String>| owner == Some(&identity.uid);
            let secrets = [Some(&identity.tls_secret), identity.signing_key.as_ref().map(|(_, name)| name)];
            let clients = identity.clients.iter().map(|client| &client.secret);
            let secrets = secrets.into_iter().flatten().chain(clients).map(|name| self.output("Secret", name));
            outputs.extend(
                secrets.filter(|output| is_ours(world.secret(&output.1).and_then(|found| found.owner_uid.as_ref()))),
            );
            let trust = self.output("ConfigMap", &identity.trust_config_map());
            let found = world.config_map(&trust.1).and_then(|found| found.owner_uid.as_ref());
            outputs.extend(is_ours(found).then_some(trust));
            let policy = self.output("NetworkPolicy", &identity.network_policy());
            let found = world.network_policy(&policy.1).and_then(|found| found.owner_uid.as_ref());
            outputs.extend(is_ours(found).then_some(policy));
        }
        self.context.memory().note_in_place(&self.unit, outputs);
    }

    /// Remembers whether everything is written, and lets the policies of the identity know when that changes.
    pub(super) fn note_programmed(&self, done: bool) {
        let mut memory = self.context.memory();
        let changed =
            if done { memory.unprogrammed.remove(self.key) } else { memory.unprogrammed.insert(self.key.clone()) };
        drop(memory);
        if changed {
            let world = self.context.world();
            let policies = world.judged_of(self.key).filter_map(|judged| judged.origin.policy());
            let policies: Vec<Unit> = policies.cloned().map(Unit::Policy).collect();
            drop(world);
            self.context.queue.add(policies);
        }
    }
}
