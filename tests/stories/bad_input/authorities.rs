//! CAs that are brought: a good one works, a bad one is refused before it is used, and a bad replacement changes nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use ringfence_cluster::OPERATOR_NAMESPACE;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use ringfence_core::pki::{PeerUsage, verify_leaf};
use serde_json::{Value, json};

use crate::support::{Bystanders, OpenSsl, Story, condition, domain, identity, says, secret};

type Files = BTreeMap<&'static str, String>;

/// A CA made without Ringfence.
fn authority(change: impl FnOnce(&mut CertificateParams)) -> Files {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2095, 1, 1));
    params.distinguished_name.push(DnType::CommonName, "corporate CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    Files::from([("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())])
}

fn good() -> Files {
    authority(|_| {})
}

/// Every bad one: what is wrong with it, in one word of the message and in others.
fn bad() -> Vec<(&'static str, &'static str, Files)> {
    let with = |key: &'static str, value: String| {
        let mut files = good();
        files.insert(key, value);
        files
    };
    let mut keyless = good();
    keyless.remove("tls.key");
    let half = good()["tls.crt"].split_at(300).0.to_owned();
    let openssl = OpenSsl::with([]);
    openssl.run(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -out crt -keyout key \
         -addext keyUsage=critical,keyCertSign,cRLSign -subj /OU=One/OU=Two/CN=ca",
    );
    let lost = Files::from([("tls.crt", openssl.run("x509 -in crt")), ("tls.key", openssl.run("pkey -in key"))]);
    vec![
        ("Expired", "expired at 2021", authority(|params| params.not_after = date_time_ymd(2021, 1, 1))),
        ("NotYetValid", "not valid before 2090", authority(|params| params.not_before = date_time_ymd(2090, 1, 1))),
        ("NotACertificateAuthority", "basic constraints", authority(|params| params.is_ca = IsCa::ExplicitNoCa)),
        (
            "MissingKeyUsage",
            "keyCertSign",
            authority(|params| params.key_usages.retain(|usage| *usage == KeyUsagePurpose::CrlSign)),
        ),
        ("KeyMismatch", "does not belong", with("tls.key", good()["tls.key"].clone())),
        ("MissingKey", "tls.key", keyless),
        ("Malformed", "tls.crt", with("tls.crt", half)),
        ("UnsupportedSubject", "plain, distinct attributes", lost),
    ]
}

fn brought(name: &str, files: &Files) -> Value {
    json!({"metadata": {"name": name}, "stringData": files})
}

fn from_secret(secret: &str, namespaces: &[&str]) -> Value {
    json!({"certificateAuthority": {"secret": {"name": secret}}, "namespaces": namespaces})
}

