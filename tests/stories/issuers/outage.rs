//! An issuer that is away: what it said last stays in use, and everybody is told.

use ringfence_core::api::TrustDomain;
use ringfence_core::world::Settings;
use serde_json::{Value, json};

use super::{declared, is_content, on_record};
use crate::support::{Forward, History, TestIssuer, begin_alone, condition, event_reasons, eventually, key_set, says};

/// Since when an issuer is away, as a condition's message says.
fn since(domain: &TrustDomain) -> String {
    let message = condition(domain, "ResolvedRefs").2;
    let (_, after) = message.split_once(", since ").unwrap();
    after.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_outage_keeps_the_last_good_keys_also_over_a_restart_and_is_told_until_it_is_over() {
    let (story, _turn) = begin_alone("outage").await;
    let clock = Forward::default();
    let operation = story.cluster.operate_with(Settings::default(), clock.clock()).await;
    let mut issuer = TestIssuer::start().await;
    let url = issuer.issue("", &key_set(&["good"]));
    let trust = story.trust("shop", json!({"tokenIssuers": [declared(&issuer, "idp", &url)]})).await;
    let good = on_record(&story, &trust.domain, "idp", &["good"]).await;
    is_content(&story, &trust.domain).await;

    issuer.stop();
    clock.to(61);
    let said = ("ResolvedRefs", "False", "IssuerUnreachable");
    let words = ["token issuer idp", "can't be reached", "stay in use meanwhile", "check that it runs"];
    let domain = says(&story.all::<TrustDomain>(), &trust.domain, said, &words).await;
    let begun = since(&domain);
    let kept = on_record(&story, &trust.domain, "idp", &["good"]).await;
    assert_eq!(kept["jwks"], good["jwks"]);
    assert_eq!(kept["failure"]["reason"], "IssuerUnreachable");
    eventually("an event says so", async || {
        event_reasons(&story, &domain).await.contains(&"IssuerUnreachable".to_owned()).then_some(())
    })
    .await;

    // Whoever starts in an outage has the keys, and knows how long it has lasted. It says nothing else meanwhile.
    operation.stop().await;
    let history = History::begin(story.cluster);
    let operation = story.cluster.operate_with(Settings::default(), clock.clock()).await;
    story.ready_identity(&trust.namespace, "order", json!({})).await;
    let domain = says(&story.all::<TrustDomain>(), &trust.domain, said, &words).await;
    assert_eq!(since(&domain), begun);
    assert_eq!(on_record(&story, &trust.domain, "idp", &["good"]).await, kept);
    let issuers = format!("ringfence-system/{}-issuers", trust.domain);
    assert_eq!(history.writes_to("configmaps", &issuers), 0, "nothing has changed");

    issuer.issue("", &key_set(&["better"]));
    issuer.resume().await;
    let record: Value = on_record(&story, &trust.domain, "idp", &["better"]).await;
    assert_eq!(record.get("failure"), None);
    is_content(&story, &trust.domain).await;
    operation.stop().await;
}
