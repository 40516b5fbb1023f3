//! What a token costs: the token service beside Keycloak, on the same machine in the same run.
//!
//! Each server runs on one half of the processors, and what asks it, the cluster and the store on the other half. In each round
//! each of them is asked the same by the same number of connections, one after the other. Every connection asks again as soon
//! as it is answered, so that latencies are those of a busy server, and hang on how many connections there are. What only one
//! of them has, or does in another way, stands by itself. Figures are printed, not asserted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it can't go on"
)]

mod keycloak;
mod load;
mod process;
mod service;

use std::sync::Arc;
use std::time::Duration;

use keycloak::Keycloak;
use load::{CONNECTIONS, Figures, Question, Target};
use process::{Memory, Processors, Server};
use ringfence_cluster::{Cluster, Options};
use service::{By, Form, Service};

/// How long Keycloak is asked each question before anything counts: a virtual machine gets faster while it runs.
const WARM_UP: Duration = Duration::from_secs(20);
/// How long one question is asked in a round.
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// Tokens of which each is introspected again and again.
const TOKENS: usize = 1_000;
/// Assertions and one-time tokens for each round, of which each is used once.
const ONCE: usize = 15_000;

fn main() {
    // `cargo test` builds benchmarks too, and runs them with this argument: then there is nothing to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let processors = Processors::split();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(processors.each).enable_all().build().unwrap().block_on(measure(&processors));
}

/// One line of what comes out.
struct Line {
    name: &'static str,
    figures: Figures,
}

impl Line {
    fn new(name: &'static str) -> Self {
        Self { name, figures: Figures::default() }
    }

    async fn round(&mut self, server: &Server, target: &Target, question: &Arc<Question>) {
        target.load(server, question, ROUND, &mut self.figures).await;
    }

    fn print(&mut self) {
        let Self { name, figures } = self;
        let [half, most] = [0.5, 0.99].map(|share| figures.quantile(share).as_secs_f64() * 1e3);
        let processor = figures.processor_time().as_secs_f64() * 1e6;
        println!("  {name:<60}{:>9.0}{half:>10.2}{most:>10.2}{processor:>10.0}", figures.rate());
    }
}

async fn measure(processors: &Processors) {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let service = Service::start(&cluster, processors).await;
    let keycloak = Keycloak::start(&cluster, processors).await;
    let memory = || [service.server.memory(), service.store_memory(), keycloak.server.memory()];
    let at_rest = memory();

    let theirs = [keycloak.client_credentials(), keycloak.introspection(TOKENS).await];
    let mut ignored = Figures::default();
    for question in &theirs {
        keycloak.target.load(&keycloak.server, question, WARM_UP, &mut ignored).await;
    }
    let mut lines = [
        "Keycloak: client credentials by secret, JWT",
        "Ringfence: client credentials by secret, JWT",
        "Ringfence: client credentials by secret, opaque",
        "Ringfence: client credentials by certificate, JWT",
        "Ringfence: client credentials by certificate, opaque",
        "Keycloak: introspection of JWTs, by secret",
        "Ringfence: introspection of JWTs, by secret",
        "Ringfence: introspection of opaque tokens, by secret",
        "Ringfence: introspection of JWTs, by certificate",
        "Ringfence: introspection of opaque tokens, by certificate",
        "Ringfence: client credentials by assertion (private_key_jwt)",
        "Ringfence: one-time tokens, each introspected once",
    ]
    .map(Line::new);
    let ours = [
        (By::Secret, Form::Jwt),
        (By::Secret, Form::Opaque),
        (By::Certificate, Form::Jwt),
        (By::Certificate, Form::Opaque),
    ];
    let mut introspections = Vec::new();
    for (by, form) in ours {
        introspections.push(service.introspection(form, by, TOKENS).await);
    }
    for _ in 0..ROUNDS {
        lines[0].round(&keycloak.server, &keycloak.target, &theirs[0]).await;
        for (line, (by, form)) in lines[1..5].iter_mut().zip(ours) {
            line.round(&service.server, service.caller(form, by), &Service::client_credentials(form, by)).await;
        }
        lines[5].round(&keycloak.server, &keycloak.target, &theirs[1]).await;
        for (line, ((by, form), question)) in lines[6..10].iter_mut().zip(ours.into_iter().zip(&introspections)) {
            line.round(&service.server, service.callee(form, by), question).await;
        }
        lines[10].round(&service.server, service.plain(), &service.assertions(ONCE)).await;
        lines[11].round(&service.server, service.once(), &service.one_time_tokens(ONCE).await).await;
    }

    println!("\n{ROUNDS} rounds, {CONNECTIONS} connections, each server on {} processors", processors.each);
    println!("  {:<60}{:>9}{:>10}{:>10}{:>10}", "", "a second", "p50 ms", "p99 ms", "CPU µs");
    lines.iter_mut().for_each(Line::print);
    println!("Ringfence to Keycloak: times as many, and with which part of the processor time");
    for (name, ours, theirs) in [
        ("client credentials by secret, JWT", 1, 0),
        ("client credentials by certificate, opaque", 4, 0),
        ("introspection of JWTs, by secret", 6, 5),
        ("introspection of opaque tokens, by certificate", 9, 5),
    ] {
        let (ours, theirs) = (&lines[ours].figures, &lines[theirs].figures);
        let processor = ours.processor_time().as_secs_f64() / theirs.processor_time().as_secs_f64();
        println!("  {name:<60}{:>9.1}{:>30.3}", ours.rate() / theirs.rate(), processor);
    }
    println!("memory, MB                                                   at rest   at most");
    let busy = memory();
    for (name, server) in [("Keycloak, with its database", 2), ("Ringfence's token service", 0), ("its store, etcd", 1)]
    {
        println!("  {name:<60}{:>9.0}{:>10.0}", at_rest[server].now, busy[server].peak);
    }
    let share = |memory: fn(&Memory) -> f64, of: &[Memory; 3]| memory(&of[0]) / memory(&of[2]);
    let (rest, peak) = (share(|memory| memory.now, &at_rest), share(|memory| memory.peak, &busy));
    println!("  {:<60}{rest:>9.2}{peak:>10.2}", "Ringfence's as a share of Keycloak's");
    cluster.stop().unwrap();
}
