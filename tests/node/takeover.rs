//! The pod that leads goes: the other one has the Lease before its place is taken by a new one.

use serde_json::json;

use crate::support::{OPERATOR_NAMESPACE, Story, object};

#[test]
fn the_other_pod_leads_as_soon_as_the_one_that_led_is_told_to_go() {
    let Some(story) = Story::begin_alone("takeover") else { return };
    let inside = story.namespace("inside");
    let identity = |name: &str| object("ServiceIdentity", Some(&inside), name, json!({}));
    let spec = json!({"namespaces": [inside], "certificateAuthority": {"selfSigned": {}}});
    story.apply(&[object("TrustDomain", None, "takeover", spec), identity("early")]);
    story.all_ready("serviceidentities.ringfence.dev", &inside);
    let serial = || story.get(&format!("secret early-tls --namespace={inside}"))["metadata"]["resourceVersion"].clone();
    let (before, old) = (serial(), story.leader());
    let transitions = story.lease()["leaseTransitions"].as_u64().unwrap();

    story.kubectl(&format!("delete pod {old} --namespace={OPERATOR_NAMESPACE} --wait=false"));
    let next = format!("--for=jsonpath={{.spec.leaseTransitions}}={}", transitions + 1);
    story.kubectl(&format!("wait lease/ringfence --namespace={OPERATOR_NAMESPACE} {next} --timeout=10s"));
    let new = story.leader();
    assert_ne!(new, old);
    story.apply(&[identity("newcomer")]);
    story.all_ready("serviceidentities.ringfence.dev", &inside);
    assert_eq!(serial(), before);
    story.kubectl(&format!("rollout status deployment/ringfence --namespace={OPERATOR_NAMESPACE} --timeout=60s"));
    assert_eq!(story.leader(), new, "the one that came in its place follows");
    story.assert_rights_suffice();
}
