//! With what a pod was started: what tells one that has what is delivered now from one that has something older.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// Length of a hash. What is longer was not written by Ringfence, and not worth keeping.
const HASH_LENGTH: usize = 64;

/// Annotation of a pod template, and so of its pods: the hash of what they were rolled for.
pub const RESTART_ANNOTATION: &str = "ringfence.dev/credentials-hash";

/// The condition of a pod whose volumes are mounted and whose containers can start.
const FILES_ARE_THERE: &str = "PodReadyToStartContainers";

/// With what a pod was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodStart {
    /// When its files were brought in. Nothing for one that is still to start, and will get what is delivered then, nor
    /// for one that is being deleted.
    pub files_since: Option<Timestamp>,
    /// The hash of what it was rolled for, if it was.
    pub rolled_for: Option<String>,
}

impl PodStart {
    /// What is remembered of a pod.
    pub(super) fn of(pod: &Pod) -> Self {
        let annotations = pod.metadata.annotations.as_ref();
        Self {
            files_since: files_since(pod),
            rolled_for: annotations
                .and_then(|annotations| annotations.get(RESTART_ANNOTATION))
                .filter(|hash| hash.len() <= HASH_LENGTH)
                .cloned(),
        }
    }
}

fn files_since(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let mut conditions = status.conditions.iter().flatten();
    match conditions.find(|condition| condition.type_ == FILES_ARE_THERE) {
        Some(condition) if condition.status == "True" => {
            let since = condition.last_transition_time.as_ref().or(status.start_time.as_ref());
            since.map(|time| time.0)
        }
        Some(_) => None,
        // Not every kubelet tells; what began earlier is rather taken for old than for new.
        None if status.phase.as_deref() == Some("Running") => status.start_time.as_ref().map(|time| time.0),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn files_are_as_old_as_the_mount_and_those_of_a_pod_that_did_not_start_have_no_age() {
        let ready = |status: &str| json!([{"type": FILES_ARE_THERE, "status": status, "lastTransitionTime": "2026-03-01T12:00:05Z"}]);
        let cases = [
            ("nothing is known", json!({}), None),
            ("not scheduled", json!({"phase": "Pending"}), None),
            ("waits for a Secret", json!({"phase": "Pending", "conditions": ready("False")}), None),
            ("pulls its image", json!({"phase": "Pending", "conditions": ready("True")}), Some("2026-03-01T12:00:05Z")),
            ("runs", json!({"phase": "Running", "conditions": ready("True")}), Some("2026-03-01T12:00:05Z")),
            ("its sandbox is gone", json!({"phase": "Running", "conditions": ready("False")}), None),
            ("a kubelet that does not tell", json!({"phase": "Running"}), Some("2026-03-01T12:00:00Z")),
        ];
        for (case, mut status, expected) in cases {
            status["startTime"] = json!("2026-03-01T12:00:00Z");
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
            assert_eq!(PodStart::of(&pod).files_since, expected.map(|time| time.parse().unwrap()), "{case}");
            let mut leaving = pod;
            leaving.metadata.deletion_timestamp = leaving.status.as_ref().unwrap().start_time.clone();
            assert_eq!(PodStart::of(&leaving).files_since, None, "{case}, and goes");
        }
    }

    #[test]
    fn a_pod_carries_what_it_was_rolled_for() {
        let pod = |annotations: Value| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap();
            PodStart::of(&pod).rolled_for
        };
        assert_eq!(pod(json!({RESTART_ANNOTATION: "1a2b", "other": "x"})).as_deref(), Some("1a2b"));
        assert_eq!(pod(json!({"other": "x"})), None);
    }
}
