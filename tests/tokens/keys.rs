//! The token service's keys, which its replicas keep together.

use std::collections::BTreeSet;

use super::support::{Shop, eventually};

/// The ids of the keys that a JWK Set has.
fn ids(set: &serde_json::Value) -> BTreeSet<String> {
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The id of the key that a token is signed with.
fn key_of(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn replicas_that_start_together_have_the_same_keys_and_publish_them() {
    let shop = Shop::open("together").await;
    let replicas = [shop.sts.first(&[]), shop.sts.another(&[]), shop.sts.another(&[])];
    let mut seen = Vec::new();
    for replica in replicas {
        let replica = replica.ready().await;
        let set = ids(&shop.anonymous(&replica).get("/jwks").await.json);
        let token = shop.token(&replica).await;
        seen.push((replica, set, token));
    }
    for (replica, _, _) in &seen {
        for (_, _, token) in &seen {
            assert!(shop.is_active(replica, token).await, "a token of any is good at any");
        }
    }
    let published = shop.sts.config_maps().get("token-service-jwks").await.unwrap();
    let published = ids(&serde_json::from_str(&published.data.unwrap()["jwks.json"]).unwrap());
    assert_eq!(published.len(), 2);
    assert!(published.is_superset(&seen[2].1), "what is served is published");
    assert!(published.contains(&key_of(&seen[0].2)));
}

#[tokio::test]
async fn keys_are_published_before_they_are_used_and_stay_for_as_long_as_their_tokens() {
    let shop = Shop::open("rotation").await;
    let flags = ["--key-rotation-period=3s", "--key-publish-before=1s", "--key-keep=4s"];
    let replicas = [shop.sts.first(&flags).ready().await, shop.sts.another(&flags).ready().await];
    let (mut tokens, mut used): (Vec<String>, Vec<String>) = Default::default();
    while used.len() < 4 {
        let config_map = shop.sts.config_maps().get("token-service-jwks").await.unwrap();
        let before = ids(&serde_json::from_str(&config_map.data.unwrap()["jwks.json"]).unwrap());
        for replica in &replicas {
            let token = shop.token(replica).await;
            let key = key_of(&token);
            assert!(before.contains(&key), "a key is published before its first token");
            if used.last() != Some(&key) {
                assert!(!used.contains(&key), "a key that was followed by another is not used again");
                used.push(key);
            }
            tokens.push(token);
            // Tokens of the key in use and of the one before, at whichever replica.
            let last = tokens.len().saturating_sub(8);
            for token in &tokens[last..] {
                assert!(shop.is_active(replica, token).await);
            }
        }
    }
    let first = &used[0];
    eventually("the first key is gone", async || {
        let config_map = shop.sts.config_maps().get("token-service-jwks").await.unwrap();
        let now = ids(&serde_json::from_str(&config_map.data.unwrap()["jwks.json"]).unwrap());
        (!now.contains(first)).then_some(())
    })
    .await;
    assert!(!shop.is_active(&replicas[0], &tokens[0]).await);
}

#[tokio::test]
async fn a_key_set_that_someone_changes_is_put_right_and_a_restart_keeps_the_keys() {
    let shop = Shop::open("drift").await;
    let replica = shop.sts.first(&[]).ready().await;
    let token = shop.token(&replica).await;
    let key_set = || async { shop.sts.config_maps().get("token-service-jwks").await.unwrap() };
    let mut changed = key_set().await;
    changed.data = Some([("jwks.json".to_owned(), r#"{"keys":[]}"#.to_owned())].into());
    shop.sts.config_maps().replace("token-service-jwks", &Default::default(), &changed).await.unwrap();
    eventually("the key set is put right", async || {
        key_set().await.data.unwrap()["jwks.json"].contains(&key_of(&token)).then_some(())
    })
    .await;
    let versions = || async {
        let secret = shop.sts.secrets().get("token-service-keys").await.unwrap();
        (secret.metadata.resource_version, key_set().await.metadata.resource_version)
    };
    let before = versions().await;
    drop(replica);
    let replica = shop.sts.first(&[]).ready().await;
    assert!(shop.is_active(&replica, &token).await);
    assert_eq!(versions().await, before, "nothing is written when nothing changed");
}
