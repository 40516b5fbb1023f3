//! Attempts to connect, from pods and from outside of the cluster, and waiting until they end as they should.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Story;

/// How each attempt ended, by who calls and what is called: `open`; `dropped`, when the packets got no answer; or what
/// else happened, which no story wants: it would take a refused connection or a name that does not resolve for a fence.
pub type Observation = BTreeMap<(String, String), String>;

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    Pod { namespace: String, name: String },
    Outside,
}

/// What is called.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is called here.
    pub label: String,
    /// Host and port.
    pub address: String,
    /// The name that must answer; without one, anything may.
    pub answers: Option<String>,
}

impl Caller {
    pub fn pod(namespace: &str, name: &str) -> Self {
        Self::Pod { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Pod { name, .. } => name,
            Self::Outside => "outside",
        }
    }

    /// Tries all targets at once.
    fn attempt(&self, story: &Story, targets: &[Target]) -> Observation {
        let outcomes: Vec<String> = match self {
            Self::Pod { namespace, name } => {
                let addresses: Vec<&str> = targets.iter().map(|target| target.address.as_str()).collect();
                let dial = format!("exec --namespace={namespace} {name} -- /netcheck dial {}", addresses.join(" "));
                let lines = story.kubectl(&dial);
                assert_eq!(lines.lines().count(), targets.len(), "{lines}");
                lines.lines().zip(targets).map(|(line, target)| outcome_of_line(line, target)).collect()
            }
            Self::Outside => thread::scope(|scope| {
                let attempts: Vec<_> = targets.iter().map(|target| scope.spawn(|| outcome_from_here(target))).collect();
                attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
            }),
        };
        let key = |target: &Target| (self.name().to_owned(), target.label.clone());
        targets.iter().map(key).zip(outcomes).collect()
    }
}

/// A line of netcheck's: the address, `open` with who answered or `closed` with the reason.
fn outcome_of_line(line: &str, target: &Target) -> String {
    let rest = line.strip_prefix(&target.address).unwrap_or(line).trim_start();
    match rest.split_once(' ').unwrap_or((rest, "")) {
        ("open", name) if target.answers.as_ref().is_none_or(|expected| expected == name) => "open".to_owned(),
        // Of a name that is not found it says `lookup`.
        ("closed", reason) if reason.ends_with(": i/o timeout") && !reason.contains("lookup") => "dropped".to_owned(),
        _ => rest.to_owned(),
    }
}

fn outcome_from_here(target: &Target) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&target.address.parse().unwrap(), Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().last().unwrap_or_default().to_owned())
    };
    match ask() {
        Ok(name) if target.answers.as_ref().is_none_or(|expected| *expected == name) => "open".to_owned(),
        Ok(name) => format!("{name} answered"),
        Err(error) if error.kind() == ErrorKind::TimedOut => "dropped".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Tries until every attempt ends as expected, twice in a row: what is right by chance is not right twice.
pub fn come_to(story: &Story, what: &str, callers: &[(Caller, Vec<Target>)], expected: &Observation) {
    let (started, mut settled) = (Instant::now(), None);
    loop {
        let observed: Observation = thread::scope(|scope| {
            let attempts: Vec<_> =
                callers.iter().map(|(caller, targets)| scope.spawn(|| caller.attempt(story, targets))).collect();
            attempts.into_iter().flat_map(|attempt| attempt.join().unwrap()).collect()
        });
        match (observed == *expected, settled) {
            (true, None) => settled = Some(started.elapsed()),
            (true, Some(settled)) => {
                eprintln!("{}: {what} after {settled:?} ({} attempts each time)", story.name, expected.len());
                return;
            }
            (false, _) => {
                let late = started.elapsed() > PATIENCE;
                assert!(!late, "{}: {what}:\n{}", story.name, differences(expected, &observed));
                settled = None;
            }
        }
    }
}

/// Does something while pods call others, over and over; no call may wait for two seconds.
pub fn without_interruption(story: &Story, calls: &[(Caller, Target)], work: impl FnOnce()) {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _done = Done(&done);
        for (caller, target) in calls {
            let Caller::Pod { namespace, name } = caller else { panic!("only pods call over and over") };
            let dial = "/netcheck dial -timeout=2s -until=closed -within=2s";
            let call = format!("exec --namespace={namespace} {name} -- {dial} {}", target.address);
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let line = story.kubectl(&call);
                    assert!(line.contains(" open "), "{}: {name} -> {}: {line}", story.name, target.label);
                }
            });
        }
        work();
    });
}

fn differences(expected: &Observation, observed: &Observation) -> String {
    let keys: BTreeSet<_> = expected.keys().chain(observed.keys()).collect();
    let said = |side: &Observation, key| side.get(key).cloned().unwrap_or_else(|| "not asked".to_owned());
    let lines = keys.into_iter().filter(|key| expected.get(*key) != observed.get(*key)).map(|key| {
        let (caller, target) = key;
        format!("{caller} -> {target}: {}, and should be {}", said(observed, key), said(expected, key))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
