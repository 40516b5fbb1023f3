//! The token service's own certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::{Shop, eventually};

#[tokio::test]
async fn a_renewed_certificate_is_shown_at_once_and_no_request_fails() {
    let shop = Shop::open("reload").await;
    let replica = shop.sts.first(&[]).ready().await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = (0..4).map(|_| {
        let (client, audience, stop) = (shop.client(&replica, &shop.order), shop.payment.audience(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut answers = 0;
            while !stop.load(Ordering::Relaxed) {
                // Each on a connection of its own, and so with a handshake.
                let answer = client.fresh().client_credentials(&audience, &[]).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                answers += 1;
            }
            answers
        })
    });
    let load: Vec<_> = load.collect();
    for _ in 0..3 {
        let next = shop.sts.certificate();
        shop.sts.certify(&next).await;
        let shown = async || (shop.anonymous(&replica).certificate().await == next.certificate).then_some(());
        eventually("the next certificate is shown", shown).await;
    }
    stop.store(true, Ordering::Relaxed);
    for worker in load {
        assert!(worker.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_certificate_that_can_not_be_used_is_told_of_and_the_last_one_stays() {
    let shop = Shop::open("bad-certificate").await;
    let replica = shop.sts.first(&[]).ready().await;
    let before = shop.anonymous(&replica).certificate().await;
    let (one, other) = (shop.sts.certificate(), shop.sts.certificate());
    let roots = shop.sts.roots();
    let wrong: [(&[(&str, &str)], &str); 3] = [
        (&[("tls.crt", &one.certificate), ("tls.key", &other.key), ("ca.crt", roots)], "does not belong to"),
        (&[("tls.crt", "-"), ("tls.key", &one.key), ("ca.crt", roots)], "holds no certificate"),
        (&[("tls.crt", &one.certificate), ("tls.key", &one.certificate), ("ca.crt", roots)], "holds no private key"),
    ];
    for (data, said) in wrong {
        shop.sts.write_secret("token-service-tls", data).await;
        eventually(said, async || replica.log().contains(said).then_some(())).await;
        assert_eq!(shop.anonymous(&replica).certificate().await, before);
    }
    assert!(!replica.log().contains("BEGIN"), "nothing of a key or certificate is in the log");
    shop.token(&replica).await;
}
