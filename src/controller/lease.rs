//! Who leads: one replica holds the Lease, and the others watch it.
//!
//! Every write of the Lease is bound to the version that was seen, so that of two that want it one fails. Clocks are never
//! compared between replicas: each measures, by a clock that nobody sets, from when it saw the Lease change itself. The
//! holder counts from before it asked for a renewal, and the others from after they learnt of it; so its own time is over
//! before any other may take the Lease, and then it ends rather than go on without.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::backoff::Pauses;
use super::clock::Clock;
use super::entropy::random;
use super::error::{chain, said};
use super::events::instance;
use super::gate::Gate;
use super::health::Health;
use super::interruption::Repeats;
use super::write::MANAGER;

/// Longest duration of a Lease: whatever one says, nobody waits for it longer than this after its last renewal.
pub const LONGEST_LEASE: Duration = Duration::from_secs(300);

/// How often releasing it is tried.
const RELEASES: usize = 3;

/// A replica as it stands for election.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// By what it is known in the Lease; no other may have it, not even the same one after a restart.
    pub identity: String,
    /// For how long it leads after each renewal: whole seconds, at least one and at most [`LONGEST_LEASE`].
    pub duration: Duration,
}

impl Candidate {
    /// This process: the pod's name, and something random, since a pod's process may come back under the same name.
    pub fn new(duration: Duration) -> Self {
        let host = instance().unwrap_or_else(|| MANAGER.to_owned());
        Self { identity: format!("{host}_{:016x}", u64::from_be_bytes(random())), duration }
    }
}

/// Why a replica leads no more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Another one is in the Lease.
    #[error(
        "Lease {lease} was taken by {holder}: this replica ends, since only one may write; look for a second installation, or for who edits the Lease"
    )]
    Taken {
        /// Namespace and name.
        lease: String,
        /// Whoever holds it now.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error(
        "Lease {lease} could not be renewed for {after:?} ({why}): this replica ends before another one takes over; look whether it reaches the API server"
    )]
    NotRenewed {
        /// Namespace and name.
        lease: String,
        /// Since the last renewal.
        after: Duration,
        /// The last failure.
        why: String,
    },
}

