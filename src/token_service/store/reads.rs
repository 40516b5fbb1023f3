//! Whether tokens are revoked, asked for many at a time.
//!
//! Each introspection asks, and no answer may be older than its question. So a question never joins a request that is under
//! way: it waits, with all that come meanwhile, for the next one.
//!
//! Tokens are introspected again and again, and are hardly ever revoked. So each revocation, in the transaction that writes
//! it, puts a new random value into one more entry, the generation. What was not there in a read with some generation is not
//! there in any read with the same: one request for the generation answers for all tokens that were looked up under it.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::gateway::{self, Call, Gateway};
use super::{StoreError, Transaction};

/// Operations in one transaction, as etcd has it by default.
const LARGEST_TRANSACTION: usize = 128;

/// Requests under way at the same time. With one alone, a member that does not answer would keep everybody waiting.
const MOST_REQUESTS: usize = 2;

/// Tokens that are remembered as not revoked, some 150 bytes each.
const MOST_ABSENT: usize = 16_384;

/// Who asks which keys are there.
pub(super) struct Reads {
    gateway: Arc<Gateway>,
    queue: Mutex<Queue>,
    absent: Mutex<Absent>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Question>,
    under_way: usize,
}

struct Question {
    keys: Vec<String>,
    answer: oneshot::Sender<Answer>,
}

struct Answer {
    is_any_there: Result<bool, StoreError>,
    /// Requests that failed on the way; told to one of those who asked together.
    failed_requests: u32,
}

/// Keys that were not there in reads with this generation.
#[derive(Default)]
struct Absent {
    generation: String,
    keys: HashSet<String>,
}

/// The key of the generation: as long as there was no revocation, nothing is there.
pub(super) fn generation_key() -> String {
    gateway::encode(b"ringfence/revocations")
}

impl Reads {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, queue: Mutex::default(), absent: Mutex::default() }
    }

    /// Whether any of these keys is there, as of now or later.
    pub(super) async fn is_any_there(self: &Arc<Self>, keys: Vec<String>, call: &mut Call) -> Result<bool, StoreError> {
        if keys.is_empty() {
            return Ok(false);
        }
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut queue = locked(&self.queue);
            queue.waiting.push(Question { keys, answer });
            let begins = queue.under_way < MOST_REQUESTS;
            queue.under_way += usize::from(begins);
            begins
        };
        if begins {
            // Not in the future of who asks: that one may be dropped, and others wait for the same answer.
            tokio::spawn(Arc::clone(self).answer_all());
        }
        match timeout_at(call.deadline(), answered).await {
            Ok(Ok(answer)) => {
                call.count_failed(answer.failed_requests);
                answer.is_any_there
            }
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable("earlier reads are waiting for answers".to_owned())),
        }
    }

    /// Answers until nobody waits.
    async fn answer_all(self: Arc<Self>) {
        loop {
            let questions = {
                let mut queue = locked(&self.queue);
                if queue.waiting.is_empty() {
                    queue.under_way -= 1;
                    return;
                }
                let count = together(&queue.waiting);
                let rest = queue.waiting.split_off(count);
                mem::replace(&mut queue.waiting, rest)
            };
            self.answer(questions).await;
        }
    }

    async fn answer(&self, questions: Vec<Question>) {
        let mut call = Call::starting(Instant::now());
        let keys: HashSet<&str> = questions.iter().flat_map(|question| &question.keys).map(String::as_str).collect();
        let there = self.there(keys, &mut call).await;
        let mut failed_requests = call.failed_requests();
        for Question { keys, answer } in questions {
            let is_there = |there: &HashSet<String>| keys.iter().any(|key| there.contains(key));
            let is_any_there = there.as_ref().map(is_there).map_err(Clone::clone);
            // One who has gone needs no answer.
            drop(answer.send(Answer { is_any_there, failed_requests: mem::take(&mut failed_requests) }));
        }
    }

    /// Which of the keys are there.
    async fn there(&self, keys: HashSet<&str>, call: &mut Call) -> Result<HashSet<String>, StoreError> {
        let (mut known, mut unknown, generation): (Vec<&str>, Vec<&str>, String) = {
            let absent = locked(&self.absent);
            let (known, unknown) = keys.into_iter().partition(|key| absent.keys.contains(*key));
            (known, unknown, absent.generation.clone())
        };
        let mut there = HashSet::new();
        loop {
            // The first read looks whether what is known still holds, be there anything else to ask or not.
            let some = unknown.split_off(unknown.len().saturating_sub(LARGEST_TRANSACTION - 1));
            let (now, found) = self.read(&some, call).await?;
            let (found, missing): (Vec<_>, Vec<_>) = some.iter().zip(found).partition(|(_, found)| *found);
            locked(&self.absent).insert(&now, missing.into_iter().map(|(key, _)| *key));
            there.extend(found.into_iter().map(|(key, _)| (*key).to_owned()));
            if now != generation {
                unknown.append(&mut known);
            }
            known.clear();
            if unknown.is_empty() {
                return Ok(there);
            }
        }
    }

    /// The generation, and which of these keys are there, as of one moment.
    async fn read(&self, keys: &[&str], call: &mut Call) -> Result<(String, Vec<bool>), StoreError> {
        let range = |key: &&str| json!({"requestRange": {"key": key, "count_only": true}});
        let mut ranges = vec![json!({"requestRange": {"key": generation_key()}})];
        ranges.extend(keys.iter().map(range));
        let answer: Transaction = self.gateway.ask("/v3/kv/txn", &json!({"success": ranges}), call).await?;
        let mut ranges = answer.ranges();
        let generation = ranges.next().and_then(|range| range.kvs.first()).map(|kv| kv.value.clone());
        let there: Vec<bool> = ranges.map(|range| !range.is_empty()).collect();
        // Which answer belongs to which key goes by their order.
        if there.len() == keys.len() {
            return Ok((generation.unwrap_or_default(), there));
        }
        Err(StoreError::Unavailable(format!("it gave {} answers to {} questions", there.len(), keys.len())))
    }
}

impl Absent {
    fn insert<'a>(&mut self, generation: &str, keys: impl Iterator<Item = &'a str>) {
        if self.generation != generation {
            *self = Self { generation: generation.to_owned(), keys: HashSet::new() };
        }
        for key in keys {
            if self.keys.len() == MOST_ABSENT {
                self.keys.clear();
            }
            self.keys.insert(key.to_owned());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many of those who wait are answered together: at least one, and no more than fit into a transaction.
fn together(waiting: &[Question]) -> usize {
    let mut keys = 0;
    let fits = |question: &&Question| {
        keys += question.keys.len();
        keys < LARGEST_TRANSACTION
    };
    waiting.iter().take_while(fits).count().max(1)
}
