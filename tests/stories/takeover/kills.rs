//! The leader is killed again and again while everything changes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;

use super::*;
use crate::support::{domain, secret};

const KILLS: usize = 50;

/// The seed of a run can be given again in this environment variable.
const SEED: &str = "RINGFENCE_SEED";

/// The longest time that a leader has, in milliseconds.
const LIFE: u64 = 400;

/// How often something changes.
const PERIOD: Duration = Duration::from_millis(80);

/// About so many services come and go at a time.
const CROWD: usize = 25;

/// Numbers that look random, the same ones for the same seed: `SplitMix64`, by Steele, Lea and Flood.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Declares, changes and withdraws services until told to stop; returns the namespaces that it made.
async fn change_everything(story: &Story, mut numbers: Numbers, stop: &AtomicBool) -> Vec<String> {
    let (mut namespaces, mut present) = (Vec::<String>::new(), Vec::<(String, String)>::new());
    let mut ticks = tokio::time::interval(PERIOD);
    for step in 0_usize.. {
        ticks.tick().await;
        if stop.load(Ordering::SeqCst) {
            break;
        }
        if step % 60 == 0 {
            let namespace = story.namespace(&format!("crowd-{step}")).await;
            let spec = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
            story.create_cluster_wide::<TrustDomain>(domain(&namespace, spec)).await;
            story.create::<ServiceIdentity>(&namespace, identity("caller", json!({"signingKey": {}}))).await;
            namespaces.push(namespace);
        }
        let which = usize::try_from(numbers.below(1000)).unwrap();
        let crowded = present.len() as u64 * 2 / CROWD as u64;
        match numbers.below(4 + crowded) {
            0 | 1 => {
                let (namespace, name) = (namespaces[which % namespaces.len()].clone(), format!("service-{step}"));
                story.create::<ServiceIdentity>(&namespace, identity(&name, json!({"signingKey": {}}))).await;
                story.create::<AccessPolicy>(&namespace, policy(&name, grant(&name, 8443))).await;
                present.push((namespace, name));
            }
            2 | 3 if !present.is_empty() => {
                let (namespace, name) = &present[which % present.len()];
                let port = 1 + numbers.below(60_000);
                story.change(story.api::<AccessPolicy>(namespace), name, grant(name, port)).await;
            }
            _ if !present.is_empty() => {
                let (namespace, name) = present.swap_remove(which % present.len());
                let params = DeleteParams::default();
                story.api::<AccessPolicy>(&namespace).delete(&name, &params).await.unwrap();
                story.api::<ServiceIdentity>(&namespace).delete(&name, &params).await.unwrap();
            }
            _ => {}
        }
    }
    namespaces
}

fn grant(callee: &str, port: u64) -> Value {
    json!({
        "to": {"identity": callee, "ports": [{"port": port}]}, "from": [{"identity": {"name": "caller"}}],
        "authentication": {"mtls": {}, "jwt": {}},
    })
}

/// Kills whoever leads, as often as wanted, and then all; returns how many ended by themselves.
async fn kill_leaders(story: &Story, mut numbers: Numbers) -> usize {
    let mut replicas = [(); 2].map(|()| Replica::start(story.cluster, 1));
    let mut ended = 0;
    for _ in 0..KILLS {
        let leader = eventually("one of them leads", async || {
            for replica in &mut replicas {
                // On a machine that stands still for a while, a leader may find its time over.
                if !replica.runs() {
                    assert!(replica.log().contains("this replica ends"), "{}", replica.log());
                    *replica = Replica::start(story.cluster, 1);
                    ended += 1;
                }
            }
            replicas.iter().position(|replica| replica.leads_as().is_some())
        })
        .await;
        // Not a wait for anything: the moment is what is random.
        tokio::time::sleep(Duration::from_millis(numbers.below(LIFE))).await;
        replicas[leader].signal("KILL");
        replicas[leader].ended().await;
        replicas[leader] = Replica::start(story.cluster, 1);
    }
    ended
}

#[tokio::test]
async fn the_leader_is_killed_fifty_times_and_nothing_is_lost_or_made_twice() {
    let (story, _turn) = begin("kills").await;
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ Numbers(0x5eed).below(u64::MAX));
    eprintln!("{SEED}={seed}");

    let operation = story.cluster.operate().await;
    let untouched = ring(&story, "untouched", &["a", "b", "c", "d", "e", "f"]).await;
    operation.stop().await;
    let before = versions(&story, &untouched.namespace).await;
    assert_eq!(before.len(), 6 * 4 + 1);

    let (history, started, stop) = (History::begin(story.cluster), Instant::now(), AtomicBool::new(false));
    let killing = async {
        let ended = kill_leaders(&story, Numbers(seed)).await;
        stop.store(true, Ordering::SeqCst);
        ended
    };
    let changing = change_everything(&story, Numbers(!seed), &stop);
    let (ended, mut namespaces) = tokio::join!(killing, changing);
    namespaces.push(untouched.namespace.clone());
    let took = started.elapsed();
    let mut last = Replica::start(story.cluster, 30);
    all_ready(&story, &namespaces).await;
    eprintln!(
        "{KILLS} kills in {took:?}, all ready {:?} later; {ended} lost the Lease themselves",
        started.elapsed() - took
    );
    last.signal("TERM");
    assert_eq!(last.ended().await.code(), Some(0), "{}", last.log());

    // Who was left alone has what he had.
    assert_eq!(versions(&story, &untouched.namespace).await, before);
    let writes = history.writes();
    for namespace in &namespaces {
        let authority = format!("{OPERATOR_NAMESPACE}/{namespace}-ca");
        let of_it = |verb: &str| {
            let writes = writes.iter().filter(|write| write.resource == "secrets" && write.object == authority);
            writes.filter(|write| write.verb == verb).count()
        };
        // Later writes tell what is revoked. A create whose client was killed meanwhile is stored and not said to be.
        assert!(of_it("create") <= usize::from(*namespace != untouched.namespace), "{authority}");
        assert_eq!(of_it("delete"), 0, "{authority}");
        let keys = secret(&story, OPERATOR_NAMESPACE, &format!("{namespace}-ca")).await.into_keys();
        assert_eq!(keys.filter(|key| key.ends_with(".key")).count(), 1, "one CA of {authority}");
    }
    // Every certificate and every key was made once.
    let is_authority = |write: &&Write| write.object.starts_with(&format!("{OPERATOR_NAMESPACE}/"));
    let issued = writes.iter().filter(|write| write.resource == "secrets" && write.verb != "delete");
    let issued = issued.filter(|write| !is_authority(write));
    let mut once = BTreeSet::new();
    for write in issued {
        assert!(once.insert(write.object.clone()), "{} was written twice", write.object);
    }
    assert!(once.len() > KILLS, "{} Secrets are hardly change enough", once.len());
    // What was withdrawn is withdrawn.
    for namespace in &namespaces {
        let names = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
        let identities = story.api::<ServiceIdentity>(namespace).list(&ListParams::default()).await.unwrap();
        let declared = names(identities.items.into_iter().map(|object| object.metadata.name.unwrap()).collect());
        eventually("nobody has a NetworkPolicy who is not declared", async || {
            let policies = story.api::<NetworkPolicy>(namespace).list(&ListParams::default()).await.unwrap();
            let found = policies.items.into_iter().map(|object| object.metadata.name.unwrap());
            let found = found.filter(|name| name != "ringfence-baseline");
            (names(found.map(|name| name.replace("ringfence-", "")).collect()) == declared).then_some(())
        })
        .await;
    }
    nothing_is_left_to_write(&story, &namespaces).await;
}
