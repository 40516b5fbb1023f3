//! What is kept of issuers over a restart of the operator: the last that was good, and since when nothing better is to be
//! had. All of it is public.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Reason;
use crate::jwt::parse_public_jwks;
use crate::world::{IssuerFacts, IssuerFailure};

/// The ConfigMap of a TrustDomain with what is kept is called `<TrustDomain>-issuers`.
pub const RECORD_SUFFIX: &str = "-issuers";

/// One issuer, under the data key `<name>.json`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    issuer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    jwks: Value,
}

#[derive(Deserialize, Serialize)]
struct Failure {
    reason: String,
    since: Timestamp,
    why: String,
}

/// The data of the ConfigMap that keeps these issuers, by name.
pub fn record_data<'a>(issuers: impl IntoIterator<Item = (&'a str, &'a IssuerFacts)>) -> BTreeMap<String, String> {
    let record = |facts: &IssuerFacts| Record {
        issuer: facts.issuer.clone(),
        introspection_uri: facts.introspection_uri.clone(),
        failure: facts.stale.as_ref().map(|failure| Failure {
            reason: failure.reason.to_string(),
            since: failure.since,
            why: failure.why.clone(),
        }),
        jwks: facts.jwks.clone(),
    };
    let entry = |(name, facts)| Some((format!("{name}.json"), serde_json::to_string(&record(facts)).ok()?));
    issuers.into_iter().filter_map(entry).collect()
}

/// The issuers that such a ConfigMap keeps. What can't be read is left out: it is fetched again.
pub fn recorded_issuers(data: &BTreeMap<String, String>) -> Vec<(String, Arc<IssuerFacts>)> {
    let read = |(key, text): (&String, &String)| {
        let name = key.strip_suffix(".json")?.to_owned();
        let Record { issuer, introspection_uri, failure, jwks } = serde_json::from_str(text).ok()?;
        let stale = failure.and_then(|failure| {
            Some(IssuerFailure { reason: Reason::parse(&failure.reason)?, since: failure.since, why: failure.why })
        });
        let jwks = parse_public_jwks(&jwks.to_string()).ok()?;
        Some((name, Arc::new(IssuerFacts { issuer, jwks, introspection_uri, stale })))
    };
    data.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwt::testing::signing_key;

    #[test]
    fn what_is_kept_is_what_is_read_back_and_nothing_else_is() {
        let key = signing_key(crate::api::SigningAlgorithm::ES256).public_jwk().clone();
        let good = IssuerFacts {
            issuer: "https://login.example.com".to_owned(),
            jwks: json!({"keys": [key]}),
            introspection_uri: None,
            stale: None,
        };
        let failure = IssuerFailure {
            reason: Reason::IssuerUnreachable,
            since: "2026-03-01T12:00:00Z".parse().unwrap(),
            why: "https://sso.example.com/keys did not answer".to_owned(),
        };
        let stale = IssuerFacts {
            issuer: "https://sso.example.com".to_owned(),
            introspection_uri: Some("https://sso.example.com/introspect".to_owned()),
            stale: Some(failure),
            ..good.clone()
        };
        let mut data = record_data([("good", &good), ("stale", &stale)]);
        let expected = [("good".to_owned(), Arc::new(good)), ("stale".to_owned(), Arc::new(stale))];
        assert_eq!(recorded_issuers(&data), expected);
        data.insert("note".to_owned(), data["good.json"].clone());
        data.insert("cut.json".to_owned(), data["good.json"][..20].to_owned());
        data.insert("empty.json".to_owned(), json!({"issuer": "https://a.example", "jwks": {"keys": []}}).to_string());
        let private = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]});
        data.insert("private.json".to_owned(), json!({"issuer": "https://a.example", "jwks": private}).to_string());
        assert_eq!(recorded_issuers(&data), expected);
    }
}
