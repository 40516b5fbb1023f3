//! What an identity costs: beside a bare client that makes the same writes on the same machine in the same run.
//!
//! For certificate-only and for whole identities (certificate, signing key, trust, policy): the time from the first create
//! until all are ready, the operator's writes from the API server's audit log, its peak memory, and what one more identity
//! and one changed policy cost beside few and beside many others. Figures are printed, not asserted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it can't go on"
)]

mod bare;
mod cluster;
mod load;

use std::time::Duration;

use cluster::{Bench, Writes};
use load::{Load, Shape};

const DOMAINS: usize = 10;

#[tokio::main]
async fn main() {
    // `cargo test` builds benchmarks too, and runs them with this argument: then there is nothing to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let count = number("BENCH_IDENTITIES", 500);
    for shape in [Shape::CertificateOnly, Shape::Whole] {
        throughput(shape, count).await;
    }
    let (few, many) = (number("BENCH_FEW", 100), number("BENCH_MANY", 2_000));
    one_more(&[few, many]).await;
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn throughput(shape: Shape, count: usize) {
    let bench = Bench::start().await;
    let load = Load::new(shape, DOMAINS);
    load.declare_domains(&bench.client).await;
    let from = bench.audit_lines();
    let took = load.create_until_ready(&bench.client, 0..count).await;
    let writes = bench.writes_since(from).await;
    let memory = bench.operator_peak_memory();
    let bare = bare::replay(&bench.client, &load, count).await;
    println!("\n{shape:?}: {count} identities over {DOMAINS} domains");
    println!("  operator   {took:>8.2?}  {:>7.1} identities/s", rate(count, took));
    println!("  bare client{bare:>8.2?}  {:>7.1} identities/s", rate(count, bare));
    println!("  ratio      {:>8.2}", took.as_secs_f64() / bare.as_secs_f64());
    println!("  peak memory of the operator {memory:.1} MB");
    print_writes(&writes, count);
    bench.stop();
}

/// What one more identity, and one changed policy, cost beside this many others.
async fn one_more(sizes: &[usize]) {
    println!("\none more identity and one changed policy, beside others (median of 11)");
    let bench = Bench::start().await;
    let load = Load::new(Shape::Whole, DOMAINS);
    load.declare_domains(&bench.client).await;
    let mut present = 0;
    for size in sizes {
        load.create_until_ready(&bench.client, present..*size).await;
        present = *size;
        let (mut creations, mut changes) = (Vec::new(), Vec::new());
        // Events and the statuses of policies still come in when all identities are ready.
        bench.writes_since(bench.audit_lines()).await;
        let from = bench.audit_lines();
        for _ in 0..11 {
            creations.push(load.create_one_until_ready(&bench.client, present).await);
            present += 1;
        }
        let created = bench.writes_since(from).await;
        let from = bench.audit_lines();
        for round in 0..11 {
            changes.push(load.change_policy(&bench.client, round, present).await);
        }
        let changed = bench.writes_since(from).await;
        println!(
            "  beside {size:>5}: identity {:>7.1?} and {:.1} writes, policy {:>7.1?} and {:.1} writes; peak memory {:.1} MB",
            median(&mut creations),
            total(&created) / 11.0,
            median(&mut changes),
            total(&changed) / 11.0,
            bench.operator_peak_memory(),
        );
    }
    bench.stop();
}

fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn total(writes: &Writes) -> f64 {
    f64::from(u32::try_from(writes.values().sum::<usize>()).unwrap())
}

fn print_writes(writes: &Writes, count: usize) {
    let each = f64::from(u32::try_from(count).unwrap());
    println!("  writes of the operator for each identity: {:.2}", total(writes) / each);
    for ((verb, resource), number) in writes {
        println!("    {:>6.2}  {verb} {resource}", f64::from(u32::try_from(*number).unwrap()) / each);
    }
}
