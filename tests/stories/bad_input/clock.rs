//! A clock that is two hours off: nothing is issued, nothing is touched, and all is made up for when it is right again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use ringfence::controller::Clock;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::json;

use crate::support::{Bystanders, begin_alone, condition, domain, identity, says};

#[tokio::test]
async fn a_clock_two_hours_off_in_either_direction_issues_nothing_until_it_is_right() {
    let (story, _turn) = begin_alone("clock").await;
    let operation = story.cluster.operate().await;
    // To a clock that far off, these are expired, or not valid yet.
    let trust = story.trust("a", json!({"certificates": {"duration": "1h"}})).await;
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    operation.stop().await;
    let identities = story.api::<ServiceIdentity>(&trust.namespace);
    for (name, hours, direction) in [("ahead", 2, "2h ahead of"), ("behind", -2, "2h behind")] {
        let off = Arc::new(AtomicI64::new(hours));
        let clock = {
            let off = Arc::clone(&off);
            Clock::new(Arc::new(move || Timestamp::now() + SignedDuration::from_hours(off.load(Ordering::Relaxed))))
        };
        let operation = story.cluster.operate_by(clock).await;
        story.create::<ServiceIdentity>(&trust.namespace, identity(name, json!({"signingKey": {}}))).await;
        let words = ["nothing is issued until they agree", "check the time service"];
        let skewed = says(&identities, name, ("ClockSkew", "True", "ClockSkew"), &words).await;
        assert_eq!(condition(&skewed, "Ready").0, "False");
        assert_eq!(condition(&skewed, "Ready").1, "ClockSkew");
        let message = condition(&skewed, "ClockSkew").2;
        let nearly = direction.replace("2h", "1h 59m 59s");
        assert!(message.contains(direction) || message.contains(&nearly), "{message}");
        let new = format!("{}-{name}", story.name);
        story
            .create_cluster_wide::<TrustDomain>(domain(&new, json!({"certificateAuthority": {"selfSigned": {}}})))
            .await;
        let domains = story.all::<TrustDomain>();
        let skewed = says(&domains, &new, ("ClockSkew", "True", "ClockSkew"), &words).await;
        assert_eq!(condition(&skewed, "Ready").1, "ClockSkew");
        assert!(skewed.status.unwrap().certificate_authority.is_none());
        says(&identities, "bystander", ("ClockSkew", "True", "ClockSkew"), &words).await;
        let secrets = story.api::<Secret>(&trust.namespace);
        for secret in ["tls", "signing-key"] {
            assert!(secrets.get_opt(&format!("{name}-{secret}")).await.unwrap().is_none(), "{secret}");
        }
        bystanders.outputs_are_untouched(&story).await;
        off.store(0, Ordering::Relaxed);
        says(&identities, name, ("Ready", "True", "NoPods"), &[]).await;
        says(&domains, &new, ("Ready", "True", "Ready"), &[]).await;
        bystanders.are_untouched(&story).await;
        operation.stop().await;
    }
}
