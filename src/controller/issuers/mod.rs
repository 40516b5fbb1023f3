//! The issuers that TrustDomains name by URL: their keys are fetched by whoever leads, one task for each issuer as long as
//! it is declared, and folded into the world. What follows from them, what is kept over a restart among it, is planned as
//! everything else.

mod fetch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use ringfence_core::api::{Reason, TrustDomain};
use ringfence_core::issuers::{DeclaredIssuer, LONGEST_FRESHNESS, declared_issuers};
use ringfence_core::world::{Change, IssuerFacts, IssuerFailure, IssuerKey};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::{pause, spread};
use super::context::Context;
use fetch::{Failure, Fetched, Fetcher, IsOwn};

/// How many issuers are asked at once.
const AT_ONCE: usize = 8;
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How many attempts in a row must fail before somebody is told, while there are good keys: a moment's failure is nobody's
/// business.
const FORGIVEN: u32 = 2;

/// Which issuers are declared, by TrustDomain.
#[derive(Debug, Default)]
pub(super) struct Issuers {
    declared: Mutex<BTreeMap<String, Vec<DeclaredIssuer>>>,
    touched: Notify,
    /// The clock on the wall is looked at.
    ticked: Notify,
}

impl Issuers {
    /// Takes note of what a domain declares; of nothing, when it is gone.
    pub(super) fn declare(&self, name: &str, domain: Option<&TrustDomain>) {
        let issuers = domain.map(|domain| declared_issuers(domain).0).unwrap_or_default();
        let mut declared = self.lock();
        if declared.get(name).map_or(&[][..], |known| known.as_slice()) == issuers.as_slice() {
            return;
        }
        if issuers.is_empty() {
            declared.remove(name);
        } else {
            declared.insert(name.to_owned(), issuers);
        }
        drop(declared);
        self.touched.notify_one();
    }

    /// Lets those who wait for a time look at the clock.
    pub(super) fn tick(&self) {
        self.ticked.notify_waiters();
    }

    fn all(&self) -> BTreeMap<IssuerKey, DeclaredIssuer> {
        let declared = self.lock();
        let of_domain = |(domain, issuers): (&String, &Vec<DeclaredIssuer>)| {
            let keyed = |issuer: &DeclaredIssuer| {
                let key = IssuerKey::external(domain, &issuer.name);
                (key, issuer.clone())
            };
            issuers.iter().map(keyed).collect::<Vec<_>>()
        };
        declared.iter().flat_map(of_domain).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<DeclaredIssuer>>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins and ends the tasks of issuers, as they come and go.
pub(super) async fn follow(context: Arc<Context>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut running: BTreeMap<IssuerKey, (DeclaredIssuer, CancellationToken)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let declared = context.issuers.all();
        running.retain(|key, (issuer, stop)| {
            let stays = declared.get(key) == Some(issuer);
            if !stays {
                stop.cancel();
            }
            stays
        });
        let new = declared.into_iter().filter(|(key, _)| !running.contains_key(key)).collect::<Vec<_>>();
        for (key, issuer) in new {
            let stop = CancellationToken::new();
            let task = keep_current(Arc::clone(&context), key.clone(), issuer.clone(), Arc::clone(&slots));
            let until = stop.clone();
            tasks.spawn(async move { until.run_until_cancelled(task).await });
            running.insert(key, (issuer, stop));
        }
        tokio::select! {
            () = context.issuers.touched.notified() => {}
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}

/// Asks one issuer again and again: when its keys have had their time, and after a failure.
async fn keep_current(context: Arc<Context>, key: IssuerKey, issuer: DeclaredIssuer, slots: Arc<Semaphore>) {
    let url = issuer.issuer.to_string();
    let world = Arc::downgrade(&context);
    let is_own: IsOwn =
        Arc::new(move |address| world.upgrade().is_none_or(|context| context.world().cluster.contains(address)));
    let fetcher = Fetcher::new(issuer, is_own);
    let (mut failures, mut since) = (0, None);
    loop {
        let fetched = match &fetcher {
            Ok(fetcher) => {
                // It is never closed.
                let _slot = slots.acquire().await;
                fetcher.fetch(context.clock.now()).await
            }
            Err(failure) => Err(failure.clone()),
        };
        match fetched {
            Ok(fetched) => {
                (failures, since) = (0, None);
                let due = context.clock.now() + spread(&key, fetched.fresh_for);
                take_over(&context, &key, &url, fetched).await;
                wait_until(&context, due).await;
            }
            Err(failure) => {
                failures += 1;
                let since = *since.get_or_insert_with(|| context.clock.now());
                note_failure(&context, &key, failure, since, failures);
                tokio::time::sleep(pause(&key, failures, LONGEST_PAUSE)).await;
            }
        }
    }
}

/// Waits until the clock on the wall shows a time, however it gets there; if it is put back, not for ever.
async fn wait_until(context: &Context, due: Timestamp) {
    let shown = async {
        loop {
            let ticked = context.issuers.ticked.notified();
            if context.clock.now() >= due {
                return;
            }
            ticked.await;
        }
    };
    drop(tokio::time::timeout(LONGEST_FRESHNESS.unsigned_abs(), shown).await);
}

async fn take_over(context: &Context, key: &IssuerKey, url: &str, fetched: Fetched) {
    let Fetched { jwks, introspection_uri, .. } = fetched;
    let facts = IssuerFacts { issuer: url.to_owned(), jwks, introspection_uri, stale: None };
    let before = context.world().issuer(key).cloned();
    let changed = before.as_ref().is_none_or(|before| before.jwks != facts.jwks);
    context.metrics.issuer_asked(if changed { "changed" } else { "unchanged" });
    let keys = facts.jwks["keys"].as_array().map_or(0, Vec::len);
    context.fold_told(Change::IssuerKeys(key.clone(), Some(Arc::new(facts))));
    let IssuerKey::External { domain, name } = key else { return };
    let object = context.world().domain(domain).cloned();
    if let Some(object) = object.filter(|_| changed) {
        let note = format!("new keys of token issuer {name} were fetched: it has {keys} that can be used");
        context.events.normal(object.as_ref(), Reason::IssuerKeysFetched, note).await;
    }
}

/// Says that an issuer could not be asked. The last good keys stay.
fn note_failure(context: &Context, key: &IssuerKey, failure: Failure, since: Timestamp, failures: u32) {
    let Failure { reason, why } = failure;
    context.metrics.issuer_asked(if reason == Reason::IssuerInvalid { "invalid" } else { "unreachable" });
    let known = context.world().issuer(key).cloned();
    let change = match known {
        Some(known) => {
            // It may have begun before a restart.
            let since = known.stale.as_ref().map_or(since, |stale| stale.since);
            if known.stale.is_none() && failures <= FORGIVEN {
                return;
            }
            let stale = Some(IssuerFailure { reason, since, why });
            Change::IssuerKeys(key.clone(), Some(Arc::new(IssuerFacts { stale, ..known.as_ref().clone() })))
        }
        None => Change::IssuerUnknown(key.clone(), IssuerFailure { reason, since, why }),
    };
    context.fold_told(change);
}
