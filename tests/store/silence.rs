//! Answers that don't come, and those that come to nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use ringfence_cluster::Etcd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{eventually, replica};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_use_whose_answer_is_lost_is_still_the_first() {
    let etcd = Etcd::start(1).unwrap();
    let swallow = Arc::new(AtomicBool::new(false));
    let proxy = proxy(&etcd.endpoints()[0], Arc::clone(&swallow)).await;
    let replica = replica(&etcd, &[format!("https://{proxy}")]);
    // There is a connection, and a lease.
    assert!(replica.consume("before").await.unwrap());
    swallow.store(true, Ordering::SeqCst);
    // The first answer goes to nobody; a later one arrives.
    assert!(replica.consume("token").await.unwrap());
    assert!(!swallow.load(Ordering::SeqCst) && replica.last().failed_requests > 0, "no answer was lost");
    assert!(!replica.consume("token").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_keeps_nobody_waiting_for_long_and_nothing_open() {
    let etcd = Etcd::start(1).unwrap();
    let replica = replica(&etcd, &etcd.endpoints());
    assert!(replica.consume("before").await.unwrap());
    etcd.pause_member(0, true).unwrap();
    let began = Instant::now();
    let jtis: Vec<String> = (0..500).map(|number| format!("token-{number}")).collect();
    let uses = join_all(jtis.iter().map(|jti| replica.consume(jti))).await;
    assert!(uses.iter().all(Result::is_err));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let port: u16 = etcd.endpoints()[0].rsplit_once(':').unwrap().1.parse().unwrap();
    // One for each request that may be under way, and those that were given up a moment ago.
    assert!(connections(port) <= 128, "{} connections", connections(port));

    etcd.pause_member(0, false).unwrap();
    eventually("it answers again", async || replica.consume("after").await.is_ok()).await;
    let uses = join_all(jtis.iter().map(|jti| replica.consume(jti))).await;
    assert!(uses.iter().all(Result::is_ok));
    assert!(connections(port) <= 128, "{} connections", connections(port));
    drop(replica);
    // Etcd's gateway has one to itself.
    eventually("all connections are closed", async || connections(port) <= 1).await;
}

/// A proxy that passes on what is asked and what is answered. Told to swallow an answer, it does so with the next one, and with
/// whatever else comes on that connection.
async fn proxy(endpoint: &str, swallow: Arc<AtomicBool>) -> SocketAddr {
    let server = endpoint.trim_start_matches("https://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(&server).await.unwrap().into_split();
            let swallow = Arc::clone(&swallow);
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let (mut buffer, mut is_lost) = (vec![0; 16_384], false);
                while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                    is_lost |= swallow.swap(false, Ordering::SeqCst);
                    if !is_lost && to_client.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// How many established connections lead to a port of this machine.
fn connections(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let leads_there = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[2].ends_with(&remote) && columns[3] == "01"
    };
    table.lines().skip(1).filter(leads_there).count()
}
