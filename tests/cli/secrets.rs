//! `ringfence inspect` of what is in a cluster, and of a live port that speaks with it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use ringfence_core::api::{ServiceIdentity, TrustDomain};
use serde_json::{Value, json};

use crate::certificates::{Issuer, Wanted};
use crate::command::{Ran, ringfence_in, ringfence_with};
use crate::live::listen;
use crate::support::{Peer, Story, Trust, secret};

#[tokio::test]
async fn the_secrets_of_an_identity_are_told_without_their_keys() {
    let story = Story::begin("inspect-own").await;
    let Trust { namespace, domain } = story.trust("shop", json!({})).await;
    let order = story.ready_identity(&namespace, "order", json!({"signingKey": {}})).await;
    let status = order.status.unwrap();

    let ran = ringfence_in(&story, &["inspect", "secret/order-tls", "-n", &namespace, "-o", "json"]).await;
    assert_eq!((ran.code, ran.refusals()), (0, Vec::new()), "{ran:?}");
    let json = ran.json();
    assert_eq!(json["owner"], format!("ServiceIdentity {namespace}/order"));
    assert_eq!(json["renewalTime"], json!(status.certificate.unwrap().renewal_time));
    let domains = Api::<TrustDomain>::all(story.client.clone());
    let authority = domains.get(&domain).await.unwrap().status.unwrap().certificate_authority.unwrap();
    assert_eq!(json["issuingAuthority"]["generation"], authority.generation);
    assert_eq!(json["issuingAuthority"]["current"], true);
    assert_eq!(json["verifiedAgainst"], format!("the issuing CAs of TrustDomain {domain}"));

    let key = ringfence_in(&story, &["inspect", "secret/order-signing-key", "-n", &namespace, "-o", "json"]).await;
    assert_eq!((key.code, key.refusals()), (0, Vec::new()), "{key:?}");
    assert_eq!(key.json()["current"]["keyID"], status.signing_key.unwrap().key_id);
    assert_eq!(key.json()["current"]["algorithms"], json!(["ES256"]));

    let ca = format!("secret/{domain}-ca");
    let authorities = ringfence_in(&story, &["inspect", &ca, "-n", "ringfence-system", "-o", "json"]).await;
    assert_eq!(authorities.code, 0, "{authorities:?}");
    assert_eq!(authorities.json()["generations"][0]["certificates"][0]["generation"], authority.generation);

    for (place, name, ran) in [
        (namespace.as_str(), "order-tls", &ran),
        (&namespace, "order-signing-key", &key),
        ("ringfence-system", &format!("{domain}-ca"), &authorities),
    ] {
        let text = ringfence_in(&story, &["inspect", &format!("secret/{name}"), "-n", place]).await;
        let data = secret(&story, place, name).await;
        for private in private_lines(&data) {
            assert!(!ran.output.contains(&private) && !text.output.contains(&private), "{name} shows a private key");
        }
    }
}

#[tokio::test]
async fn what_someone_else_put_there_is_told() {
    let story = Story::begin("inspect-others").await;
    let Trust { namespace, .. } = story.trust("shop", json!({})).await;
    for name in ["order", "payment"] {
        story.ready_identity(&namespace, name, json!({})).await;
    }
    let put = async |name: &str, data: Value| {
        story.create::<Secret>(&namespace, json!({"metadata": {"name": name}, "stringData": data})).await;
        ringfence_in(&story, &["inspect", &format!("secret/{name}"), "-n", &namespace, "-o", "json"]).await
    };
    let issued = Issuer::new("elsewhere").issue(&Wanted { uris: Vec::new(), ..Wanted::default() });
    let foreign = put("foreign", json!({"tls.crt": issued.certificate, "tls.key": issued.key})).await;
    assert_eq!((foreign.code, foreign.refusals()), (1, vec!["NoSpiffeId".to_owned()]));
    assert_eq!(foreign.json().get("owner"), None);
    assert!(foreign.output.contains("no ServiceIdentity owns it"), "{}", foreign.output);

    let (order, payment) =
        (secret(&story, &namespace, "order-tls").await, secret(&story, &namespace, "payment-tls").await);
    let crossed = put("crossed", json!({"tls.crt": order["tls.crt"], "tls.key": payment["tls.key"]})).await;
    assert_eq!((crossed.code, crossed.refusals()), (1, vec!["KeyMismatch".to_owned()]));
    let torn = put("torn", json!({"tls.crt": &order["tls.crt"][..99], "tls.key": order["tls.key"]})).await;
    assert_eq!((torn.code, torn.refusals()), (1, vec!["Malformed".to_owned()]));

    let password = put("password", json!({"password": "very-secret"})).await;
    assert_eq!((password.code, password.output.as_str()), (2, ""));
    assert!(password.complaints.contains("holds no certificate (tls.crt)"), "{}", password.complaints);
    let nothing = ringfence_in(&story, &["inspect", "secret/nothing", "-n", &namespace]).await;
    assert_eq!(nothing.code, 2);
    assert!(nothing.complaints.contains(&format!("there is no Secret {namespace}/nothing")), "{}", nothing.complaints);
}

