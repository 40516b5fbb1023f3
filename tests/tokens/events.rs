//! What whoever runs the cluster is told of refusals.

use k8s_openapi::api::events::v1::Event;
use kube::Api;

use super::support::{Shop, eventually};

#[tokio::test]
async fn a_refusal_that_a_policy_could_cure_is_an_event_of_the_token_service_s_identity() {
    let shop = Shop::open("events").await;
    let replica = shop.sts.first(&[]).ready().await;
    let (client, audience) = (shop.client(&replica, &shop.stranger), shop.payment.audience());
    // Twice of a service that is there, and once of what may be anything.
    for audience in [audience.as_str(), &audience] {
        assert_eq!(client.client_credentials(audience, &[]).await.error(), (400, "invalid_target"));
    }
    let client = shop.client(&replica, &shop.payment);
    assert_eq!(client.client_credentials("a.secret.token", &[]).await.error(), (400, "invalid_target"));
    let events = Api::<Event>::namespaced(shop.sts.client.clone(), &shop.sts.namespace);
    let told = eventually("both are told", async || {
        let told = events.list(&Default::default()).await.unwrap().items;
        (told.len() >= 2).then_some(told)
    })
    .await;
    let of = |id: &str| {
        let mut of_client = told.iter().filter(|event| event.note.as_ref().unwrap().starts_with(id));
        (of_client.next().unwrap(), of_client.count())
    };
    let (event, more) = of(&shop.stranger.id());
    assert_eq!((event.reason.as_deref(), more), (Some("NoGrant"), 0));
    assert!(event.note.as_ref().unwrap().contains(&audience), "{event:?}");
    let regarding = event.regarding.as_ref().unwrap();
    assert_eq!(
        (regarding.kind.as_deref(), regarding.name.as_deref()),
        (Some("ServiceIdentity"), Some("token-service"))
    );
    assert_eq!(event.related.as_ref().unwrap().name.as_deref(), Some("stranger"));
    let (event, _) = of(&shop.payment.id());
    assert!(!event.note.as_ref().unwrap().contains("secret"), "{event:?}");
}