#[tokio::test]
async fn a_bad_ca_is_refused_and_nothing_is_issued_until_a_good_one_comes() {
    let story = Story::begin("bad-ca").await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    let domains = story.all::<TrustDomain>();
    let secrets = story.api::<Secret>(OPERATOR_NAMESPACE);
    for (word, why, files) in bad() {
        let name = format!("{}-{}", story.name, word.to_lowercase());
        let file = format!("{name}-brought");
        let namespace = story.namespace(&word.to_lowercase()).await;
        story.create::<Secret>(OPERATOR_NAMESPACE, brought(&file, &files)).await;
        story.create_cluster_wide::<TrustDomain>(domain(&name, from_secret(&file, &[&namespace]))).await;
        let words = [&*file, word, why, "replace it"];
        let refused = says(&domains, &name, ("Accepted", "False", "InvalidCertificateAuthority"), &words).await;
        assert_eq!(condition(&refused, "Ready").1, "InvalidCertificateAuthority", "{word}");
        assert!(refused.status.unwrap().certificate_authority.is_none(), "{word}");
        story.create::<ServiceIdentity>(&namespace, identity("order", json!({}))).await;
        let api = story.api::<ServiceIdentity>(&namespace);
        says(&api, "order", ("Programmed", "False", "Pending"), &[&name, "see its status"]).await;
        assert!(story.api::<Secret>(&namespace).get_opt("order-tls").await.unwrap().is_none(), "{word}");
        replace(&secrets, &file, &good()).await;
        says(&domains, &name, ("Ready", "True", "Ready"), &[]).await;
        says(&api, "order", ("Ready", "True", "NoPods"), &[]).await;
    }
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_ca_whose_secret_is_missing_is_named_and_adopted_when_it_comes() {
    let story = Story::begin("no-ca").await;
    let other = story.trust("other", json!({})).await;
    let bystanders = Bystanders::in_namespace(&story, &other.namespace).await;
    let (name, file) = (format!("{}-corp", story.name), format!("{}-brought", story.name));
    story.create_cluster_wide::<TrustDomain>(domain(&name, from_secret(&file, &[]))).await;
    let domains = story.all::<TrustDomain>();
    let words = [OPERATOR_NAMESPACE, &*file, "create it with tls.crt, tls.key"];
    says(&domains, &name, ("ResolvedRefs", "False", "SecretNotFound"), &words).await;
    story.create::<Secret>(OPERATOR_NAMESPACE, brought(&file, &good())).await;
    says(&domains, &name, ("Ready", "True", "Ready"), &[]).await;
    bystanders.are_untouched(&story).await;
}

#[tokio::test]
async fn a_good_ca_works_and_whatever_replaces_it_badly_the_last_good_one_stays() {
    let story = Story::begin("good-ca").await;
    let file = format!("{}-brought", story.name);
    let first = good();
    story.create::<Secret>(OPERATOR_NAMESPACE, brought(&file, &first)).await;
    let spec = json!({"certificateAuthority": {"selfSigned": null, "secret": {"name": file}}});
    let trust = story.trust("corp", spec).await;
    let domains = story.all::<TrustDomain>();
    let before = says(&domains, &trust.domain, ("Ready", "True", "Ready"), &[]).await;
    let before = before.status.unwrap().certificate_authority.unwrap();
    let bystanders = Bystanders::in_namespace(&story, &trust.namespace).await;
    let secrets = story.api::<Secret>(OPERATOR_NAMESPACE);
    for (count, (word, why, files)) in bad().into_iter().enumerate() {
        replace(&secrets, &file, &files).await;
        let words = [&*file, word, why, "replace it", "the last good one stays in use"];
        let said = ("Accepted", "False", "InvalidCertificateAuthority");
        let refused = says(&domains, &trust.domain, said, &words).await;
        assert_eq!(refused.status.unwrap().certificate_authority.unwrap(), before, "{word}");
        // It still signs.
        let name = format!("order-{count}");
        story.ready_identity(&trust.namespace, &name, json!({})).await;
        let issued = secret(&story, &trust.namespace, &format!("{name}-tls")).await;
        let now = jiff::Timestamp::now();
        let verified = verify_leaf(issued["tls.crt"].as_bytes(), first["tls.crt"].as_bytes(), now, PeerUsage::Server);
        assert_eq!(verified.unwrap().spiffe_id.unwrap().service_account(), name, "{word}");
    }
    secrets.delete(&file, &DeleteParams::default()).await.unwrap();
    let said = ("ResolvedRefs", "False", "SecretNotFound");
    let missing = says(&domains, &trust.domain, said, &[&file]).await;
    assert_eq!(missing.status.unwrap().certificate_authority.unwrap(), before);
    story.create::<Secret>(OPERATOR_NAMESPACE, brought(&file, &first)).await;
    says(&domains, &trust.domain, ("Ready", "True", "Ready"), &[]).await;
    bystanders.are_untouched(&story).await;

    let second = good();
    replace(&secrets, &file, &second).await;
    let signs = |object: &TrustDomain| {
        object.status.as_ref().and_then(|status| status.certificate_authority.as_ref()).is_some_and(|ca| *ca != before)
    };
    story.wait_domain(&trust.domain, "sign with another CA", signs).await;
    story.ready_identity(&trust.namespace, "last", json!({})).await;
    let issued = secret(&story, &trust.namespace, "last-tls").await;
    let now = jiff::Timestamp::now();
    verify_leaf(issued["tls.crt"].as_bytes(), second["tls.crt"].as_bytes(), now, PeerUsage::Server).unwrap();
}

#[tokio::test]
async fn a_ca_that_can_not_sign_revocation_lists_serves_and_says_so() {
    let story = Story::begin("no-crl").await;
    let file = format!("{}-brought", story.name);
    let without = authority(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    story.create::<Secret>(OPERATOR_NAMESPACE, brought(&file, &without)).await;
    let spec = json!({"certificateAuthority": {"selfSigned": null, "secret": {"name": file}}});
    let trust = story.trust("corp", spec).await;
    let words = [&*file, "cRLSign", "can't revoke"];
    let domains = story.all::<TrustDomain>();
    says(&domains, &trust.domain, ("Ready", "True", "RevocationUnavailable"), &words).await;
    Bystanders::in_namespace(&story, &trust.namespace).await.are_untouched(&story).await;
}

async fn replace(secrets: &kube::Api<Secret>, name: &str, files: &Files) {
    let mut found = secrets.get(name).await.unwrap();
    found.data = None;
    found.string_data = Some(files.iter().map(|(key, text)| ((*key).to_owned(), text.clone())).collect());
    secrets.replace(name, &PostParams::default(), &found).await.unwrap();
}
