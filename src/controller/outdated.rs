//! Statuses of which the API server keeps only a part: a CustomResourceDefinition that is older than the operator drops
//! the fields that it does not know. What was kept once is not written again and again.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::Status;
use ringfence_core::world::Unit;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;

use super::trace::kind_of;

/// What was sent and what was kept of it, where that is not the same.
#[derive(Debug, Default)]
pub(super) struct Outdated {
    kept: BTreeMap<Unit, (Value, Value)>,
    told: BTreeSet<&'static str>,
}

impl Outdated {
    /// Whether a status was sent already, and the API server kept of it what the object has now.
    pub(super) fn knows<S: Serialize>(&self, unit: &Unit, sent: &S, kept: Option<&S>) -> bool {
        self.kept.get(unit).is_some_and(|(known, rest)| *known == value(sent) && *rest == value(&kept))
    }

    /// Takes note of what became of a status; tells once for each kind that something is missing from it.
    pub(super) fn note<S: Serialize + PartialEq>(&mut self, unit: &Unit, sent: &S, kept: Option<&S>) {
        if kept == Some(sent) {
            self.kept.remove(unit);
            return;
        }
        let (sent, kept) = (value(sent), value(&kept));
        let kind = kind_of(unit);
        if lacks(&kept, &sent) && self.told.insert(kind) {
            warn!(
                "the API server keeps only a part of the status: the CustomResourceDefinition of {kind} is older than this operator; install the one that ringfence crds prints"
            );
        }
        self.kept.insert(unit.clone(), (sent, kept));
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, unit: &Unit) {
        self.kept.remove(unit);
    }
}

/// Whether an apply was refused because of a field that the kind does not have as it is installed.
pub(super) fn is_undeclared(answer: &Status) -> bool {
    answer.message.contains("field not declared in schema")
}

/// A merge patch that makes one status of another. Fields that the kind does not have are dropped from it, and not refused.
pub(super) fn replacing<S: Serialize>(before: Option<&S>, after: &S) -> Value {
    json!({"status": changes(&value(&before), value(after))})
}

fn changes(before: &Value, after: Value) -> Value {
    let (Value::Object(before), Value::Object(mut after)) = (before, after.clone()) else { return after };
    for (key, before) in before {
        let after = after.entry(key).or_insert(Value::Null);
        *after = changes(before, after.take());
    }
    Value::Object(after)
}

fn value<S: Serialize>(status: &S) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// Whether something that was sent is missing from what was kept.
fn lacks(kept: &Value, sent: &Value) -> bool {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            sent.iter().any(|(key, sent)| !sent.is_null() && kept.get(key).is_none_or(|kept| lacks(kept, sent)))
        }
        (Value::Array(sent), Value::Array(kept)) => {
            sent.len() > kept.len() || sent.iter().zip(kept).any(|(sent, kept)| lacks(kept, sent))
        }
        _ => sent != kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_which_a_part_is_kept_is_known_until_either_changes() {
        let (unit, mut outdated) = (Unit::Domain("shop".to_owned()), Outdated::default());
        let (sent, kept) = (json!({"edges": 2, "from": [{"index": 0}]}), json!({"from": [{"index": 0}]}));
        assert!(!outdated.knows(&unit, &sent, Some(&kept)));
        outdated.note(&unit, &sent, Some(&kept));
        assert!(outdated.knows(&unit, &sent, Some(&kept)));
        assert!(!outdated.knows(&unit, &kept, Some(&kept)), "something else is to be said");
        assert!(!outdated.knows(&unit, &sent, None), "someone has changed it");
        outdated.note(&unit, &sent, Some(&sent));
        assert!(!outdated.knows(&unit, &sent, Some(&kept)), "it is kept whole now");
    }

    #[test]
    fn a_merge_patch_takes_away_what_is_not_said_any_more() {
        let before =
            json!({"edges": 2, "certificate": {"serial": "1", "old": 1}, "from": [{"index": 0}, {"index": 1}]});
        let after = json!({"certificate": {"serial": "2"}, "from": [{"index": 1}]});
        let expected = json!({"edges": null, "certificate": {"serial": "2", "old": null}, "from": [{"index": 1}]});
        assert_eq!(replacing(Some(&before), &after), json!({"status": expected}));
        assert_eq!(replacing(None, &after), json!({"status": after}));
    }

    #[test]
    fn what_others_add_is_nothing_missing() {
        let sent = json!({"edges": 2, "from": [{"index": 0}], "none": null});
        assert!(!lacks(&json!({"edges": 2, "from": [{"index": 0, "more": 1}], "other": 1}), &sent));
        for kept in [
            json!({"edges": 2, "from": []}),
            json!({"from": [{"index": 0}]}),
            json!({"edges": 2, "from": [{}]}),
            Value::Null,
        ] {
            assert!(lacks(&kept, &sent), "{kept}");
        }
    }
}