/// An attempt that got no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("there was no answer in time")]
    Late(#[from] Elapsed),
    #[error("{}", said(.0))]
    Refused(#[from] kube::Error),
}

/// What is known of the Lease.
#[derive(Clone, Debug)]
struct Seen {
    /// None when it does not exist.
    metadata: Option<ObjectMeta>,
    /// What it said last. One that is deleted still binds: its holder may not know yet.
    spec: LeaseSpec,
    /// When that was seen first.
    since: Instant,
}

impl Seen {
    /// What is known after one more look.
    fn after(before: Option<Self>, found: Option<Object>, now: Instant) -> Self {
        match (before, found) {
            (Some(before), None) => Self { metadata: None, ..before },
            (None, None) => Self { metadata: None, spec: LeaseSpec::default(), since: now },
            (before, Some(Object { metadata, spec })) => {
                let version = |metadata: &ObjectMeta| metadata.resource_version.clone();
                let known = before.filter(|seen| seen.metadata.as_ref().map(version) == Some(version(&metadata)));
                let since = known.map_or(now, |seen| seen.since);
                Self { metadata: Some(metadata), spec: spec.unwrap_or_default(), since }
            }
        }
    }

    fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// From when on a candidate may take it.
    fn free_at(&self, candidate: &Candidate) -> Instant {
        if self.holder().is_none_or(|holder| holder == candidate.identity) {
            return self.since;
        }
        let seconds = self.spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        self.since + seconds.map_or(candidate.duration, Duration::from_secs).min(LONGEST_LEASE)
    }

    /// The Lease as its new holder, or the one that renews it, writes it.
    fn held_by(&self, candidate: &Candidate, now: MicroTime) -> LeaseSpec {
        let transitions = self.spec.lease_transitions.unwrap_or_default();
        let stays = self.holder() == Some(candidate.identity.as_str());
        LeaseSpec {
            holder_identity: Some(candidate.identity.clone()),
            lease_duration_seconds: i32::try_from(candidate.duration.as_secs()).ok(),
            acquire_time: if stays { self.spec.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if stays || self.metadata.is_none() { transitions } else { transitions + 1 }),
            ..self.spec.clone()
        }
    }
}

/// The Lease, as one replica knows it.
pub(super) struct Lease {
    candidate: Candidate,
    api: Api<Object>,
    watch: BoxStream<'static, watcher::Result<Option<Object>>>,
    clock: Clock,
    gate: Gate,
    health: Health,
    seen: Option<Seen>,
    /// When the last renewal was asked for.
    renewed: Instant,
    /// What was told last of its failures.
    told: Repeats,
}

impl Lease {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        candidate: Candidate,
        clock: Clock,
        gate: Gate,
        health: Health,
    ) -> Self {
        let api = Api::<Object>::namespaced(client, namespace);
        let watch = watcher::watch_object(api.clone(), MANAGER).backoff(Pauses::default()).boxed();
        Self {
            candidate,
            api,
            watch,
            clock,
            gate,
            health,
            seen: None,
            renewed: Instant::now(),
            told: Repeats::default(),
        }
    }

    /// Follows until the Lease is ours.
    pub(super) async fn claim(&mut self) {
        let (mut not_before, mut followed) = (Instant::now(), None);
        // Not before: until everything is listed, nothing is to be done about it, however long the API server is away.
        self.health.expect_beats(self.candidate.duration);
        loop {
            let free_at = self.seen.as_ref().map(|seen| seen.free_at(&self.candidate).max(not_before));
            tokio::select! {
                Some(found) = self.watch.next() => self.look(found),
                () = sleep_until(free_at.unwrap_or_else(Instant::now)), if free_at.is_some() => {
                    match self.renew(self.attempt()).await {
                        Ok(true) => break,
                        Ok(false) => {}
                        Err(error) => self.tell(&error, "the Lease could not be taken: it is tried again"),
                    }
                    not_before = Instant::now() + self.pause();
                }
                // While the API server says nothing, there is nothing to do but wait.
                () = sleep(self.candidate.duration) => {}
            }
            self.health.beat();
            let holder = self.seen.as_ref().and_then(|seen| seen.holder().map(str::to_owned));
            if holder.is_some() && holder != followed {
                info!(lease = self.name(), holder, "another replica leads; this one follows");
                followed = holder;
            }
        }
        self.health.leads(self.clock.clone());
        info!(lease = self.name(), identity = self.candidate.identity, "this replica leads");
    }

    /// Renews the Lease for as long as it is ours.
    pub(super) async fn hold(&mut self) -> Lost {
        let lost = self.hold_on().await;
        self.gate.close();
        lost
    }

    async fn hold_on(&mut self) -> Lost {
        let third = self.candidate.duration / 3;
        let (mut next, mut why) = (self.renewed + third, String::new());
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = sleep_until(deadline) => {
                    return Lost::NotRenewed { lease: self.name(), after: self.renewed.elapsed(), why };
                }
                () = sleep_until(next) => {
                    match self.renew(self.attempt().min(deadline - Instant::now())).await {
                        Ok(true) => next = self.renewed + third,
                        Ok(false) => {
                            if let Some(lost) = self.taken() {
                                return lost;
                            }
                            "someone else keeps changing it".clone_into(&mut why);
                            next = Instant::now() + self.pause();
                        }
                        Err(error) => {
                            self.tell(&error, "the Lease could not be renewed: it is tried again");
                            why = error.to_string();
                            next = Instant::now() + self.pause();
                        }
                    }
                }
                Some(found) = self.watch.next() => {
                    // What it tells may be older than what was written since; then the renewal says so.
                    let holder = |object: &Object| object.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
                    if found.is_ok_and(|found| found.as_ref().and_then(holder).as_deref() != Some(&self.candidate.identity)) {
                        next = Instant::now();
                    }
                }
            }
            self.health.beat();
        }
    }

    /// Lets go of the Lease: a follower has it at once.
    pub(super) async fn release(mut self) {
        self.gate.close();
        // A renewal may have been under way, so that the version that is known is not the last.
        for _ in 0..RELEASES {
            let Some(seen) = self.seen.as_ref().filter(|seen| seen.holder() == Some(&self.candidate.identity)) else {
                break;
            };
            let (now, spec) = (Some(self.now()), seen.spec.clone());
            let spec = LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), renew_time: now, ..spec };
            match self.write_within(self.attempt(), spec).await {
                Ok(true) => return info!(lease = self.name(), "the Lease is released"),
                Ok(false) => {}
                Err(error) => warn!(lease = self.name(), %error, "the Lease could not be released"),
            }
        }
        warn!(lease = self.name(), "the Lease was not released: others wait until it expires");
    }

    fn look(&mut self, found: watcher::Result<Option<Object>>) {
        match found {
            Ok(found) => self.seen = Some(Seen::after(self.seen.take(), found, Instant::now())),
            Err(error) => self.tell(&error, "the watch of the Lease was interrupted and is resumed"),
        }
    }

    /// Tells of a failure, of one that lasts once a minute.
    fn tell(&mut self, error: &(dyn std::error::Error + 'static), what: &str) {
        let error = chain(error);
        if self.told.is_news(&format!("{what}: {error}")) {
            warn!(lease = self.name(), error, "{what}");
        }
    }

    /// Writes the Lease as ours; returns whether it is.
    async fn renew(&mut self, limit: Duration) -> Result<bool, Failed> {
        let Some(seen) = &self.seen else { return Ok(false) };
        let (asked, spec) = (Instant::now(), seen.held_by(&self.candidate, self.now()));
        let is_ours = self.write_within(limit, spec).await?;
        if is_ours {
            self.renewed = asked;
            self.gate.open_until(self.deadline());
        }
        Ok(is_ours)
    }

    async fn write_within(&mut self, limit: Duration, spec: LeaseSpec) -> Result<bool, Failed> {
        Ok(timeout(limit, self.write(spec)).await??)
    }

    /// Writes over the version that is known; returns whether that was the present one. If not, the present one is known
    /// afterwards.
    async fn write(&mut self, spec: LeaseSpec) -> kube::Result<bool> {
        let known = self.seen.as_ref().and_then(|seen| seen.metadata.clone());
        let new = || ObjectMeta { name: Some(MANAGER.to_owned()), ..ObjectMeta::default() };
        let object = Object { metadata: known.clone().unwrap_or_else(new), spec: Some(spec) };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = match known {
            Some(_) => self.api.replace(MANAGER, &params, &object).await,
            None => self.api.create(&params, &object).await,
        };
        let (found, is_written) = match written {
            Ok(written) => (Some(written), true),
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                // A listing of one object needs no right that the watch does not need.
                let only = ListParams::default().fields(&format!("metadata.name={MANAGER}"));
                (self.api.list(&only).await?.items.pop(), false)
            }
            Err(error) => return Err(error),
        };
        self.seen = Some(Seen::after(self.seen.take(), found, Instant::now()));
        Ok(is_written)
    }

    fn taken(&self) -> Option<Lost> {
        let holder = self.seen.as_ref()?.holder().filter(|holder| *holder != self.candidate.identity)?;
        Some(Lost::Taken { lease: self.name(), holder: holder.to_owned() })
    }

    fn name(&self) -> String {
        format!("{}/{MANAGER}", self.api.namespace().unwrap_or_default())
    }

    fn now(&self) -> MicroTime {
        MicroTime(self.clock.exactly_now())
    }

    /// Until when nothing that was sent meanwhile can meet what another one writes: what is under way has a sixth of the
    /// time to arrive.
    fn deadline(&self) -> Instant {
        self.renewed + self.candidate.duration * 5 / 6
    }

    /// Longest time for one attempt: so there are several before the time is over.
    fn attempt(&self) -> Duration {
        self.candidate.duration / 6
    }

    /// Pause after an attempt that failed.
    fn pause(&self) -> Duration {
        self.candidate.duration / 15
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn me() -> Candidate {
        Candidate { identity: "me".to_owned(), duration: 15 * SECOND }
    }

    fn lease(version: u32, holder: Option<&str>, seconds: Option<i32>) -> Object {
        Object {
            metadata: ObjectMeta { resource_version: Some(version.to_string()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: seconds,
                lease_transitions: Some(6),
                ..LeaseSpec::default()
            }),
        }
    }

    /// After how many seconds it is free, if it looked like this at these seconds.
    fn free_after(looks: &[(u32, Option<Object>)]) -> u64 {
        let start = Instant::now();
        let look =
            |seen, (at, found): &(u32, Option<Object>)| Some(Seen::after(seen, found.clone(), start + *at * SECOND));
        looks.iter().fold(None, look).unwrap().free_at(&me()).duration_since(start).as_secs()
    }

    #[test]
    fn it_is_free_when_nobody_has_it_and_else_when_its_time_has_passed_without_a_change() {
        let held = |version| Some(lease(version, Some("other"), Some(20)));
        let cases = [
            ("there is none", vec![(3, None)], 3),
            ("it was released", vec![(1, held(1)), (3, Some(lease(2, None, Some(1))))], 3),
            ("by an empty name", vec![(1, held(1)), (3, Some(lease(2, Some(""), Some(1))))], 3),
            ("it is mine, by an attempt whose answer was lost", vec![(3, Some(lease(2, Some("me"), Some(20))))], 3),
            ("it was seen first", vec![(3, held(1))], 23),
            ("it was seen again", vec![(3, held(1)), (9, held(1))], 23),
            ("it was renewed", vec![(3, held(1)), (9, held(2))], 29),
            ("it was deleted, which its holder may not know", vec![(3, held(1)), (9, None)], 23),
            ("it says nothing of its time", vec![(3, Some(lease(1, Some("other"), None)))], 18),
            ("it says nonsense of its time", vec![(3, Some(lease(1, Some("other"), Some(-1))))], 18),
            ("it would last for ever", vec![(3, Some(lease(1, Some("other"), Some(i32::MAX))))], 303),
        ];
        for (case, looks, free) in cases {
            assert_eq!(free_after(&looks), free, "{case}");
        }
    }

    #[test]
    fn a_change_of_holder_is_counted_and_a_renewal_is_not() {
        let now = MicroTime("2026-03-01T12:00:00.5Z".parse().unwrap());
        let held = |found| Seen::after(None, found, Instant::now()).held_by(&me(), now.clone());
        let taken = held(Some(lease(1, Some("other"), Some(20))));
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("me"), Some(7)));
        assert_eq!((taken.lease_duration_seconds, taken.acquire_time.as_ref()), (Some(15), Some(&now)));
        let renewed = held(Some(lease(1, Some("me"), Some(15))));
        assert_eq!(
            (renewed.lease_transitions, renewed.acquire_time, renewed.renew_time),
            (Some(6), None, Some(now.clone()))
        );
        assert_eq!(held(None).lease_transitions, Some(0));
    }

    #[test]
    fn no_two_processes_have_the_same_name() {
        let [one, other] = [(); 2].map(|()| Candidate::new(SECOND).identity);
        assert_ne!(one, other);
        assert!(one.starts_with(&instance().unwrap()));
    }
}
