//! Answers that can't be used change nothing of what is known.

use ringfence_core::api::TrustDomain;
use ringfence_core::world::Settings;
use serde_json::{Value, json};

use super::{declared, is_content, on_record};
use crate::support::{Answer, Forward, Story, TestIssuer, begin_alone, condition, key_set, says};

/// A private key as part of a set.
fn private() -> Value {
    let mut set = key_set(&["evil"]);
    set["keys"][0]["d"] = json!("c2VjcmV0LWV4cG9uZW50LW9mLXRoZS1pc3N1ZXI");
    set
}

#[tokio::test]
async fn what_an_issuer_answers_wrongly_is_told_and_the_last_good_keys_stay() {
    let (story, _turn) = begin_alone("answers").await;
    let clock = Forward::default();
    let operation = story.cluster.operate_with(Settings::default(), clock.clock()).await;
    let (issuer, other) = (TestIssuer::start().await, TestIssuer::start().await);
    other.answer("/keys", Answer::json(&key_set(&["evil"]), 60));
    let metadata = |path: &str| format!("{path}/.well-known/openid-configuration");
    let keys = |path: &str| format!("{path}/keys");
    let names =
        |path: &str, jwks_uri: String| Answer::json(&json!({"issuer": issuer.url(path), "jwks_uri": jwks_uri}), 60);
    let introspected = |path: &str, uri: String| {
        let (own, keys) = (issuer.url(path), issuer.url(&format!("{path}/keys")));
        Answer::json(&json!({"issuer": own, "jwks_uri": keys, "introspection_endpoint": uri}), 60)
    };
    let redirect = |to: String| Answer::Says(302, vec![("location", to)], String::new());
    let huge = format!("{}{}", " ".repeat(1 << 20), key_set(&["evil"]));
    type Case = (&'static str, String, Answer, &'static str);
    let cases: [Case; 17] = [
        ("/a", metadata("/a"), Answer::json(&json!({"issuer": other.url("")}), 60), "are those of https://localhost:"),
        (
            "/b",
            metadata("/b"),
            names("/b", issuer.url("/keys").replace("https", "http")),
            "jwks_uri that is not an https URL",
        ),
        ("/c", keys("/c"), Answer::json(&private(), 60), "holds a key that is not public"),
        ("/d", keys("/d"), Answer::Says(200, Vec::new(), huge), "answers more than 65536 bytes"),
        ("/e", keys("/e"), Answer::Endless, "answer"),
        ("/f", keys("/f"), Answer::Hangs, "did not answer in full within 10 s"),
        ("/g", keys("/g"), redirect(other.url("/keys")), "redirects (302 Found), which is not followed"),
        ("/h", metadata("/h"), names("/h", other.url("/keys")), "no address of the public internet"),
        (
            "/i",
            metadata("/i"),
            names("/i", other.url("/keys").replace("localhost", "127.0.0.1")),
            "no address of the public",
        ),
        ("/j", metadata("/j"), redirect(other.url("/")), "redirects (302 Found)"),
        ("/k", keys("/k"), Answer::Says(503, Vec::new(), key_set(&["evil"]).to_string()), "answers 503"),
        ("/l", keys("/l"), Answer::Says(200, Vec::new(), "<html>".to_owned()), "it is no JWK Set"),
        ("/m", keys("/m"), Answer::json(&json!({"keys": []}), 60), "it holds no EC, RSA or OKP key"),
        (
            "/n",
            keys("/n"),
            Answer::json(&json!({"keys": vec![key_set(&["evil"])["keys"][0].clone(); 65]}), 60),
            "more than 64 keys",
        ),
        ("/o", metadata("/o"), Answer::json(&json!({"issuer": issuer.url("/o")}), 60), "name no jwks_uri"),
        (
            "/p",
            keys("/p"),
            { Answer::Says(200, vec![("content-encoding", "gzip".to_owned())], key_set(&["evil"]).to_string()) },
            "a coding that was not asked for",
        ),
        // Services would show it tokens, with their credentials.
        ("/q", metadata("/q"), introspected("/q", other.url("/introspect")), "no address of the public internet"),
    ];
    let name = |path: &str| path.trim_start_matches('/').to_owned();
    let mut domains = Vec::new();
    for (half, cases) in cases.chunks(8).enumerate() {
        let issuers: Vec<Value> = cases
            .iter()
            .map(|(path, ..)| declared(&issuer, &name(path), &issuer.issue(path, &key_set(&["good"]))))
            .collect();
        domains.push((story.trust(&format!("half{half}"), json!({"tokenIssuers": issuers})).await.domain, cases));
    }
    let mut good = Vec::new();
    for (domain, cases) in &domains {
        for (path, ..) in *cases {
            good.push(on_record(&story, domain, &name(path), &["good"]).await["jwks"].clone());
        }
        is_content(&story, domain).await;
    }

    for (_, at, answer, _) in &cases {
        issuer.answer(at, answer.clone());
    }
    clock.to(61);
    for (domain, cases) in &domains {
        let words: Vec<&str> = cases.iter().map(|(.., words)| *words).collect();
        let failed = |domain: &TrustDomain| {
            let (status, _, message) = condition(domain, "ResolvedRefs");
            status == "False" && words.iter().all(|word| message.contains(word))
        };
        let found = story.wait_domain(domain, &format!("say {words:#?}"), failed).await;
        let message = condition(&found, "ResolvedRefs").2;
        assert_eq!(message.matches("stay in use meanwhile").count(), cases.len(), "{message}");
        let object = serde_json::to_string(&found).unwrap();
        for secret in ["c2VjcmV0LWV4cG9uZW50", "evil", "<html>"] {
            assert!(!object.contains(secret), "nothing that was answered is repeated: {object}");
        }
    }
    let mut kept = Vec::new();
    for (domain, cases) in &domains {
        for (path, ..) in *cases {
            kept.push(on_record(&story, domain, &name(path), &["good"]).await["jwks"].clone());
        }
    }
    assert_eq!(kept, good);
    assert_eq!(other.asked("/keys") + other.asked("/"), 0, "nobody is sent anywhere");
    operation.stop().await;
}

#[tokio::test]
async fn an_issuer_that_was_never_right_is_told_and_has_no_keys() {
    let story = Story::begin("never").await;
    let issuer = TestIssuer::start().await;
    let url = issuer.issue("", &private());
    let trust = story.trust("shop", json!({"tokenIssuers": [declared(&issuer, "idp", &url)]})).await;
    let said = ("ResolvedRefs", "False", "IssuerInvalid");
    let words = ["token issuer idp", "holds a key that is not public", "can't be verified by key", "replace that key"];
    says(&story.all::<TrustDomain>(), &trust.domain, said, &words).await;
    assert!(super::record(&story, &trust.domain).await.is_empty());
    issuer.issue("", &key_set(&["good"]));
    on_record(&story, &trust.domain, "idp", &["good"]).await;
    is_content(&story, &trust.domain).await;
}
