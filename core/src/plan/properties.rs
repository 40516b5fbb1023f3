//! What holds for every world: an operator that looks only at what was touched comes to rest, and then nothing is left to
//! do.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::testing::Operator;
use crate::access::model::{Model, models};
use crate::world::World;

/// Kind and name of an object.
fn name(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    (text(&object["kind"]), if namespace.is_empty() { name } else { format!("{namespace}/{name}") })
}

/// Tells of every object in an order that the seeds decide.
fn show(operator: &mut Operator, model: &Model, seeds: &[u32]) {
    let mut objects: Vec<_> = model.objects().into_iter().enumerate().collect();
    objects.sort_by_key(|(index, _)| seeds[index % seeds.len()]);
    objects.into_iter().for_each(|(_, object)| operator.show_one(object));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_changes_what_is_touched_is_all_that_is_to_be_done(
        before in models(),
        after in models(),
        seeds in prop::collection::vec(any::<u32>(), 64),
        in_between: bool,
    ) {
        let mut world = World::new(before.settings());
        world.listed();
        let mut operator = Operator::in_world(world);
        show(&mut operator, &before, &seeds);
        if in_between {
            operator.work();
            prop_assert_eq!(operator.left(), vec![]);
        }
        let stays: BTreeSet<_> = after.objects().iter().map(name).collect();
        for (kind, name) in before.objects().iter().map(name).filter(|object| !stays.contains(object)) {
            operator.forget(&kind, &name);
        }
        show(&mut operator, &after, &seeds);
        operator.work();
        prop_assert_eq!(operator.left(), vec![]);
        operator.look_at_everything();
        prop_assert_eq!(operator.work(), Vec::<String>::new(), "a restart writes nothing");
    }
}