#[tokio::test]
async fn trust_and_live_ports_are_seen_with_the_clusters_eyes() {
    let story = Story::begin("inspect-live").await;
    let Trust { namespace, domain } = story.trust("shop", json!({})).await;
    for name in ["order", "payment"] {
        story.ready_identity(&namespace, name, json!({"signingKey": {}})).await;
    }
    let spec = json!({
        "to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "order"}}],
        "authentication": {"mtls": {}, "jwt": {}},
    });
    story.ready_policy(&namespace, "payment", spec).await;

    let trust = ringfence_in(&story, &["inspect", "configmap/payment-trust", "-n", &namespace, "-o", "json"]).await;
    assert_eq!((trust.code, trust.refusals()), (0, Vec::new()), "{trust:?}");
    let edge = json!({
        "direction": "In", "peer": format!("spiffe://{domain}/ns/{namespace}/sa/order"), "ports": ["8443/TCP"],
        "proof": ["mtls", "token"], "policy": format!("{namespace}/payment"),
    });
    assert_eq!(trust.json()["access"]["edges"], json!([edge]));

    let server = Peer::of(&story, &namespace, "payment").await.server(8443);
    let live = ringfence_in(&story, &["inspect", &listen(&server), "--bundle", "cluster", "-o", "json"]).await;
    assert_eq!((live.code, live.refusals()), (0, Vec::new()), "{live:?}");
    assert_eq!(live.json()["spiffeID"], format!("spiffe://{domain}/ns/{namespace}/sa/payment"));
    assert_eq!(live.json()["handshake"]["asksForClientCertificate"], true);
    assert_eq!(live.json()["issuingAuthority"]["current"], true);

    let strange = json!({"metadata": {"name": "strange"}, "data": {"colour": "blue"}});
    story.create::<ConfigMap>(&namespace, strange).await;
    let strange = ringfence_in(&story, &["inspect", "cm/strange", "-n", &namespace]).await;
    assert_eq!(strange.code, 2);
    assert!(strange.complaints.contains("holds no bundles, key sets or access.json"), "{}", strange.complaints);
}

#[tokio::test]
async fn who_may_not_see_the_operators_namespace_is_told_and_served() {
    let story = Story::begin("inspect-rights").await;
    let Trust { namespace, .. } = story.trust("shop", json!({})).await;
    story.ready_identity(&namespace, "order", json!({})).await;
    let user = format!("{}-developer", story.name);
    let role = json!({"metadata": {"name": "look"}, "rules": [{
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["order-tls"], "verbs": ["get"],
    }]});
    story.create::<Role>(&namespace, role).await;
    let binding = json!({
        "metadata": {"name": "look"}, "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "look"},
    });
    story.create::<RoleBinding>(&namespace, binding).await;
    let kubeconfig = story.cluster.cluster().kubeconfig_for(&user, &[]).unwrap();
    let own = ringfence_with(&kubeconfig, &["inspect", "secret/order-tls", "-n", &namespace, "-o", "json"]).await;
    assert_eq!((own.code, own.refusals()), (0, Vec::new()), "{own:?}");
    assert_eq!(own.json()["verifiedAgainst"], "the roots in its own ca.crt");
    assert!(own.output.contains("the issuing CAs could not be had: you may not read ConfigMap"), "{}", own.output);
    let demanded = ["inspect", "secret/order-tls", "-n", &namespace, "--bundle", "cluster"];
    assert_eq!(ringfence_with(&kubeconfig, &demanded).await.code, 2);
    let other = ringfence_with(&kubeconfig, &["inspect", "secret/order-signing-key", "-n", &namespace]).await;
    assert_eq!(other.code, 2);
    assert!(other.complaints.contains("you may not read Secret"), "{}", other.complaints);
}

/// The lines and members of a Secret that nobody may see.
fn private_lines(data: &BTreeMap<String, String>) -> Vec<String> {
    let keys = data.iter().filter(|(name, _)| name.ends_with(".key") || name.ends_with("private.pem"));
    let mut lines: Vec<String> =
        keys.flat_map(|(_, text)| text.lines()).filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    if let Some(jwk) = data.get("jwk.json") {
        let jwk: Value = serde_json::from_str(jwk).unwrap();
        lines.push(jwk["d"].as_str().unwrap().to_owned());
    }
    assert!(!lines.is_empty());
    lines
}
