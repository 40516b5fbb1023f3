//! Connections that take the room of others.

use super::shop::Shop;

/// What one address may have of so many places: an eighth, and 16 in any case.
const PLACES: &str = "--max-connections=128";
const SHARE: usize = 16;

#[tokio::test]
async fn an_address_that_takes_all_connections_that_it_gets_leaves_room_for_others() {
    let shop = Shop::open_with("crowd", &[PLACES]).await;
    let crowd = shop.from(1).wire(None);
    let mut held = Vec::new();
    for _ in 0..SHARE {
        held.push(crowd.connect().await.unwrap());
    }
    for _ in 0..2 * SHARE {
        assert!(crowd.connect().await.is_none(), "it has its share");
    }
    shop.is_well().await;
    let limited = shop.replica().measured(r#"ringfence_token_service_limited_total{limit="connections"}"#).await;
    assert_eq!(limited, Some(32.0));
    held.pop();
    crate::support::eventually("there is a place again", async || crowd.connect().await).await;
}
