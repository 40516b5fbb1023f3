//! The NetworkPolicies that would stand if every domain that is audited were enforced.

use std::sync::Arc;

use jiff::Timestamp;

use crate::access::Engine;
use crate::api::Enforcement;
use crate::plan::{BASELINE, FenceStep, Step, fence_step, identity_plan};
use crate::world::{Change, NamespacedName, Unit, World};

/// Enforces what is audited, in this world alone, and reads the NetworkPolicies that are planned for it as Cilium does.
/// None of them may be known to the world yet, so that all of them are still to be written.
pub(super) fn enforced(world: &mut World) -> Engine {
    let audited: Vec<_> =
        world.domains().filter(|domain| domain.spec.enforcement == Enforcement::Audit).cloned().collect();
    for domain in audited {
        let mut enforced = domain.as_ref().clone();
        enforced.spec.enforcement = Enforcement::Enforce;
        let name = enforced.metadata.name.clone().unwrap_or_default();
        world.apply(Change::Domain(name, Some(Arc::new(enforced))));
    }
    let mut engine = Engine { policies: Vec::new(), blocks_match_pods: false };
    for unit in world.all_units() {
        let (namespace, step) = match unit {
            Unit::Fence(namespace) => {
                let FenceStep { step, .. } = fence_step(world, &namespace);
                if let Step::Write { desired, .. } = &step {
                    let key = NamespacedName::new(namespace.clone(), BASELINE);
                    world.apply(Change::NetworkPolicy(key, Some(desired.as_ref().into())));
                }
                (namespace, step)
            }
            Unit::Identity(key) => match identity_plan(world, &key, Timestamp::UNIX_EPOCH) {
                Some(plan) => (key.namespace, plan.network_policy),
                None => continue,
            },
            _ => continue,
        };
        if let Step::Write { desired, .. } = step {
            engine.policies.extend(desired.spec.map(|spec| (namespace, spec)));
        }
    }
    engine
}
