//! Token issuers that others run: their keys are fetched and kept, and the credentials that they gave out are delivered.

mod answers;
mod credentials;
mod keys;
mod outage;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::TrustDomain;
use serde_json::{Value, json};

use crate::support::{Story, TestIssuer, condition, in_namespace, wait_for};

/// An issuer as a TrustDomain declares it, whose certificate is not one of a public root.
fn declared(issuer: &TestIssuer, name: &str, url: &str) -> Value {
    json!({"name": name, "issuer": url, "caBundle": issuer.certificate()})
}

/// Waits until the ids of the keys that are on record of a domain's issuer are these; returns the whole record.
async fn on_record(story: &Story, domain: &str, issuer: &str, kids: &[&str]) -> Value {
    let wanted = |found: &ConfigMap| {
        let record = found.data.as_ref().and_then(|data| data.get(&format!("{issuer}.json")));
        record.is_some_and(|record| kids_of(&serde_json::from_str::<Value>(record).unwrap()["jwks"]) == kids)
    };
    let found = wait_for(
        &in_namespace::<ConfigMap>(story, OPERATOR_NAMESPACE),
        &format!("{domain}-issuers"),
        &format!("keep the keys {kids:?} of {issuer}"),
        wanted,
    )
    .await;
    serde_json::from_str(&found.data.unwrap()[&format!("{issuer}.json")]).unwrap()
}

/// Everything that is on record of a domain's issuers.
async fn record(story: &Story, domain: &str) -> BTreeMap<String, String> {
    let found =
        in_namespace::<ConfigMap>(story, OPERATOR_NAMESPACE).get_opt(&format!("{domain}-issuers")).await.unwrap();
    found.and_then(|found| found.data).unwrap_or_default()
}

fn kids_of(set: &Value) -> Vec<&str> {
    let mut kids: Vec<&str> = set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    kids.sort_unstable();
    kids
}

/// Waits until a domain says nothing of its issuers any more.
async fn is_content(story: &Story, domain: &str) -> TrustDomain {
    let content =
        |domain: &TrustDomain| condition(domain, "ResolvedRefs").0 == "True" && condition(domain, "Ready").0 == "True";
    story.wait_domain(domain, "be ready", content).await
}
